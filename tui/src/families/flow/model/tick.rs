//! The end of an interval: rates from the totals, old rows dropped.

use std::sync::Arc;
use std::time::Duration;

use super::{Flow, FlowModel, FlowRow, Rates};
use crate::columns::ahead::{AHEAD, ahead, fetch};
use crate::model::LINGER_NS;
use crate::records::BootTime;

/// Ended rows kept.
pub(super) const ENDED_MAX: usize = 20_000;

/// The header's figures of the last interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FlowTotals {
    pub live: u64,
    pub untracked: u64,
    /// Datagrams, sent and received, of flows beyond what the kernel side counts.
    pub untracked_datagrams: u64,
    pub tx_bytes_per_s: Option<f64>,
    pub rx_bytes_per_s: Option<f64>,
    pub opens_per_s: Option<f64>,
}

impl FlowModel {
    /// Ends an interval: rates from the totals, old rows dropped.
    pub fn tick(&mut self, now: BootTime, interval: Duration) {
        self.interval += 1;
        while let Some(&(at, id)) = self.ended.front() {
            // What ended in this interval is shown once, however much it is.
            let many = self.ended.len() > ENDED_MAX
                && !self.flows.get(&id).is_some_and(|flow| flow.has_just_ended(self.interval));
            if now.since(at) < LINGER_NS && !many {
                break;
            }
            self.ended.pop_front();
            self.forget(id, at);
        }
        self.call_fresh(now);
        let by_packets = self.tick_wires(interval);
        let seconds = interval.as_secs_f64();
        let (mut tx, mut rx, mut live) =
            (by_packets.0.tx_bytes_per_s, by_packets.0.rx_bytes_per_s, by_packets.1);
        self.news.clear();
        let rows: Vec<*const FlowRow> = self.flows.values().map(|flow| Arc::as_ptr(&flow.row)).collect();
        let mut later = rows.iter().skip(AHEAD);
        for flow in self.flows.values_mut() {
            if let Some(&row) = later.next() {
                fetch(row);
            }
            if flow.row.direction.is_none() {
                continue;
            }
            let lives = flow.ended.is_none();
            if lives {
                live += 1;
                if let Some(name) = &flow.row.peer_name {
                    let age_ns = now.since(name.observed.at);
                    // As below: a row that is shown is not copied for what looks the same.
                    if age_ns.abs_diff(name.age_ns) > name.age_ns / 64
                        && let Some(name) = &mut Arc::make_mut(&mut flow.row).peer_name
                    {
                        name.age_ns = age_ns;
                    }
                }
                if flow.established.0 != 0 {
                    age(&mut flow.row, now.since(flow.established));
                }
            }
            let row = &flow.row;
            // An ended row had its last interval when it ended; a primed one has none before its second look.
            let from = flow.before.or_else(|| (!row.primed).then_some((0, 0)));
            let rates = from.filter(|_| seconds > 0.0).map(|(tx, rx)| Rates {
                tx_bytes_per_s: row.tx_bytes.saturating_sub(tx) as f64 / seconds,
                rx_bytes_per_s: row.rx_bytes.saturating_sub(rx) as f64 / seconds,
            });
            flow.before = Some((row.tx_bytes, row.rx_bytes));
            if rates != row.rates {
                Arc::make_mut(&mut flow.row).rates = rates;
            }
            if let Some(rates) = rates {
                tx += rates.tx_bytes_per_s;
                rx += rates.rx_bytes_per_s;
            }
            let now_so = (true, flow.row.retransmits);
            let is_news =
                lives || flow.told != now_so || rates.is_some_and(|rates| rates != Rates::default());
            if let Some(identity) = flow.row.identity.as_ref().filter(|_| is_news) {
                let news = self.news.entry(identity.key).or_default();
                news.established += u64::from(!flow.told.0);
                news.retransmits += u64::from(flow.row.retransmits.saturating_sub(flow.told.1));
                news.moved(&flow.row, lives);
                flow.told = now_so;
            }
        }
        let of_datagrams = self.datagrams.tick(now, seconds, &mut self.folded);
        for (row, lives) in self.datagrams.each() {
            if let Some(identity) = &row.identity {
                self.news.entry(identity.key).or_default().moved(row, lives);
            }
        }
        self.tell_losses(now);
        (tx, rx, live) =
            (tx + of_datagrams.0.tx_bytes_per_s, rx + of_datagrams.0.rx_bytes_per_s, live + of_datagrams.1);
        let flows = &self.flows;
        self.folded.make_room(|| flows.values().map(|flow| flow.row.as_ref()));
        let measured = seconds > 0.0;
        self.totals = FlowTotals {
            live,
            untracked: self.untracked,
            untracked_datagrams: {
                let other = self.datagrams.other();
                other.tx_packets + other.rx_packets
            },
            tx_bytes_per_s: measured.then_some(tx),
            rx_bytes_per_s: measured.then_some(rx),
            opens_per_s: measured.then_some(self.opens as f64 / seconds),
        };
        self.opens = 0;
    }

    pub const fn totals(&self) -> FlowTotals {
        self.totals
    }

    /// Every connection and listener; those that have ended stay for a while, or with `of_interval` only in
    /// the interval that the last tick closed.
    pub fn rows(&self, of_interval: bool) -> Vec<Arc<FlowRow>> {
        let is_shown =
            |flow: &&Flow| !of_interval || flow.ended.is_none() || flow.has_just_ended(self.interval);
        let mut rows = Vec::with_capacity(self.flows.len());
        rows.extend(ahead(self.flows.values().filter(is_shown).map(|flow| &flow.row)).cloned());
        rows.extend(self.wire_rows().chain(self.datagrams.rows(of_interval)));
        rows
    }
}

/// A row that somebody still shows is not copied for an age that looks the same. It has no longer just begun.
pub(super) fn age(row: &mut Arc<FlowRow>, age_ns: u64) {
    let is_new = (row.timed && age_ns == 0) || age_ns.abs_diff(row.duration_ns) > row.duration_ns / 64;
    if let Some(row) = if is_new { Some(Arc::make_mut(row)) } else { Arc::get_mut(row) } {
        (row.duration_ns, row.timed) = (age_ns, false);
    }
}
