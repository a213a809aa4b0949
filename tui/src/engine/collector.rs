//! The collector: drains the rings of attached families, feeds the models in the order in which facts depend on each
//! other, and answers for the ledger. Runs in one thread; whoever owns it decides when to wait and when to tick.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::collect::bpf::ProgramInfo;
use crate::collect::loader::{Ground, Standing};
use crate::collect::taps::{KernelFilter, Taps};
use crate::engine::core::Core;
use crate::engine::loader::{Answer, Loader};
use crate::families::Family;
use crate::model::{Ledger, Status};
use crate::records::BootTime;

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
    taps: BTreeMap<Family, Taps>,
    attachments: BTreeMap<Family, Attachment>,
    programs: BTreeMap<Family, Vec<ProgramState>>,
    missed: BTreeMap<Family, Option<u64>>,
    /// Lines that user space refused, by family.
    refused: BTreeMap<Family, u64>,
    filters: BTreeMap<Family, KernelFilter>,
    /// Records that could not be decoded.
    malformed: BTreeMap<Family, u64>,
}

/// From the time stamp of a record to its place in the ring, generously: programs are not preempted, but interrupted.
const SETTLE: Duration = Duration::from_millis(2);

/// A pause after a wakeup gathers a burst into one drain.
const GATHER: Duration = Duration::from_millis(4);

impl Collector {
    pub fn start(ground: Arc<Ground>, core: Core) -> std::io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let loader = Loader::start(ground, Arc::clone(&wake))?;
        Ok(Self {
            core,
            loader,
            wake,
            taps: BTreeMap::new(),
            attachments: BTreeMap::new(),
            programs: BTreeMap::new(),
            missed: BTreeMap::new(),
            refused: BTreeMap::new(),
            filters: BTreeMap::new(),
            malformed: BTreeMap::new(),
        })
    }

    /// Interrupts [`Self::wait`] from another thread.
    pub fn waker(&self) -> Arc<EventFd> {
        Arc::clone(&self.wake)
    }

    pub fn attachment(&self, family: Family) -> Attachment {
        self.attachments.get(&family).cloned().unwrap_or(Attachment::Detached)
    }

    pub fn programs(&self) -> impl Iterator<Item = &ProgramState> {
        self.programs.values().flatten()
    }

    pub fn map_bytes(&self, family: Family) -> Option<u64> {
        self.taps.get(&family).map(|taps| taps.map_bytes)
    }

    /// Asks for a family; `filter` is set in the kernel as soon as its maps exist.
    pub fn attach(&mut self, family: Family, filter: KernelFilter) {
        self.filters.insert(family, filter);
        self.attachments.insert(family, Attachment::Attaching);
        self.loader.attach(family);
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

    /// Attaches `families` and waits until the loader has answered for each.
    pub fn attach_and_wait(&mut self, families: &[(Family, KernelFilter)]) {
        for (family, filter) in families {
            self.attach(*family, filter.clone());
        }
        while families.iter().any(|(family, _)| self.attachment(*family) == Attachment::Attaching) {
            self.wait(Duration::from_millis(100), None);
            self.drain();
        }
    }

    /// Waits until a record, an answer, a wake or `also` is there, at most `timeout`. True: `also` is readable.
    pub fn wait(&self, timeout: Duration, also: Option<BorrowedFd<'_>>) -> bool {
        let started = Instant::now();
        let mut descriptors: Vec<PollFd<'_>> = Vec::with_capacity(18);
        descriptors.push(PollFd::new(also.unwrap_or_else(|| self.wake.as_fd()), PollFlags::POLLIN));
        descriptors.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        for taps in self.taps.values() {
            descriptors.extend(taps.descriptors().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let timeout = if self.core.has_staged() { timeout.min(SETTLE) } else { timeout };
        let millis = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX);
        // Interrupted or failed: the caller's loop comes round again.
        let ready = poll(&mut descriptors, PollTimeout::from(millis)).unwrap_or(0);
        let fired = |index: usize| {
            descriptors.get(index).and_then(PollFd::revents).is_some_and(|events| !events.is_empty())
        };
        let (signalled, woken) = (also.is_some() && fired(0), fired(1));
        if woken {
            let _ = self.wake.read();
        }
        if ready > 0 && !signalled && !woken {
            std::thread::sleep(GATHER.min(timeout.saturating_sub(started.elapsed())));
        }
        signalled
    }

    /// Takes the loader's answers and every waiting record, and feeds the models. Number of records.
    pub fn drain(&mut self) -> usize {
        while let Some(answer) = self.loader.answer() {
            self.take_answer(answer);
        }
        // Every record older than this has been put into its ring by the time the rings are read.
        let settled = BootTime(self.core.now().0.saturating_sub(SETTLE.as_nanos() as u64));
        let Self { core, taps, malformed, .. } = self;
        let mut records = 0;
        for (&family, taps) in taps.iter_mut() {
            records += taps.drain(|record| {
                if !core.stage(family, record) {
                    *malformed.entry(family).or_default() += 1;
                }
            });
        }
        if core.has_staged() {
            core.feed_staged(settled);
        }
        records
    }

    fn take_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Attached { family, mut taps, standings, complete } => {
                if let Some(filter) = self.filters.get(&family)
                    && let Err(error) = taps.set_filter(filter)
                {
                    log(&format!("{}: kernel filter not set: {error}", family.stem()));
                }
                self.programs.insert(
                    family,
                    standings
                        .into_iter()
                        .map(|standing| ProgramState { family, standing, info: None })
                        .collect(),
                );
                self.taps.insert(family, *taps);
                self.attachments.insert(family, Attachment::Attached { complete });
            }
            Answer::Failed { family, reason } => {
                log(&reason);
                self.attachments.insert(family, Attachment::Failed(reason));
            }
            Answer::Detached { family, missed } => {
                self.missed.insert(family, missed);
                self.attachments.insert(family, Attachment::Detached);
                for state in self.programs.get_mut(&family).into_iter().flatten() {
                    state.standing.status = Status::Detached;
                }
            }
            Answer::Programs { family, programs, missed } => {
                self.missed.insert(family, missed);
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

    /// Replaces a family's filter in the kernel.
    pub fn set_filter(&mut self, family: Family, filter: KernelFilter) {
        if self.filters.get(&family) == Some(&filter) {
            return;
        }
        if let Some(taps) = self.taps.get_mut(&family)
            && let Err(error) = taps.set_filter(&filter)
        {
            log(&format!("{}: kernel filter not set: {error}", family.stem()));
        }
        self.filters.insert(family, filter);
    }

    /// A line of `family` that user space refused although the kernel side let it through.
    pub fn refuse(&mut self, family: Family) {
        *self.refused.entry(family).or_default() += 1;
    }

    /// Detaches everything, waits for running programs and drains what they left. Rings and ledgers stay readable.
    pub fn detach_all(&mut self) {
        let attached: Vec<Family> = self.taps.keys().copied().collect();
        for &family in &attached {
            self.attachments.insert(family, Attachment::Attaching);
            self.detach(family);
        }
        let deadline = Instant::now() + Duration::from_secs(4);
        while attached.iter().any(|&family| self.attachment(family) == Attachment::Attaching)
            && Instant::now() < deadline
        {
            self.wait(Duration::from_millis(50), None);
            self.drain();
        }
        self.drain();
    }

    /// The books of a family, with what user space refused already moved to `filtered`.
    pub fn ledger(&self, family: Family) -> Ledger {
        let mut ledger = self
            .taps
            .get(&family)
            .and_then(|taps| taps.ledger().ok())
            .map_or_else(Ledger::default, |(ledger, _)| ledger);
        let malformed = self.malformed.get(&family).copied().unwrap_or(0).min(ledger.submitted);
        ledger.submitted -= malformed;
        ledger.error += malformed;
        ledger.refuse(self.refused.get(&family).copied().unwrap_or(0));
        ledger.missed = self.missed.get(&family).copied().flatten();
        ledger
    }
}

/// Diagnostics go to `--log`, never to the screen.
fn log(text: &str) {
    crate::log::line(text);
}
