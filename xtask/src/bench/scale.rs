//! What a crowd of connections costs the console: how long a tick, a reading of the socket tables and a picture take, by
//! its own log, and what it holds in memory.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::console::{COLUMNS, ROWS, attached, crowd};
use super::{Report, median};
use crate::prove::pty::Console;
use crate::prove::{Place, fluoro_command, witness};

/// Live flows: with budgets for the last.
const CROWDS: [u32; 3] = [1_000, 10_000, 100_000];
const TICK_MS: f64 = 60.0;
const FRAME_MS: f64 = 8.0;
const RESIDENT_MIB: f64 = 200.0;
/// Of all maps, on two possible CPUs.
const MAPS_MIB: f64 = 64.0;
/// An active crowd: this share of its connections carries something, one after the other, and again a second later.
const ACTIVE: f64 = 1.0;
const LIMIT: Duration = Duration::from_mins(1);
/// After the first pictures and the priming.
const WATCH: Duration = Duration::from_secs(15);

/// Of the largest crowd.
const RUNS: usize = 3;

/// Between two keys of the reader.
const KEY: Duration = Duration::from_millis(100);

/// What one run came to, in milliseconds and MiB.
struct Run {
    tick: Timing,
    sweep: Timing,
    frame: Timing,
    resident: f64,
    maps: f64,
}

/// A line of the log: median, 99th in a hundred, longest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Timing([f64; 3]);

impl Timing {
    /// Of a line such as `123.456 ticks 30: p50 1.000 ms, p99 2.000 ms, longest 3.000 ms`.
    fn find(log: &str, what: &str) -> Option<Self> {
        let line = log.lines().find(|line| line.split(' ').nth(1) == Some(what))?;
        let after = |word: &str| {
            let (_, rest) = line.split_once(word)?;
            rest.split(' ').next()?.parse().ok()
        };
        Some(Self([after("p50 ")?, after("p99 ")?, after("longest ")?]))
    }
}

pub fn play(place: &Place, report: &mut Report) -> Result<()> {
    for (kind, share) in [("idle", 0.0), ("active", ACTIVE)] {
        let mut each = Vec::new();
        for flows in CROWDS {
            let _crowd = crowd(place, flows, share)?;
            let largest = CROWDS.last() == Some(&flows);
            let runs =
                (0..if largest { RUNS } else { 1 }).map(|_| watch(place)).collect::<Result<Vec<_>>>()?;
            let budget = |figure: f64| largest.then_some(figure);
            // The median of the runs.
            let mut add = |what: &str, unit: &'static str, figure: fn(&Run) -> f64, budget: Option<f64>| {
                let figures: Vec<f64> = runs.iter().map(figure).collect();
                report.add("fluoro", format!("{flows} {kind} flows: {what}"), unit, &figures, budget);
                median::of(&figures).map_or(0.0, |[median, ..]| median)
            };
            let tick = add("a tick, median", "ms", |run| run.tick.0[0], budget(TICK_MS));
            add("a tick, longest", "ms", |run| run.tick.0[2], None);
            let sweep = add("reading the socket tables, beside it", "ms", |run| run.sweep.0[0], None);
            add("a frame, p99", "ms", |run| run.frame.0[1], budget(FRAME_MS));
            add("resident", "MiB", |run| run.resident, budget(RESIDENT_MIB));
            add("maps", "MiB", |run| run.maps, Some(MAPS_MIB));
            each.push((tick + sweep) / f64::from(flows));
        }
        if let [_, ten, hundred] = each.as_slice() {
            let grows = [hundred / ten];
            report.add(
                "fluoro",
                format!("{kind}: a flow's cost, of 100,000 to of 10,000"),
                "x",
                &grows,
                None,
            );
        }
    }
    Ok(())
}

fn watch(place: &Place) -> Result<Run> {
    let log = std::env::temp_dir().join(format!("fluoro-scale-{}", std::process::id()));
    // What another run has left is not ours.
    let _ = fs::remove_file(&log);
    let path = log.to_str().context("a path of text")?;
    let mut console = Console::run(fluoro_command(place, &["--log", path]), ROWS, COLUMNS)?;
    let pid = console.pid();
    console.wait_until("programs are attached", LIMIT, |_| attached(pid))?;
    console.press(b"2").context("choose the view Flows")?;
    // The reader goes up and down, as readers do: a picture each time.
    let until = Instant::now() + WATCH;
    for key in [b"j", b"k"].iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        console.press(*key)?;
        thread::sleep(KEY);
    }
    let resident = witness::resident_kib(pid).context("no VmRSS")? as f64 / 1024.0;
    let maps = witness::map_bytes_held(pid) as f64 / f64::from(1 << 20);
    console.press(b"q")?;
    console.await_end(LIMIT)?.context("fluoro did not end")?;
    let told = fs::read_to_string(&log).context("read the log")?;
    fs::remove_file(&log).context("remove the log")?;
    let of = |what: &str| Timing::find(&told, what).with_context(|| format!("no {what} in the log: {told}"));
    Ok(Run { tick: of("ticks")?, sweep: of("sweeps")?, frame: of("frames")?, resident, maps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read() {
        let log = "1.000 else\n2.345 ticks 30: p50 1.500 ms, p99 2.000 ms, longest 3.250 ms\n";
        assert_eq!(Timing::find(log, "ticks"), Some(Timing([1.5, 2.0, 3.25])));
        assert_eq!(Timing::find(log, "frames"), None);
    }
}
