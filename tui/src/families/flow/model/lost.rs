//! Packets of conversations that were thrown away, as another family counts them, and the rows that they are of.

use std::collections::HashMap;
use std::sync::Arc;

use super::{FlowModel, FlowRow};
use crate::families::flow::row::lost::{Conversation, Lost};
use crate::records::BootTime;

/// Without a row and without another packet, forgotten after so long.
const STALE_NS: u64 = 30_000_000_000;

/// Conversations kept; of what is beyond, no row tells.
const KEPT_MAX: usize = 32_768;

/// What has been thrown away so far, by conversation.
#[derive(Default)]
pub(super) struct Losses {
    known: HashMap<Conversation, Known>,
    /// One bit for each port that any of them has.
    ports: Vec<u64>,
    fresh: bool,
}

struct Known {
    reasons: Vec<(&'static str, u64)>,
    lost: Lost,
    last: BootTime,
    /// A row had it in this tick.
    shown: bool,
}

impl FlowModel {
    /// Takes in what has been thrown away since the last time.
    pub fn lose(
        &mut self,
        losses: impl IntoIterator<Item = (Conversation, &'static str, u64)>,
        now: BootTime,
    ) {
        for (conversation, reason, packets) in losses {
            self.losses.add(conversation, reason, packets, now);
        }
    }

    /// Tells the rows of what was thrown away of theirs.
    pub(super) fn tell_losses(&mut self, now: BootTime) {
        if self.losses.known.is_empty() {
            return;
        }
        self.losses.mark_ports();
        for flow in self.flows.values_mut() {
            self.losses.tell(&mut flow.row, IPPROTO_TCP);
        }
        for (row, protocol) in self.datagrams.each_mut() {
            self.losses.tell(row, protocol);
        }
        for (row, protocol) in self.wires.each_mut() {
            self.losses.tell(row, protocol);
        }
        self.losses.forget(now);
    }
}

const IPPROTO_TCP: u8 = 6;

impl Losses {
    fn add(&mut self, conversation: Conversation, reason: &'static str, packets: u64, now: BootTime) {
        if self.known.len() >= KEPT_MAX && !self.known.contains_key(&conversation) {
            return;
        }
        let known = self.known.entry(conversation).or_insert_with(|| Known {
            reasons: Vec::new(),
            lost: Lost::new(0, reason),
            last: now,
            shown: false,
        });
        known.last = now;
        match known.reasons.iter_mut().find(|(word, _)| *word == reason) {
            Some((_, count)) => *count += packets,
            None => known.reasons.push((reason, packets)),
        }
        let all = known.reasons.iter().map(|(_, count)| count).sum();
        // Of two that are equal, the one that came first stays.
        let most = known.reasons.iter().rev().max_by_key(|(_, count)| *count);
        if let Some((reason, _)) = most.filter(|(reason, _)| *reason != known.lost.reason) {
            known.lost = Lost::new(all, reason);
        } else {
            known.lost.packets = all;
        }
        self.fresh = true;
    }

    fn mark_ports(&mut self) {
        if std::mem::take(&mut self.fresh) {
            self.ports = vec![0; 1 << 10];
            for port in self.known.keys().flat_map(Conversation::ends).map(|end| end.port()) {
                if let Some(bits) = self.ports.get_mut(usize::from(port >> 6)) {
                    *bits |= 1 << (port & 63);
                }
            }
        }
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.get(usize::from(port >> 6)).is_some_and(|bits| bits >> (port & 63) & 1 == 1)
    }

    fn tell(&mut self, row: &mut Arc<FlowRow>, protocol: u8) {
        if !self.has_port(row.local.port()) || !self.has_port(row.peer.port()) {
            return;
        }
        let conversation = Conversation::new(row.netns, protocol, row.local, row.peer);
        let Some(known) = self.known.get_mut(&conversation) else { return };
        known.shown = true;
        // A row that somebody still shows is not copied where nothing is new.
        if row.lost.as_ref() != Some(&known.lost) {
            Arc::make_mut(row).lost = Some(known.lost.clone());
        }
    }

    fn forget(&mut self, now: BootTime) {
        let before = self.known.len();
        self.known.retain(|_, known| std::mem::take(&mut known.shown) || now.since(known.last) < STALE_NS);
        self.fresh |= self.known.len() != before;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use fluoro_shared::dns::DnsEnd;
    use fluoro_shared::wire::{WireCount, WireKey, WireWay};

    use super::*;
    use crate::families::dns::model::Frame;
    use crate::records::NetnsId;

    fn end(last: u8, port: u16) -> DnsEnd {
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, last]);
        DnsEnd { address, port, protocol: 17 }
    }

    fn passing(model: &mut FlowModel, at: u64) {
        let key = WireKey { low: end(1, 9), high: end(2, 7) };
        let way = WireWay { packets: 1, bytes: 100, last_ns: at, netns: 3, ..WireWay::default() };
        let count = WireCount { up: way, down: way, first_ns: 4, began_high: 1 };
        let frame = Frame { wires: vec![(key, count)], ..Frame::default() };
        model.pass(&frame, BootTime(at), &mut |_, _, _| None);
    }

    #[test]
    fn a_row_tells_how_many_packets_of_either_way_were_thrown_away_and_why_most_of_them() {
        let mut model = FlowModel::default();
        let [low, high] = ["10.0.0.1:9".parse().unwrap(), "10.0.0.2:7".parse().unwrap()];
        let there = Conversation::new(NetnsId(3), 17, low, high);
        let elsewhere = Conversation::new(NetnsId(4), 17, low, high);
        passing(&mut model, 10);
        model.lose([(elsewhere, "NO_SOCKET", 9)], BootTime(10));
        model.tick(BootTime(10), Duration::from_secs(1));
        assert_eq!(model.rows(true).pop().unwrap().lost, None, "of another namespace");
        let back = Conversation::new(NetnsId(3), 17, high, low);
        model.lose([(there, "NETFILTER_DROP", 2), (back, "UDP_CSUM", 3)], BootTime(20));
        model.tick(BootTime(20), Duration::from_secs(1));
        assert_eq!(model.rows(true).pop().unwrap().lost, Some(Lost::new(5, "UDP_CSUM")));
        // Much later nobody knows the one without a row.
        passing(&mut model, 10 + STALE_NS);
        model.tick(BootTime(10 + STALE_NS), Duration::from_secs(1));
        assert_eq!(model.rows(true).pop().unwrap().lost, Some(Lost::new(5, "UDP_CSUM")));
        assert_eq!(model.losses.known.len(), 1);
    }
}
