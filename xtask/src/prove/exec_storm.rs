//! Short programs at full speed on all cores while the console runs: every fork, exec and exit is told right or in the
//! books, and the console's memory is bounded.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::checks::Checks;
use super::pty::Console;
use super::{Place, processes, witness};

const PROCESSES: u32 = 50_000;
const RESIDENT_MIB: u64 = 150;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let parents = std::thread::available_parallelism().map_or(2, |cores| cores.get() as u32);
    let truth = Path::new("/bin/true");
    let canonical = |path: &Path| -> Result<String> {
        Ok(fs::canonicalize(path)
            .with_context(|| format!("canonicalize {}", path.display()))?
            .display()
            .to_string())
    };
    let kind = if truth.exists() {
        (vec![truth.display().to_string()], vec![canonical(truth)?])
    } else {
        (vec!["self".to_owned()], vec![canonical(&place.xtask)?])
    };
    let mut console = Console::start(place, &[], &[], 50, 200)?;
    console.wait_until("programs are attached", place.patience(20), |c| {
        witness::bpf_ids_held(c.pid()).iter().any(|(kind, _)| *kind == witness::BpfKind::Link)
    })?;
    console.press(b"5")?;
    processes::spawn(place, checks, place.scaled(PROCESSES / parents, 50), parents, kind)?;
    let peak = witness::peak_kib(console.pid()).context("the console is gone")?;
    checks.at_most("the console's most resident memory, MiB", RESIDENT_MIB, peak.div_ceil(1024));
    checks.that(
        "the console",
        "runs",
        if console.is_running()? { "runs" } else { "has ended" },
        console.is_running()?,
    );
    console.press(b"q")?;
    let ended = console.await_end(place.patience(10))?;
    checks.that("the console ends on q", "yes", if ended.is_some() { "yes" } else { "no" }, ended.is_some());
    Ok(())
}
