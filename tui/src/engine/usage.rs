//! What processes use, looked up for rows that somebody sees and for no others.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::machine::{Machine, Used};
use crate::families::process::model::{ProcessRow, Usage};
use crate::records::{BootTime, ProcKey};

/// A look this young is not taken again.
const FRESH_NS: u64 = 700_000_000;

/// A look this old is of no use any more: nobody has seen the row since.
const STALE_NS: u64 = 5_000_000_000;

/// Columns that must be looked up.
pub fn is_usage(column: &str) -> bool {
    ["cpu", "resident", "threads", "fds"].contains(&column)
}

struct Look {
    at: BootTime,
    used: Used,
    cpu_share: Option<f64>,
}

/// The last look at each process that is in sight.
#[derive(Default)]
pub struct Looks(HashMap<ProcKey, Look>);

impl Looks {
    /// Fills in what is known; what is not fresh is looked up.
    pub fn fill<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a mut Arc<ProcessRow>>,
        machine: &mut (impl Machine + ?Sized),
    ) {
        let now = machine.now();
        self.0.retain(|_, look| now.since(look.at) < STALE_NS);
        for row in rows.filter(|row| !row.identity.ended) {
            let key = row.identity.key;
            let before = self.0.get(&key);
            if before.is_none_or(|look| now.since(look.at) > FRESH_NS) {
                let Some(used) = machine.usage(key) else { continue };
                let cpu_share = before.map(|look| {
                    used.cpu_ns.saturating_sub(look.used.cpu_ns) as f64 / now.since(look.at).max(1) as f64
                });
                self.0.insert(key, Look { at: now, used, cpu_share });
            }
            if let Some(look) = self.0.get(&key) {
                Arc::make_mut(row).usage = Some(Usage {
                    cpu_share: look.cpu_share,
                    resident_bytes: look.used.resident_bytes,
                    threads: look.used.threads,
                    fds: look.used.fds,
                });
            }
        }
    }
}
