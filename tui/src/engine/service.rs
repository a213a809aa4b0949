//! The collector thread of the console: answers the standing question at each tick and whenever it changes, attaches
//! what the view needs and lets go of what it left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::collect::bpf::ProgramInfo;
use crate::collect::loader::Ground;
use crate::collect::taps::KernelFilter;
use crate::columns::{Facts, Listing, Row, Sheet, Value, infos};
use crate::engine::collector::{Attachment, Collector};
use crate::engine::core::Core;
use crate::engine::details;
use crate::engine::handle::{Handle, Service};
use crate::engine::list::list;
use crate::engine::own::Own;
use crate::engine::usage::is_usage;
use crate::engine::world::World;
use crate::families::Family;
use crate::families::failure::row::FailureRow;
use crate::families::flow::model::FlowRow;
use crate::families::process::model::ProcessRow;
use crate::families::process::model::owner::group;
use crate::families::syscall::model::{SyscallRow, pid_of};
use crate::model::{
    Coverage, Event, EventRow, HostFacts, More, Note, ProbeRow, Query, Snapshot, Status, Totals, View,
};
use crate::records::{ProcKey, StartTime, Tgid};

/// Time between ticks.
const TICK: Duration = Duration::from_secs(1);

/// A family that no view needs stays attached so long.
const LINGER: Duration = Duration::from_secs(10);

/// Events kept for the view of that name.
const EVENTS_MAX: usize = 5_000;

/// Run-time statistics cost every program a little: one second in ten, or all the time while Probes is open.
const STATISTICS_EVERY: u64 = 10;

/// Starts the thread. The face's end and the thread to join after [`Handle::stop`].
pub fn start(
    ground: Arc<Ground>,
    world: World,
    host: HostFacts,
) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let collector = Collector::start(ground, Core::new(world))?;
    let waker = collector.waker();
    let (handle, service) = Handle::pair(move || {
        // The counter can only be full of wakes that nobody has taken yet.
        let _ = waker.write(1);
    });
    let thread = std::thread::Builder::new()
        .name("collector".to_owned())
        .spawn(move || Console::new(collector, service, host).run())?;
    Ok((handle, thread))
}

/// The rows of one moment.
#[derive(Clone, Default)]
struct Picture {
    flows: Vec<Arc<FlowRow>>,
    syscalls: Vec<Arc<SyscallRow>>,
    processes: Vec<Arc<ProcessRow>>,
    events: Vec<Arc<EventRow>>,
    failures: Vec<Arc<FailureRow>>,
}

struct Console {
    collector: Collector,
    service: Service,
    host: Arc<HostFacts>,
    own: Own,
    query: Query,
    events: VecDeque<Event>,
    /// What paused views are answered from.
    frozen: Option<Picture>,
    /// Since when no view has needed a family that is attached.
    left: BTreeMap<Family, Instant>,
    probes: Arc<Vec<ProbeRow>>,
    totals: Totals,
    costs: Costs,
    ticks: u64,
    seq: u64,
    primed: BTreeSet<Family>,
    interval: Duration,
}

/// What the last statistics said, to see what an interval cost.
#[derive(Default)]
struct Costs {
    before: Option<(Instant, u64)>,
    in_programs: Option<f64>,
    own_cpu: Option<(Instant, Duration)>,
    own_share: Option<f64>,
}

impl Console {
    fn new(collector: Collector, service: Service, host: HostFacts) -> Self {
        Self {
            collector,
            service,
            host: Arc::new(host),
            own: Own::find(),
            query: Query::default(),
            events: VecDeque::new(),
            frozen: None,
            left: BTreeMap::new(),
            probes: Arc::default(),
            totals: Totals::default(),
            costs: Costs::default(),
            ticks: 0,
            seq: 0,
            primed: BTreeSet::new(),
            interval: TICK,
        }
    }

    fn run(mut self) {
        self.collector.core.processes.keeps_args = true;
        self.attach_what_is_needed();
        let mut ticked = Instant::now();
        let mut next = ticked + Duration::from_millis(250);
        while !self.service.stopping() {
            self.collector.wait(next.saturating_duration_since(Instant::now()), None);
            self.collector.drain();
            self.take_events();
            let attached = self.prime_what_is_new();
            let asked = self.take_question();
            let due = Instant::now() >= next;
            if due {
                self.tick(ticked.elapsed());
                ticked = Instant::now();
                next = ticked + TICK;
            }
            if due || asked || attached {
                self.publish();
            }
        }
        self.collector.detach_all();
    }

    fn take_question(&mut self) -> bool {
        let Some(query) = self.service.question() else { return false };
        if query.paused && !self.query.paused {
            self.frozen = Some(self.picture());
        } else if !query.paused {
            self.frozen = None;
        }
        self.query = query;
        self.collector.statistics(self.query.view == View::Probes);
        self.attach_what_is_needed();
        for &family in Family::ALL.iter().filter(|family| family.on_demand()) {
            self.collector.set_filter(family, self.kernel_filter(family));
        }
        true
    }

    /// What the view needs is attached; what no view has needed for a while is let go.
    fn attach_what_is_needed(&mut self) {
        let now = Instant::now();
        for &family in Family::ALL {
            let needed = self.query.view.needs(family);
            match self.collector.attachment(family) {
                Attachment::Detached if needed => {
                    self.collector.attach(family, self.kernel_filter(family));
                    self.primed.remove(&family);
                }
                Attachment::Attached { .. } if !needed => {
                    let since = *self.left.entry(family).or_insert(now);
                    if now.duration_since(since) >= LINGER {
                        self.collector.detach(family);
                        self.left.remove(&family);
                    }
                }
                _ if needed => {
                    self.left.remove(&family);
                }
                _ => {}
            }
        }
    }

    /// What a family's stream is wanted of: of those on demand, the process whose details are open.
    fn kernel_filter(&self, family: Family) -> KernelFilter {
        let traced = self.traced();
        if family.on_demand() {
            KernelFilter {
                pids: traced.map(|pid| vec![pid.0]),
                muted: traced.is_none(),
                ..KernelFilter::default()
            }
        } else {
            KernelFilter::default()
        }
    }

    /// The process whose calls are traced.
    fn traced(&self) -> Option<Tgid> {
        self.query.open.filter(|_| self.query.view == View::Syscalls).map(pid_of)
    }

    /// What is known of the open row beyond its columns.
    fn more(&self) -> Option<Arc<More>> {
        let row = self.query.open?;
        let facts = match self.query.view {
            View::Syscalls => {
                let trace = self.events.iter().rev().filter(|event| event.family == Family::Syscall.stem());
                details::syscall(row, self.collector.core.syscall.durations(row), trace)
            }
            View::Processes => {
                let key = ProcKey { tgid: Tgid(row.0 as u32), start: StartTime(row.1) };
                let identity = self.collector.core.processes.get(key)?;
                details::process(identity, self.collector.core.working_directory(key.tgid))
            }
            _ => return None,
        };
        Some(Arc::new(More { row, facts }))
    }

    fn prime_what_is_new(&mut self) -> bool {
        let is_new =
            |family: &&Family| !self.primed.contains(*family) && self.collector.is_attached(**family);
        let new: Vec<Family> = Family::ALL.iter().filter(is_new).copied().collect();
        if new.iter().any(|family| matches!(family, Family::Process | Family::Flow)) {
            self.collector.core.prime(new.contains(&Family::Flow));
        }
        self.primed.extend(&new);
        !new.is_empty()
    }

    fn take_events(&mut self) {
        self.collector.core.flush();
        self.events.extend(self.collector.core.take_events());
        let surplus = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..surplus);
    }

    fn tick(&mut self, interval: Duration) {
        self.ticks += 1;
        self.interval = interval;
        let flows = self.collector.is_attached(Family::Flow);
        if flows {
            self.collector.core.sweep();
        }
        if self.ticks.is_multiple_of(STATISTICS_EVERY) {
            self.collector.core.sweep_processes();
        }
        self.collector.count();
        self.collector.core.tick(interval);
        self.attach_what_is_needed();
        // One whole second of statistics in ten, unless they are on all the time.
        if self.query.view != View::Probes {
            self.collector.statistics(self.ticks.is_multiple_of(STATISTICS_EVERY));
        }
        self.collector.ask_programs();
        self.measure_cost();
        self.probes = Arc::new(self.probe_rows());
        let books: Vec<_> = Family::ALL.iter().map(|&family| self.collector.ledger(family)).collect();
        let flow = self.collector.core.flow.totals();
        self.totals = Totals {
            rx_bytes_per_s: flow.rx_bytes_per_s.filter(|_| flows),
            tx_bytes_per_s: flow.tx_bytes_per_s.filter(|_| flows),
            flows: flows.then_some(flow.live),
            flow_opens_per_s: flow.opens_per_s.filter(|_| flows),
            execs_per_s: self.collector.core.process.execs_per_s(),
            lost: books.iter().map(|ledger| ledger.lost).sum(),
            missed: books.iter().map(|ledger| ledger.missed).sum(),
            cost_share: match (self.costs.own_share, self.costs.in_programs) {
                (None, None) => None,
                (own, programs) => Some(own.unwrap_or(0.0) + programs.unwrap_or(0.0)),
            },
        };
    }

    /// Time in programs where statistics are on, and the time of fluoro's own threads.
    fn measure_cost(&mut self) {
        let now = Instant::now();
        let infos = || self.collector.programs().filter_map(|program| program.info);
        let spent: u64 = infos().map(|info| info.run_time_ns).sum();
        let counted = infos().any(|info: ProgramInfo| info.runs > 0);
        if let Some((then, before)) = self.costs.before
            && counted
            && spent > before
        {
            let share = (spent - before) as f64 / now.duration_since(then).as_nanos().max(1) as f64;
            self.costs.in_programs = Some(share);
        }
        self.costs.before = Some((now, spent));
        if let Some(cpu) = own_cpu_time() {
            if let Some((then, before)) = self.costs.own_cpu {
                let wall = now.duration_since(then).as_secs_f64();
                self.costs.own_share = (wall > 0.0).then(|| cpu.saturating_sub(before).as_secs_f64() / wall);
            }
            self.costs.own_cpu = Some((now, cpu));
        }
    }

    fn probe_rows(&self) -> Vec<ProbeRow> {
        self.collector
            .programs()
            .enumerate()
            .map(|(index, program)| {
                let ledger = self.collector.ledger(program.family);
                let info = program.info.filter(|info| info.runs > 0);
                ProbeRow {
                    index: index as u64,
                    family: program.family.stem(),
                    program: program.standing.program.name,
                    status: program.standing.status.clone(),
                    runs: info.map(|info| info.runs),
                    ns_per_run: info.map(|info| info.run_time_ns as f64 / info.runs as f64),
                    cpu_share: self.collector.program_share(program.standing.program.name),
                    missed: program.info.and_then(|info| info.recursion_misses),
                    seen: Some(ledger.seen),
                    lost: Some(ledger.lost),
                    map_bytes: self.collector.map_bytes(program.family),
                }
            })
            .collect()
    }

    fn picture(&self) -> Picture {
        Picture {
            flows: self.collector.core.flow_rows(false),
            syscalls: self.collector.core.syscall_rows(false),
            processes: self.collector.core.process_rows(false),
            events: self.events.iter().rev().map(|event| Arc::new(EventRow::from(event.clone()))).collect(),
            failures: self.collector.core.failure_rows(false),
        }
    }

    fn publish(&mut self) {
        self.seq += 1;
        let (sheet, own_hidden) = self.answer();
        let coverage = self.coverage();
        let snapshot = Snapshot {
            seq: self.seq,
            taken: self.collector.core.now(),
            offset: self.collector.core.offset(),
            interval: self.interval,
            host: Arc::clone(&self.host),
            totals: self.totals,
            query: self.query.clone(),
            sheet,
            probes: Arc::clone(&self.probes),
            coverage,
            notes: Arc::new(self.notes()),
            more: self.more(),
            own_hidden,
        };
        self.service.publish(Arc::new(snapshot));
    }

    fn answer(&mut self) -> (Arc<dyn Sheet>, usize) {
        let filter = self.query.filter.clone();
        let filter = filter.as_deref();
        let sort = self.query.sort.or_else(|| self.query.view.default_sort());
        let shown_own = self.query.own;
        let own = self.own;
        let hide = |pid: u32| !shown_own && own.is(pid);
        let picture = self.frozen.clone().unwrap_or_else(|| self.picture());
        match self.query.view {
            View::Flows => {
                let mine = |row: &FlowRow| !shown_own && own.is_session(row.local, row.peer);
                let (mine, rows): (Vec<_>, Vec<_>) = picture.flows.iter().cloned().partition(|row| mine(row));
                let (listing, hidden) = list(rows, filter, sort, hide);
                (Arc::new(listing), hidden + mine.len())
            }
            View::Syscalls => shared(list(picture.syscalls.clone(), filter, sort, hide)),
            View::Processes => {
                let mut rows = picture.processes;
                let grouped = self.query.by_owner;
                let all = grouped || filter.is_some() || sort.is_some_and(|sort| is_usage(sort.column));
                if all && !self.query.paused {
                    self.collector.core.look_at(rows.iter_mut());
                }
                let (mut listing, hidden) = list(rows, filter, sort.filter(|_| !grouped), hide);
                if grouped {
                    let (listing, _) = list(group(&listing.rows), None, self.query.sort, |_| false);
                    return (Arc::new(listing), hidden);
                }
                if !all && !self.query.paused {
                    let (first, shown) = self.query.sight;
                    self.collector.core.look_at(listing.rows.iter_mut().skip(first).take(shown));
                }
                (Arc::new(listing), hidden)
            }
            View::Events => {
                let total = picture.events.len();
                let mut rows = picture.events.clone();
                rows.retain(|row| !hide_by_pid(row.as_ref(), &hide));
                let hidden = total - rows.len();
                let total = rows.len();
                if let Some(filter) = filter {
                    rows.retain(|row| filter.matches(row.facts(), Some(row.name())));
                }
                (Arc::new(Listing { rows, total }), hidden)
            }
            View::Failures => shared(list(picture.failures.clone(), filter, sort, hide)),
            View::Probes => {
                let rows = self.probes.iter().cloned().map(Arc::new).collect();
                shared(list(rows, filter, self.query.sort, |_| false))
            }
        }
    }

    fn coverage(&self) -> Coverage {
        let view = self.query.view;
        let shown = |family: &&Family| view.shows(**family);
        let mut degraded = false;
        for &family in Family::ALL.iter().filter(shown) {
            match self.collector.attachment(family) {
                Attachment::Attaching => return Coverage::Attaching,
                Attachment::Failed(reason) => return Coverage::Absent(reason),
                Attachment::Detached => {}
                Attachment::Attached { .. } => {
                    let states = || self.collector.programs().filter(|p| p.family == family);
                    let broken = states().find_map(|p| match &p.standing.status {
                        Status::Unsupported { reason } if p.standing.program.essential => {
                            Some(reason.clone())
                        }
                        _ => None,
                    });
                    if let Some(reason) = broken {
                        return Coverage::Absent(reason);
                    }
                    degraded |= states().any(|p| p.standing.status.word() != "live");
                }
            }
        }
        if degraded { Coverage::Degraded } else { Coverage::Live }
    }

    fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for &family in Family::ALL {
            if let Attachment::Failed(reason) = self.collector.attachment(family) {
                notes.push(Note { severe: true, text: reason });
            }
        }
        if self.totals.lost > 0 {
            let text =
                format!("{} events were lost on the way: the stream has gaps, see Probes", self.totals.lost);
            notes.push(Note { severe: true, text });
        }
        let programs = || self.collector.programs();
        let unsupported: Vec<_> = programs()
            .filter(|p| p.standing.status.word() == "unsupported")
            .map(|p| p.standing.program.name)
            .collect();
        if !unsupported.is_empty() {
            notes.push(Note {
                severe: true,
                text: format!("not attached: {}; Probes says why", unsupported.join(", ")),
            });
        }
        let degraded: Vec<_> = programs()
            .filter(|p| p.standing.status.word() == "degraded")
            .map(|p| p.standing.program.name)
            .collect();
        if !degraded.is_empty() {
            notes.push(Note {
                severe: false,
                text: format!("by a later choice of hook: {}; Probes says why", degraded.join(", ")),
            });
        }
        notes
    }
}

fn shared<R: Row>((listing, hidden): (Listing<R>, usize)) -> (Arc<dyn Sheet>, usize) {
    (Arc::new(listing), hidden)
}

fn hide_by_pid(row: &EventRow, hide: &impl Fn(u32) -> bool) -> bool {
    infos::<EventRow>()
        .iter()
        .position(|info| info.id == "pid")
        .is_some_and(|column| matches!(Facts::value(row, column), Value::Uint(pid) if hide(pid as u32)))
}

fn own_cpu_time() -> Option<Duration> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).ok().map(Duration::from)
}
