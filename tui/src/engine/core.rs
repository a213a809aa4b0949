//! The models behind one door: records in, events and rows out. Knows no thread, no ring and no screen, so recorded
//! and synthetic sources go the same way as live ones.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::columns::RowId;
use fluoro_shared::file::{WHAT_OPEN, WHAT_READ, WHAT_SYNC, WHAT_WRITE};
use fluoro_shared::flow::{WHAT_CONNECT, WHAT_FIRST_BYTE, WHAT_RTT};
use fluoro_shared::process::ThreadUse;

use crate::engine::intake::{Intake, hand_out};
use crate::engine::machine::{Machine, SocketPart};
use crate::engine::source::{Frame, Sources};
use crate::engine::usage::{Depth, Looks};
use crate::families::Family;
use crate::families::dns::model::DnsModel;
use crate::families::drop::model::DropModel;
use crate::families::failure::model::Failures;
use crate::families::failure::row::FailureRow;
use crate::families::file::model::FileModel;
use crate::families::flow::model::FlowModel;
use crate::families::process::model::ProcessModel;
use crate::families::syscall::model::SyscallModel;
use crate::families::{file, flow, process, syscall};
use crate::model::{Event, EventDraft, Histograms, Latency, Lookup, Processes, View};
use crate::records::{BootTime, Outside, ProcKey, StartTime, Tgid, WallOffset};

/// From the time stamp of a record to its place in the ring, generously: programs are not preempted, but interrupted.
pub const SETTLE: Duration = Duration::from_millis(2);

/// Records of a family that are fed at a time.
const FEED_MAX: usize = 8192;

/// So many times as long as reading /proc took, where that has to tell what no program does, it is not read again.
const REST: u64 = 20;

/// Parts of the socket table that are taken in before the rings are looked into again.
const PARTS_MAX: usize = 4;

pub struct Core {
    machine: Box<dyn Machine>,
    pub processes: Processes,
    pub process: ProcessModel,
    pub flow: FlowModel,
    pub syscall: SyscallModel,
    untracked_calls: u64,
    usage: Looks,
    pub dns: DnsModel,
    pub drop: DropModel,
    pub failures: Failures,
    pub file: FileModel,
    intake: Intake,
    /// Families whose maps were read when the last interval was counted.
    measuring: BTreeSet<Family>,
    drafts: Vec<EventDraft>,
    events: u64,
    /// All that happened until then has been taken out of the sources.
    settled: BootTime,
    /// Some of what is due still waits to be fed.
    backlog: bool,
    /// Since when the socket tables are being read.
    sweeping: Option<BootTime>,
    /// No program of the kernel side tells of processes: they are read again, from then on.
    pub processes_are_untold: bool,
    reread_at: BootTime,
    /// That sweep also looks for who holds sockets, as nobody else tells; the next may from then on.
    seeking: bool,
    seek_at: BootTime,
}

impl Core {
    pub fn new(machine: impl Machine + 'static) -> Self {
        Self {
            machine: Box::new(machine),
            processes: Processes::default(),
            process: ProcessModel::default(),
            flow: FlowModel::default(),
            syscall: SyscallModel::default(),
            untracked_calls: 0,
            usage: Looks::default(),
            dns: DnsModel::default(),
            drop: DropModel::default(),
            failures: Failures::default(),
            file: FileModel::default(),
            intake: Intake::default(),
            measuring: BTreeSet::new(),
            drafts: Vec::new(),
            events: 0,
            settled: BootTime(0),
            backlog: false,
            sweeping: None,
            processes_are_untold: false,
            reread_at: BootTime(0),
            seeking: false,
            seek_at: BootTime(0),
        }
    }

    /// Takes every waiting record out of `sources`, and feeds the models with those that are due. Number of records.
    pub fn drain(&mut self, sources: &mut Sources) -> usize {
        if self.backlog {
            self.feed(self.settled, FEED_MAX);
            sources.add_surplus(self.dns.take_surplus());
            return 0;
        }
        // Every record older than this has been put into its ring by the time the rings are read.
        self.settled = BootTime(self.now().0.saturating_sub(SETTLE.as_nanos() as u64));
        let records = sources.drain(&mut self.intake);
        if self.has_staged() {
            self.feed(self.settled, FEED_MAX);
        }
        sources.add_surplus(self.dns.take_surplus());
        records
    }

    /// Feeds what happened up to `until`, in the order in which it happened, identities first.
    /// At most so many of a family, so that what they become is passed on before there is more of it.
    fn feed(&mut self, until: BootTime, most: usize) {
        let due = self.intake.order(until);
        let all = [due.process, due.dns, due.flow, due.file, due.drop, due.syscall];
        self.backlog = all.iter().any(|&due| due > most);
        // Nothing before its process.
        let others = if due.process > most { 0 } else { most };
        let (processes, drafts) = (&mut self.processes, &mut self.drafts);
        let lookup: &mut dyn Lookup = self.machine.as_mut();
        hand_out(&mut self.intake.process, due.process.min(most), |record| {
            drafts.push(self.process.apply(record, processes, lookup));
        });
        hand_out(&mut self.intake.dns, due.dns.min(others), |record| {
            self.dns.apply(record, processes, lookup, drafts);
        });
        for (address, name, at) in self.dns.take_names() {
            self.flow.names.observe(address, name, at);
        }
        hand_out(&mut self.intake.flow, due.flow.min(others), |record| {
            self.flow.apply(record, processes, lookup, drafts);
        });
        hand_out(&mut self.intake.drop, due.drop.min(others), |record| {
            self.drop.apply(record, processes, lookup, drafts);
        });
        hand_out(&mut self.intake.syscall, due.syscall.min(others), |record| {
            drafts.push(self.syscall.apply(record, processes, lookup));
        });
        hand_out(&mut self.intake.file, due.file.min(others), |record| {
            drafts.extend(self.file.apply(record, processes, lookup));
        });
        self.take_failures();
    }

    /// Takes what each family contributes to the table of failures.
    fn take_failures(&mut self) {
        for failure in self.flow.take_failures().into_iter().chain(self.file.take_failures()) {
            self.failures.add(failure);
        }
    }

    /// Records are due and not yet fed: come again at once.
    pub const fn has_backlog(&self) -> bool {
        self.backlog
    }

    /// Records wait for their turn.
    pub fn has_staged(&self) -> bool {
        !self.intake.is_empty()
    }

    /// Releases what has waited long enough for its owner: by the time up to which records were taken, for the one that
    /// names the owner may lie behind many.
    pub fn flush(&mut self) {
        if !self.backlog {
            self.flow.flush(self.settled, &mut self.drafts);
            self.flush_drops(self.settled);
        }
    }

    fn flush_drops(&mut self, until: BootTime) {
        self.drop.flush(until, &mut self.processes, self.machine.as_mut(), &mut self.drafts);
    }

    /// Feeds and releases everything that is held back.
    pub fn finish(&mut self) {
        self.feed(BootTime(u64::MAX), usize::MAX);
        self.flow.finish(&mut self.drafts);
        self.flush_drops(BootTime(u64::MAX));
    }

    /// What exists already: processes, and with `sockets` connections and who holds them. After attaching, so that
    /// nothing falls between.
    pub fn prime(&mut self, sockets: bool) {
        self.prime_processes();
        if sockets {
            self.begin_sweep(true);
            self.await_sweep();
        }
    }

    /// The processes that exist already.
    pub fn prime_processes(&mut self) {
        let facts = self.machine.processes();
        self.process.prime(facts, &mut self.processes, self.machine.as_mut());
    }

    /// Begins to read the totals of all live connections from the kernel's socket tables; with `holders` also who
    /// holds them. Not while that is under way.
    pub fn begin_sweep(&mut self, holders: bool) {
        if self.sweeping.is_none() {
            let now = self.machine.now();
            self.seeking = now >= self.seek_at && self.flow.lacks_owners();
            self.machine.ask_sockets(holders || self.seeking);
            self.flow.begin_sweep();
            self.sweeping = Some(now);
        }
    }

    /// Takes in what has been read of the socket tables meanwhile. True: none is being read any more.
    pub fn take_sockets(&mut self) -> bool {
        let Some(began) = self.sweeping else { return true };
        for _ in 0..PARTS_MAX {
            match self.machine.next_sockets() {
                None => return false,
                Some(SocketPart::Some(sockets)) => {
                    self.flow.sweep(sockets, &self.processes, self.machine.now());
                }
                Some(SocketPart::End { whole }) => {
                    let now = self.machine.now();
                    self.flow.end_sweep(&self.processes, now);
                    if whole {
                        self.flow.end_unswept(began, now);
                    }
                    if self.seeking {
                        self.seek_at = BootTime(now.0 + REST * now.since(began));
                    }
                    self.sweeping = None;
                    return true;
                }
            }
        }
        false
    }

    /// The socket tables are being read.
    pub const fn is_sweeping(&self) -> bool {
        self.sweeping.is_some()
    }

    /// Reads the totals of all live connections from the kernel's socket tables, and waits for them.
    pub fn sweep(&mut self) {
        self.begin_sweep(false);
        self.await_sweep();
    }

    fn await_sweep(&mut self) {
        while !self.take_sockets() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes in what the sources count, and lets go of what ended long ago. Before [`Self::tick`], which closes the
    /// interval.
    pub fn count(&mut self, sources: &mut Sources, only: Option<Family>) {
        // In this order: what closed before the counts are read has its last ones.
        let began = self.machine.now();
        let asked = self.flow.datagram_namespaces();
        let sockets = if asked.is_empty() { HashMap::new() } else { self.machine.datagram_sockets(&asked) };
        let frames = sources.frames(only);
        // Whoever was counted has been named before: a row has its path from the first.
        sources.drain(&mut self.intake);
        for record in &self.intake.file {
            self.file.learn(record);
        }
        self.measuring.clear();
        for frame in frames {
            self.measuring.insert(frame.family());
            match frame {
                Frame::Flow(frame) => {
                    self.flow.count(&frame);
                    let is_known = |process| self.processes.get(process).is_some();
                    let gone = self.flow.histograms().forget(is_known);
                    sources.forget(Family::Flow, "HISTOGRAMS", &gone);
                    let tally = flow::model::Tally { datagrams: &frame.datagrams, began, sockets: &sockets };
                    let lookup: &mut dyn Lookup = self.machine.as_mut();
                    let gone =
                        self.flow.count_datagrams(&tally, &mut self.processes, lookup, &mut self.drafts);
                    sources.forget(Family::Flow, "DATAGRAMS", &gone);
                }
                Frame::Syscall(frame) => {
                    let gone = self.syscall.count(&frame, &mut self.processes, self.machine.as_mut());
                    sources.forget(Family::Syscall, "CELLS", &gone);
                    self.untracked_calls = sources.ledger(Family::Syscall).aggregates.untracked;
                }
                Frame::Dns(frame) => {
                    let now = self.machine.now();
                    let mut holder = |netns, port, since| {
                        let process = self.machine.port_holder(netns, port, since)?;
                        self.processes.get(process).cloned()
                    };
                    let gone = self.flow.pass(&frame, now, &mut holder);
                    sources.forget(Family::Dns, crate::families::dns::probe::WIRES, &gone);
                }
                Frame::Drop(frame) => {
                    let now = self.machine.now();
                    let (losses, gone) = self.drop.count_flows(&frame, now, self.machine.as_mut());
                    self.flow.lose(losses, now);
                    sources.forget(Family::Drop, crate::families::drop::probe::FLOWS, &gone);
                    let (failures, gone) =
                        self.drop.count(&frame, now, &self.processes, self.machine.as_mut());
                    for failure in failures {
                        self.failures.add(failure);
                    }
                    sources.forget(Family::Drop, crate::families::drop::probe::DROPS, &gone);
                }
                Frame::File(frame) => {
                    let gone = self.file.count(&frame, self.machine.now(), &self.processes);
                    sources.forget(Family::File, "FILES", &gone.files);
                    sources.forget(Family::File, "HISTOGRAMS", &gone.histograms);
                }
            }
        }
        self.rest();
    }

    /// Of what nobody counted, the interval has nothing.
    fn rest(&mut self) {
        for family in Family::ALL.iter().filter(|family| !self.measuring.contains(family)) {
            match family {
                Family::Syscall => self.syscall.rest(),
                Family::File => self.file.rest(),
                Family::Drop => self.drop.rest(),
                Family::Process | Family::Flow | Family::Dns => {}
            }
        }
    }

    /// What the family counted in the interval is not all there was: nobody is told.
    pub fn is_broken(&mut self, family: Family) {
        self.measuring.remove(&family);
    }

    /// The family has been attached anew: its maps are empty.
    pub fn begin(&mut self, family: Family) {
        match family {
            Family::Syscall => self.syscall = SyscallModel::default(),
            Family::File => self.file.begin(),
            Family::Drop => self.drop.begin(),
            Family::Flow => *self.flow.histograms() = Histograms::default(),
            Family::Process | Family::Dns => {}
        }
        if family == Family::Dns {
            self.flow.forget_wires();
        }
        if family == Family::Flow {
            self.flow.restart_datagrams(&mut self.drafts);
        }
    }

    /// Event lines of a family that no record stands for.
    pub const fn made(&self, family: Family) -> u64 {
        if matches!(family, Family::Flow) { self.flow.made() } else { 0 }
    }

    /// What has begun, become another program and ended, where no program of the kernel side tells.
    fn reread_processes(&mut self) {
        for facts in self.machine.processes() {
            self.processes.reread(facts, self.machine.as_mut());
        }
        self.processes.trace_lines();
        self.sweep_processes();
    }

    /// Marks processes as ended whose exit was lost.
    pub fn sweep_processes(&mut self) {
        let now = self.machine.now();
        let alive = self.machine.pids().into_iter().map(Tgid).collect();
        self.processes.sweep(&alive, now);
    }

    /// Ends an interval: rates are computed, what ended long ago is dropped.
    pub fn tick(&mut self, interval: Duration) {
        let now = self.machine.now();
        self.machine.refresh();
        if self.processes_are_untold && now >= self.reread_at {
            self.reread_processes();
            self.reread_at = BootTime(now.0 + REST * self.machine.now().since(now));
        }
        self.process.tick(now, interval);
        self.flow.tick(now, interval);
        self.dns.tick(now);
        self.syscall.tick(interval);
        self.take_failures();
        self.failures.tick();
        self.file.tick(interval);
        self.processes.tick(now);
        self.usage.tick();
    }

    /// The figures above a table.
    pub fn totals(&self, view: View) -> Vec<(&'static str, Option<f64>)> {
        if view == View::Syscalls {
            let totals = self.syscall.totals();
            return vec![
                ("calls", Some(totals.calls as f64)),
                ("calls_per_s", totals.calls_per_s),
                ("errors", Some(totals.errors as f64)),
                ("duration_ns", Some(totals.sum_ns as f64)),
                ("untracked", Some(self.untracked_calls as f64)),
                ("collisions", Some(totals.collisions as f64)),
            ];
        }
        if view == View::Processes {
            let live = self.processes.iter().filter(|identity| !identity.ended).count();
            return vec![("processes", Some(live as f64)), ("execs_per_s", self.process.execs_per_s())];
        }
        if view == View::Failures {
            let (total, count) = self.failures.totals();
            return vec![("failures", Some(count as f64)), ("failures_total", Some(total as f64))];
        }
        if view == View::Files {
            let totals = self.file.totals();
            return vec![
                ("opens_per_s", totals.opens_per_s),
                ("read_bytes_per_s", totals.read_bytes_per_s),
                ("write_bytes_per_s", totals.write_bytes_per_s),
                ("errors_per_s", totals.errors_per_s),
            ];
        }
        let totals = self.flow.totals();
        vec![
            ("flows", Some(totals.live as f64)),
            ("tx_bytes_per_s", totals.tx_bytes_per_s),
            ("rx_bytes_per_s", totals.rx_bytes_per_s),
            ("opens_per_s", totals.opens_per_s),
            ("untracked", Some(totals.untracked as f64)),
            ("untracked_datagrams", Some(totals.untracked_datagrams as f64)),
        ]
    }

    pub fn offset(&self) -> WallOffset {
        self.machine.offset()
    }

    pub fn now(&self) -> BootTime {
        self.machine.now()
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        let offset = self.machine.offset();
        let events = &mut self.events;
        self.drafts
            .drain(..)
            .map(|draft| {
                *events += 1;
                Event {
                    seq: *events,
                    name: draft.name,
                    family: draft.family,
                    at: draft.at,
                    wall: offset.wall(draft.at),
                    facts: draft.facts,
                }
            })
            .collect()
    }

    /// `of_interval`: leave out what ended before the interval that the last tick closed.
    pub fn process_rows(&self, of_interval: bool) -> Vec<Arc<process::model::ProcessRow>> {
        let mut gifts = process::model::Gifts::default();
        for family in &self.measuring {
            match family {
                Family::Flow => self.flow.give(&mut gifts),
                Family::File => self.file.give(&mut gifts),
                Family::Syscall => self.syscall.give(&mut gifts),
                Family::Drop => self.drop.give(&mut gifts),
                Family::Process | Family::Dns => {}
            }
        }
        self.process.rows(&self.processes, self.machine.now(), of_interval, gifts)
    }

    /// Who made a process, and who made that, as they were then.
    pub fn line(&self, id: RowId) -> Option<Vec<(Outside, u64)>> {
        let line = self.processes.get(process_of(id))?.line.as_ref()?;
        Some(line.iter().map(|one| (one.comm.clone(), u64::from(one.key.tgid.0))).collect())
    }

    /// What the kernel's iterator tells of every thread has not been read since the last tick.
    pub const fn wants_reading(&self) -> bool {
        self.usage.wants_reading()
    }

    /// What it tells now; `None`: there is none.
    pub fn read(&mut self, threads: Option<Vec<ThreadUse>>) {
        self.usage.read(threads, self.machine.now());
    }

    /// Looks up what these processes use.
    pub fn look_at<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a mut Arc<process::model::ProcessRow>>,
        depth: Depth,
    ) {
        self.usage.fill(rows, depth, self.machine.as_mut());
    }

    /// Where a process stands.
    pub fn working_directory(&self, process: Tgid) -> Option<Outside> {
        self.machine.working_directory(process)
    }

    pub fn syscall_rows(&self, of_interval: bool) -> Vec<Arc<syscall::model::SyscallRow>> {
        self.syscall.rows(&self.processes, self.machine.as_ref(), of_interval)
    }

    /// Durations of the interval that the last tick closed, by the id of the process's row.
    pub fn latencies(&self) -> Vec<(RowId, Latency)> {
        let flow = self.flow.new_distributions().filter_map(|(series, durations)| {
            let (_, what) = FLOW_CHARTS.iter().find(|(kind, _)| *kind == series.what)?;
            Some((row_id(series.process), Latency { what, durations: durations.clone() }))
        });
        let file = self.file.new_durations().into_iter().filter_map(|((process, kind), durations)| {
            let (_, what) = FILE_CHARTS.iter().find(|(known, _)| *known == kind)?;
            Some((row_id(process), Latency { what, durations }))
        });
        let syscall = self.syscall.new_durations().into_iter();
        let syscall =
            syscall.map(|(process, durations)| (row_id(process), Latency { what: SYSCALL_CHART, durations }));
        flow.chain(file).chain(syscall).collect()
    }

    /// Durations of these processes together, since their families were attached.
    pub fn durations(&self, of: &HashSet<RowId>) -> Vec<Latency> {
        let of: HashSet<ProcKey> = of.iter().map(|&id| process_of(id)).collect();
        let flow = FLOW_CHARTS.iter().map(|(kind, what)| (*what, self.flow.durations(&of, *kind)));
        let file = FILE_CHARTS.iter().map(|(kind, what)| (*what, self.file.durations(&of, *kind)));
        let syscall = (SYSCALL_CHART, self.syscall.durations_of(&of));
        flow.chain(file)
            .chain([syscall])
            .filter(|(_, durations)| durations.count() > 0)
            .map(|(what, durations)| Latency { what, durations })
            .collect()
    }

    pub fn file_rows(&self, of_interval: bool) -> Vec<Arc<file::model::FileRow>> {
        self.file.rows(&self.processes, self.machine.as_ref(), of_interval)
    }

    /// The use of files taken together, of the newest interval or an earlier one.
    pub fn file_groups(
        &mut self,
        by: file::row::group::By,
        rows: &[Arc<file::model::FileRow>],
        earlier: bool,
    ) -> Vec<Arc<file::row::group::GroupRow>> {
        self.file.groups(by, rows, earlier, self.machine.as_mut())
    }

    /// The figures above the table of questions about names.
    pub fn dns_totals(&self) -> Vec<(&'static str, Option<f64>)> {
        let totals = self.dns.totals();
        vec![
            ("queries", Some(totals.queries as f64)),
            ("responses", Some(totals.responses as f64)),
            ("errors", Some(totals.errors as f64)),
            ("untracked", Some(totals.untracked as f64)),
        ]
    }

    pub fn flow_rows(&self, of_interval: bool) -> Vec<Arc<flow::model::FlowRow>> {
        self.flow.rows(of_interval)
    }

    pub fn failure_rows(&self, of_interval: bool) -> Vec<Arc<FailureRow>> {
        self.failures.rows(of_interval, self.machine.offset())
    }
}

/// System calls of a process, all together.
const SYSCALL_CHART: &str = "call of any kind";

/// What the kernel side counts the durations of, and how people call it.
const FLOW_CHARTS: [(u16, &str); 3] =
    [(WHAT_CONNECT, "connect"), (WHAT_FIRST_BYTE, "wait for the first byte"), (WHAT_RTT, "round trip")];

const FILE_CHARTS: [(u16, &str); 4] =
    [(WHAT_OPEN, "open"), (WHAT_READ, "read"), (WHAT_WRITE, "write"), (WHAT_SYNC, "fsync")];

/// The id of a process's row, and back.
const fn row_id(process: ProcKey) -> RowId {
    RowId(process.tgid.0 as u64, process.start.0)
}

const fn process_of(RowId(tgid, start): RowId) -> ProcKey {
    ProcKey { tgid: Tgid(tgid as u32), start: StartTime(start) }
}
