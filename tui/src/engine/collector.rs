//! The collector: drains the rings of attached families, feeds the models in the order in which facts depend on each
//! other, and answers for the ledger. Runs in one thread; whoever owns it decides when to wait and when to tick.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fluoro_shared::filter::PACKETS_TCP;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::collect::bpf::ProgramInfo;
use crate::collect::ground::Ground;
use crate::collect::loader::Standing;
use crate::collect::taps::KernelFilter;
use crate::engine::core::{Core, SETTLE};
use crate::engine::loader::{Answer, Loader};
use crate::engine::source::{Source, Sources};
use crate::engine::usage::Depth;
use crate::families::process::model::ProcessRow;
use crate::families::{Family, flow};
use crate::model::{Ledger, MapFill, Status};

/// How a family stands with the loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    Attaching,
    Attached { complete: bool },
    Failed(String),
    Detached,
}

/// One program as last reported.
#[derive(Debug, Clone)]
pub struct ProgramState {
    pub family: Family,
    pub standing: Standing,
    pub info: Option<ProgramInfo>,
}

/// Live sources and the models they feed.
pub struct Collector {
    pub core: Core,
    loader: Loader,
    wake: Arc<EventFd>,
    /// What ends a wait early, each by its [`Reason`].
    waits: Epoll,
    /// There was something in the rings when they were last looked into.
    busy: bool,
    /// What [`Self::listen`] was told was readable.
    told: bool,
    sources: Sources,
    attachments: BTreeMap<Family, Attachment>,
    programs: BTreeMap<Family, Vec<ProgramState>>,
    missed: BTreeMap<Family, Option<u64>>,
    /// In-program time when last reported, and the share of a CPU since the report before.
    spent: BTreeMap<&'static str, (Instant, u64)>,
    shares: BTreeMap<&'static str, f64>,
    filters: BTreeMap<Family, KernelFilter>,
    /// How full the maps are that no source reads, when it was last asked for.
    fills: BTreeMap<Family, Vec<MapFill>>,
    /// Everything is being detached: what the sources hold is still wanted.
    ending: bool,
}

/// How often the rings are looked into while something comes: nobody is woken for a record.
const PACE: Duration = Duration::from_millis(10);

/// The same while nothing does: a ring that fills meanwhile calls.
const QUIET: Duration = Duration::from_millis(50);

/// The same while parts of the socket table come in.
const SWEEPING: Duration = Duration::from_millis(1);

/// A reading of the socket tables that takes longer is taken in when it comes.
const SWEEP_MAX: Duration = Duration::from_secs(5);

/// Why a wait ended early.
#[derive(Clone, Copy)]
enum Reason {
    /// An answer of the loader, or a wake.
    Wake,
    /// A ring fills.
    Ring,
    /// What [`Collector::listen`] was told.
    Told,
}

impl Collector {
    pub fn start(ground: Arc<Ground>, core: Core) -> std::io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let waits = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        waits.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, Reason::Wake as u64))?;
        let loader = Loader::start(ground, Arc::clone(&wake))?;
        Ok(Self {
            core,
            loader,
            wake,
            waits,
            busy: false,
            told: false,
            sources: Sources::default(),
            attachments: BTreeMap::new(),
            programs: BTreeMap::new(),
            missed: BTreeMap::new(),
            spent: BTreeMap::new(),
            shares: BTreeMap::new(),
            filters: BTreeMap::new(),
            fills: BTreeMap::new(),
            ending: false,
        })
    }

    /// Interrupts [`Self::wait`] from another thread.
    pub fn waker(&self) -> Arc<EventFd> {
        Arc::clone(&self.wake)
    }

    pub fn attachment(&self, family: Family) -> Attachment {
        self.attachments.get(&family).cloned().unwrap_or(Attachment::Detached)
    }

    pub fn is_attached(&self, family: Family) -> bool {
        matches!(self.attachments.get(&family), Some(Attachment::Attached { .. }))
    }

    pub fn programs(&self) -> impl Iterator<Item = &ProgramState> {
        self.programs.values().flatten()
    }

    /// Why an attached family cannot do what it is for, if it cannot.
    pub fn broken(&self, family: Family) -> Option<String> {
        self.programs().filter(|program| program.family == family).find_map(|program| {
            match &program.standing.status {
                Status::Unsupported { reason } if program.standing.program.essential => Some(reason.clone()),
                _ => None,
            }
        })
    }

    pub fn map_bytes(&self, family: Family) -> Option<u64> {
        self.sources.get(family).map(Source::map_bytes)
    }

    /// How full the maps of an attached family are: those that are read as of the last tick, the others as of the last
    /// [`Self::ask_fills`].
    pub fn fills(&self, family: Family) -> Vec<MapFill> {
        let Some(source) = self.sources.get(family) else { return vec![] };
        let mut fills = source.fills();
        fills.extend(self.fills.get(&family).into_iter().flatten());
        fills.sort_by_key(|map| std::cmp::Reverse(map.bytes));
        fills
    }

    /// Share of one CPU that a program took between the last two reports; `None` while statistics are off.
    pub fn program_share(&self, program: &str) -> Option<f64> {
        self.shares.get(program).copied()
    }

    /// Asks for a family; `filter` is set in the kernel as soon as its maps exist.
    pub fn attach(&mut self, family: Family, filter: KernelFilter) {
        self.filters.insert(family, filter.clone());
        self.attachments.insert(family, Attachment::Attaching);
        self.loader.attach(family, filter);
    }

    pub fn detach(&mut self, family: Family) {
        self.loader.detach(family);
    }

    pub fn statistics(&self, on: bool) {
        self.loader.statistics(on);
    }

    /// Asks the loader what its programs cost and missed; the answer comes with a later [`Self::drain`].
    pub fn ask_programs(&self) {
        self.loader.report();
    }

    /// Asks the loader how full the maps are that no source reads.
    pub fn ask_fills(&self) {
        self.loader.fills();
    }

    /// Attaches `families` and waits until the loader has answered for each.
    pub fn attach_and_wait(&mut self, families: &[(Family, KernelFilter)]) {
        for (family, filter) in families {
            self.attach(*family, filter.clone());
        }
        while families.iter().any(|(family, _)| self.attachment(*family) == Attachment::Attaching) {
            self.wait(Duration::from_millis(100));
            self.drain();
        }
    }

    /// Has [`Self::wait`] end when `descriptor` becomes readable, once.
    pub fn listen(&self, descriptor: BorrowedFd<'_>) -> std::io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, Reason::Told as u64);
        Ok(self.waits.add(descriptor, event)?)
    }

    /// Waits until it is time to look into the rings, or an answer, a wake or what [`Self::listen`] was told is there, at
    /// most `timeout`. True: the latter has been there, now or before.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let pace = if self.core.has_backlog() {
            Duration::ZERO
        } else if self.core.is_sweeping() {
            SWEEPING
        } else if self.core.has_staged() {
            SETTLE
        } else if self.busy {
            PACE
        } else {
            QUIET
        };
        let millis = u16::try_from(timeout.min(pace).as_millis()).unwrap_or(u16::MAX);
        let mut ready = [EpollEvent::empty(); 8];
        // Interrupted or failed: the caller's loop comes round again.
        let count = self.waits.wait(&mut ready, EpollTimeout::from(millis)).unwrap_or(0);
        let is = |reason: Reason| ready.iter().take(count).any(|event| event.data() == reason as u64);
        if is(Reason::Wake) {
            let _ = self.wake.read();
        }
        self.told |= is(Reason::Told);
        self.told
    }

    /// Takes the loader's answers and every waiting record, and feeds the models. Number of records.
    pub fn drain(&mut self) -> usize {
        while let Some(answer) = self.loader.answer() {
            self.take_answer(answer);
        }
        let backlog = self.core.has_backlog();
        let records = self.core.drain(&mut self.sources);
        self.busy = backlog || records > 0;
        records
    }

    /// What exists already: processes, and with `sockets` connections and who holds them.
    pub fn prime(&mut self, sockets: bool) {
        self.core.prime_processes();
        if sockets {
            self.sweep(true);
        }
    }

    /// Reads the socket tables, with `holders` also who holds the sockets, and drains the rings meanwhile.
    pub fn sweep(&mut self, holders: bool) {
        let began = Instant::now();
        self.core.begin_sweep(holders);
        while !self.core.take_sockets() && began.elapsed() < SWEEP_MAX {
            self.wait(SWEEPING);
            self.drain();
        }
    }

    fn take_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Attached { family, taps, standings, complete } => {
                for ring in taps.bells() {
                    // Once for each time that it fills: whoever is late comes at the usual pace.
                    let event =
                        EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, Reason::Ring as u64);
                    if let Err(error) = self.waits.add(ring, event) {
                        log(&format!("{}: a ring that fills is not heard: {error}", family.stem()));
                    }
                }
                self.sources.open(family, taps);
                self.core.begin(family);
                if let Some(filter) = self.filters.get(&family).cloned() {
                    self.tell_filter(family, &filter);
                }
                self.programs.insert(
                    family,
                    standings
                        .into_iter()
                        .map(|standing| ProgramState { family, standing, info: None })
                        .collect(),
                );
                self.attachments.insert(family, Attachment::Attached { complete });
                self.make_do();
            }
            Answer::Failed { family, reason } => {
                log(&reason);
                self.attachments.insert(family, Attachment::Failed(reason));
            }
            Answer::Detached { family, missed } => {
                self.missed.insert(family, missed);
                if !self.ending {
                    self.core.drain(&mut self.sources);
                    self.sources.close(family);
                }
                self.attachments.insert(family, Attachment::Detached);
                for state in self.programs.get_mut(&family).into_iter().flatten() {
                    state.standing.status = Status::Detached;
                }
                self.make_do();
            }
            Answer::Fills { family, fills } => {
                self.fills.insert(family, fills);
            }
            Answer::Programs { family, programs, missed } => {
                self.missed.insert(family, missed);
                self.take_costs(&programs);
                self.programs.insert(
                    family,
                    programs
                        .into_iter()
                        .map(|(standing, info)| ProgramState { family, standing, info })
                        .collect(),
                );
            }
        }
    }

    /// What no program tells of, /proc, the socket table and packets do, these as far as `dns` is attached.
    fn make_do(&mut self) {
        let is_hooked = |name: &str| {
            self.programs()
                .map(|program| &program.standing)
                .any(|standing| standing.program.name == name && standing.status.hook().is_some())
        };
        let untold = |family: Family, names: &[&str]| {
            self.is_attached(family) && !names.iter().all(|name| is_hooked(name))
        };
        let processes_are_untold = untold(Family::Process, &["process_fork", "process_exec", "process_exit"]);
        let packets = if self.is_attached(Family::Flow) { flow::probe::untold(is_hooked) } else { 0 };
        self.core.processes_are_untold = processes_are_untold;
        self.core.flow.is_untold = packets & PACKETS_TCP != 0;
        if self.is_attached(Family::Dns)
            && let Some(filter) = self.filters.get(&Family::Dns).cloned()
        {
            self.set_filter(Family::Dns, KernelFilter { packets, ..filter });
        }
    }

    fn take_costs(&mut self, programs: &[(Standing, Option<ProgramInfo>)]) {
        let now = Instant::now();
        for (standing, info) in programs {
            let (name, Some(info)) = (standing.program.name, info) else { continue };
            if let Some((then, before)) = self.spent.insert(name, (now, info.run_time_ns))
                && info.run_time_ns > before
            {
                let wall = now.duration_since(then).as_nanos().max(1) as f64;
                self.shares.insert(name, (info.run_time_ns - before) as f64 / wall);
            }
        }
    }

    /// Takes in what the kernel side counts; before the core's tick.
    pub fn count(&mut self) {
        self.core.count(&mut self.sources, None);
        for &family in Family::ALL {
            if self.broken(family).is_some() {
                self.core.is_broken(family);
            }
        }
    }

    /// Looks into what has come since: where frames are not read.
    pub fn refresh(&mut self) {
        self.sources.refresh();
    }

    /// Looks up what these processes use: by the kernel's iterator, once a tick; without one in /proc.
    pub fn look_at<'a>(&mut self, rows: impl Iterator<Item = &'a mut Arc<ProcessRow>>, depth: Depth) {
        if self.core.wants_reading() {
            self.core.read(self.sources.threads());
        }
        self.core.look_at(rows, depth);
    }

    /// The same for one family.
    pub fn count_only(&mut self, family: Family) {
        self.core.count(&mut self.sources, Some(family));
    }

    /// Replaces a family's filter in the kernel.
    pub fn set_filter(&mut self, family: Family, filter: KernelFilter) {
        if self.filters.get(&family) == Some(&filter) {
            return;
        }
        self.tell_filter(family, &filter);
        self.filters.insert(family, filter);
    }

    fn tell_filter(&mut self, family: Family, filter: &KernelFilter) {
        if let Err(error) = self.sources.set_filter(family, filter) {
            log(&format!("{}: kernel filter not set: {error}", family.stem()));
        }
    }

    /// A line of `family` that user space refused although the kernel side let it through.
    pub fn refuse(&mut self, family: Family, ownerless: bool) {
        self.sources.refuse(family, ownerless);
    }

    /// Detaches everything, waits for running programs and drains what they left. Rings and ledgers stay readable.
    pub fn detach_all(&mut self) {
        self.ending = true;
        let attached: Vec<Family> = self.sources.families().collect();
        for &family in &attached {
            self.attachments.insert(family, Attachment::Attaching);
            self.detach(family);
        }
        let deadline = Instant::now() + Duration::from_secs(4);
        while attached.iter().any(|&family| self.attachment(family) == Attachment::Attaching)
            && Instant::now() < deadline
        {
            self.wait(Duration::from_millis(50));
            self.drain();
        }
        while self.core.has_backlog() {
            self.drain();
        }
        self.drain();
    }

    /// The books of every family.
    pub fn ledgers(&self) -> BTreeMap<Family, Ledger> {
        Family::ALL.iter().map(|&family| (family, self.ledger(family))).collect()
    }

    /// The books of a family, with what user space refused already moved to `filtered`.
    pub fn ledger(&self, family: Family) -> Ledger {
        let mut ledger = self.sources.ledger_with(family, self.core.made(family));
        ledger.missed = self.missed.get(&family).copied().flatten();
        ledger
    }
}

/// Diagnostics go to `--log`, never to the screen.
fn log(text: &str) {
    crate::log::line(text);
}
