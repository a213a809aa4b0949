//! The machine as the models ask it, live or made up.

use std::collections::{HashMap, HashSet};

use crate::families::flow::model::SocketFacts;
use crate::kernel::proc::Scheduled;
use crate::model::{Lookup, ProcFacts};
use crate::records::{BootTime, NetnsId, Outside, ProcKey, Tgid, WallOffset};

/// What a process uses at one moment, as far as one small file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Of all threads since it started.
    pub cpu_ns: u64,
    pub resident_bytes: u64,
    pub threads: u64,
}

/// What only /proc knows: a directory and a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    pub fds: Option<u64>,
    pub working_directory: Option<Outside>,
}

/// What exists, what time it is, and what records lack.
pub trait Machine: Lookup + Send {
    /// The event clock.
    fn now(&self) -> BootTime;

    fn offset(&self) -> WallOffset;

    /// Once a tick: the wall clock may have been set, users may have been added.
    fn refresh(&mut self);

    /// Every process there is.
    fn processes(&self) -> Vec<ProcFacts>;

    /// Pids of every process there is.
    fn pids(&self) -> Vec<u32>;

    /// What a process uses; `None`: it is gone, or cannot be asked.
    fn usage(&mut self, _process: ProcKey) -> Option<Used> {
        None
    }

    /// What the scheduler says of each thread of a process that has so many; `None`: it does not say.
    fn scheduled(&mut self, _process: ProcKey, _threads: u64) -> Option<Vec<Scheduled>> {
        None
    }

    /// What else is to be known of it.
    fn held(&mut self, _process: ProcKey) -> Held {
        Held::default()
    }

    /// Bytes of a page of memory.
    fn page_bytes(&self) -> u64 {
        4096
    }

    /// Where a process stands.
    fn working_directory(&self, _process: Tgid) -> Option<Outside> {
        None
    }

    /// Local ports of the UDP sockets of these namespaces by their cookies, of those that can be asked.
    fn datagram_sockets(&mut self, _namespaces: &HashSet<NetnsId>) -> HashMap<NetnsId, HashMap<u64, u16>> {
        HashMap::new()
    }

    /// Begins to read the TCP sockets of every network namespace; with `holders`, who has each open. Not before the
    /// reading before has ended.
    fn ask_sockets(&mut self, holders: bool);

    /// The next part of the reading, where it is there already.
    fn next_sockets(&mut self) -> Option<SocketPart>;
}

/// A part of a reading of the socket table.
#[derive(Debug)]
pub enum SocketPart {
    /// Listeners of a namespace come before its other sockets.
    Some(Vec<SocketFacts>),
    /// That was all; not whole: nothing can be said of what was missing.
    End { whole: bool },
}
