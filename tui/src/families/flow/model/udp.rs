//! Datagrams: flows that open with their first one and end with their socket, after a silence, or with fluoro. The
//! kernel side tells of the first and counts the others; its counts are read every interval.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fluoro_shared::flow::MINTED;
use fluoro_shared::flow::udp::{
    DatagramCount, DatagramKey, DatagramOther, FLAG_ANNOUNCED, FLAG_BROADCAST, FLAG_ESTIMATED, FLAG_QUIC,
    protocol,
};

use super::groups::Folded;
use super::line::draft;
use super::tick::{ENDED_MAX, age};
use super::{Attribution, FlowModel, FlowRow, Rates, State};
use crate::families::flow::row::{Cast, Datagrams as Facts};
use crate::model::{EventDraft, Identity, LINGER_NS, Lookup, Processes};
use crate::records::flow::udp::{direction, ends};
use crate::records::flow::{End, Record};
use crate::records::{BootTime, FlowId, NetnsId, TaskFacts};

/// A flow without a datagram for so long has ended.
const IDLE_NS: u64 = 30_000_000_000;

/// A record is with us by then.
const ON_ITS_WAY_NS: u64 = 100_000_000;

/// Owners remembered of one local port.
const OWNERS_MAX: usize = 64;

/// Sockets that were closed before their flows were known, remembered until the counts are read.
const CLOSED_MAX: usize = 65_536;

/// Ids given here, apart from those of the kernel side.
const GIVEN: u64 = MINTED | 1 << 62;

/// What the kernel side counted, and what else is known at that moment.
pub struct Tally<'a> {
    pub datagrams: &'a [(DatagramKey, DatagramCount)],
    /// When the reading began.
    pub began: BootTime,
    /// Local ports of the UDP sockets that there were then by their cookies, of each namespace that could be asked.
    pub sockets: &'a HashMap<NetnsId, HashMap<u64, u16>>,
}

struct Flow {
    row: Arc<FlowRow>,
    opened: BootTime,
    /// When its counts were last seen to have grown.
    changed: BootTime,
    /// Its socket's cookie; 0: not known.
    cookie: u64,
    /// Totals at the last tick.
    before: (u64, u64),
}

struct Past {
    row: Arc<FlowRow>,
    ended: BootTime,
    before: (u64, u64),
    /// In the interval that runs; in the one before it.
    is_new: bool,
    just: bool,
}

/// Whose a socket is that sends from one end to another.
struct Owner {
    netns: NetnsId,
    local: IpAddr,
    peer: SocketAddr,
    protocol: u8,
    identity: Arc<Identity>,
}

/// Owners at a local port.
#[derive(Default)]
struct Port {
    /// Flows there, living or shown.
    flows: usize,
    /// Newest last.
    owners: VecDeque<Owner>,
}

/// Flows of datagrams.
#[derive(Default)]
pub(super) struct Datagrams {
    flows: HashMap<DatagramKey, Flow>,
    past: VecDeque<Past>,
    closed: HashMap<u64, BootTime>,
    /// When the reading before began.
    counted: BootTime,
    ports: HashMap<u16, Port>,
    given: u64,
    made: u64,
    /// Datagrams and bytes of flows that the kernel side had no room for: sent, received. What it counts now, and what it
    /// counted before it was attached anew.
    other: DatagramOther,
    other_before: DatagramOther,
}

impl FlowModel {
    /// Who owns the UDP socket that these datagrams are of: the one with this local end and this peer, else one with this
    /// peer, else any at this port. What has ended is known a while longer. An owner is known a few milliseconds after
    /// the first datagram; records of other families that are fed at the same time find it.
    pub fn datagram_owner(
        &self,
        netns: Option<NetnsId>,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<&Arc<Identity>> {
        self.datagrams.owner(netns, local, peer)
    }

    /// Takes in what the kernel side counted of datagrams. Keys of its map that may go.
    pub fn count_datagrams(
        &mut self,
        tally: &Tally<'_>,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) -> Vec<u8> {
        self.datagrams.count(tally, processes, lookup, out)
    }

    /// The kernel side begins anew: what it counted before is over.
    pub fn restart_datagrams(&mut self, out: &mut Vec<EventDraft>) {
        self.datagrams.end_all(out);
        self.datagrams.other_before = self.datagrams.other();
        self.datagrams.other = DatagramOther::default();
    }

    /// Event lines that no record of the kernel side stands for.
    pub const fn made(&self) -> u64 {
        self.datagrams.made
    }

    /// Namespaces in which a socket table would tell of an end.
    pub fn datagram_namespaces(&self) -> HashSet<NetnsId> {
        self.datagrams.flows.values().map(|flow| flow.row.netns).collect()
    }
}

impl Datagrams {
    pub fn live(&self) -> impl Iterator<Item = &Arc<FlowRow>> {
        self.flows.values().map(|flow| &flow.row)
    }

    /// Takes in what the kernel side counted of flows that it had no room for.
    pub fn take_other(&mut self, other: &DatagramOther) {
        self.other = *other;
    }

    /// Since the start.
    pub fn other(&self) -> DatagramOther {
        self.other_before.plus(self.other)
    }

    /// Each that is shown, and whether it lives.
    pub fn each(&self) -> impl Iterator<Item = (&Arc<FlowRow>, bool)> {
        self.live().map(|row| (row, true)).chain(self.past.iter().map(|past| (&past.row, false)))
    }

    /// Each that is shown, with its protocol.
    pub fn each_mut(&mut self) -> impl Iterator<Item = (&mut Arc<FlowRow>, u8)> {
        let flows = self.flows.values_mut().map(|flow| &mut flow.row);
        let past = self.past.iter_mut().map(|past| &mut past.row);
        flows.chain(past).map(|row| {
            let protocol = row.datagrams.map_or(protocol::UDP, |datagrams| datagrams.protocol);
            (row, protocol)
        })
    }

    pub fn rows(&self, of_interval: bool) -> impl Iterator<Item = Arc<FlowRow>> {
        let past = self.past.iter().filter(move |past| !of_interval || past.just).map(|past| &past.row);
        self.live().chain(past).cloned()
    }

    /// The first datagram of a flow.
    pub fn first(
        &mut self,
        record: &Record,
        key: DatagramKey,
        flags: u32,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        let mut row = row_of(&key, flags, record.id, record.netns);
        if let Some(owner) = &record.owner {
            super::line::own_by(&mut row, owner, processes, lookup);
        }
        row.timed = true;
        let row = Arc::new(row);
        out.push(draft("flow.open", record.at, Arc::clone(&row)));
        self.keep(key, row, record.at, if record.id.0 < MINTED { record.id.0 } else { 0 });
    }

    fn keep(&mut self, key: DatagramKey, row: Arc<FlowRow>, opened: BootTime, cookie: u64) {
        let port = self.ports.entry(row.local.port()).or_default();
        port.flows += 1;
        if let Some(identity) = &row.identity {
            if port.owners.len() >= OWNERS_MAX {
                port.owners.pop_front();
            }
            port.owners.push_back(Owner {
                netns: row.netns,
                local: row.local.ip(),
                peer: row.peer,
                protocol: key.protocol,
                identity: Arc::clone(identity),
            });
        }
        let flow = Flow { row, opened, changed: opened, cookie, before: (0, 0) };
        if let Some(old) = self.flows.insert(key, flow) {
            self.leave(old.row.local.port());
        }
    }

    fn owner(&self, netns: Option<NetnsId>, local: SocketAddr, peer: SocketAddr) -> Option<&Arc<Identity>> {
        let here = |owner: &&Owner| {
            owner.protocol == protocol::UDP && netns.is_none_or(|netns| owner.netns == netns)
        };
        let port = self.ports.get(&local.port())?;
        let owners = || port.owners.iter().rev().filter(here);
        owners()
            .find(|owner| owner.local == local.ip() && owner.peer == peer)
            .or_else(|| owners().find(|owner| owner.peer == peer))
            .or_else(|| owners().find(|owner| owner.local == local.ip() || owner.local.is_unspecified()))
            .or_else(|| owners().next())
            .map(|owner| &owner.identity)
    }

    /// A socket has been closed; its flows end when their last counts have been read.
    pub fn closed(&mut self, socket: u64, at: BootTime) {
        if self.closed.len() < CLOSED_MAX {
            self.closed.insert(socket, at);
        }
    }

    fn count(
        &mut self,
        tally: &Tally<'_>,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) -> Vec<u8> {
        for (key, count) in tally.datagrams {
            if !self.flows.contains_key(key) {
                // Its record comes with the next.
                if tally.began.since(BootTime(count.opened_ns)) < ON_ITS_WAY_NS {
                    continue;
                }
                self.discover(key, count, processes, lookup, out);
            }
            if let Some(flow) = self.flows.get_mut(key) {
                flow.take(count, tally.began);
            }
        }
        let ports: HashMap<NetnsId, HashSet<u16>> = tally
            .sockets
            .iter()
            .map(|(netns, sockets)| (*netns, sockets.values().copied().collect()))
            .collect();
        // Where the kernel told no cookie, a socket with the same port may stand for the one that was closed.
        let is_gone = |key: &DatagramKey, flow: &Flow| {
            let netns = flow.row.netns;
            key.protocol == protocol::UDP
                && if flow.cookie == 0 {
                    ports.get(&netns).is_some_and(|ports| !ports.contains(&key.local_port))
                } else {
                    tally.sockets.get(&netns).is_some_and(|sockets| !sockets.contains_key(&flow.cookie))
                }
        };
        let ended: Vec<(DatagramKey, End, BootTime)> = self
            .flows
            .iter()
            .filter_map(|(key, flow)| {
                // What opened meanwhile has not been counted.
                if flow.opened >= tally.began {
                    return None;
                }
                if let Some(&at) = self.closed.get(&key.socket).filter(|at| **at < tally.began) {
                    return Some((*key, End::Socket, at));
                }
                if is_gone(key, flow) {
                    return Some((*key, End::Socket, tally.began));
                }
                (tally.began.since(flow.changed) >= IDLE_NS).then_some((*key, End::Idle, tally.began))
            })
            .collect();
        // The flow itself may become known with the next reading only.
        let before = std::mem::replace(&mut self.counted, tally.began);
        self.closed.retain(|_, at| *at >= before);
        let mut gone = Vec::new();
        for (key, end, at) in ended {
            use zerocopy::IntoBytes;
            gone.extend_from_slice(key.as_bytes());
            self.end(&key, end, at, out);
        }
        gone
    }

    /// A flow whose record never came: lost, left out, or of which nobody was in a call that would have told.
    fn discover(
        &mut self,
        key: &DatagramKey,
        count: &DatagramCount,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        self.given += 1;
        let id = if count.id == 0 { GIVEN | self.given } else { count.id };
        let mut row = row_of(key, count.flags, FlowId(id), NetnsId(count.netns));
        let told = count.flags & FLAG_ANNOUNCED != 0;
        let opened = BootTime(count.opened_ns);
        match TaskFacts::decode(&count.owner) {
            Some(owner) => {
                row.identity = Some(processes.recall(&owner, lookup));
                row.attribution = if told { Attribution::Exact } else { Attribution::Inferred };
            }
            None if key.protocol == protocol::UDP => {
                let holder = lookup.port_holder(row.netns, key.local_port, opened);
                if let Some(identity) = holder.and_then(|key| processes.get(key)) {
                    row.identity = Some(Arc::clone(identity));
                    row.attribution = Attribution::Inferred;
                }
            }
            None => {}
        }
        let row = Arc::new(row);
        if !told {
            self.made += 1;
            out.push(draft("flow.open", opened, Arc::clone(&row)));
        }
        self.keep(*key, row, opened, count.cookie);
    }

    fn end(&mut self, key: &DatagramKey, end: End, at: BootTime, out: &mut Vec<EventDraft>) {
        let Some(Flow { mut row, opened, before, .. }) = self.flows.remove(key) else { return };
        let told = Arc::make_mut(&mut row);
        told.state = State::Closed;
        told.end = Some(end);
        told.duration_ns = at.since(opened);
        self.made += 1;
        out.push(draft("flow.close", at, Arc::clone(&row)));
        self.past.push_back(Past { row, ended: at, before, is_new: true, just: false });
    }

    /// Ends what is left.
    pub fn end_all(&mut self, out: &mut Vec<EventDraft>) {
        let mut keys: Vec<(BootTime, DatagramKey)> =
            self.flows.iter().map(|(key, flow)| (flow.opened, *key)).collect();
        keys.sort_by_key(|(opened, key)| (*opened, key.socket, key.peer_port));
        for (_, key) in keys {
            let closed = self.closed.get(&key.socket).copied();
            let changed = self.flows.get(&key).map_or(BootTime(0), |flow| flow.changed);
            let (end, at) = closed.map_or((End::Observer, changed), |at| (End::Socket, at));
            self.end(&key, end, at, out);
        }
    }

    /// Ends an interval: rates and ages; what ended long ago goes to `folded`. The sum of the rates, and how many live.
    pub fn tick(&mut self, now: BootTime, seconds: f64, folded: &mut Folded) -> (Rates, u64) {
        let mut sum = Rates::default();
        let mut rate = |row: &mut Arc<FlowRow>, before: &mut (u64, u64)| {
            if seconds <= 0.0 {
                return;
            }
            let rates = Rates {
                tx_bytes_per_s: row.tx_bytes.saturating_sub(before.0) as f64 / seconds,
                rx_bytes_per_s: row.rx_bytes.saturating_sub(before.1) as f64 / seconds,
            };
            *before = (row.tx_bytes, row.rx_bytes);
            sum.tx_bytes_per_s += rates.tx_bytes_per_s;
            sum.rx_bytes_per_s += rates.rx_bytes_per_s;
            if row.rates != Some(rates) {
                Arc::make_mut(row).rates = Some(rates);
            }
        };
        for flow in self.flows.values_mut() {
            rate(&mut flow.row, &mut flow.before);
            age(&mut flow.row, now.since(flow.opened));
        }
        for past in &mut self.past {
            rate(&mut past.row, &mut past.before);
            past.just = std::mem::take(&mut past.is_new);
        }
        let over = |past: &Past, many: bool| !past.just && (many || now.since(past.ended) >= LINGER_NS);
        while let Some(past) = self.past.front().filter(|past| over(past, self.past.len() > ENDED_MAX)) {
            folded.add(&past.row);
            let port = past.row.local.port();
            self.past.pop_front();
            self.leave(port);
        }
        (sum, self.flows.len() as u64)
    }

    /// One flow less at a port.
    fn leave(&mut self, port: u16) {
        if let Some(held) = self.ports.get_mut(&port) {
            held.flows = held.flows.saturating_sub(1);
            if held.flows == 0 {
                self.ports.remove(&port);
            }
        }
    }
}

impl Flow {
    fn take(&mut self, count: &DatagramCount, now: BootTime) {
        if self.cookie == 0 {
            self.cookie = count.cookie;
        }
        let estimated = count.flags & FLAG_ESTIMATED != 0;
        let Some(held) = self.row.datagrams else { return };
        let told = Facts { tx_packets: count.tx_packets, rx_packets: count.rx_packets, estimated, ..held };
        if told == held && (self.row.tx_bytes, self.row.rx_bytes) == (count.tx_bytes, count.rx_bytes) {
            return;
        }
        self.changed = now;
        let row = Arc::make_mut(&mut self.row);
        row.datagrams = Some(told);
        (row.tx_bytes, row.rx_bytes) = (count.tx_bytes, count.rx_bytes);
    }
}

/// Without its owner and its counts.
fn row_of(key: &DatagramKey, flags: u32, id: FlowId, netns: NetnsId) -> FlowRow {
    let (local, peer) = ends(key);
    let several = |ip: IpAddr| ip.is_multicast();
    // The loopback has no link address that would tell its broadcast.
    let all = |ip: IpAddr| ip == IpAddr::from([255; 4]) || ip == IpAddr::from([127, 255, 255, 255]);
    let cast = if flags & FLAG_BROADCAST != 0 || all(local.ip()) || all(peer.ip()) {
        Cast::Broadcast
    } else if several(local.ip()) || several(peer.ip()) {
        Cast::Multicast
    } else {
        Cast::Unicast
    };
    FlowRow {
        direction: Some(direction(flags)),
        datagrams: Some(Facts {
            protocol: key.protocol,
            tx_packets: 0,
            rx_packets: 0,
            estimated: flags & FLAG_ESTIMATED != 0,
            quic: flags & FLAG_QUIC != 0,
            cast,
        }),
        ..FlowRow::between(id, netns, local, peer, State::Established)
    }
}
