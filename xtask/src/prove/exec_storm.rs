//! Short programs at full speed on all cores while the console runs: every fork, exec and exit is told with its parent or
//! is in the books, and memory is bounded. Pids come round meanwhile, so events are counted by parent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::pty::Console;
use super::{Place, witness};
use crate::workload::actor::Actor;

const PROCESSES: u32 = 50_000;
const OBSERVE_MIB: u64 = 150;
/// 64 MiB of moments, and what is known of processes that ended in the last seconds and of what they did.
const CONSOLE_MIB: u64 = 200;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let parents = std::thread::available_parallelism().map_or(2, |cores| cores.get() as u32);
    let truth = Path::new("/bin/true");
    let (program, path) = if truth.exists() { ("/bin/true", truth) } else { ("self", place.xtask.as_path()) };
    let executable = fs::canonicalize(path).context("canonicalize the program")?.display().to_string();
    let each = place.scaled(PROCESSES / parents, 50);

    let mut console = Console::start(place, &[], &[], 50, 200)?;
    console.wait_until("programs are attached", place.patience(20), |c| {
        witness::bpf_ids_held(c.pid()).iter().any(|(kind, _)| *kind == witness::BpfKind::Link)
    })?;
    console.press(b"5")?;
    let mut spawners = (0..parents)
        .map(|_| Actor::start(&place.xtask, &["spawner", &each.to_string(), program]))
        .collect::<Result<Vec<_>>>()?;
    let watch = Observer::start(place, &["process"], &[], Keep::Events)?;
    for spawner in &mut spawners {
        spawner.tell("go")?;
    }
    let mut pids = Vec::new();
    for spawner in spawners {
        pids.push(spawner.pid());
        let account = spawner.conclusion(place.patience(120))?;
        let seconds = account.get("elapsed_ns").and_then(serde_json::Value::as_u64).unwrap_or(0) as f64 / 1e9;
        checks.note(format!("{each} programs in {seconds:.1} s by one parent"));
    }
    let peak = witness::peak_kib(console.pid()).context("the console is gone")?;
    let observed = watch.finish()?;
    observed.check_books(checks, &["process"])?;
    let books = observed.books("process")?;
    let unaccounted = books.lost + books.error + books.missed.unwrap_or(0);

    let mut told: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for event in &observed.events {
        let right = event.name != "process.exec" || event.executable.as_deref() == Some(executable.as_str());
        if let Some(parent) = event.parent.filter(|parent| pids.contains(parent) && right) {
            *told.entry((parent, event.name.as_str())).or_default() += 1;
        }
    }
    let due = u64::from(each);
    for pid in &pids {
        for name in ["process.fork", "process.exec", "process.exit"] {
            let seen = told.get(&(*pid, name)).copied().unwrap_or(0);
            checks.short(format!("{name} with parent {pid}"), due, unaccounted, seen);
        }
    }
    checks.at_most("observe: most resident memory, MiB", OBSERVE_MIB, observed.peak_kib.div_ceil(1024));
    checks.at_most("console: most resident memory, MiB", CONSOLE_MIB, peak.div_ceil(1024));
    let runs = console.is_running()?;
    checks.that("the console", "runs", if runs { "runs" } else { "has ended" }, runs);
    console.press(b"q")?;
    let ended = console.await_end(place.patience(10))?.is_some();
    checks.that("the console ends on q", "yes", if ended { "yes" } else { "no" }, ended);
    Ok(())
}
