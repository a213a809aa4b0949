//! What processes use, looked up for rows that somebody sees and for no others.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::machine::{Machine, Used};
use crate::families::process::model::{ProcessRow, Usage};
use crate::kernel::proc::Scheduled;
use crate::records::{BootTime, ProcKey};

/// A look this young is not taken again.
const FRESH_NS: u64 = 700_000_000;

/// A look this old is of no use any more: nobody has seen the row since.
const STALE_NS: u64 = 5_000_000_000;

/// Columns that must be looked up.
pub fn is_usage(column: &str) -> bool {
    ["cpu", "resident", "threads", "fds", "on_cpu", "run_wait", "working_directory"].contains(&column)
}

struct Look {
    at: BootTime,
    used: Used,
    cpu_share: Option<f64>,
    /// On a CPU, and waiting for one, since the look before.
    scheduled: Option<(u64, u64)>,
}

/// What the threads that were there both times did in between, and those that began since.
fn scheduled_since(before: &Used, now: &Used) -> Option<(u64, u64)> {
    let (before, now) = (before.scheduled.as_ref()?, now.scheduled.as_ref()?);
    let was: HashMap<u32, &Scheduled> = before.iter().map(|thread| (thread.tid, thread)).collect();
    let since = |thread: &Scheduled| {
        let (ran, waited) = was.get(&thread.tid).map_or((0, 0), |was| (was.on_cpu_ns, was.waited_ns));
        (thread.on_cpu_ns.saturating_sub(ran), thread.waited_ns.saturating_sub(waited))
    };
    Some(now.iter().map(since).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
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
                let scheduled = before.and_then(|look| scheduled_since(&look.used, &used));
                self.0.insert(key, Look { at: now, used, cpu_share, scheduled });
            }
            if let Some(look) = self.0.get(&key) {
                Arc::make_mut(row).usage = Some(Usage {
                    cpu_share: look.cpu_share,
                    resident_bytes: look.used.resident_bytes,
                    threads: look.used.threads,
                    fds: look.used.fds,
                    on_cpu_ns: look.scheduled.map(|(ran, _)| ran),
                    run_wait_ns: look.scheduled.map(|(_, waited)| waited),
                    working_directory: look.used.working_directory.clone(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(threads: &[(u32, u64, u64)]) -> Used {
        let scheduled = |&(tid, on_cpu_ns, waited_ns)| Scheduled { tid, on_cpu_ns, waited_ns };
        Used {
            cpu_ns: 0,
            resident_bytes: 0,
            threads: threads.len() as u64,
            fds: None,
            scheduled: Some(threads.iter().map(scheduled).collect()),
            working_directory: None,
        }
    }

    #[test]
    fn a_thread_that_has_ended_takes_nothing_away_from_the_others() {
        let before = used(&[(7, 100, 10), (8, 5_000, 500)]);
        let now = used(&[(7, 160, 11), (9, 40, 4)]);
        assert_eq!(scheduled_since(&before, &now), Some((100, 5)));
        assert_eq!(scheduled_since(&Used { scheduled: None, ..before }, &now), None);
    }
}
