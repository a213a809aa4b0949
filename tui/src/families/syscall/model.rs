//! `syscall` frames and records in, rows and events out. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fluoro_shared::histogram::bounds;
use fluoro_shared::syscall::{Cell, CellKey, FIRST_BUCKET, NUMBER_OTHER};

use super::decode;
pub use super::row::{Call, Figures, SyscallRow, Traced, pid_of, row_id};
use crate::columns::RowId;
use crate::families::process::model::Gifts;
use crate::model::{Distribution, EventDraft, Lookup, Processes, errno_name};
use crate::records::syscall::{Abi, Record};
use crate::records::{ProcKey, StartTime, Tgid};

/// What the map of cells holds when an interval ends.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Number of that interval.
    pub epoch: u64,
    pub cells: Vec<(CellKey, Cell)>,
    /// Starts of calls overwritten by other tasks', since attach.
    pub collisions: u64,
}

type Key = (ProcKey, Call);

/// What was counted under one key.
#[derive(Default)]
struct Tally {
    calls: u64,
    errors: u64,
    errnos: HashMap<u32, u64>,
    sum_ns: u64,
    max_ns: u64,
    durations: Distribution,
}

/// Everything known of calls.
#[derive(Default)]
pub struct SyscallModel {
    /// As last read.
    cells: HashMap<CellKey, Cell>,
    /// Of the interval that the last frame closed.
    interval: HashMap<Key, Tally>,
    /// Since the family was attached.
    since_start: HashMap<Key, Tally>,
    seconds: f64,
    collisions: u64,
}

/// The figures above a table.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SyscallTotals {
    pub calls: u64,
    pub errors: u64,
    pub sum_ns: u64,
    pub calls_per_s: Option<f64>,
    pub collisions: u64,
}

impl SyscallModel {
    /// A call that was traced.
    pub fn apply(&self, record: &Record, processes: &mut Processes, lookup: &mut dyn Lookup) -> EventDraft {
        let call = Call { abi: record.abi, number: record.number };
        let error = record.result.filter(|result| (-4095..0).contains(result));
        let error = error.map(|result| errno_name(-result as i32));
        let name = call.name();
        let arguments = record.args.as_ref().map(|args| decode::arguments(&name, args, &record.texts));
        let row = SyscallRow {
            identity: processes.identify(&record.task, lookup),
            tid: Some(record.task.tid),
            call,
            figures: None,
            total: None,
            event: Some(Traced {
                text: decode::whole(&name, arguments.as_ref(), record.result, error),
                path: record.texts.first().map(|(_, text)| text.clone()).filter(|text| !text.is_empty()),
                arguments,
                result: record.result,
                error,
                duration_ns: record.duration_ns,
            }),
            name,
        };
        EventDraft { name: "syscall.exit", family: "syscall", at: record.at, facts: Arc::new(row) }
    }

    /// Takes in what the map holds; what is new since the frame before is the interval's. The map may let go of the
    /// cells whose keys are given, one behind the other: their processes have ended.
    pub fn count(&mut self, frame: &Frame, processes: &mut Processes, lookup: &mut dyn Lookup) -> Vec<u8> {
        use zerocopy::IntoBytes;
        self.interval.clear();
        self.collisions = frame.collisions;
        let mut gone = Vec::new();
        for (key, cell) in &frame.cells {
            let before = self.cells.get(key);
            let new = tally(cell, before, frame.epoch);
            let whose = key_of(key);
            if new.calls > 0 {
                self.since_start.entry(whose).or_default().merge(&new);
                self.interval.entry(whose).or_default().merge(&new);
            }
            let changed = before != Some(cell);
            if !processes.is_live(whose.0, lookup) {
                self.cells.remove(key);
                gone.extend_from_slice(key.as_bytes());
            } else if changed {
                self.cells.insert(*key, *cell);
            }
        }
        self.since_start.retain(|(process, _), _| processes.get(*process).is_some());
        gone
    }

    /// Nothing is counted any more: the interval has nothing.
    pub fn rest(&mut self) {
        self.interval.clear();
    }

    /// Ends an interval.
    pub fn tick(&mut self, interval: Duration) {
        self.seconds = interval.as_secs_f64();
    }

    pub fn totals(&self) -> SyscallTotals {
        let sum = |read: fn(&Tally) -> u64| self.interval.values().map(read).sum();
        let calls: u64 = sum(|tally| tally.calls);
        SyscallTotals {
            calls,
            errors: sum(|tally| tally.errors),
            sum_ns: sum(|tally| tally.sum_ns),
            collisions: self.collisions,
            calls_per_s: (self.seconds > 0.0).then(|| calls as f64 / self.seconds),
        }
    }

    /// What was called in the interval, or with `of_interval` off also what was called before by processes that are
    /// still known: the figures are the interval's in any case.
    pub fn rows(
        &self,
        processes: &Processes,
        lookup: &dyn Lookup,
        of_interval: bool,
    ) -> Vec<Arc<SyscallRow>> {
        let called = |key: &Key| self.interval.contains_key(key);
        let keys: Box<dyn Iterator<Item = &Key>> = if of_interval {
            Box::new(self.interval.keys())
        } else {
            // Of a process that was forgotten with this very tick nothing is left but a number.
            let is_known = |(process, _): &&Key| processes.get(*process).is_some();
            let before = self.since_start.keys().filter(move |key| !called(key)).filter(is_known);
            Box::new(self.interval.keys().chain(before))
        };
        keys.map(|key| {
            let (process, call) = *key;
            Arc::new(SyscallRow {
                identity: processes.get_or_bare(process, lookup),
                tid: None,
                call,
                name: call.name(),
                figures: Some(self.interval.get(key).map(Tally::figures).unwrap_or_default()),
                total: self.since_start.get(key).map(|tally| tally.calls),
                event: None,
            })
        })
        .collect()
    }

    /// What each process's calls come to in the interval, all kinds together.
    pub fn give(&self, to: &mut Gifts) {
        to.measure(&["syscalls", "syscall_errors"]);
        let mut sums: HashMap<ProcKey, Tally> = HashMap::new();
        for ((process, _), tally) in &self.interval {
            sums.entry(*process).or_default().merge(tally);
        }
        for (process, tally) in sums {
            let figures = tally.figures();
            let p99 = figures.quantiles_ns.map(|[.., p99]| ("syscall_p99", p99 as f64));
            let counts = [("syscalls", figures.calls as f64), ("syscall_errors", figures.errors as f64)];
            to.give(process, counts.into_iter().chain(p99));
        }
    }

    /// How long the calls of these processes took since the family was attached, all kinds together.
    pub fn durations_of(&self, of: &HashSet<ProcKey>) -> Distribution {
        let mut durations = Distribution::default();
        for (_, tally) in self.since_start.iter().filter(|((whose, _), _)| of.contains(whose)) {
            durations.merge(&tally.durations);
        }
        durations
    }

    /// The same of the interval, of every process that called anything.
    pub fn new_durations(&self) -> HashMap<ProcKey, Distribution> {
        let mut durations: HashMap<ProcKey, Distribution> = HashMap::new();
        for ((process, _), tally) in &self.interval {
            durations.entry(*process).or_default().merge(&tally.durations);
        }
        durations
    }

    /// How long the calls of one kind took since the family was attached.
    pub fn durations(&self, row: RowId) -> Option<&Distribution> {
        let is_it = |(process, call): &Key| row_id(*process, *call) == row;
        self.since_start.iter().find(|(key, _)| is_it(key)).map(|(_, tally)| &tally.durations)
    }
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.durations.merge(&other.durations);
        for (&errno, &count) in &other.errnos {
            *self.errnos.entry(errno).or_default() += count;
        }
    }

    fn figures(&self) -> Figures {
        let mut errnos: Vec<(&'static str, u64)> =
            self.errnos.iter().map(|(&errno, &count)| (errno_name(errno as i32), count)).collect();
        errnos.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let timed = self.durations.count() > 0;
        Figures {
            calls: self.calls,
            errors: self.errors,
            errnos,
            sum_ns: self.sum_ns,
            quantiles_ns: self.durations.quantiles([0.5, 0.9, 0.99], Some(self.max_ns)),
            max_ns: timed.then_some(self.max_ns),
        }
    }
}

/// What is new in a cell.
fn tally(cell: &Cell, before: Option<&Cell>, epoch: u64) -> Tally {
    let mut new = Tally::default();
    let was = |read: fn(&Cell) -> u64| before.map_or(0, read);
    new.calls = cell.untimed.saturating_sub(was(|cell| cell.untimed));
    new.errors = cell.errors.saturating_sub(was(|cell| cell.errors));
    new.sum_ns = cell.sum_ns.saturating_sub(was(|cell| cell.sum_ns));
    let mut highest = 0;
    for (index, &count) in cell.buckets.iter().enumerate() {
        let counted =
            count.wrapping_sub(before.and_then(|cell| cell.buckets.get(index)).copied().unwrap_or(0));
        if counted > 0 {
            new.calls += u64::from(counted);
            let bucket = FIRST_BUCKET + index as u16;
            new.durations.add(bucket, u64::from(counted));
            highest = bounds(bucket).1;
        }
    }
    for (index, place) in cell.errnos.iter().enumerate().filter(|(_, place)| place.errno != 0) {
        let counted = before.and_then(|cell| cell.errnos.get(index)).map_or(0, |place| place.count);
        let counted = place.count.wrapping_sub(counted);
        if counted > 0 {
            *new.errnos.entry(place.errno).or_default() += u64::from(counted);
        }
    }
    // A call that returned between the end of the interval and the reading has its peak in the next one.
    let peak = cell.peaks.iter().find(|peak| peak.epoch == epoch && peak.max_ns > 0);
    new.max_ns = peak.map_or(highest, |peak| peak.max_ns);
    new
}

fn key_of(key: &CellKey) -> Key {
    let process = ProcKey { tgid: Tgid(key.tgid), start: StartTime::from_boot_ns(key.start_ns) };
    let number = if key.number == NUMBER_OTHER { u32::MAX } else { u32::from(key.number) };
    (process, Call { abi: Abi::from_wire(key.abi).unwrap_or(Abi::X86_64), number })
}
