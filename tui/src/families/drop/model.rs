//! `drop` records and counts in, events and failures out. Pure.

mod echoes;
mod flows;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fluoro_shared::drop::{DropFlowKey, DropKey};

use super::row::DropRow;
use crate::families::flow::row::Attribution;
use crate::families::process::model::Gifts;
use crate::model::{EventDraft, Failure, Identity, Lookup, Processes, Subject, started};
use crate::records::drop::{Interface, Record, What, Why};
use crate::records::{BootTime, NetnsId, Outside, ProcKey, StartTime, Tgid};

/// What the kernel side has counted at one moment.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub drops: Vec<(DropKey, u64)>,
    /// By conversation.
    pub flows: Vec<(DropFlowKey, u64)>,
}

/// How long a packet waits for the record that names its owner, which is the next of its CPU: one that others take away
/// for a while, as they do those of virtual machines, is late with it.
const PATIENCE_NS: u64 = 100_000_000;

/// Interfaces whose names are remembered.
const INTERFACES_MAX: usize = 4096;

/// Everything known of drops.
#[derive(Default)]
pub struct DropModel {
    /// Packets whose owner may yet be told, in the order of time: at most one of each CPU.
    held: VecDeque<Record>,
    interfaces: HashMap<(NetnsId, u32), Outside>,
    counted: HashMap<DropKey, u64>,
    flows: flows::Flows,
    echoes: echoes::Echoes,
    /// Of the interval that the last frame closed, by the process that they were for or from.
    interval: HashMap<ProcKey, u64>,
}

impl DropModel {
    /// Takes one record in; what became due goes to `out`.
    pub fn apply(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        match record.what {
            What::Packet { owner_may_follow } => {
                let same = |packet: &Record| packet.place.cpu == record.place.cpu;
                if let Some(packet) = self.held.iter().position(same).and_then(|at| self.held.remove(at)) {
                    out.push(self.draft(&packet, processes, lookup));
                }
                if owner_may_follow {
                    self.held.push_back(record.clone());
                } else {
                    out.push(self.draft(record, processes, lookup));
                }
            }
            What::Owner { of } => {
                let Some(position) = self.held.iter().rposition(|packet| packet.place == of) else { return };
                let Some(mut packet) = self.held.remove(position) else { return };
                packet.owner = record.owner;
                packet.inode = record.inode;
                packet.why.queue_full |= record.why.queue_full;
                out.push(self.draft(&packet, processes, lookup));
            }
        }
    }

    /// Releases packets that have waited long enough.
    pub fn flush(
        &mut self,
        now: BootTime,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        while self.held.front().is_some_and(|packet| now.since(packet.at) >= PATIENCE_NS)
            && let Some(packet) = self.held.pop_front()
        {
            out.push(self.draft(&packet, processes, lookup));
        }
    }

    /// Takes in what the kernel side counts, after [`Self::count_flows`]. What is new in it, by reason, process and
    /// interface; and the keys of the map that may go: those of processes that are no longer known.
    pub fn count(
        &mut self,
        frame: &Frame,
        now: BootTime,
        processes: &Processes,
        lookup: &mut dyn Lookup,
    ) -> (Vec<Failure>, Vec<u8>) {
        use zerocopy::IntoBytes;
        let mut failures = Vec::new();
        let mut gone = Vec::new();
        self.interval.clear();
        for &(key, count) in &frame.drops {
            let before = self.counted.get(&key).copied().unwrap_or(0);
            // A packet that is being moved to its owner is counted in neither place or in both for a moment.
            if count > before {
                if let Some(process) = process_of(&key) {
                    *self.interval.entry(process).or_default() += count - before;
                }
                let why = Why::new(key.reason, key.location, key.flags as u16, key.protocol as u8);
                let found_nobody = reason(&why, lookup).0 == echoes::REASON;
                if !(found_nobody && self.echoes.dropped(&key, count - before)) {
                    failures.push(self.failure(&key, count - before, now, processes, lookup));
                }
                self.counted.insert(key, count);
            } else if process_of(&key).is_some_and(|process| processes.get(process).is_none()) {
                gone.extend_from_slice(key.as_bytes());
                self.counted.remove(&key);
            }
        }
        for (key, count) in self.echoes.rest() {
            failures.push(self.failure(&key, count, now, processes, lookup));
        }
        (failures, gone)
    }

    /// The kernel side begins to count anew.
    pub fn begin(&mut self) {
        self.counted.clear();
        self.flows = flows::Flows::default();
        self.echoes = echoes::Echoes::default();
    }

    /// Nothing is counted any more: the interval has nothing.
    pub fn rest(&mut self) {
        self.interval.clear();
    }

    /// How many packets of each process were dropped in the interval.
    pub fn give(&self, to: &mut Gifts) {
        to.measure(&["drops"]);
        for (&process, &count) in &self.interval {
            to.give(process, [("drops", count as f64)]);
        }
    }

    fn failure(
        &mut self,
        key: &DropKey,
        count: u64,
        at: BootTime,
        processes: &Processes,
        lookup: &mut dyn Lookup,
    ) -> Failure {
        let why = Why::new(key.reason, key.location, key.flags as u16, key.protocol as u8);
        let told = Interface { index: key.ifindex, name: None };
        let interface = self.interface(NetnsId(key.netns), &told, lookup);
        let identity = process_of(key).map(|process| {
            processes
                .get(process)
                .cloned()
                .unwrap_or_else(|| Arc::new(Identity::bare(process, lookup.wall(started(process)))))
        });
        Failure {
            at,
            family: "drop",
            kind: "drop",
            error: Some(reason(&why, lookup).0),
            identity,
            subject: interface.name.map_or(Subject::None, Subject::Interface),
            count,
            standing: false,
            latency_ns: None,
        }
    }

    fn draft(&mut self, record: &Record, processes: &mut Processes, lookup: &mut dyn Lookup) -> EventDraft {
        let (identity, attribution) = match (&record.owner, record.inode) {
            // The owner was read when the socket was made; since then the process may have changed or ended.
            (Some(owner), _) => (Some(processes.recall_as_it_was(owner, lookup)), Attribution::Exact),
            (None, inode) => {
                let holder =
                    inode.and_then(|inode| lookup.socket_holder(inode)).or_else(|| neighbour(record, lookup));
                match holder.and_then(|key| processes.get(key)) {
                    Some(identity) => (Some(Arc::clone(identity)), Attribution::Inferred),
                    None => (None, Attribution::Unknown),
                }
            }
        };
        let (reason, location) = reason(&record.why, lookup);
        let row = DropRow {
            place: record.place,
            reason,
            location,
            identity,
            attribution,
            netns: record.netns,
            interface: self.interface(record.netns, &record.interface, lookup),
            len: record.len,
            received: record.received,
            ends: record.ends.map(|(source, destination)| {
                if record.received { (destination, source) } else { (source, destination) }
            }),
            ethertype: record.ethertype,
            protocol: record.protocol,
        };
        EventDraft { name: "drop.packet", family: "drop", at: record.at, facts: Arc::new(row) }
    }

    /// With its name, where anything has told that.
    fn interface(&mut self, netns: NetnsId, told: &Interface, lookup: &mut dyn Lookup) -> Interface {
        let key = (netns, told.index);
        let known = self.interfaces.get(&key);
        let name = match &told.name {
            Some(name) => Some(name.clone()),
            None if told.index == 0 => None,
            None => known.cloned().or_else(|| lookup.interface(netns, told.index)),
        };
        if let Some(name) = &name
            && known != Some(name)
        {
            if self.interfaces.len() >= INTERFACES_MAX {
                self.interfaces.clear();
            }
            self.interfaces.insert(key, name.clone());
        }
        Interface { index: told.index, name }
    }
}

/// Who has the port that a datagram came in for; if nobody, and it came from this machine, who sent it.
fn neighbour(record: &Record, lookup: &mut dyn Lookup) -> Option<ProcKey> {
    const UDP: u8 = 17;
    /// Of the loopback, in every namespace.
    const LOOPBACK: u32 = 1;
    let (source, destination) = record.ends.filter(|_| record.received && record.protocol == UDP)?;
    let mut at = |port| if port == 0 { None } else { lookup.port_holder(record.netns, port, record.at) };
    at(destination.port())
        .or_else(|| if record.interface.index == LOOPBACK { at(source.port()) } else { None })
}

fn process_of(key: &DropKey) -> Option<ProcKey> {
    (key.start_ns != 0)
        .then(|| ProcKey { tgid: Tgid(key.tgid), start: StartTime::from_boot_ns(key.start_ns) })
}

/// The reason, and the function in which it was found. A kernel without reasons tells that function only; where it is
/// certain what it stands for, that has the name that later kernels give it.
fn reason(why: &Why, lookup: &mut dyn Lookup) -> (&'static str, Option<&'static str>) {
    let location = why.location.and_then(|offset| lookup.function(offset)).map(intern);
    let word = match lookup.drop_reason(why.reason) {
        Some(word) => intern(word),
        None if why.reason != 0 => intern(&format!("reason {}", why.reason)),
        None => match (why.bad_checksum, location) {
            (Some(6), _) => "TCP_CSUM",
            (Some(17 | 136), _) => "UDP_CSUM",
            (Some(1 | 58), _) => "ICMP_CSUM",
            (Some(_), _) => "SKB_CSUM",
            (None, _) if why.queue_full => "SOCKET_RCVBUFF",
            (None, Some("nf_hook_slow")) => "NETFILTER_DROP",
            (None, Some(function)) => function,
            (None, None) => "unknown",
        },
    };
    (word, location)
}

/// Words of the kernel: a few hundred at most in a run.
fn intern(word: &str) -> &'static str {
    static WORDS: OnceLock<Mutex<HashMap<String, &'static str>>> = OnceLock::new();
    const WORDS_MAX: usize = 4096;
    let mut words = WORDS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(word) {
        return known;
    }
    if words.len() >= WORDS_MAX {
        return "(other)";
    }
    let leaked: &'static str = word.to_owned().leak();
    words.insert(word.to_owned(), leaked);
    leaked
}

#[cfg(test)]
mod tests;
