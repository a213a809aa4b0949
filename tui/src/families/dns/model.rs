//! `dns` records in, events and names of addresses out. Pure.

mod asked;
mod streams;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fluoro_shared::wire::{LocalKey, WireCount, WireKey};

pub use self::asked::DnsTotals;
use super::decode::{Message, Told};
use super::row::asked::{AskedRow, Subject};
use super::row::{DnsRow, items};
use crate::families::flow::row::Attribution;
use crate::model::{EventDraft, Identity, Lookup, Processes};
use crate::records::dns::{Record, Silence};
use crate::records::{BootTime, NetnsId, Outside, Tid};
use streams::Streams;

/// How long a question waits for its answer.
const PATIENCE_NS: u64 = 30_000_000_000;

/// Questions that wait at most.
const PENDING_MAX: usize = 8192;

/// Bytes of a name that an address is called by.
const NAME_MAX: usize = 255;

/// What the kernel side has counted at one moment: conversations, by their packets.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub wires: Vec<(WireKey, WireCount)>,
    /// Addresses of each namespace.
    pub locals: HashSet<LocalKey>,
}

/// Lines that a record made beyond one, or fewer: a segment of TCP may end several messages, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surplus {
    pub lines: i64,
    /// Of what the kernel side has filtered, and muted.
    pub filtered: i64,
    pub muted: i64,
}

/// Everything known of questions that wait.
#[derive(Default)]
pub struct DnsModel {
    pending: HashMap<Asked, Pending>,
    /// In order of time.
    asked: VecDeque<(BootTime, Asked)>,
    streams: Streams,
    named: Vec<(IpAddr, Outside, BootTime)>,
    surplus: Surplus,
    /// Where somebody asks for the table.
    table: Option<asked::Table>,
}

/// What an answer has in common with its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    /// Of a loopback, which others have, too.
    netns: Option<NetnsId>,
    tcp: bool,
    by: SocketAddr,
    /// Of who is asked: a question to many is answered by one of them.
    port: u16,
    id: u16,
}

struct Pending {
    at: BootTime,
    who: Who,
    outgoing: bool,
    answered: bool,
    /// Of one that an answer is due to, where the table is kept.
    subject: Option<Subject>,
}

/// On whose behalf.
#[derive(Clone)]
struct Who {
    identity: Option<Arc<Identity>>,
    tid: Option<Tid>,
    attribution: Attribution,
}

impl DnsModel {
    /// Takes one record in; what became due goes to `out`.
    pub fn apply(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        if record.sequence.is_none() {
            self.message(record, &record.payload, processes, lookup, out);
            return;
        }
        let mut lines = 0;
        for bytes in self.streams.take(record) {
            lines += i64::from(self.message(record, &bytes, processes, lookup, out));
        }
        let surplus = match record.silence {
            None => &mut self.surplus.lines,
            Some(Silence::Filtered) => &mut self.surplus.filtered,
            Some(Silence::Muted) => &mut self.surplus.muted,
        };
        *surplus += lines - 1;
    }

    /// One message. False: it is none.
    fn message(
        &mut self,
        record: &Record,
        bytes: &[u8],
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) -> bool {
        let Some(message) = Message::decode(bytes) else { return false };
        let row = if message.response {
            self.answer(record, message, processes, lookup)
        } else {
            self.question(record, message, processes, lookup)
        };
        if record.silence.is_none() {
            let name = if row.message.response { "dns.response" } else { "dns.query" };
            out.push(EventDraft { name, family: "dns", at: record.at, facts: Arc::new(row) });
        }
        true
    }

    fn question(
        &mut self,
        record: &Record,
        message: Message,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
    ) -> DnsRow {
        let who = who(record, processes, lookup);
        let tcp = record.sequence.is_some();
        let asked = Asked {
            netns: record.of_loopback(),
            tcp,
            by: record.source,
            port: record.destination.port(),
            id: message.id,
        };
        let mut pending = Pending {
            at: record.at,
            who: who.clone(),
            outgoing: record.outgoing,
            answered: false,
            subject: None,
        };
        if let Some(table) = self.table.as_mut().filter(|_| record.silence != Some(Silence::Filtered)) {
            let subject = asked::subject(&message, &who, !record.outgoing);
            table.question(&subject, &who);
            pending.subject = Some(subject).filter(|_| !is_multicast(record.destination.ip()));
        }
        self.pending.insert(asked, pending);
        self.asked.push_back((record.at, asked));
        self.forget(record.at);
        let (local, peer) = if record.outgoing {
            (record.source, record.destination)
        } else {
            (record.destination, record.source)
        };
        row(record, message, who, (local, peer), !record.outgoing, None)
    }

    fn answer(
        &mut self,
        record: &Record,
        message: Message,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
    ) -> DnsRow {
        let tcp = record.sequence.is_some();
        let asked = Asked {
            netns: record.of_loopback(),
            tcp,
            by: record.destination,
            port: record.source.port(),
            id: message.id,
        };
        let pending =
            self.pending.get_mut(&asked).filter(|pending| record.at.since(pending.at) < PATIENCE_NS);
        // Over the loopback the one packet both leaves and comes in: it is told from the side that asks.
        let comes_in = !record.outgoing || pending.as_ref().is_some_and(|pending| pending.outgoing);
        let (who, duration_ns) = match pending {
            Some(pending) => {
                let first = !std::mem::replace(&mut pending.answered, true);
                if first {
                    self.name(&message, record.at);
                }
                let pending = self.pending.get(&asked);
                (pending.map(|p| p.who.clone()), pending.filter(|_| first).map(|p| record.at.since(p.at)))
            }
            // To everybody, asked or not: its sender says whose name it is.
            None if is_multicast(record.destination.ip()) => {
                self.name(&message, record.at);
                (None, None)
            }
            None => (None, None),
        };
        let who = who.unwrap_or_else(|| self::who(record, processes, lookup));
        if let Some(table) = self.table.as_mut().filter(|_| record.silence != Some(Silence::Filtered)) {
            table.answer(&asked::subject(&message, &who, !comes_in), &who, &message, duration_ns);
        }
        let (local, peer) =
            if comes_in { (record.destination, record.source) } else { (record.source, record.destination) };
        row(record, message, who, (local, peer), comes_in, duration_ns)
    }

    /// Addresses are called by what was asked for, whatever names led to them. What is malformed calls nobody anything.
    fn name(&mut self, message: &Message, at: BootTime) {
        if message.malformed {
            return;
        }
        for answer in &message.answers {
            let name = message.question.as_ref().map_or(&answer.name, |question| &question.name);
            if let Told::Address(address) = answer.told
                && name.bytes().len() <= NAME_MAX
                && !address.is_unspecified()
            {
                self.named.push((address.to_canonical(), lower(name), at));
            }
        }
    }

    /// From now on the table is kept.
    pub fn keep_table(&mut self) {
        self.table.get_or_insert_default();
    }

    /// Ends an interval of the table.
    pub fn tick(&mut self, now: BootTime) {
        self.forget(now);
        if let Some(table) = &mut self.table {
            table.tick();
        }
    }

    /// Of the interval that the last tick closed.
    pub fn totals(&self) -> DnsTotals {
        self.table.as_ref().map(asked::Table::totals).unwrap_or_default()
    }

    /// What was asked or answered in that interval, and what waits.
    pub fn rows(&self) -> Vec<Arc<AskedRow>> {
        let waiting = self.pending.values().filter(|pending| !pending.answered);
        let waiting = waiting.filter_map(|pending| Some((pending.subject.as_ref()?, &pending.who)));
        self.table.as_ref().map(|table| table.rows(waiting)).unwrap_or_default()
    }

    /// What answers have called addresses since this was asked last.
    pub fn take_names(&mut self) -> Vec<(IpAddr, Outside, BootTime)> {
        std::mem::take(&mut self.named)
    }

    /// What the books lack since this was asked last.
    pub fn take_surplus(&mut self) -> Surplus {
        std::mem::take(&mut self.surplus)
    }

    /// Lets go of questions that were asked long ago.
    fn forget(&mut self, now: BootTime) {
        while let Some(&(at, asked)) = self.asked.front()
            && (now.since(at) >= PATIENCE_NS || self.asked.len() > PENDING_MAX)
        {
            self.asked.pop_front();
            // Asked again since, it waits on.
            if self.pending.get(&asked).is_some_and(|pending| pending.at == at) {
                self.pending.remove(&asked);
            }
        }
    }
}

fn is_multicast(address: IpAddr) -> bool {
    address.is_multicast()
}

/// The process on whose behalf the socket of the asking end was made.
fn who(record: &Record, processes: &mut Processes, lookup: &mut dyn Lookup) -> Who {
    if let Some(owner) = &record.owner {
        // It was read when the socket was made; since then the process may have changed or ended.
        let identity = Some(processes.recall_as_it_was(owner, lookup));
        return Who { identity, tid: None, attribution: Attribution::Exact };
    }
    let holder = record.inode.and_then(|inode| lookup.socket_holder(inode));
    let identity = holder.and_then(|key| processes.get(key)).cloned();
    let attribution = if identity.is_some() { Attribution::Inferred } else { Attribution::Unknown };
    Who { identity, tid: None, attribution }
}

fn row(
    record: &Record,
    message: Message,
    who: Who,
    (local, peer): (SocketAddr, SocketAddr),
    received: bool,
    duration_ns: Option<u64>,
) -> DnsRow {
    let (addresses, records) = items(&message);
    DnsRow {
        place: record.place,
        message,
        identity: who.identity,
        tid: who.tid,
        attribution: who.attribution,
        tcp: record.sequence.is_some(),
        netns: record.netns,
        local,
        peer,
        received,
        duration_ns,
        addresses,
        records,
    }
}

/// Names are the same in any case; some resolvers mix it on purpose.
fn lower(name: &Outside) -> Outside {
    Outside::new(&name.bytes().to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
