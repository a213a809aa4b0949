//! `cargo xtask vm [--kernel SERIES ..] [--hook PROGRAM=ALTERNATIVE ..] [SCENARIO ..]`: the kernel matrix. Each Debian
//! kernel boots in QEMU's software emulation with xtask itself as the first process, which plays the scenarios against
//! fluoro.

mod boot;
mod kept;
mod kernels;
mod support;

use std::cmp::Reverse;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench;
use crate::binaries::{self, Binaries};
use crate::prove::{Outcome, PER_KERNEL, Verdict};
use crate::shot::Shot;
use kernels::Kernel;

/// Series of the matrix; the last is the newest there is.
pub const SERIES: &[&str] = &["5.10", "6.1", "6.12", "6.18", "7"];

/// Between their neighbours these differ in hooks and programs, not in what is made of them: `cargo xtask test` plays on
/// them what depends on the kernel. `cargo xtask vm` plays everything everywhere.
const BRIEF: &[&str] = &["6.1", "6.12", "6.18"];

/// What holds where kernel memory is read by direct loads alone.
const LOCKED_DOWN: &[&str] = &["ground", "processes", "flows", "storm", "hooks", "doctor"];

/// One boot.
#[derive(Debug, Clone)]
pub struct Guest {
    /// How outcomes of it are called.
    pub label: String,
    kernel: Kernel,
    /// More of QEMU's `-smp`.
    cpus: &'static str,
    /// More of the kernel's command line.
    parameters: &'static str,
    /// Scenarios to play; none: everything that this kernel can do.
    scenarios: Vec<String>,
}

/// What a boot told.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Told {
    pub release: Option<String>,
    /// What each alternative of each program is worth there, as doctor gives it.
    pub support: Option<Value>,
    pub outcomes: Vec<Outcome>,
    #[serde(skip)]
    pub shots: Vec<Shot>,
    /// It did so before this run.
    #[serde(skip)]
    kept: bool,
}

/// What all boots told.
pub struct Matrix {
    pub outcomes: Vec<Outcome>,
    /// Of them, passed before this run.
    pub kept: usize,
}

pub fn main(args: &[String]) -> Result<()> {
    let mut series = Vec::new();
    let mut scenarios = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--kernel" {
            let Some(wanted) = words.next().filter(|wanted| SERIES.contains(&wanted.as_str())) else {
                bail!("--kernel takes one of {}", SERIES.join(", "));
            };
            series.push(wanted.as_str());
        } else {
            scenarios.push(word.clone());
        }
    }
    let whole = series.is_empty() && (scenarios.is_empty() || scenarios == ["hooks"]);
    // The special boots alone.
    let special = scenarios.iter().any(|word| word == "--special");
    if special {
        series = vec!["6.12"];
        scenarios.retain(|word| word != "--special");
    }
    if series.is_empty() {
        series.extend(SERIES);
    }
    let Matrix { outcomes, .. } = matrix(
        &series,
        &scenarios,
        if special {
            Boots::Special
        } else if whole {
            Boots::All
        } else {
            Boots::Plain
        },
    )?;
    let failed = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_))).count();
    if failed > 0 {
        bail!("{failed} of {} failed", outcomes.len());
    }
    Ok(())
}

/// Which boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boots {
    /// One of each kernel.
    Plain,
    /// 128 possible CPUs; lockdown=confidentiality.
    Special,
    /// Both; and the page docs/kernel-support.md is written.
    All,
    /// As `All`, those of [`BRIEF`] in brief; no page is written.
    Test {
        /// What a guest told that was made of the very same things holds.
        kept: bool,
    },
}

/// Guests at a time, on two CPUs: a third of the time of each is waiting.
const LANES: usize = 3;

/// Boots every kernel and prints each outcome as it comes.
pub fn matrix(series: &[&str], scenarios: &[String], boots: Boots) -> Result<Matrix> {
    let guests = guests(series, &binaries::checked()?, scenarios, boots)?;
    // What takes longest begins first: those that play everything, the newest kernel before all; then who plays most.
    let mut queue: Vec<&Guest> = guests.iter().rev().collect();
    queue.sort_by_key(|guest| (!guest.scenarios.is_empty(), Reverse(guest.scenarios.len())));
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(guest) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let told = told(guest, boots);
                    if let Ok(mut all) = all.lock() {
                        all.push((guest.label.clone(), told));
                    }
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_default();
    all.sort_by_key(|(label, _)| guests.iter().position(|guest| guest.label == *label));
    let compared = if boots == Boots::All {
        support::write(&all)?;
        Vec::new()
    } else {
        support::compare(&all)?
    };
    let kept = all.iter().filter(|(_, told)| told.kept).map(|(_, told)| told.outcomes.len()).sum();
    let outcomes = all.into_iter().flat_map(|(_, told)| told.outcomes).chain(compared).collect();
    Ok(Matrix { outcomes, kept })
}

/// What is known of it, or what it tells now.
fn told(guest: &Guest, boots: Boots) -> Told {
    if boots == (Boots::Test { kept: true })
        && let Some((told, age)) = kept::find(guest)
    {
        let (outcomes, minutes) = (told.outcomes.len(), age.as_secs() / 60);
        println!("kept  {}: {outcomes} that it passed {minutes} min ago, made of the same", guest.label);
        return Told { kept: true, ..told };
    }
    let told = boot::play(guest);
    if matches!(boots, Boots::Test { .. })
        && let Err(error) = kept::keep(guest, &told)
    {
        println!("      {}: what it told is not kept: {error:#}", guest.label);
    }
    told
}

/// Screens that a guest takes when it is told this word: on the kernel where every first choice of hook works.
/// And what went wrong after them, if anything did.
pub fn shots(word: &str) -> Result<(Vec<Shot>, Option<String>)> {
    let (mut shots, mut problem) = (Vec::new(), None);
    for guest in guests(&["6.12"], &binaries::checked()?, &[word.to_owned()], Boots::Plain)? {
        let told = boot::play(&guest);
        if let Some(Outcome { verdict: Verdict::Failed(failed), .. }) = told.outcomes.first() {
            problem = Some(format!("{}: {failed}", guest.label));
        }
        shots.extend(told.shots);
    }
    Ok((shots, problem))
}

/// Benchmarks in a guest of this series.
pub fn bench(series: &str, names: &[String]) -> Result<()> {
    let Some(series) = SERIES.iter().find(|known| **known == series) else {
        bail!("--kernel takes one of {}", SERIES.join(", "));
    };
    let words: Vec<String> = std::iter::once(bench::WORD.to_owned()).chain(names.iter().cloned()).collect();
    for guest in guests(&[series], &binaries::released()?, &words, Boots::Plain)? {
        for outcome in boot::play(&guest).outcomes {
            outcome.lines.iter().for_each(|line| println!("{line}"));
            if let Verdict::Failed(why) = outcome.verdict {
                bail!("{}: {why}", outcome.name);
            }
        }
    }
    Ok(())
}

/// Fetches what is not here: Debian's kernels, and what boots them.
pub fn provide() -> Result<()> {
    kernels::provision(SERIES).map(drop)
}

fn guests(series: &[&str], binaries: &Binaries, scenarios: &[String], boots: Boots) -> Result<Vec<Guest>> {
    let kernels = kernels::provision(series)?;
    for kernel in &kernels {
        boot::pack(kernel, binaries)?;
    }
    let some = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let plain = |kernel: &Kernel| Guest {
        label: kernel.series.clone(),
        kernel: kernel.clone(),
        cpus: "",
        parameters: "",
        scenarios: if matches!(boots, Boots::Test { .. }) && BRIEF.contains(&kernel.series.as_str()) {
            some(PER_KERNEL)
        } else {
            scenarios.to_vec()
        },
    };
    let mut guests: Vec<Guest> = kernels.iter().filter(|_| boots != Boots::Special).map(plain).collect();
    if boots != Boots::Plain
        && let Some(kernel) = kernels.iter().find(|kernel| kernel.series == "6.12")
    {
        let played = |names| if scenarios.is_empty() { some(names) } else { scenarios.to_vec() };
        guests.push(Guest {
            label: "6.12 with 128 possible CPUs".to_owned(),
            cpus: ",maxcpus=128",
            scenarios: played(&["ground", "flows", "storm", "hooks"]),
            ..plain(kernel)
        });
        guests.push(Guest {
            label: "6.12 under lockdown=confidentiality".to_owned(),
            parameters: "lockdown=confidentiality",
            scenarios: played(LOCKED_DOWN),
            ..plain(kernel)
        });
    }
    Ok(guests)
}
