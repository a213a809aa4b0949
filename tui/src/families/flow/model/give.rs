//! What connections add to the rows of processes.

use std::collections::HashMap;

use super::{FlowModel, Rates};
use crate::families::process::model::Given;
use crate::records::ProcKey;

impl FlowModel {
    /// What each process's connections come to.
    pub fn give(&self, to: &mut HashMap<ProcKey, Given>) {
        let mut sums: HashMap<ProcKey, (f64, Rates)> = HashMap::new();
        let live = self.flows.values().filter(|flow| flow.ended.is_none() && flow.row.direction.is_some());
        for row in live.map(|flow| &flow.row).chain(self.datagrams.live()) {
            let Some(identity) = &row.identity else { continue };
            let (count, rates) = sums.entry(identity.key).or_default();
            let own = row.rates.unwrap_or_default();
            *count += 1.0;
            rates.rx_bytes_per_s += own.rx_bytes_per_s;
            rates.tx_bytes_per_s += own.tx_bytes_per_s;
        }
        for (process, (count, rates)) in sums {
            let numbers = [("flows", count), ("rx", rates.rx_bytes_per_s), ("tx", rates.tx_bytes_per_s)];
            to.entry(process).or_default().extend(numbers);
        }
    }
}
