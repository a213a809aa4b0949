//! What the iterator told of every thread at one moment, and what its process did since the moment before.

use std::collections::HashMap;

use fluoro_shared::process::{ThreadUse, UNKNOWN};

use crate::records::{BootTime, ProcKey, StartTime, Tgid};

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Time on a CPU of all its threads, also those that have ended, and when that was.
    ran_ns: u64,
    at: BootTime,
    pub resident_pages: u64,
    pub threads: u64,
    pub since: Option<Since>,
}

/// What it did since the moment before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    pub ns: u64,
    pub ran_ns: u64,
    /// `None`: this kernel does not count it.
    pub waited_ns: Option<u64>,
}

impl Since {
    /// Of one CPU.
    pub fn share(self) -> f64 {
        self.ran_ns as f64 / self.ns.max(1) as f64
    }
}

/// All processes at one moment.
pub struct Reading {
    pub at: BootTime,
    /// By thread id.
    threads: Vec<ThreadUse>,
    processes: HashMap<ProcKey, Told>,
}

/// A process while its threads are added up.
#[derive(Default)]
struct Sum {
    ran_ns: u64,
    waited_ns: Option<u64>,
    resident_pages: u64,
    /// As the first thread says, and as they were met.
    threads: u64,
    met: u64,
}

impl Reading {
    pub fn new(mut threads: Vec<ThreadUse>, at: BootTime, before: Option<&Self>) -> Self {
        // They come in this order; a thread that begins meanwhile may have come round to a lower number.
        threads.sort_by_key(|thread| thread.tid);
        let mut sums: HashMap<ProcKey, Sum> = HashMap::new();
        for thread in &threads {
            let sum = sums.entry(key_of(thread)).or_default();
            sum.ran_ns += thread.ran_ns + thread.ended_ran_ns;
            sum.resident_pages += thread.resident_pages;
            sum.threads += thread.threads;
            sum.met += 1;
            if let Some(waited) = before.and_then(|before| before.waited_since(thread)) {
                *sum.waited_ns.get_or_insert(0) += waited;
            }
        }
        let processes = sums
            .into_iter()
            // Without its first thread it is just being made or just gone.
            .filter(|(_, sum)| sum.threads > 0)
            .map(|(key, sum)| (key, sum.told(at, before.map(|before| before.ran_before(key)))))
            .collect();
        Self { at, threads, processes }
    }

    pub fn of(&self, key: ProcKey) -> Option<&Told> {
        self.processes.get(&key)
    }

    /// What a process that is met now had run by then, and what it did before that. One that was not there began since.
    fn ran_before(&self, key: ProcKey) -> Told {
        let none = Told { ran_ns: 0, at: self.at, resident_pages: 0, threads: 0, since: None };
        self.processes.get(&key).copied().unwrap_or(none)
    }

    /// How long a thread waited since then.
    fn waited_since(&self, now: &ThreadUse) -> Option<u64> {
        if now.waited_ns == UNKNOWN {
            return None;
        }
        let place = self.threads.binary_search_by_key(&now.tid, |thread| thread.tid).ok();
        let before = place.and_then(|place| self.threads.get(place));
        // A number may have come to another thread.
        let before = before.filter(|thread| key_of(thread) == key_of(now));
        Some(now.waited_ns.saturating_sub(before.map_or(0, |thread| thread.waited_ns)))
    }
}

fn key_of(thread: &ThreadUse) -> ProcKey {
    ProcKey { tgid: Tgid(thread.tgid), start: StartTime::from_boot_ns(thread.start_ns) }
}

impl Sum {
    fn told(self, at: BootTime, before: Option<Told>) -> Told {
        let Self { ran_ns, waited_ns, resident_pages, threads, met } = self;
        let now = Told { ran_ns, at, resident_pages, threads, since: None };
        let Some(before) = before else { return now };
        let ns = at.since(before.at);
        // A thread that ended between its leader's turn and its own is in no number, or in two, until the next reading:
        // what it did in all its life must not be taken for what was done since.
        let grew = ran_ns.checked_sub(before.ran_ns);
        let most = ns.saturating_mul(threads.max(before.threads));
        match grew {
            Some(grew) if met == threads || grew <= most => {
                Told { since: Some(Since { ns, ran_ns: grew, waited_ns }), ..now }
            }
            None if met == threads => Told { since: Some(Since { ns, ran_ns: 0, waited_ns }), ..now },
            _ => Told { ran_ns: before.ran_ns, at: before.at, since: before.since, ..now },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn thread(tid: u32, ran_ns: u64, waited_ns: u64) -> ThreadUse {
        ThreadUse { tgid: 7, tid, ran_ns, waited_ns, ..ThreadUse::default() }
    }

    fn leader(ran_ns: u64, ended_ran_ns: u64, threads: u64) -> ThreadUse {
        ThreadUse { ended_ran_ns, threads, resident_pages: 5, ..thread(7, ran_ns, 0) }
    }

    fn of_seven(threads: Vec<ThreadUse>, at: u64, before: Option<&Reading>) -> (Reading, Told) {
        let reading = Reading::new(threads, BootTime(at), before);
        let told = *reading.of(key_of(&thread(7, 0, 0))).unwrap();
        (reading, told)
    }

    #[test]
    fn threads_are_added_up_and_compared_with_the_moment_before() {
        let (before, told) = of_seven(vec![leader(100, 0, 2), thread(8, 50, 10)], SECOND, None);
        assert_eq!((told.since, told.threads, told.resident_pages), (None, 2, 5));
        let now = vec![leader(200, 0, 3), thread(8, 60, 15), thread(9, 7, 3)];
        let (_, told) = of_seven(now, 2 * SECOND, Some(&before));
        assert_eq!(told.since, Some(Since { ns: SECOND, ran_ns: 117, waited_ns: Some(8) }));
    }

    #[test]
    fn what_an_ended_thread_ran_counts_and_takes_nothing_away() {
        let (before, _) = of_seven(vec![leader(100, 0, 2), thread(8, 5_000, 500)], SECOND, None);
        let (_, told) = of_seven(vec![leader(160, 5_040, 1)], 2 * SECOND, Some(&before));
        assert_eq!(told.since, Some(Since { ns: SECOND, ran_ns: 100, waited_ns: Some(0) }));
    }

    #[test]
    fn a_process_that_was_not_there_did_everything_since() {
        let before = Reading::new(vec![], BootTime(SECOND), None);
        let (_, told) = of_seven(vec![leader(42, 0, 1)], 2 * SECOND, Some(&before));
        assert_eq!(told.since.unwrap().ran_ns, 42);
    }

    #[test]
    fn a_thread_that_ends_during_the_reading_is_told_by_the_next() {
        let long = 1_000 * SECOND;
        let (before, _) = of_seven(vec![leader(0, 0, 2), thread(8, long, 0)], SECOND, None);
        // The leader still counted it, its own turn never came.
        let (torn, told) = of_seven(vec![leader(10, 0, 2)], 2 * SECOND, Some(&before));
        assert_eq!(told.since, None);
        let (_, told) = of_seven(vec![leader(20, long + 30, 1)], 3 * SECOND, Some(&torn));
        assert_eq!(told.since, Some(Since { ns: 2 * SECOND, ran_ns: 50, waited_ns: Some(0) }));
        // Met itself, and in its leader's number already.
        let (torn, _) = of_seven(vec![leader(10, long, 1), thread(8, long, 0)], 2 * SECOND, Some(&before));
        let (_, told) = of_seven(vec![leader(20, long + 30, 1)], 3 * SECOND, Some(&torn));
        assert_eq!(told.since.unwrap().ran_ns, 50);
    }

    #[test]
    fn a_kernel_that_does_not_count_waiting_leaves_it_unsaid() {
        let (before, _) = of_seven(vec![ThreadUse { waited_ns: UNKNOWN, ..leader(1, 0, 1) }], SECOND, None);
        let now = vec![ThreadUse { waited_ns: UNKNOWN, ..leader(2, 0, 1) }];
        let (_, told) = of_seven(now, 2 * SECOND, Some(&before));
        assert_eq!(told.since.unwrap().waited_ns, None);
    }
}
