//! What processes use, looked up for rows that somebody sees; of the others no more than their order asks for.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::machine::{Held, Machine, Used};
use crate::families::process::model::{ProcessRow, Usage};
use crate::kernel::proc::Scheduled;
use crate::records::{BootTime, ProcKey};

/// A look this young is not taken again.
const FRESH_NS: u64 = 700_000_000;

/// A look this old is of no use any more: nobody has seen the row since.
const STALE_NS: u64 = 5_000_000_000;

/// How much is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Processor, memory, threads: one small file.
    Brief,
    /// Everything.
    Whole,
}

/// How much of every process must be looked up, in sight or not: of an order what it is made of, for a filter or a sum
/// everything.
pub fn of_all(filtered_or_summed: bool, order: Option<&str>) -> Option<Depth> {
    match order {
        _ if filtered_or_summed => Some(Depth::Whole),
        Some("cpu" | "resident" | "threads") => Some(Depth::Brief),
        Some("fds" | "on_cpu" | "run_wait" | "working_directory") => Some(Depth::Whole),
        _ => None,
    }
}

/// One look, and what has been since the one before.
struct Look<T, S> {
    at: BootTime,
    seen: T,
    since: Option<S>,
}

impl<T, S> Look<T, S> {
    /// What is not fresh is looked up anew; `since` says what was in so many nanoseconds.
    fn at(
        looks: &mut HashMap<ProcKey, Self>,
        key: ProcKey,
        now: BootTime,
        look: impl FnOnce() -> Option<T>,
        since: impl FnOnce(&T, &T, u64) -> Option<S>,
    ) -> Option<&Self> {
        let before = looks.get(&key);
        if before.is_none_or(|look| now.since(look.at) > FRESH_NS) {
            let seen = look()?;
            let since = before.and_then(|before| since(&before.seen, &seen, now.since(before.at)));
            looks.insert(key, Self { at: now, seen, since });
        }
        looks.get(&key)
    }
}

/// Share of a CPU.
fn share(before: &Used, now: &Used, ns: u64) -> f64 {
    now.cpu_ns.saturating_sub(before.cpu_ns) as f64 / ns.max(1) as f64
}

/// On a CPU, and waiting for one: what the threads that were there both times did in between, and those that began since.
fn scheduled_since(before: &Held, now: &Held) -> Option<(u64, u64)> {
    let (before, now) = (before.scheduled.as_ref()?, now.scheduled.as_ref()?);
    let was: HashMap<u32, &Scheduled> = before.iter().map(|thread| (thread.tid, thread)).collect();
    let since = |thread: &Scheduled| {
        let (ran, waited) = was.get(&thread.tid).map_or((0, 0), |was| (was.on_cpu_ns, was.waited_ns));
        (thread.on_cpu_ns.saturating_sub(ran), thread.waited_ns.saturating_sub(waited))
    };
    Some(now.iter().map(since).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
}

/// The last look at each process that is in sight, or that must be known to put those into order.
#[derive(Default)]
pub struct Looks {
    used: HashMap<ProcKey, Look<Used, f64>>,
    held: HashMap<ProcKey, Look<Held, (u64, u64)>>,
}

impl Looks {
    /// Fills in what is known; what is not fresh is looked up, as far as asked.
    pub fn fill<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a mut Arc<ProcessRow>>,
        depth: Depth,
        machine: &mut (impl Machine + ?Sized),
    ) {
        let now = machine.now();
        self.used.retain(|_, look| now.since(look.at) < STALE_NS);
        self.held.retain(|_, look| now.since(look.at) < STALE_NS);
        for row in rows.filter(|row| !row.identity.ended) {
            let key = row.identity.key;
            let of = |used: &Used, now: &Used, ns| Some(share(used, now, ns));
            let Some(used) = Look::at(&mut self.used, key, now, || machine.usage(key), of) else { continue };
            let held = match depth {
                Depth::Brief => self.held.get(&key),
                Depth::Whole => {
                    let look = || Some(machine.held(key, used.seen.threads));
                    Look::at(&mut self.held, key, now, look, |before, now, _| scheduled_since(before, now))
                }
            };
            let scheduled = held.and_then(|held| held.since);
            Arc::make_mut(row).usage = Some(Usage {
                cpu_share: used.since,
                resident_bytes: used.seen.resident_bytes,
                threads: used.seen.threads,
                fds: held.and_then(|held| held.seen.fds),
                on_cpu_ns: scheduled.map(|(ran, _)| ran),
                run_wait_ns: scheduled.map(|(_, waited)| waited),
                working_directory: held.and_then(|held| held.seen.working_directory.clone()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(threads: &[(u32, u64, u64)]) -> Held {
        let scheduled = |&(tid, on_cpu_ns, waited_ns)| Scheduled { tid, on_cpu_ns, waited_ns };
        Held { scheduled: Some(threads.iter().map(scheduled).collect()), ..Held::default() }
    }

    #[test]
    fn a_thread_that_has_ended_takes_nothing_away_from_the_others() {
        let before = held(&[(7, 100, 10), (8, 5_000, 500)]);
        let now = held(&[(7, 160, 11), (9, 40, 4)]);
        assert_eq!(scheduled_since(&before, &now), Some((100, 5)));
        assert_eq!(scheduled_since(&Held { scheduled: None, ..before }, &now), None);
    }
}
