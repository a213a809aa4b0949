//! What processes use: by one reading of the kernel's iterator where there is one; else looked up in /proc for rows that
//! somebody sees, and of the others no more than their order asks for.

mod reading;

use std::collections::HashMap;
use std::sync::Arc;

use fluoro_shared::process::ThreadUse;

use crate::engine::machine::{Held, Machine, Used};
use crate::families::process::model::{ProcessRow, Usage};
use crate::filter::Filter;
use crate::kernel::proc::Scheduled;
use crate::records::{BootTime, ProcKey};
use reading::Reading;

/// A look this young is not taken again.
const FRESH_NS: u64 = 700_000_000;

/// A look this old is of no use any more: nobody has seen the row since.
const STALE_NS: u64 = 5_000_000_000;

/// How much is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Processor, memory, threads.
    Brief,
    /// Also what the scheduler says of each thread.
    Scheduled,
    /// Everything: also descriptors and where it stands, which only /proc knows.
    Whole,
}

/// How much of every process must be looked up, in sight or not: what an order, a filter or a sum is made of.
pub fn of_all(filter: Option<&Filter>, summed: bool, order: Option<&str>) -> Option<Depth> {
    const COLUMNS: &[(&str, &str, Depth)] = &[
        ("cpu", "cpu", Depth::Brief),
        ("resident", "resident", Depth::Brief),
        ("threads", "threads", Depth::Brief),
        ("on_cpu", "on_cpu", Depth::Scheduled),
        ("run_wait", "run_wait", Depth::Scheduled),
        ("fds", "fds", Depth::Whole),
        ("working_directory", "cwd", Depth::Whole),
    ];
    let is_wanted = |column: &str, key: &str| {
        order == Some(column) || filter.is_some_and(|filter| filter.names(key) || filter.names(column))
    };
    let wanted = COLUMNS.iter().filter(|(column, key, _)| is_wanted(column, key)).map(|(.., depth)| *depth);
    // A bare word may be in the text of any column.
    let word = filter.is_some_and(Filter::has_words).then_some(Depth::Whole);
    wanted.chain(word).chain(summed.then_some(Depth::Brief)).max()
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
fn scheduled_since(before: &[Scheduled], now: &[Scheduled]) -> (u64, u64) {
    let was: HashMap<u32, &Scheduled> = before.iter().map(|thread| (thread.tid, thread)).collect();
    let since = |thread: &Scheduled| {
        let (ran, waited) = was.get(&thread.tid).map_or((0, 0), |was| (was.on_cpu_ns, was.waited_ns));
        (thread.on_cpu_ns.saturating_sub(ran), thread.waited_ns.saturating_sub(waited))
    };
    now.iter().map(since).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// The last look at each process that is in sight, or that must be known to put those into order.
#[derive(Default)]
pub struct Looks {
    /// What the iterator told since the last tick, or at one before.
    reading: Option<Reading>,
    /// Somebody has asked since the last tick.
    is_read: bool,
    used: HashMap<ProcKey, Look<Used, f64>>,
    scheduled: HashMap<ProcKey, Look<Vec<Scheduled>, (u64, u64)>>,
    held: HashMap<ProcKey, Look<Held, ()>>,
}

impl Looks {
    /// A new interval has begun.
    pub const fn tick(&mut self) {
        self.is_read = false;
    }

    /// The iterator has not been read since the last tick.
    pub const fn wants_reading(&self) -> bool {
        !self.is_read
    }

    /// What the iterator tells now; `None`: there is none.
    pub fn read(&mut self, threads: Option<Vec<ThreadUse>>, now: BootTime) {
        self.is_read = true;
        let before = self.reading.take().filter(|before| now.since(before.at) < STALE_NS);
        self.reading = threads.map(|threads| Reading::new(threads, now, before.as_ref()));
    }

    /// Fills in what is known; what is not fresh is looked up, as far as asked.
    pub fn fill<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a mut Arc<ProcessRow>>,
        depth: Depth,
        machine: &mut (impl Machine + ?Sized),
    ) {
        let now = machine.now();
        self.used.retain(|_, look| now.since(look.at) < STALE_NS);
        self.scheduled.retain(|_, look| now.since(look.at) < STALE_NS);
        self.held.retain(|_, look| now.since(look.at) < STALE_NS);
        for row in rows.filter(|row| !row.identity.ended) {
            let key = row.identity.key;
            let told = match &self.reading {
                Some(reading) => told(reading, key, machine),
                None => self.look_up(key, now, depth, machine),
            };
            let Some(mut usage) = told else { continue };
            let held = match depth {
                Depth::Whole => {
                    Look::at(&mut self.held, key, now, || Some(machine.held(key)), |_, _, _| None)
                }
                _ => self.held.get(&key),
            };
            if let Some(held) = held {
                usage.fds = held.seen.fds;
                usage.working_directory.clone_from(&held.seen.working_directory);
            }
            Arc::make_mut(row).usage = Some(usage);
        }
    }

    /// What /proc says of one process.
    fn look_up(
        &mut self,
        key: ProcKey,
        now: BootTime,
        depth: Depth,
        machine: &mut (impl Machine + ?Sized),
    ) -> Option<Usage> {
        let of = |used: &Used, now: &Used, ns| Some(share(used, now, ns));
        let used = Look::at(&mut self.used, key, now, || machine.usage(key), of)?;
        let scheduled = match depth {
            Depth::Brief => self.scheduled.get(&key),
            Depth::Scheduled | Depth::Whole => {
                let look = || machine.scheduled(key, used.seen.threads);
                let of = |before: &Vec<_>, now: &Vec<_>, _| Some(scheduled_since(before, now));
                Look::at(&mut self.scheduled, key, now, look, of)
            }
        };
        let scheduled = scheduled.and_then(|look| look.since);
        Some(Usage {
            cpu_share: used.since,
            resident_bytes: used.seen.resident_bytes,
            threads: used.seen.threads,
            on_cpu_ns: scheduled.map(|(ran, _)| ran),
            run_wait_ns: scheduled.map(|(_, waited)| waited),
            ..Usage::default()
        })
    }
}

/// What the iterator said of one process. One that has begun since is in the next reading: of two sources no number would
/// be as the one before.
fn told(reading: &Reading, key: ProcKey, machine: &(impl Machine + ?Sized)) -> Option<Usage> {
    let told = reading.of(key)?;
    Some(Usage {
        cpu_share: told.since.map(reading::Since::share),
        resident_bytes: told.resident_pages * machine.page_bytes(),
        threads: told.threads,
        on_cpu_ns: told.since.map(|since| since.ran_ns),
        run_wait_ns: told.since.and_then(|since| since.waited_ns),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests;
