//! Who holds a socket, found in /proc: what records do not tell, looked for seldom.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kernel::proc::Proc;
use crate::records::{NetnsId, ProcKey, StartTime, Tgid};

/// Looking takes at most this share of the time, after a burst of at most so much.
const SHARE: u32 = 20;
const CREDIT_MAX: Duration = Duration::from_millis(200);

/// What was found of ports, and of sockets that nobody holds, is forgotten after this time.
const STALE: Duration = Duration::from_secs(1);

pub struct Holders {
    proc: Proc,
    /// Pid by the socket's inode.
    by_inode: HashMap<u64, u32>,
    nobodys: HashSet<u64>,
    /// Inode of a UDP socket by its port.
    ports: HashMap<NetnsId, HashMap<u16, u64>>,
    /// A process in each network namespace.
    members: HashMap<u32, u32>,
    forgotten: Instant,
    pace: Pace,
}

/// Time that may be spent looking: it grows with time, and does not grow for ever.
struct Pace {
    credit: Duration,
    counted: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { credit: CREDIT_MAX, counted: Instant::now() }
    }

    fn run<T>(&mut self, look: impl FnOnce() -> T) -> Option<T> {
        let began = Instant::now();
        let earned = began.duration_since(self.counted) / SHARE;
        self.credit = (self.credit + earned).min(CREDIT_MAX);
        self.counted = began;
        if self.credit.is_zero() {
            return None;
        }
        let found = look();
        self.credit = self.credit.saturating_sub(began.elapsed());
        Some(found)
    }
}

impl Holders {
    pub fn new(root: &Path) -> Self {
        Self {
            proc: Proc::new(root),
            by_inode: HashMap::new(),
            nobodys: HashSet::new(),
            ports: HashMap::new(),
            members: HashMap::new(),
            forgotten: Instant::now(),
            pace: Pace::new(),
        }
    }

    /// The process that holds the socket with this inode.
    pub fn of_inode(&mut self, inode: u64) -> Option<ProcKey> {
        self.forget();
        if self.nobodys.contains(&inode) {
            return None;
        }
        if !self.by_inode.contains_key(&inode) {
            self.by_inode = self.pace.run(|| self.proc.socket_holders())?;
        }
        let Some(&pid) = self.by_inode.get(&inode) else {
            self.nobodys.insert(inode);
            return None;
        };
        let process = self.proc.process(pid)?;
        Some(ProcKey { tgid: Tgid(process.tgid), start: StartTime(process.start) })
    }

    /// The process that has a UDP socket at this port.
    pub fn of_port(&mut self, netns: NetnsId, port: u16) -> Option<ProcKey> {
        self.forget();
        let find = |ports: &HashMap<NetnsId, HashMap<u16, u64>>| ports.get(&netns)?.get(&port).copied();
        if find(&self.ports).is_none() {
            let (proc, members) = (&self.proc, &mut self.members);
            let found = self.pace.run(|| {
                let is_in = |pid: &u32| proc.netns(*pid) == Some(netns.0);
                if !members.get(&netns.0).is_some_and(is_in) {
                    *members = proc.namespaces();
                }
                proc.udp_ports(*members.get(&netns.0)?)
            })??;
            self.ports.insert(netns, found);
        }
        let inode = find(&self.ports)?;
        self.of_inode(inode)
    }

    fn forget(&mut self) {
        if self.forgotten.elapsed() > STALE {
            self.nobodys.clear();
            self.ports.clear();
            self.forgotten = Instant::now();
        }
    }
}
