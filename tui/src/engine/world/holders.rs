//! Who holds a socket, found in /proc: what records do not tell, looked for seldom.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kernel::proc::Proc;
use crate::records::{BootTime, NetnsId, ProcKey, StartTime, Tgid};

/// Looking takes at most this share of the time, after a burst of so much.
const SHARE: u32 = 20;
const BURST: Duration = Duration::from_secs(1);

/// What was found of ports, and of sockets that nobody holds, is forgotten after this time.
const STALE: Duration = Duration::from_secs(1);

pub struct Holders {
    proc: Proc,
    /// Pid by the socket's inode.
    by_inode: HashMap<u64, u32>,
    nobodys: HashSet<u64>,
    ports: HashMap<NetnsId, Ports>,
    /// A process in each network namespace.
    members: HashMap<u32, u32>,
    forgotten: Instant,
    pace: Pace,
}

/// The UDP sockets of a network namespace.
struct Ports {
    /// Sockets made later are not among them.
    read: BootTime,
    inodes: HashMap<u16, u64>,
}

/// Time that was spent looking and has not been earned yet by doing something else.
struct Pace {
    owed: Duration,
    counted: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { owed: Duration::ZERO, counted: Instant::now() }
    }

    fn run<T>(&mut self, look: impl FnOnce() -> T) -> Option<T> {
        let began = Instant::now();
        self.owed = self.owed.saturating_sub(began.duration_since(self.counted) / SHARE);
        self.counted = began;
        if self.owed >= BURST {
            return None;
        }
        let found = look();
        self.owed += began.elapsed();
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
            // Most likely it is one more of a process that holds others.
            let (proc, known) = (&self.proc, self.by_inode.values().copied().collect());
            let among = self.pace.run(|| proc.socket_holders_among(known))?;
            self.by_inode =
                if among.contains_key(&inode) { among } else { self.pace.run(|| proc.socket_holders())? };
        }
        let Some(&pid) = self.by_inode.get(&inode) else {
            self.nobodys.insert(inode);
            return None;
        };
        let process = self.proc.process(pid)?;
        Some(ProcKey { tgid: Tgid(process.tgid), start: StartTime(process.start) })
    }

    /// The process that had a UDP socket at this port at that moment and still has it.
    pub fn of_port(&mut self, netns: NetnsId, port: u16, at: BootTime, now: BootTime) -> Option<ProcKey> {
        self.forget();
        let read = self.ports.get(&netns);
        if !read.is_some_and(|ports| ports.read >= at || ports.inodes.contains_key(&port)) {
            let (proc, members) = (&self.proc, &mut self.members);
            let inodes = self.pace.run(|| {
                let is_in = |pid: &u32| proc.netns(*pid) == Some(netns.0);
                if !members.get(&netns.0).is_some_and(is_in) {
                    *members = proc.namespaces();
                }
                proc.udp_ports(*members.get(&netns.0)?)
            })?;
            // Of a namespace that cannot be read nothing is known, and it is not read again for every packet.
            self.ports.insert(netns, Ports { read: now, inodes: inodes.unwrap_or_default() });
        }
        let inode = self.ports.get(&netns)?.inodes.get(&port).copied()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_is_earned_before_more_is() {
        let mut pace = Pace::new();
        assert_eq!(pace.run(|| 1), Some(1));
        pace.owed = BURST * 2;
        assert_eq!(pace.run(|| 2), None);
        pace.counted -= (BURST / 2) * SHARE;
        assert_eq!(pace.run(|| 3), None);
        pace.counted -= BURST * SHARE;
        assert_eq!(pace.run(|| 4), Some(4));
    }
}
