//! The loader thread: attaching and detaching take hundreds of milliseconds, and the collector must go on draining.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use nix::sys::eventfd::EventFd;

use crate::collect::bpf::{self, ProgramInfo};
use crate::collect::ground::Ground;
use crate::collect::loader::{Attached, Standing};
use crate::collect::taps::{KernelFilter, Taps};
use crate::collect::tools::Tools;
use crate::families::Family;
use crate::model::MapFill;

/// What the collector asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    Attach(Family, Box<KernelFilter>),
    /// Detach the programs; the answer comes when none of them runs any more.
    Detach(Family),
    /// Keep run-time statistics on or let them go.
    Statistics(bool),
    Report,
    /// Count what is in the maps.
    Fills,
    Stop,
}

/// What the loader answers.
pub enum Answer {
    Attached { family: Family, taps: Box<Taps>, standings: Vec<Standing>, complete: bool },
    Failed { family: Family, reason: String },
    Detached { family: Family, missed: Option<u64> },
    Programs { family: Family, programs: Vec<(Standing, Option<ProgramInfo>)>, missed: Option<u64> },
    Fills { family: Family, fills: Vec<MapFill> },
}

/// The collector's end.
pub struct Loader {
    commands: SyncSender<Command>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

/// Commands and answers that may wait: more than any face asks for at once.
const DEPTH: usize = 64;

impl Loader {
    /// Starts the thread; `wake` is written after each answer.
    pub fn start(ground: Arc<Ground>, wake: Arc<EventFd>) -> std::io::Result<Self> {
        let (commands, inbox) = sync_channel(DEPTH);
        let (outbox, answers) = sync_channel(DEPTH);
        let thread = std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || serve(&ground, &inbox, &outbox, &wake))?;
        Ok(Self { commands, answers, thread: Some(thread) })
    }

    pub fn attach(&self, family: Family, filter: KernelFilter) {
        self.send(Command::Attach(family, Box::new(filter)));
    }

    pub fn detach(&self, family: Family) {
        self.send(Command::Detach(family));
    }

    pub fn statistics(&self, on: bool) {
        self.send(Command::Statistics(on));
    }

    /// Asks for the state of every attached family's programs.
    pub fn report(&self) {
        self.send(Command::Report);
    }

    /// Asks how full the maps of every attached family are.
    pub fn fills(&self) {
        self.send(Command::Fills);
    }

    /// The next answer, if one is there.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    fn send(&self, command: Command) {
        // Full only if the loader is stuck in the kernel; the next tick asks again.
        let _ = self.commands.try_send(command);
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Answers nobody reads must not keep the thread from seeing the end.
        while self.answers.try_recv().is_ok() {}
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(ground: &Ground, inbox: &Receiver<Command>, outbox: &SyncSender<Answer>, wake: &EventFd) {
    let mut attached: BTreeMap<Family, Attached> = BTreeMap::new();
    let mut statistics: Option<OwnedFd> = None;
    let mut tools = Tools::new(ground);
    let next = |tools: &mut Tools<'_>| match inbox.try_recv() {
        Err(TryRecvError::Empty) => {
            if tools.forget_types() {
                trim();
            }
            inbox.recv().ok()
        }
        command => command.ok(),
    };
    while let Some(command) = next(&mut tools) {
        let answer = match command {
            Command::Stop => break,
            Command::Statistics(on) => {
                if !on {
                    statistics = None;
                } else if statistics.is_none() {
                    statistics = bpf::enable_statistics().ok();
                }
                continue;
            }
            Command::Attach(family, filter) => match Attached::attach(family, &mut tools, &filter) {
                Ok((state, taps)) => {
                    let (standings, complete) = (state.standings(), state.complete());
                    attached.insert(family, state);
                    Answer::Attached { family, taps: Box::new(taps), standings, complete }
                }
                Err(error) => Answer::Failed { family, reason: error.to_string() },
            },
            Command::Detach(family) => {
                let missed = attached.remove(&family).and_then(|state| state.missed());
                bpf::wait_for_running_programs();
                Answer::Detached { family, missed }
            }
            Command::Report => {
                for (&family, state) in &attached {
                    let programs = state.standings().into_iter().zip(state.info()).collect();
                    let answer = Answer::Programs { family, programs, missed: state.missed() };
                    if outbox.send(answer).is_err() {
                        return;
                    }
                }
                let _ = wake.write(1);
                continue;
            }
            Command::Fills => {
                for (&family, state) in &attached {
                    if outbox.send(Answer::Fills { family, fills: state.fills() }).is_err() {
                        return;
                    }
                }
                let _ = wake.write(1);
                continue;
            }
        };
        if outbox.send(answer).is_err() {
            return;
        }
        let _ = wake.write(1);
    }
}

/// What was in use for a moment goes back to the system.
fn trim() {
    // SAFETY: no arguments that could be wrong.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
