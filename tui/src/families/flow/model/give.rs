//! What connections add to the rows of processes.

use fluoro_shared::flow::WHAT_CONNECT;

use super::{FlowModel, FlowRow, Rates};
use crate::families::process::model::Gifts;

/// What has come of a process's connections in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct News {
    pub established: u64,
    pub retransmits: u64,
    live: u64,
    rates: Rates,
}

impl News {
    /// What a row has moved in the interval. What ended in it moved data in it, and nothing after.
    pub fn moved(&mut self, row: &FlowRow, lives: bool) {
        let Rates { tx_bytes_per_s, rx_bytes_per_s } = row.rates.unwrap_or_default();
        self.live += u64::from(lives);
        self.rates.tx_bytes_per_s += tx_bytes_per_s;
        self.rates.rx_bytes_per_s += rx_bytes_per_s;
    }
}

impl FlowModel {
    /// What each process's connections came to in the interval that the last tick closed.
    pub fn give(&self, to: &mut Gifts) {
        to.measure(&["flows", "rx", "tx", "connections", "retransmits"]);
        for (&process, news) in &self.news {
            let numbers = [
                ("flows", news.live as f64),
                ("rx", news.rates.rx_bytes_per_s),
                ("tx", news.rates.tx_bytes_per_s),
                ("connections", news.established as f64),
                ("retransmits", news.retransmits as f64),
            ];
            to.give(process, numbers);
        }
        for (series, durations) in self.new_distributions().filter(|(series, _)| series.what == WHAT_CONNECT)
        {
            let p99 = durations.quantiles([0.99], None).map(|[p99]| ("connect_p99", p99 as f64));
            to.give(series.process, p99);
        }
    }
}
