//! `file` records and what the kernel side counts in, events and rows out. Pure.

mod failures;
mod give;
mod groups;
mod paths;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fluoro_shared::file::{FileCell, FileKey};
use fluoro_shared::histogram::HistogramKey;
use zerocopy::IntoBytes;

pub use super::row::{Call, FileRow, Total, Uses};
use super::words;
use crate::model::{Distribution, EventDraft, Histograms, Identity, Lookup, Processes, errno_name};
use crate::records::file::{self, FileId, FileKind, Op, Record, What};
use crate::records::{BootTime, Outside, ProcKey};
use paths::Pending;

/// What the kernel side has counted at one moment.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub files: Vec<(FileKey, FileCell)>,
    /// Entries that the map of files has room for.
    pub room: usize,
    pub histograms: Vec<(HistogramKey, u64)>,
}

/// Keys that the kernel side's maps may let go of, one behind the other.
#[derive(Debug, Default)]
pub struct Gone {
    pub files: Vec<u8>,
    pub histograms: Vec<u8>,
}

/// A process's use of one file.
#[derive(Default)]
struct Use {
    path: Option<Outside>,
    /// As last read, and where in the map.
    cell: Option<(FileKey, FileCell)>,
    interval: FileCell,
    /// The tick in which it was last used.
    used: u64,
}

/// Everything known of files.
#[derive(Default)]
pub struct FileModel {
    uses: HashMap<(ProcKey, FileId), Use>,
    pending: Pending,
    histograms: Histograms,
    failed: failures::Failed,
    ticks: u64,
    seconds: f64,
    totals: FileTotals,
}

/// The figures above a table, of the interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FileTotals {
    pub opens_per_s: Option<f64>,
    pub read_bytes_per_s: Option<f64>,
    pub write_bytes_per_s: Option<f64>,
    pub errors_per_s: Option<f64>,
}

impl FileModel {
    /// One record, at most one event.
    pub fn apply(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
    ) -> Option<EventDraft> {
        let process = record.task.key;
        let op = match record.what {
            What::Op(op) => op,
            What::OtherPath | What::Path => {
                self.pending.put(record);
                return None;
            }
            What::Name => {
                self.name(process, record);
                return None;
            }
        };
        if op == Op::Open {
            self.name(process, record);
        }
        let paths = self.pending.take(record);
        let other = paths.other;
        let (old_path, target) = if op == Op::Symlink { (None, other) } else { (other, None) };
        let arguments = words::Arguments::of(op, record);
        let identity = processes.identify(&record.task, lookup);
        if let Some(error) = words::error(record.result) {
            self.failed.event(op, record, error, &identity);
        }
        let row = FileRow {
            identity,
            path: paths.path,
            file: record.file,
            error: words::error(record.result),
            call: Some(Call {
                op,
                tid: record.task.tid,
                resolved: paths.resolved,
                truncated: paths.truncated,
                old_path,
                target,
                flags: arguments.flags,
                mode: arguments.mode,
                size: arguments.size,
                owner: arguments.owner,
                group: arguments.group,
                result: record.result,
                created: record.created,
                duration_ns: record.duration_ns,
                uring: record.request != 0,
                compat: record.compat,
            }),
            uses: None,
        };
        Some(EventDraft { name: op.event(), family: "file", at: record.at, facts: Arc::new(row) })
    }

    /// Takes the name of a file from a record whose turn has not come yet.
    pub fn learn(&mut self, record: &Record) {
        if matches!(record.what, What::Name | What::Op(Op::Open)) {
            self.name(record.task.key, record);
        }
    }

    /// The path by which a process first used a file stays.
    fn name(&mut self, process: ProcKey, record: &Record) {
        // All sockets of a process are one.
        if record.file.kind != FileKind::Socket {
            let used = self
                .uses
                .entry((process, record.file))
                .or_insert_with(|| Use { used: self.ticks, ..Use::default() });
            if used.path.is_none() {
                used.path.clone_from(&record.path);
            }
        }
    }

    /// The kernel side begins to count anew.
    pub fn begin(&mut self) {
        self.uses.clear();
        self.histograms = Histograms::default();
    }

    /// Nothing is counted any more: the interval has nothing.
    pub fn rest(&mut self) {
        self.ticks += 1;
        for used in self.uses.values_mut() {
            used.interval = FileCell::default();
        }
        self.histograms.take(&[]);
    }

    /// Takes in what the kernel side counts; what is new since the last time is the interval's. What it may forget.
    pub fn count(&mut self, frame: &Frame, at: BootTime, processes: &Processes) -> Gone {
        self.ticks += 1;
        for used in self.uses.values_mut() {
            used.interval = FileCell::default();
        }
        for (raw, cell) in &frame.files {
            let used = self.uses.entry(file::key(raw)).or_default();
            let before = used.cell.as_ref().map(|(_, cell)| *cell).unwrap_or_default();
            used.interval = used.interval.plus(since(cell, &before));
            used.cell = Some((*raw, *cell));
            if used.interval != FileCell::default() {
                used.used = self.ticks;
            }
        }
        self.histograms.take(&frame.histograms);
        self.tell_failures(at, processes);
        let is_known = |process| processes.get(process).is_some();
        let mut gone = Gone { histograms: self.histograms.forget(is_known), ..Gone::default() };
        // The map is nearly full: what has not been used for longest makes room.
        let surplus = frame.files.len().saturating_sub(frame.room / 2);
        let idle_since = if frame.files.len() > frame.room / 4 * 3 { self.idle_longest(surplus) } else { 0 };
        self.uses.retain(|(process, _), used| {
            let keep = is_known(*process) && (used.used > idle_since || used.used == self.ticks);
            if !keep && let Some((raw, _)) = &used.cell {
                gone.files.extend_from_slice(raw.as_bytes());
            }
            keep
        });
        gone
    }

    /// The tick after which all but so many were used.
    fn idle_longest(&self, count: usize) -> u64 {
        let mut ticks: Vec<u64> = self.uses.values().map(|used| used.used).collect();
        ticks.sort_unstable();
        ticks.get(count).copied().unwrap_or(0)
    }

    /// Ends an interval.
    pub fn tick(&mut self, interval: Duration) {
        self.seconds = interval.as_secs_f64();
        let sum =
            |read: fn(&FileCell) -> u64| self.uses.values().map(|used| read(&used.interval)).sum::<u64>();
        let rate = |count: u64| (self.seconds > 0.0).then(|| count as f64 / self.seconds);
        self.totals = FileTotals {
            opens_per_s: rate(sum(|cell| cell.opens)),
            read_bytes_per_s: rate(sum(|cell| cell.read_bytes)),
            write_bytes_per_s: rate(sum(|cell| cell.write_bytes)),
            errors_per_s: rate(sum(|cell| cell.errors)),
        };
    }

    pub const fn totals(&self) -> FileTotals {
        self.totals
    }

    /// What processes do with files: with `of_interval` what they did in the interval that the last tick closed, else
    /// all that is known. The figures are the interval's in any case.
    pub fn rows(&self, processes: &Processes, lookup: &dyn Lookup, of_interval: bool) -> Vec<Arc<FileRow>> {
        self.uses
            .iter()
            // A process that was forgotten with this very tick did nothing in it, and would stand there without a name.
            .filter(|((process, _), used)| used.used == self.ticks || processes.get(*process).is_some())
            .filter(|(_, used)| used.cell.is_some() && (!of_interval || used.used == self.ticks))
            .map(|(&(process, file), used)| {
                let identity = processes.get(process).map_or_else(
                    || Arc::new(Identity::bare(process, lookup.wall(crate::model::started(process)))),
                    Arc::clone,
                );
                Arc::new(FileRow {
                    identity,
                    path: used
                        .path
                        .clone()
                        .or_else(|| file.nameless().filter(|_| file.kind == FileKind::Socket)),
                    file,
                    error: (file.kind == FileKind::None).then(|| errno_name(file.inode as i32)),
                    call: None,
                    uses: Some(self.figures(process, used)),
                })
            })
            .collect()
    }

    fn figures(&self, process: ProcKey, used: &Use) -> Uses {
        let cell = &used.interval;
        let subject = used.cell.map_or(0, |(raw, _)| raw.subject());
        let all = self.durations_in_interval(process, subject);
        // Exact where the interval has the longest so far; else the upper end of its last bucket.
        let highest = all.bars().last().map(|(_, high, _)| high);
        let max_ns = if cell.max_ns > 0 { Some(cell.max_ns) } else { highest };
        Uses {
            opens: cell.opens,
            reads: cell.reads,
            writes: cell.writes,
            syncs: cell.syncs,
            read_bytes: cell.read_bytes,
            write_bytes: cell.write_bytes,
            errors: cell.errors,
            sum_ns: cell.busy_ns,
            quantiles_ns: all.quantiles([0.5, 0.9, 0.99], max_ns),
            max_ns,
            seconds: self.seconds,
            total: used.cell.as_ref().map(|(_, all)| total(all)).unwrap_or_default(),
        }
    }

    /// How long each process's calls of each kind took in the interval, over all files.
    pub fn new_durations(&self) -> HashMap<(ProcKey, u16), Distribution> {
        let mut all: HashMap<_, Distribution> = HashMap::new();
        for (series, some) in self.histograms.iter_interval() {
            all.entry((series.process, series.what)).or_default().merge(some);
        }
        all
    }

    /// How long these processes' calls of one kind took, over all files, since the family was attached.
    pub fn durations(&self, of: &HashSet<ProcKey>, what: u16) -> Distribution {
        let mut all = Distribution::default();
        for (series, some) in self.histograms.iter_since_start() {
            if series.what == what && of.contains(&series.process) {
                all.merge(some);
            }
        }
        all
    }
}

const fn calls(cell: &FileCell) -> u64 {
    cell.opens + cell.reads + cell.writes + cell.syncs
}

const fn total(cell: &FileCell) -> Total {
    Total { calls: calls(cell), read_bytes: cell.read_bytes, write_bytes: cell.write_bytes }
}

/// What is new in a cell; its longest call only where it is longer than any before. Counts that went backwards began
/// anew: the family has been attached again.
fn since(cell: &FileCell, before: &FileCell) -> FileCell {
    let none = FileCell::default();
    let before = if calls(cell) < calls(before) { &none } else { before };
    FileCell {
        opens: cell.opens.saturating_sub(before.opens),
        reads: cell.reads.saturating_sub(before.reads),
        writes: cell.writes.saturating_sub(before.writes),
        syncs: cell.syncs.saturating_sub(before.syncs),
        read_bytes: cell.read_bytes.saturating_sub(before.read_bytes),
        write_bytes: cell.write_bytes.saturating_sub(before.write_bytes),
        errors: cell.errors.saturating_sub(before.errors),
        busy_ns: cell.busy_ns.saturating_sub(before.busy_ns),
        max_ns: if cell.max_ns > before.max_ns { cell.max_ns } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::engine::synthetic::{Described, Shared};

    const START_NS: u64 = 10_000_000;

    fn key(inode: u64) -> FileKey {
        FileKey { start_ns: START_NS, inode, device: 8, tgid: 7, format: 0o100_000, pad: 0 }
    }

    fn cell(reads: u64, max_ns: u64) -> FileCell {
        FileCell { reads, read_bytes: reads * 10, busy_ns: max_ns, max_ns, ..FileCell::default() }
    }

    fn frame(files: Vec<(FileKey, FileCell)>, room: usize) -> Frame {
        Frame { files, room, histograms: Vec::new() }
    }

    fn known() -> (Processes, Shared) {
        let machine = Shared::new(Described::default());
        let mut processes = Processes::default();
        let task = fluoro_shared::record::Task {
            start_ns: START_NS,
            tgid: 7,
            tid: 7,
            ..fluoro_shared::record::Task::NONE
        };
        processes.identify(&crate::records::TaskFacts::decode(&task).unwrap(), &mut machine.clone());
        (processes, machine)
    }

    fn only(model: &FileModel, processes: &Processes, machine: &Shared) -> Uses {
        let rows = model.rows(processes, machine, true);
        assert_eq!(rows.len(), 1);
        rows[0].uses.unwrap()
    }

    #[test]
    fn an_interval_is_what_came_since_the_frame_before() {
        let (processes, machine) = known();
        let mut model = FileModel::default();
        model.count(&frame(vec![(key(1), cell(3, 500))], 100), BootTime(1), &processes);
        model.count(&frame(vec![(key(1), cell(5, 900))], 100), BootTime(1), &processes);
        model.tick(Duration::from_secs(2));
        let uses = only(&model, &processes, &machine);
        assert_eq!((uses.reads, uses.read_bytes, uses.max_ns), (2, 20, Some(900)));
        assert_eq!(uses.total, Total { calls: 5, read_bytes: 50, write_bytes: 0 });
        assert_eq!(model.totals().read_bytes_per_s, Some(10.0));
        model.count(&frame(vec![(key(1), cell(5, 900))], 100), BootTime(1), &processes);
        assert!(model.rows(&processes, &machine, true).is_empty());
        assert_eq!(model.rows(&processes, &machine, false).len(), 1);
    }

    #[test]
    fn a_process_that_is_forgotten_leaves_no_row_without_a_name() {
        let (processes, machine) = known();
        let mut model = FileModel::default();
        model.count(&frame(vec![(key(1), cell(3, 500))], 100), BootTime(1), &processes);
        assert_eq!(model.rows(&Processes::default(), &machine, false).len(), 1, "what was done is told");
        model.count(&frame(vec![(key(1), cell(3, 500))], 100), BootTime(1), &processes);
        assert_eq!(model.rows(&processes, &machine, false).len(), 1);
        assert!(model.rows(&Processes::default(), &machine, false).is_empty());
    }

    #[test]
    fn what_failed_is_told_by_errno_and_other_failures_by_file() {
        let (processes, _) = known();
        let mut model = FileModel::default();
        let failed = FileKey { format: fluoro_shared::file::FAILED, device: 0, ..key(2) };
        let opens = FileCell { opens: 3, errors: 3, reads: 1, ..FileCell::default() };
        let errors = FileCell { writes: 5, errors: 2, ..FileCell::default() };
        let pipe = FileKey { format: 0o010_000, ..key(9) };
        let first = frame(vec![(failed, opens), (key(1), errors), (pipe, errors)], 100);
        model.count(&first, BootTime(5), &processes);
        let mut told: Vec<_> = model
            .take_failures()
            .into_iter()
            .map(|failure| (failure.kind, failure.error, failure.count, failure.identity.is_some()))
            .collect();
        told.sort_unstable();
        let due =
            [("io", None, 2, true), ("open", Some("ENOENT"), 3, true), ("read", Some("ENOENT"), 1, true)];
        assert_eq!(told, due);
        model.count(&first, BootTime(6), &processes);
        assert_eq!(model.take_failures().len(), 0);
    }

    #[test]
    fn what_is_no_longer_counted_has_nothing_in_the_interval() {
        let (processes, machine) = known();
        let mut model = FileModel::default();
        model.count(&frame(vec![(key(1), cell(3, 500))], 100), BootTime(1), &processes);
        model.rest();
        assert!(model.rows(&processes, &machine, true).is_empty());
        // Attached again, the kernel side begins at nothing.
        model.begin();
        model.count(&frame(vec![(key(1), cell(4, 500))], 100), BootTime(2), &processes);
        assert_eq!(only(&model, &processes, &machine).reads, 4);
    }

    #[test]
    fn counts_that_went_backwards_began_anew() {
        let (processes, machine) = known();
        let mut model = FileModel::default();
        model.count(&frame(vec![(key(1), cell(30, 1))], 100), BootTime(1), &processes);
        model.count(&frame(vec![(key(1), cell(4, 1))], 100), BootTime(1), &processes);
        assert_eq!(only(&model, &processes, &machine).reads, 4);
    }

    #[test]
    fn a_nearly_full_map_lets_go_of_what_is_idle_and_of_ended_processes() {
        let (processes, machine) = known();
        let mut model = FileModel::default();
        model.count(
            &frame((0..3).map(|inode| (key(inode), cell(1, 1))).collect(), 4),
            BootTime(1),
            &processes,
        );
        let busy = (0..4).map(|inode| (key(inode), cell(1 + u64::from(inode == 3), 1)));
        let gone = model.count(&frame(busy.collect(), 4), BootTime(1), &processes);
        assert!(!gone.files.is_empty());
        assert!(model.rows(&processes, &machine, true).iter().all(|row| row.file.inode == 3));
        let gone = model.count(&frame(vec![(key(3), cell(2, 1))], 100), BootTime(1), &Processes::default());
        assert_eq!(gone.files, key(3).as_bytes());
    }
}
