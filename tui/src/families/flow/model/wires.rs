//! Conversations by their packets, as `dns` counts them: what passes through and belongs to no socket of this namespace;
//! and, where no program tells of them, those of its own sockets.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fluoro_shared::dns::DnsEnd;
use fluoro_shared::flow::MINTED;
use fluoro_shared::wire::{LocalKey, WireCount, WireKey};
use zerocopy::IntoBytes as _;

use super::line::by_packets;
use super::{Attribution, Ends, Flow, FlowModel, FlowRow, Rates, State};
use crate::families::dns::model::Frame;
use crate::families::flow::row::Passing;
use crate::model::Identity;
use crate::records::flow::Direction;
use crate::records::{BootTime, FlowId, NetnsId};

/// What is silent for so long is over.
const IDLE_NS: u64 = 30_000_000_000;

const IPPROTO_TCP: u16 = 6;

#[derive(Default)]
pub(super) struct Wires {
    /// Each by the end that it is told from: both of them, where both are here.
    known: HashMap<(WireKey, Side), Wire>,
}

impl Wires {
    /// Each with its protocol.
    pub fn each_mut(&mut self) -> impl Iterator<Item = (&mut Arc<FlowRow>, u8)> {
        self.known.iter_mut().map(|((key, _), wire)| (&mut wire.row, key.low.protocol as u8))
    }
}

/// Which end of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Low,
    High,
}

struct Wire {
    row: Arc<FlowRow>,
    /// Totals at the last tick.
    before: (u64, u64),
    /// The socket table tells of it, and better.
    is_told: bool,
}

impl FlowModel {
    /// Takes in what packets tell; `holder` says who has a UDP socket at a port since then. The keys of what is over, one
    /// behind the other.
    pub fn pass(
        &mut self,
        frame: &Frame,
        now: BootTime,
        holder: &mut dyn FnMut(NetnsId, u16, BootTime) -> Option<Arc<Identity>>,
    ) -> Vec<u8> {
        let mut over = Vec::new();
        let mut table = None;
        for (key, count) in &frame.wires {
            let last = count.up.last_ns.max(count.down.last_ns).max(count.first_ns);
            if now.since(BootTime(last)) >= IDLE_NS {
                over.extend_from_slice(key.as_bytes());
                for side in [Side::Low, Side::High] {
                    self.wires.known.remove(&(*key, side));
                }
                continue;
            }
            let told = told_from(key, count, &frame.locals);
            for side in [Side::Low, Side::High] {
                if !told.iter().any(|(from, _)| *from == side) {
                    self.wires.known.remove(&(*key, side));
                }
            }
            for (side, direction) in told {
                let mut row = row_of(key, count, side, direction, now);
                self.call(&mut row, now);
                let known = self.wires.known.entry((*key, side)).or_insert_with(|| Wire {
                    row: Arc::new(row.clone()),
                    before: (0, 0),
                    is_told: false,
                });
                row.peer_name = known.row.peer_name.clone().or(row.peer_name);
                row.rates = known.row.rates;
                row.lost.clone_from(&known.row.lost);
                row.identity.clone_from(&known.row.identity);
                row.attribution = known.row.attribution;
                if direction != Direction::Forwarded && !known.is_told {
                    let owner = if key.low.protocol == IPPROTO_TCP {
                        let table = table.get_or_insert_with(|| Table::of(self.flows.values()));
                        known.is_told = table.ends.contains(&(row.netns, row.local, row.peer));
                        table.listeners.get(&(row.netns, row.local.port())).cloned()
                    } else if row.identity.is_none() {
                        holder(row.netns, row.local.port(), BootTime(count.first_ns))
                    } else {
                        None
                    };
                    if row.identity.is_none() && owner.is_some() {
                        row.identity = owner;
                        row.attribution = Attribution::Inferred;
                    }
                }
                known.row = Arc::new(row);
            }
        }
        over
    }

    /// What is here of them: how many, and their rates together.
    pub(super) fn tick_wires(&mut self, interval: Duration) -> (Rates, u64) {
        let seconds = interval.as_secs_f64();
        let (mut sum, mut here) = (Rates { tx_bytes_per_s: 0.0, rx_bytes_per_s: 0.0 }, 0);
        for wire in self.wires.known.values_mut() {
            let totals = (wire.row.tx_bytes, wire.row.rx_bytes);
            let rates = (seconds > 0.0).then(|| Rates {
                tx_bytes_per_s: totals.0.saturating_sub(wire.before.0) as f64 / seconds,
                rx_bytes_per_s: totals.1.saturating_sub(wire.before.1) as f64 / seconds,
            });
            wire.before = totals;
            Arc::make_mut(&mut wire.row).rates = rates;
            if !wire.is_told && wire.row.direction != Some(Direction::Forwarded) {
                here += 1;
                sum.tx_bytes_per_s += rates.map_or(0.0, |rates| rates.tx_bytes_per_s);
                sum.rx_bytes_per_s += rates.map_or(0.0, |rates| rates.rx_bytes_per_s);
            }
        }
        (sum, here)
    }

    pub(super) fn wire_rows(&self) -> impl Iterator<Item = Arc<FlowRow>> {
        self.wires.known.values().filter(|wire| !wire.is_told).map(|wire| Arc::clone(&wire.row))
    }

    /// The program has been attached anew.
    pub fn forget_wires(&mut self) {
        self.wires = Wires::default();
    }
}

/// What the socket table told of TCP.
struct Table {
    ends: HashSet<Ends>,
    listeners: HashMap<(NetnsId, u16), Arc<Identity>>,
}

impl Table {
    fn of<'a>(flows: impl Iterator<Item = &'a Flow>) -> Self {
        let mut table = Self { ends: HashSet::new(), listeners: HashMap::new() };
        for row in flows.map(|flow| &flow.row) {
            if row.state != State::Listen {
                table.ends.insert((row.netns, row.local, row.peer));
            } else if let Some(identity) = &row.identity {
                table.listeners.insert((row.netns, row.local.port()), Arc::clone(identity));
            }
        }
        table
    }
}

/// From which ends, and what way the conversation then goes: each that is here; else the one that began, of what passes
/// through. What somebody elsewhere sent to many is neither.
fn told_from(key: &WireKey, count: &WireCount, locals: &HashSet<LocalKey>) -> Vec<(Side, Direction)> {
    let netns = netns_of(count);
    let is_here = |end: &DnsEnd| {
        let address = plain(end, netns);
        address.is_loopback() || locals.contains(&LocalKey { address: end.address, netns: netns.0 })
    };
    let began = if count.began_high == 0 { Side::Low } else { Side::High };
    let side = |side, is_here: bool| {
        let direction = if side == began { Direction::Outbound } else { Direction::Inbound };
        is_here.then_some((side, direction))
    };
    let here: Vec<_> = [side(Side::Low, is_here(&key.low)), side(Side::High, is_here(&key.high))]
        .into_iter()
        .flatten()
        .collect();
    let is_to_many = |end: &DnsEnd| match plain(end, netns) {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    if here.is_empty() && !is_to_many(&key.low) && !is_to_many(&key.high) {
        return vec![(began, Direction::Forwarded)];
    }
    here
}

/// Where it was seen first, of the two directions.
const fn netns_of(count: &WireCount) -> NetnsId {
    let (first, other) =
        if count.began_high == 0 { (&count.up, &count.down) } else { (&count.down, &count.up) };
    NetnsId(if first.netns == 0 { other.netns } else { first.netns })
}

fn row_of(key: &WireKey, count: &WireCount, side: Side, direction: Direction, now: BootTime) -> FlowRow {
    let (local, peer, tx, rx) = match side {
        Side::Low => (key.low, key.high, count.up, count.down),
        Side::High => (key.high, key.low, count.down, count.up),
    };
    let mut hasher = DefaultHasher::new();
    (key, side, count.first_ns).hash(&mut hasher);
    let passing = Passing { protocol: key.low.protocol, tx_packets: tx.packets, rx_packets: rx.packets };
    let netns = netns_of(count);
    let end = |end: &DnsEnd| SocketAddr::new(plain(end, netns), end.port);
    FlowRow {
        netns,
        tx_bytes: tx.bytes,
        rx_bytes: rx.bytes,
        duration_ns: now.since(BootTime(count.first_ns)),
        ..by_packets(FlowId(MINTED | hasher.finish()), end(&local), end(&peer), direction, passing)
    }
}

/// An end's address. That of a loopback has its namespace in it, to be told from those of others.
fn plain(end: &DnsEnd, netns: NetnsId) -> IpAddr {
    const NAMESPACE: u32 = 96;
    let bits = u128::from_be_bytes(end.address);
    let rest = bits & (u128::MAX >> (128 - NAMESPACE));
    let is_apart = bits >> NAMESPACE == u128::from(netns.0);
    let address = IpAddr::V6(Ipv6Addr::from(if is_apart { rest } else { bits })).to_canonical();
    if address.is_loopback() { address } else { IpAddr::V6(Ipv6Addr::from(end.address)).to_canonical() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::records::{ProcKey, StartTime, Tgid, WallTime};
    use fluoro_shared::wire::WireWay;

    fn at(last: u8, port: u16) -> DnsEnd {
        let address = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, u16::from(last)]).octets();
        DnsEnd { address, port, protocol: 17 }
    }

    fn pass(model: &mut FlowModel, frame: &Frame, at: u64) -> Vec<u8> {
        model.pass(frame, BootTime(at), &mut |_, port, _| {
            let key = ProcKey { tgid: Tgid(u32::from(port)), start: StartTime(0) };
            Some(Arc::new(Identity::bare(key, WallTime(0))))
        })
    }

    fn rows(model: &mut FlowModel) -> Vec<Arc<FlowRow>> {
        model.tick(BootTime(10), Duration::from_secs(1));
        let mut rows = model.rows(true);
        rows.sort_by_key(|row| row.local.port());
        rows
    }

    #[test]
    fn what_no_program_tells_of_is_told_from_each_end_that_is_here() {
        let key = WireKey { low: at(1, 7), high: at(2, 9) };
        let way = |packets, bytes| WireWay { packets, bytes, last_ns: 5, netns: 3, ..WireWay::default() };
        let count = WireCount { up: way(1, 100), down: way(2, 300), first_ns: 4, began_high: 1 };
        let local = |end: DnsEnd| LocalKey { address: end.address, netns: 3 };
        let mut frame = Frame { wires: vec![(key, count)], locals: HashSet::from([local(key.low)]) };
        let mut model = FlowModel::default();
        pass(&mut model, &frame, 10);
        let [row] = rows(&mut model).try_into().unwrap();
        assert_eq!((row.local.port(), row.direction), (7, Some(Direction::Inbound)));
        assert_eq!((row.tx_bytes, row.rx_bytes, row.state), (100, 300, State::Unknown));
        let owner = row.identity.as_ref().unwrap().key.tgid;
        assert_eq!((owner, row.attribution), (Tgid(7), Attribution::Inferred));
        let group = DnsEnd { address: "ff02::fb".parse::<Ipv6Addr>().unwrap().octets(), ..key.low };
        let foreign = (WireKey { low: key.high, high: group }, count);
        pass(&mut model, &Frame { wires: vec![foreign], ..frame.clone() }, 10);
        assert_eq!(rows(&mut model).len(), 1);
        frame.locals.insert(local(key.high));
        pass(&mut model, &frame, 10);
        let [low, high] = rows(&mut model).try_into().unwrap();
        assert_eq!((low.rx_bytes, high.tx_bytes, high.direction), (300, 300, Some(Direction::Outbound)));
        assert!(low.id != high.id && model.totals().live == 2);
    }

    #[test]
    fn what_the_socket_table_has_is_not_told_by_packets_too() {
        let tcp = |end| DnsEnd { protocol: IPPROTO_TCP, ..end };
        let key = WireKey { low: tcp(at(1, 7)), high: tcp(at(2, 9)) };
        let way = WireWay { packets: 1, bytes: 60, last_ns: 5, netns: 3, ..WireWay::default() };
        let count = WireCount { up: way, down: way, first_ns: 4, began_high: 0 };
        let locals = HashSet::from([LocalKey { address: key.low.address, netns: 3 }]);
        let frame = Frame { wires: vec![(key, count)], locals };
        let mut model = FlowModel::default();
        let (local, peer) = ("10.0.0.1:7".parse().unwrap(), "10.0.0.2:9".parse().unwrap());
        let row = FlowRow::between(FlowId(1), NetnsId(3), local, peer, State::Established);
        model.keep(Arc::new(row), BootTime(0), false);
        pass(&mut model, &frame, 10);
        assert!(rows(&mut model).iter().all(|row| row.wire.is_none()));
    }

    #[test]
    fn the_address_of_a_loopback_is_without_the_namespace_that_is_in_its_key() {
        let apart = |netns: u32, address: &str| {
            let bits = u128::from(address.parse::<Ipv6Addr>().unwrap()) | u128::from(netns) << 96;
            plain(&DnsEnd { address: bits.to_be_bytes(), port: 0, protocol: 6 }, NetnsId(7)).to_string()
        };
        assert_eq!(apart(7, "::ffff:127.0.0.53"), "127.0.0.53");
        assert_eq!((apart(7, "::1"), apart(0, "::1")), ("::1".to_owned(), "::1".to_owned()));
        assert_eq!(
            (apart(7, "::2"), apart(0, "2001:db8::1")),
            ("0:7::2".to_owned(), "2001:db8::1".to_owned())
        );
    }

    #[test]
    fn a_conversation_is_told_from_the_end_that_began_and_ends_when_it_is_silent() {
        let key = WireKey { low: at(1, 9), high: at(2, 7) };
        let way = |packets, bytes| WireWay { packets, bytes, last_ns: 5, netns: 3, ..WireWay::default() };
        let count = WireCount { up: way(1, 100), down: way(2, 300), first_ns: 4, began_high: 1 };
        let mut model = FlowModel::default();
        let frame = Frame { wires: vec![(key, count)], locals: HashSet::new() };
        assert!(pass(&mut model, &frame, 10).is_empty());
        model.tick(BootTime(10), Duration::from_secs(1));
        let row = model.rows(true).pop().unwrap();
        assert_eq!((row.local, row.peer), ("10.0.0.2:7".parse().unwrap(), "10.0.0.1:9".parse().unwrap()));
        assert_eq!((row.tx_bytes, row.rx_bytes), (300, 100));
        assert_eq!(row.rates.unwrap().tx_bytes_per_s.to_bits(), 300.0_f64.to_bits());
        assert_eq!(row.direction, Some(Direction::Forwarded));
        assert_eq!(pass(&mut model, &frame, 5 + IDLE_NS), key.as_bytes());
        assert!(model.rows(false).is_empty());
    }
}
