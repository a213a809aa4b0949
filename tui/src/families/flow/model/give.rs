//! What connections add to the rows of processes.

use fluoro_shared::flow::WHAT_CONNECT;
use foldhash::HashMap;

use super::{FlowModel, Rates};
use crate::families::process::model::Gifts;
use crate::records::ProcKey;

/// What has come of a process's connections in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct News {
    pub established: u64,
    pub retransmits: u64,
}

impl FlowModel {
    /// What each process's connections come to.
    pub fn give(&self, to: &mut Gifts) {
        to.measure(&["flows", "rx", "tx", "connections", "retransmits"]);
        let mut sums: HashMap<ProcKey, (f64, Rates)> = HashMap::default();
        let connections = self.flows.values().filter(|flow| flow.row.direction.is_some());
        let connections = connections.map(|flow| (&flow.row, flow.ended.is_none()));
        for (row, lives) in connections.chain(self.datagrams.each()) {
            // What has ended in the interval moved data in it, and nothing after.
            let own = row.rates.unwrap_or_default();
            let Some(identity) = row.identity.as_ref().filter(|_| lives || own != Rates::default()) else {
                continue;
            };
            let (count, rates) = sums.entry(identity.key).or_default();
            *count += if lives { 1.0 } else { 0.0 };
            rates.rx_bytes_per_s += own.rx_bytes_per_s;
            rates.tx_bytes_per_s += own.tx_bytes_per_s;
        }
        for (process, (count, rates)) in sums {
            to.give(process, [("flows", count), ("rx", rates.rx_bytes_per_s), ("tx", rates.tx_bytes_per_s)]);
        }
        for (&process, news) in &self.news {
            let numbers =
                [("connections", news.established as f64), ("retransmits", news.retransmits as f64)];
            to.give(process, numbers);
        }
        for (series, durations) in self.new_distributions().filter(|(series, _)| series.what == WHAT_CONNECT)
        {
            let p99 = durations.quantiles([0.99], None).map(|[p99]| ("connect_p99", p99 as f64));
            to.give(series.process, p99);
        }
    }
}
