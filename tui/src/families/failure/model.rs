//! Contributions of the families in, rows out. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::row::{FailureRow, Key};
use crate::model::{Failure, Subject};
use crate::records::{BootTime, WallOffset, WallTime};

/// Rows kept; what is beyond is in the row of what found no room.
const ROWS_MAX: usize = 10_000;

/// A row that nothing has been added to for this long makes room.
const STALE_NS: u64 = 600_000_000_000;

/// Every failure since the start.
#[derive(Default)]
pub struct Failures {
    kept: HashMap<Key, Kept>,
    other: Option<Kept>,
    total: u64,
    /// Of the interval that the last tick closed.
    per_interval: u64,
    in_interval: u64,
}

struct Kept {
    row: FailureRow,
    at: BootTime,
    /// Of the interval that runs.
    counting: u64,
}

impl Failures {
    pub fn add(&mut self, failure: Failure) {
        if !failure.standing {
            self.total += failure.count;
            self.in_interval += failure.count;
        }
        let row = FailureRow {
            family: failure.family,
            kind: failure.kind,
            error: failure.error,
            identity: failure.identity,
            subject: failure.subject,
            count: 0,
            total: 0,
            last: WallTime(0),
            latency_ns: None,
            max_latency_ns: None,
            other: false,
        };
        let key = row.key();
        if !self.kept.contains_key(&key) && self.kept.len() >= ROWS_MAX {
            self.make_room(failure.at);
        }
        let room = self.kept.len() < ROWS_MAX;
        let fresh = |row| Kept { row, at: failure.at, counting: 0 };
        let kept = match self.kept.get_mut(&key) {
            Some(kept) => kept,
            None if room => self.kept.entry(key).or_insert_with(|| fresh(row)),
            None => self.other.get_or_insert_with(|| fresh(nobodys())),
        };
        kept.at = kept.at.max(failure.at);
        if failure.standing {
            kept.counting = failure.count;
            kept.row.total = kept.row.total.max(failure.count);
        } else {
            kept.counting += failure.count;
            kept.row.total += failure.count;
        }
        kept.row.latency_ns = failure.latency_ns.or(kept.row.latency_ns);
        kept.row.max_latency_ns = kept.row.max_latency_ns.max(failure.latency_ns);
    }

    /// Ends an interval.
    pub fn tick(&mut self) {
        self.per_interval = std::mem::take(&mut self.in_interval);
        for kept in self.kept.values_mut().chain(&mut self.other) {
            kept.row.count = std::mem::take(&mut kept.counting);
        }
    }

    /// All kinds of failures; with `of_interval` those of the interval that the last tick closed.
    pub fn rows(&self, of_interval: bool, offset: WallOffset) -> Vec<Arc<FailureRow>> {
        self.kept
            .values()
            .chain(&self.other)
            .filter(|kept| !of_interval || kept.row.count > 0)
            .map(|kept| Arc::new(FailureRow { last: offset.wall(kept.at), ..kept.row.clone() }))
            .collect()
    }

    /// How many since the start, and in the interval that the last tick closed.
    pub const fn totals(&self) -> (u64, u64) {
        (self.total, self.per_interval)
    }

    /// Folds what has not happened for long into the row of what found no room: totals never go backwards.
    fn make_room(&mut self, now: BootTime) {
        let stale: Vec<Key> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.counting == 0 && now.since(kept.at) > STALE_NS)
            .map(|(key, _)| key.clone())
            .collect();
        for key in stale {
            let Some(gone) = self.kept.remove(&key) else { continue };
            let other = self.other.get_or_insert_with(|| Kept { row: nobodys(), at: gone.at, counting: 0 });
            other.at = other.at.max(gone.at);
            other.row.total += gone.row.total;
        }
    }
}

fn nobodys() -> FailureRow {
    FailureRow {
        family: "",
        kind: "(untracked)",
        error: None,
        identity: None,
        subject: Subject::None,
        count: 0,
        total: 0,
        last: WallTime(0),
        latency_ns: None,
        max_latency_ns: None,
        other: true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn failure(port: u16, at: u64) -> Failure {
        Failure {
            at: BootTime(at),
            family: "flow",
            kind: "connect",
            error: Some("ECONNREFUSED"),
            identity: None,
            subject: Subject::Peer(([127, 0, 0, 1], port).into()),
            count: 1,
            standing: false,
            latency_ns: Some(at),
        }
    }

    fn find(failures: &Failures, kind: &str) -> Option<Arc<FailureRow>> {
        failures.rows(false, WallOffset(0)).into_iter().find(|row| row.kind == kind)
    }

    #[test]
    fn the_same_failure_is_one_row_and_its_total_outlives_the_interval() {
        let mut failures = Failures::default();
        failures.add(failure(80, 7));
        failures.add(failure(80, 5));
        failures.tick();
        let row = find(&failures, "connect").unwrap();
        assert_eq!((row.count, row.total, row.last.0), (2, 2, 7));
        assert_eq!((row.latency_ns, row.max_latency_ns), (Some(5), Some(7)));
        failures.tick();
        assert_eq!(failures.rows(true, WallOffset(0)).len(), 0);
        let row = find(&failures, "connect").unwrap();
        assert_eq!((row.count, row.total), (0, 2));
    }

    #[test]
    fn what_stands_is_not_added_up() {
        let mut failures = Failures::default();
        for _ in 0..3 {
            failures.add(Failure { standing: true, count: 9, ..failure(80, 1) });
            failures.tick();
        }
        let row = find(&failures, "connect").unwrap();
        assert_eq!((row.count, row.total), (9, 9));
    }

    #[test]
    fn what_finds_no_room_is_counted_all_the_same() {
        let mut failures = Failures::default();
        for port in 0..=ROWS_MAX as u16 {
            failures.add(failure(port, 1));
        }
        failures.tick();
        let sum = |failures: &Failures| failures.rows(false, WallOffset(0)).iter().map(|row| row.total).sum();
        let all: u64 = sum(&failures);
        assert_eq!(all, ROWS_MAX as u64 + 1);
        assert_eq!(find(&failures, "(untracked)").unwrap().total, 1);
        // Old ones make room, and are still counted.
        failures.add(failure(u16::MAX, 2 * STALE_NS));
        assert_eq!(sum(&failures), all + 1);
        assert_eq!(failures.totals().0, all + 1);
    }
}
