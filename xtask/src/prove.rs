//! `cargo xtask prove [NAME ..]`: each claim is a scenario that does something known to the machine, has fluoro
//! observe it, and compares what fluoro says with a second witness. Black box: it knows fluoro's command line and
//! nothing of its inside.

mod alternatives;
mod blind;
mod bytes;
mod checks;
mod churn;
mod contributed;
mod dns;
mod doctor;
mod drops;
mod event;
mod exec_storm;
mod failures;
mod failures_first;
mod file_activity;
mod file_storm;
mod files;
mod filters;
mod flows;
mod ground;
mod groups;
mod hostile;
mod identity;
mod islands;
mod leave_no_trace;
mod mkdir;
mod namespaces;
mod observer;
mod on_demand;
mod oom;
mod order;
mod packets;
mod ports;
mod prime;
mod probes;
mod processes;
pub mod pty;
mod refusals;
mod run;
pub mod session;
mod sigpipe;
mod starved;
mod storm;
mod syscalls;
mod terminal;
mod top;
mod udp;
mod wire;
pub mod witness;
pub mod workflows;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use blind::Blind;
use checks::Checks;
use starved::Starved;

use crate::binaries::{self, Binaries};
use crate::report;

/// Where a scenario plays.
#[derive(Debug, Clone)]
pub struct Place {
    pub fluoro: PathBuf,
    /// This very binary, for `xtask workload NAME ..`.
    pub xtask: PathBuf,
    /// Workloads are this many times smaller: 1 on the host, 40 in guests.
    pub divide: u32,
    /// `--hook PROGRAM=ALTERNATIVE` values passed to every run of fluoro.
    pub hooks: Vec<String>,
    /// Kernel release, when in a guest.
    pub guest: Option<String>,
    /// So many scenarios an earlier boot of this guest has played: they are not played again.
    pub played: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub name: String,
    pub verdict: Verdict,
    /// What was checked, expected and observed.
    pub lines: Vec<String>,
    /// Of one that was played twice: what was wrong the first time.
    pub before: Vec<String>,
}

type Scenario = fn(&Place, &mut Checks) -> Result<()>;

/// What no kernel has a part in is played once, on the host.
const HOST_ONLY: &[&str] = &[
    "wire",
    "filters",
    "groups",
    "sigpipe",
    "workflows",
    "terminal",
    "probes",
    "hostile",
    "no-privileges",
    "no-btf",
    "not-a-terminal",
    "usage",
];

/// What takes minutes under emulation is played on the oldest and the newest kernel only when it is named.
const LONG: &[&str] = &["bytes", "churn", "failures", "contributed", "on-demand", "exec-storm"];

/// What reads the kernel's structures or depends on how it runs programs.
pub const PER_KERNEL: &[&str] = &[
    "flows",
    "netns",
    "processes",
    "oom",
    "order",
    "storm",
    "failures-first",
    "mkdir",
    "files",
    "file-activity",
    "file-storm",
    "prime",
    "identity",
    "dns",
    "all-netns",
    "drops",
    "udp",
    "ground",
    "hooks",
    "syscalls",
];

const SCENARIOS: &[(&str, Scenario)] = &[
    ("flows", flows::play),
    ("netns", namespaces::play),
    ("processes", processes::play),
    ("storm", storm::play),
    ("failures-first", failures_first::play),
    ("failures", failures::play),
    ("bytes", bytes::play),
    ("mkdir", mkdir::play),
    ("files", files::play),
    ("file-activity", file_activity::play),
    ("file-storm", file_storm::play),
    ("churn", churn::play),
    ("prime", prime::play),
    ("identity", identity::play),
    ("dns", dns::play),
    ("all-netns", islands::play),
    ("wire", wire::play),
    ("packets", packets::play),
    ("drops", drops::play),
    ("udp", udp::play),
    ("top", top::play),
    ("groups", groups::play),
    ("contributed", contributed::play),
    ("oom", oom::play),
    ("order", order::play),
    ("syscalls", syscalls::play),
    ("on-demand", on_demand::play),
    ("exec-storm", exec_storm::play),
    ("filters", filters::play),
    ("sigpipe", sigpipe::play),
    ("leave-no-trace", leave_no_trace::play),
    ("workflows", workflows::play),
    ("terminal", terminal::play),
    ("probes", probes::play),
    ("hostile", hostile::play),
    ("ground", ground::play),
    ("hooks", alternatives::play),
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

/// What is played over every alternative of a program that begins so; the others once: what they claim does not
/// depend on the hook.
const PER_HOOK: &[(&str, &[&str])] = &[
    ("process_", &["processes"]),
    ("flow_", &["flows", "storm", "failures-first", "udp"]),
    ("syscall_", &["syscalls"]),
    ("dns_", &["dns"]),
    ("drop_", &["drops"]),
    ("file_", &["files"]),
];

/// Forced hooks are played at this size: the full one has been played over the hooks chosen unasked.
const DIVIDE_FORCED: u32 = 100;

/// How often a scenario is played at most that shows nothing.
const ATTEMPTS: u32 = 5;

/// What `prove` is told by who reads its [`report`].
pub const REPORT: &str = "--report";

/// `cargo xtask prove [--hook PROGRAM=ALTERNATIVE] [--divide N] [NAME ..]`
pub fn main(args: &[String]) -> Result<()> {
    binaries::become_optimised()?;
    let mut place = Place::host(binaries::checked()?);
    let (mut names, mut told): (_, fn(&Outcome)) = (Vec::new(), Outcome::print);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--hook" => place.hooks.extend(words.next().cloned()),
            "--divide" => place.divide = words.next().and_then(|number| number.parse().ok()).unwrap_or(1),
            REPORT => told = report::say_outcome,
            _ => names.push(word.clone()),
        }
    }
    let mut failed = 0;
    let mut tell = |outcome: &Outcome| {
        told(outcome);
        failed += u32::from(matches!(outcome.verdict, Verdict::Failed(_)));
    };
    if names.is_empty() && place.hooks.is_empty() {
        everything(&place, &mut tell);
    } else {
        run(&names, &place, &mut tell);
    }
    if failed > 0 {
        bail!("{failed} failed");
    }
    Ok(())
}

/// Every scenario over the hooks that fluoro chooses, then those that depend on hooks over each other way in.
pub fn everything(place: &Place, tell: &mut dyn FnMut(&Outcome)) {
    run(&[], place, tell);
    match alternatives::rounds(place) {
        Ok(rounds) => {
            for hooks in rounds {
                let touched = |stem: &str| hooks.iter().any(|hook| hook.starts_with(stem));
                let names: Vec<String> = PER_HOOK
                    .iter()
                    .filter(|(stem, _)| touched(stem))
                    .flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned()))
                    .collect();
                let forced = Place { hooks, divide: place.divide.max(DIVIDE_FORCED), ..place.clone() };
                run(&names, &forced, tell);
            }
        }
        Err(error) => {
            tell(&Outcome::new("alternatives", Verdict::Failed(format!("{error:#}")), Vec::new()));
        }
    }
}

pub use alternatives::support;

/// Plays the named scenarios, or all, one after the other.
pub fn run(names: &[String], place: &Place, tell: &mut dyn FnMut(&Outcome)) {
    for name in names.iter().filter(|name| !SCENARIOS.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        let why = format!("no such scenario; there are {}", known.join(", "));
        tell(&Outcome::new(name, Verdict::Failed(why), Vec::new()));
    }
    let fits = |name: &&str| !(place.guest.is_some() && (HOST_ONLY.contains(name) || LONG.contains(name)));
    let wanted = |name: &str| (names.is_empty() && fits(&name)) || names.iter().any(|wanted| wanted == name);
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| wanted(name)) {
        let is_left = |played: usize| played.checked_sub(1);
        if place.played.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_ok() {
            continue;
        }
        let mut outcome = attempt(name, *scenario, place);
        if !place.hooks.is_empty() {
            outcome.name = format!("{name} [{}]", place.hooks.join(" "));
        }
        tell(&outcome);
    }
}

impl Outcome {
    /// Of what was played once.
    pub fn new(name: impl Into<String>, verdict: Verdict, lines: Vec<String>) -> Self {
        Self { name: name.into(), verdict, lines, before: Vec::new() }
    }

    /// How long a scenario took, which is its last line.
    fn took(&self) -> String {
        self.lines
            .last()
            .map_or_else(String::new, |line| format!(" ({})", line.trim().trim_start_matches("took ")))
    }

    /// What is wrong, as a closing summary says it.
    pub fn wrong(&self) -> Vec<String> {
        let why = match &self.verdict {
            Verdict::Passed => return Vec::new(),
            Verdict::Skipped(why) => format!("was skipped: {why}"),
            Verdict::Failed(why) => why.clone(),
        };
        let lines = self.lines.iter().filter(|line| line.starts_with("FAIL"));
        std::iter::once(why).chain(lines.map(|line| format!("    {line}"))).collect()
    }

    /// A line, and the table of what was checked where something is wrong.
    pub fn print(&self) {
        let mut text = match &self.verdict {
            Verdict::Passed => format!("ok    {}{}\n", self.name, self.took()),
            Verdict::Skipped(why) => format!("skip  {}: {why}\n", self.name),
            Verdict::Failed(why) => format!("FAIL  {}: {why}\n", self.name),
        };
        text.extend(self.before.iter().map(|line| format!("again     {line}\n")));
        if self.verdict != Verdict::Passed || std::env::var_os("VERBOSE").is_some() {
            text.extend(self.lines.iter().map(|line| format!("    {line}\n")));
        }
        // At once: others may be printing theirs.
        print!("{text}");
    }
}

/// Plays a scenario, again where it failed while the kernel ran no program for what it was to see, or the machine no
/// program at all: that shows nothing. One that fails beside that is played once more, and both are told: what is wrong
/// with fluoro fails twice.
fn attempt(name: &str, scenario: Scenario, place: &Place) -> Outcome {
    let mut attempts = 1;
    let mut before = Vec::new();
    loop {
        let mut blind = place.guest.is_none().then(Blind::watch).and_then(Result::ok);
        let starved = Starved::watch();
        let outcome = play(name, scenario, place);
        let worst = starved.worst();
        let unseen = blind.as_mut().and_then(|blind| blind.count().ok()).unwrap_or(0);
        if !matches!(outcome.verdict, Verdict::Failed(_)) {
            return Outcome { before, ..outcome };
        }
        let void = unseen > 0 || worst > starved::MOST;
        if void && attempts < ATTEMPTS {
            attempts += 1;
            if unseen > 0 {
                println!(
                    "void  {name}: no program was run for {unseen} state changes in the context of process 1"
                );
            } else {
                println!("void  {name}: a thread that sleeps was woken {} ms late", worst.as_millis());
            }
        } else if before.is_empty() {
            before = outcome.wrong();
        } else {
            return Outcome { before, ..outcome };
        }
    }
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
    Outcome::new(name, verdict, checks.lines())
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
    /// This machine, at full size, with these programs.
    pub fn host(binaries: Binaries) -> Self {
        Self {
            fluoro: binaries.fluoro,
            xtask: binaries.xtask,
            divide: 1,
            hooks: Vec::new(),
            guest: None,
            played: Arc::default(),
        }
    }

    /// A number of repetitions, at this place's scale, but not less than makes sense.
    fn scaled(&self, full: u32, least: u32) -> u32 {
        (full / self.divide.max(1)).max(least)
    }

    /// Time for something that takes this long at most on the host: emulated guests are slower.
    pub fn patience(&self, seconds: u64) -> std::time::Duration {
        std::time::Duration::from_secs(if self.guest.is_some() { seconds * 4 } else { seconds })
    }

    /// How many of `due` TCP transitions may be missing: none, but over kprobes, which share one guard, one in a hundred;
    /// where the kernel counts what it skipped (6.7) no more than that.
    fn excused(&self, due: u64, missed: Option<u64>) -> u64 {
        let guarded = self.hooks.iter().any(|hook| hook == "flow_state=kprobe");
        if guarded { missed.unwrap_or(due).min(due / 100) } else { 0 }
    }

    fn hook_args(&self) -> impl Iterator<Item = &str> {
        self.hooks.iter().flat_map(|hook| ["--hook", hook.as_str()])
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Checks, Place, Verdict, attempt};

    static PLAYED: AtomicUsize = AtomicUsize::new(0);

    fn place() -> Place {
        Place {
            fluoro: PathBuf::new(),
            xtask: PathBuf::new(),
            divide: 1,
            hooks: Vec::new(),
            guest: Some("none".to_owned()),
            played: Arc::default(),
        }
    }

    #[test]
    fn what_fails_twice_has_failed() {
        let wrong = attempt(
            "wrong",
            |_, checks: &mut Checks| {
                checks.equal("one", 1, 2);
                Ok(())
            },
            &place(),
        );
        assert!(matches!(wrong.verdict, Verdict::Failed(_)));
        assert_eq!(wrong.before, wrong.wrong());
    }

    #[test]
    fn what_fails_once_is_told_though_it_held_then() {
        let odd = attempt(
            "odd",
            |_, checks| {
                checks.equal("plays", 1, PLAYED.fetch_add(1, Ordering::Relaxed));
                Ok(())
            },
            &place(),
        );
        assert_eq!(odd.verdict, Verdict::Passed);
        assert_eq!(odd.before.first().map(String::as_str), Some("plays"));
    }
}
