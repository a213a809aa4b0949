//! `cargo xtask prove [NAME ..]`: each claim is a scenario that does something known to the machine, has fluoro
//! observe it, and compares what fluoro says with a second witness. Black box: it knows fluoro's command line and
//! nothing of its inside.

mod checks;
mod doctor;
mod event;
mod failures_first;
mod filters;
mod flows;
mod identity;
mod leave_no_trace;
mod namespaces;
mod observer;
mod ports;
mod prime;
mod processes;
pub mod pty;
mod refusals;
mod run;
mod sigpipe;
mod storm;
mod top;
pub mod witness;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use checks::Checks;

/// Where a scenario plays.
#[derive(Debug, Clone)]
pub struct Place {
    pub fluoro: PathBuf,
    /// This very binary, for `xtask workload NAME ..`.
    pub xtask: PathBuf,
    /// Workloads are this many times smaller: 1 on the host, 20 in guests.
    pub divide: u32,
    /// `--hook PROGRAM=ALTERNATIVE` values passed to every run of fluoro.
    pub hooks: Vec<String>,
    /// Kernel release, when in a guest.
    pub guest: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

#[derive(Debug, Clone)]
pub struct Outcome {
    pub name: String,
    pub verdict: Verdict,
    /// What was checked, expected and observed.
    pub lines: Vec<String>,
}

type Scenario = fn(&Place, &mut Checks) -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("flows", flows::play),
    ("netns", namespaces::play),
    ("processes", processes::play),
    ("storm", storm::play),
    ("failures-first", failures_first::play),
    ("prime", prime::play),
    ("identity", identity::play),
    ("top", top::play),
    ("filters", filters::play),
    ("sigpipe", sigpipe::play),
    ("leave-no-trace", leave_no_trace::play),
    ("doctor", refusals::doctor),
    ("no-privileges", refusals::no_privileges),
    ("no-btf", refusals::no_btf),
    ("not-a-terminal", refusals::not_a_terminal),
    ("usage", refusals::usage),
];

/// A scenario that cannot be played here, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skip(String);

pub fn names() -> Vec<&'static str> {
    SCENARIOS.iter().map(|(name, _)| *name).collect()
}

/// Plays the named scenarios, or all, one after the other.
pub fn run(names: &[String], place: &Place) -> Vec<Outcome> {
    let unknown =
        names.iter().filter(|name| !SCENARIOS.iter().any(|(known, _)| known == name)).map(|name| Outcome {
            name: name.clone(),
            verdict: Verdict::Failed(format!("no such scenario; there are {}", self::names().join(", "))),
            lines: Vec::new(),
        });
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let played = SCENARIOS
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, scenario)| play(name, *scenario, place));
    unknown.chain(played).collect()
}

fn play(name: &str, scenario: Scenario, place: &Place) -> Outcome {
    let begin = Instant::now();
    let mut checks = Checks::default();
    let ended = scenario(place, &mut checks);
    checks.note(format!("took {:.1} s", begin.elapsed().as_secs_f64()));
    let verdict = match ended {
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => Verdict::Skipped(skip.to_string()),
            None => Verdict::Failed(format!("{error:#}")),
        },
        Ok(()) => checks.verdict(),
    };
    Outcome { name: name.to_owned(), verdict, lines: checks.lines() }
}

/// fluoro with these arguments, as the scenarios run it.
pub fn fluoro_command(place: &Place, args: &[&str]) -> std::process::Command {
    run::fluoro(place, args)
}

/// A port that is nobody's, at or above the one given.
pub fn free_port(from: u16) -> Result<u16> {
    ports::FreePorts::from(from).take()
}

impl Place {
    /// A number of repetitions, at this place's scale, but not less than makes sense.
    fn scaled(&self, full: u32, least: u32) -> u32 {
        (full / self.divide.max(1)).max(least)
    }

    /// Time for something that takes this long at most on the host: emulated guests are slower.
    fn patience(&self, seconds: u64) -> std::time::Duration {
        std::time::Duration::from_secs(if self.guest.is_some() { seconds * 4 } else { seconds })
    }

    fn hook_args(&self) -> impl Iterator<Item = &str> {
        self.hooks.iter().flat_map(|hook| ["--hook", hook.as_str()])
    }
}
