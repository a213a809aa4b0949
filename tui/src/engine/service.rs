//! The collector thread of the console: answers the standing question at each tick and whenever it changes, attaches
//! what the view needs and lets go of what it left.

mod answers;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::collect::bpf::ProgramInfo;
use crate::collect::ground::Ground;
use crate::collect::taps::KernelFilter;
use crate::columns::RowId;
use crate::engine::collector::{Attachment, Collector};
use crate::engine::core::Core;
use crate::engine::handle::{Handle, Service};
use crate::engine::history::History;
use crate::engine::list::Ranks;
use crate::engine::overview::Rankings;
use crate::engine::own::Own;
use crate::engine::picture::Picture;
use crate::engine::recent::Recent;
use crate::engine::usage::Depth;
use crate::engine::world::World;
use crate::families::Family;
use crate::families::syscall::model::pid_of;
use crate::model::{EventRow, HostFacts, ProbeRow, Query, Timing, Totals, View};
use crate::records::{BootTime, Tgid};

/// Time between ticks.
const TICK: Duration = Duration::from_secs(1);

/// A tick waits at most so long for the reading of the socket tables.
const SWEEP_MAX: Duration = Duration::from_millis(500);

/// A family that no view needs stays attached so long.
const LINGER: Duration = Duration::from_secs(10);

/// Events kept for the view of that name.
const EVENTS_MAX: usize = 5_000;

/// While Probes is open the maps that nobody reads are counted once in so many ticks.
const FILLS_EVERY: u64 = 5;

/// Run-time statistics cost every program a little: one second in ten, or all the time while Probes is open.
const STATISTICS_EVERY: u64 = 10;

/// Starts the thread, with what `view` needs: the one that opens first. The face's end and the thread to join after
/// [`Handle::stop`]. `history` bounds the bytes of the moments that can be looked at again.
pub fn start(
    ground: Arc<Ground>,
    world: World,
    host: HostFacts,
    history: usize,
    view: View,
) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let collector = Collector::start(ground, Core::new(world))?;
    let waker = collector.waker();
    let (handle, service) = Handle::pair(move || {
        // The counter can only be full of wakes that nobody has taken yet.
        let _ = waker.write(1);
    });
    let thread = std::thread::Builder::new()
        .name("collector".to_owned())
        .spawn(move || Console::new(collector, service, host, history, view).run())?;
    Ok((handle, thread))
}

/// The events that had come when the reader paused: some are newer than the picture of that moment.
struct Held {
    /// Number of the picture.
    moment: u64,
    at: BootTime,
    events: Vec<Arc<EventRow>>,
}

struct Console {
    collector: Collector,
    service: Service,
    host: Arc<HostFacts>,
    own: Own,
    query: Query,
    /// The newest, for the view of that name.
    events: Recent,
    /// What is asked of now.
    picture: Arc<Picture>,
    /// What paused views are answered from.
    frozen: Option<Arc<Picture>>,
    /// Where the reader paused.
    held: Option<Held>,
    history: History,
    rankings: Rankings,
    ranks: BTreeMap<View, Ranks>,
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
    fn new(collector: Collector, service: Service, host: HostFacts, history: usize, view: View) -> Self {
        let picture = Picture::take(&collector.core, vec![], &[], 0, TICK, Totals::default(), vec![]);
        Self {
            collector,
            service,
            host: Arc::new(host),
            own: Own::find(),
            query: Query { view, ..Query::default() },
            events: Recent::new(EVENTS_MAX),
            picture: Arc::new(picture),
            frozen: None,
            held: None,
            history: History::new(history),
            rankings: Rankings::default(),
            ranks: BTreeMap::new(),
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
        let (mut ticking, mut priming) = (false, false);
        let (mut ticks, mut sweeps) = (Timing::new("ticks"), Timing::new("sweeps"));
        while !self.service.stopping() {
            let wait = if ticking {
                Duration::from_millis(1)
            } else {
                next.saturating_duration_since(Instant::now())
            };
            self.collector.wait(wait);
            self.collector.drain();
            self.take_events();
            self.service.free_spent();
            priming |= self.prime_what_is_new();
            let asked = self.take_question();
            let now = Instant::now();
            if now >= next && !ticking {
                ticking = true;
                if self.collector.is_attached(Family::Flow) {
                    self.collector.core.begin_sweep(false);
                }
            }
            // Totals are those of the tick: it waits for them, but not for ever.
            let swept = self.collector.core.take_sockets();
            let due = ticking && (swept || now >= next + SWEEP_MAX);
            // What was there before is shown at once, not with the next tick.
            let attached = priming && swept;
            priming &= !attached;
            if due {
                ticking = false;
                sweeps.add(now.saturating_duration_since(next));
                self.tick(ticked.elapsed());
                ticked = now;
                // Ticks keep their distance, whatever they take.
                next = (next + TICK).max(now + TICK / 2);
            } else if attached {
                self.picture = Arc::new(self.take_picture(vec![]));
            }
            if due || asked || attached {
                self.publish();
            }
            if due {
                ticks.add(now.elapsed());
            }
        }
        // Nobody may wait for the end of what follows.
        drop((ticks, sweeps));
        self.collector.detach_all();
    }

    fn take_question(&mut self) -> bool {
        let Some(query) = self.service.question() else { return false };
        if !query.paused {
            self.frozen = None;
            self.held = None;
        } else if let Some(moment) = query.moment {
            self.frozen = self.history.at(moment).or(self.frozen.as_ref()).cloned();
        } else if !self.query.paused {
            let picture = Arc::clone(self.history.newest().unwrap_or(&self.picture));
            self.held = Some(Held {
                moment: picture.seq,
                at: self.collector.core.now(),
                events: self.events.iter().cloned().collect(),
            });
            self.frozen = Some(picture);
        }
        if let Some((family, _)) = query.again.filter(|again| self.query.again != Some(*again))
            && matches!(self.collector.attachment(family), Attachment::Failed(_))
        {
            self.collector.attach(family, self.kernel_filter(family));
            self.primed.remove(&family);
        }
        let opened = query.view == View::Probes && self.query.view != View::Probes;
        self.query = query;
        self.collector.statistics(self.query.view == View::Probes);
        if opened {
            self.collector.ask_fills();
        }
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
            let needed = self.query.needs(family);
            match self.collector.attachment(family) {
                Attachment::Detached if needed => {
                    self.collector.attach(family, self.kernel_filter(family));
                    self.primed.remove(&family);
                }
                Attachment::Attached { .. } if !needed => {
                    let since = *self.left.entry(family).or_insert(now);
                    if now.duration_since(since) >= LINGER || self.query.leaves_out(family) {
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
        self.opened_call().map(pid_of)
    }

    /// The row of Syscalls whose details are open.
    fn opened_call(&self) -> Option<RowId> {
        self.query.open.filter(|_| self.query.view == View::Syscalls)
    }

    fn prime_what_is_new(&mut self) -> bool {
        if self.collector.core.is_sweeping() {
            return false;
        }
        let is_new =
            |family: &&Family| !self.primed.contains(*family) && self.collector.is_attached(**family);
        let new: Vec<Family> = Family::ALL.iter().filter(is_new).copied().collect();
        if new.iter().any(|family| matches!(family, Family::Process | Family::Flow)) {
            self.collector.core.prime_processes();
        }
        if new.contains(&Family::Flow) {
            self.collector.core.begin_sweep(true);
        }
        self.primed.extend(&new);
        !new.is_empty()
    }

    fn take_events(&mut self) {
        self.collector.core.flush();
        self.events.add(self.collector.core.take_events());
    }

    fn tick(&mut self, interval: Duration) {
        self.ticks += 1;
        self.interval = interval;
        let flows = self.collector.is_attached(Family::Flow);
        if self.ticks.is_multiple_of(STATISTICS_EVERY) {
            self.collector.core.sweep_processes();
        }
        self.collector.count();
        self.collector.core.tick(interval);
        self.attach_what_is_needed();
        // One whole second of statistics in ten, unless they are on all the time.
        if self.query.view != View::Probes {
            self.collector.statistics(self.ticks.is_multiple_of(STATISTICS_EVERY));
        } else if self.ticks.is_multiple_of(FILLS_EVERY) {
            self.collector.ask_fills();
        }
        self.collector.ask_programs();
        self.measure_cost();
        let books = self.collector.ledgers();
        self.probes = Arc::new(self.probe_rows(&books));
        let flow = self.collector.core.flow.totals();
        self.totals = Totals {
            rx_bytes_per_s: flow.rx_bytes_per_s.filter(|_| flows),
            tx_bytes_per_s: flow.tx_bytes_per_s.filter(|_| flows),
            flows: flows.then_some(flow.live),
            flow_opens_per_s: flow.opens_per_s.filter(|_| flows),
            execs_per_s: self.collector.core.process.execs_per_s(),
            lost: books.values().map(|ledger| ledger.lost).sum(),
            missed: books.values().map(|ledger| ledger.missed).sum(),
            cost_share: match (self.costs.own_share, self.costs.in_programs) {
                (None, None) => None,
                (own, programs) => Some(own.unwrap_or(0.0) + programs.unwrap_or(0.0)),
            },
        };
        let events = self.events.tick();
        let picture = self.take_picture(events);
        self.history.push(picture.kept(self.history.newest().map(AsRef::as_ref)));
        self.picture = Arc::new(picture);
        if self.frozen.is_none() {
            self.ranks.values_mut().for_each(Ranks::turn);
        }
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

    /// The rows as they are, with these events as those since the last picture.
    fn take_picture(&mut self, events: Vec<Arc<EventRow>>) -> Picture {
        let mut processes = self.collector.core.process_rows(false);
        if self.query.view == View::Processes {
            // What they use belongs to the moment: it is not to be asked for later.
            self.collector.look_at(processes.iter_mut(), Depth::Brief);
        }
        let core = &self.collector.core;
        Picture::take(core, processes, &self.probes, self.ticks, self.interval, self.totals, events)
    }
}

fn own_cpu_time() -> Option<Duration> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).ok().map(Duration::from)
}
