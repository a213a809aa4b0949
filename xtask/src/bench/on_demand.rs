//! What a call into the kernel costs while the console stands beside it: before the view of calls was ever open, while it
//! is, and after it was left. In turns with nobody there.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Report;
use super::console::{COLUMNS, ROWS};
use crate::prove::pty::Console;
use crate::prove::witness::{self, BpfKind};
use crate::prove::{Place, fluoro_command};

const ROUNDS: usize = 5;

const LIMIT: Duration = Duration::from_mins(1);

/// Longer than a family that no view needs stays attached.
const LINGER: Duration = Duration::from_secs(12);

/// Left, it costs what it did before, but for what two measurements of the same differ by.
const RATIO: f64 = 1.03;

pub fn play(place: &Place, report: &mut Report) -> Result<()> {
    let [mut bare, mut before, mut open, mut left] = [const { Vec::<f64>::new() }; 4];
    for _ in 0..ROUNDS {
        bare.push(getppid_ns());
        let mut console = Console::run(fluoro_command(place, &[]), ROWS, COLUMNS)?;
        let pid = console.pid();
        console.wait_until("programs are attached", LIMIT, |_| !held(pid).is_empty())?;
        // What the overview needs is let go.
        console.press(b"2").context("choose the view Flows")?;
        let without = settled(pid);
        before.push(getppid_ns());
        console.press(b"4").context("choose the view Syscalls")?;
        let is_more = |held: &BTreeSet<u32>| held.difference(&without).count() >= 2;
        console.wait_until("the programs on every call", LIMIT, |_| is_more(&held(pid)))?;
        open.push(getppid_ns());
        let with = held(pid);
        console.press(b"2").context("choose the view Flows")?;
        let is_gone = |held: &BTreeSet<u32>| with.difference(&without).all(|program| !held.contains(program));
        console.wait_until("they are gone", LIMIT, |_| is_gone(&held(pid)))?;
        left.push(getppid_ns());
        console.press(b"q").context("quit")?;
        console.await_end(LIMIT)?;
    }
    for (who, what, series) in [
        ("nobody", "getppid", &bare),
        ("fluoro", "getppid, view of calls never open", &before),
        ("fluoro", "getppid, view of calls open", &open),
        ("fluoro", "getppid, view of calls left", &left),
    ] {
        report.add(who, what, "ns", series, None);
    }
    let ratios: Vec<f64> = left.iter().zip(&before).map(|(left, before)| left / before).collect();
    report.add("fluoro", "getppid, left, to never open", "x", &ratios, Some(RATIO));
    Ok(())
}

/// The programs that it holds when it has not taken or let go of any for long enough.
fn settled(pid: u32) -> BTreeSet<u32> {
    let begun = Instant::now();
    let (mut last, mut since) = (held(pid), Instant::now());
    while since.elapsed() < LINGER && begun.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(100));
        let now = held(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

fn held(pid: u32) -> BTreeSet<u32> {
    let programs = witness::bpf_ids_held(pid).into_iter().filter(|(kind, _)| *kind == BpfKind::Program);
    programs.map(|(_, id)| id).collect()
}

/// The fastest of many short batches: what else runs on the machine spoils most of them.
fn getppid_ns() -> f64 {
    const BATCH: u32 = 256;
    const TIME: Duration = Duration::from_millis(500);
    let mut best = Duration::MAX;
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let begin = Instant::now();
        for _ in 0..BATCH {
            // SAFETY: no arguments.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        best = best.min(begin.elapsed());
    }
    best.as_nanos() as f64 / f64::from(BATCH)
}
