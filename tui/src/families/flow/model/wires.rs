//! What passes through and belongs to no socket of this namespace, as the packet socket of `dns` counts it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fluoro_shared::dns::DnsEnd;
use fluoro_shared::flow::MINTED;
use fluoro_shared::wire::{WireCount, WireKey};
use zerocopy::IntoBytes as _;

use super::line::forwarded;
use super::{FlowModel, FlowRow, Rates};
use crate::families::flow::row::Passing;
use crate::records::{BootTime, FlowId, NetnsId};

/// What is silent for so long is over.
const IDLE_NS: u64 = 30_000_000_000;

#[derive(Default)]
pub(super) struct Wires {
    known: HashMap<WireKey, Wire>,
}

impl Wires {
    /// Each with its protocol.
    pub fn each_mut(&mut self) -> impl Iterator<Item = (&mut Arc<FlowRow>, u8)> {
        self.known.iter_mut().map(|(key, wire)| (&mut wire.row, key.low.protocol as u8))
    }
}

struct Wire {
    row: Arc<FlowRow>,
    /// Totals at the last tick.
    before: (u64, u64),
}

impl FlowModel {
    /// Takes in what has passed. The keys of what is over, one behind the other.
    pub fn pass(&mut self, wires: &[(WireKey, WireCount)], now: BootTime) -> Vec<u8> {
        let mut over = Vec::new();
        for (key, count) in wires {
            let last = count.up.last_ns.max(count.down.last_ns).max(count.first_ns);
            if now.since(BootTime(last)) >= IDLE_NS {
                over.extend_from_slice(key.as_bytes());
                self.wires.known.remove(key);
                continue;
            }
            let mut row = row_of(key, count, now);
            self.call(&mut row, now);
            match self.wires.known.get_mut(key) {
                Some(wire) => {
                    row.peer_name = wire.row.peer_name.clone().or(row.peer_name);
                    row.rates = wire.row.rates;
                    row.lost.clone_from(&wire.row.lost);
                    wire.row = Arc::new(row);
                }
                None => drop(self.wires.known.insert(*key, Wire { row: Arc::new(row), before: (0, 0) })),
            }
        }
        over
    }

    pub(super) fn tick_wires(&mut self, interval: Duration) {
        let seconds = interval.as_secs_f64();
        for wire in self.wires.known.values_mut() {
            let totals = (wire.row.tx_bytes, wire.row.rx_bytes);
            let rates = (seconds > 0.0).then(|| Rates {
                tx_bytes_per_s: totals.0.saturating_sub(wire.before.0) as f64 / seconds,
                rx_bytes_per_s: totals.1.saturating_sub(wire.before.1) as f64 / seconds,
            });
            wire.before = totals;
            Arc::make_mut(&mut wire.row).rates = rates;
        }
    }

    pub(super) fn wire_rows(&self) -> impl Iterator<Item = Arc<FlowRow>> {
        self.wires.known.values().map(|wire| Arc::clone(&wire.row))
    }

    /// The program has been attached anew.
    pub fn forget_wires(&mut self) {
        self.wires = Wires::default();
    }
}

/// From the end that began.
fn row_of(key: &WireKey, count: &WireCount, now: BootTime) -> FlowRow {
    let (local, peer, tx, rx) = if count.began_high == 0 {
        (key.low, key.high, count.up, count.down)
    } else {
        (key.high, key.low, count.down, count.up)
    };
    let mut hasher = DefaultHasher::new();
    (key, count.first_ns).hash(&mut hasher);
    let passing = Passing { protocol: key.low.protocol, tx_packets: tx.packets, rx_packets: rx.packets };
    // Where it was seen first, of the two directions.
    let netns = NetnsId(if tx.netns == 0 { rx.netns } else { tx.netns });
    FlowRow {
        netns,
        tx_bytes: tx.bytes,
        rx_bytes: rx.bytes,
        duration_ns: now.since(BootTime(count.first_ns)),
        ..forwarded(FlowId(MINTED | hasher.finish()), end(&local), end(&peer), passing)
    }
}

fn end(end: &DnsEnd) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(end.address)).to_canonical(), end.port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use fluoro_shared::wire::WireWay;

    fn at(last: u8, port: u16) -> DnsEnd {
        let address = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, u16::from(last)]).octets();
        DnsEnd { address, port, protocol: 17 }
    }

    #[test]
    fn a_conversation_is_told_from_the_end_that_began_and_ends_when_it_is_silent() {
        let key = WireKey { low: at(1, 9), high: at(2, 7) };
        let way = |packets, bytes| WireWay { packets, bytes, last_ns: 5, netns: 3, ..WireWay::default() };
        let count = WireCount { up: way(1, 100), down: way(2, 300), first_ns: 4, began_high: 1 };
        let mut model = FlowModel::default();
        assert!(model.pass(&[(key, count)], BootTime(10)).is_empty());
        model.tick(BootTime(10), Duration::from_secs(1));
        let row = model.rows(true).pop().unwrap();
        assert_eq!((row.local, row.peer), ("10.0.0.2:7".parse().unwrap(), "10.0.0.1:9".parse().unwrap()));
        assert_eq!((row.tx_bytes, row.rx_bytes), (300, 100));
        assert_eq!(row.rates.unwrap().tx_bytes_per_s.to_bits(), 300.0_f64.to_bits());
        assert_eq!(model.pass(&[(key, count)], BootTime(5 + IDLE_NS)), key.as_bytes());
        assert!(model.rows(false).is_empty());
    }
}
