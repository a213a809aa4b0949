//! What a crowd of connections costs the console: how long a tick, a reading of the socket tables and a picture take, by
//! its own log, and what it holds in memory.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Report;
use super::console::{COLUMNS, ROWS, attached, crowd};
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
            let run = watch(place)?;
            let largest = CROWDS.last() == Some(&flows);
            let budget = |figure: f64| largest.then_some(figure);
            let what = |what: &str| format!("{flows} {kind} flows: {what}");
            let Timing([tick, _, longest]) = run.tick;
            report.add("fluoro", what("a tick, median"), "ms", &[tick], budget(TICK_MS));
            report.add("fluoro", what("a tick, longest"), "ms", &[longest], None);
            let Timing([sweep, ..]) = run.sweep;
            report.add("fluoro", what("reading the socket tables, beside it"), "ms", &[sweep], None);
            let Timing([_, frame, _]) = run.frame;
            report.add("fluoro", what("a frame, p99"), "ms", &[frame], budget(FRAME_MS));
            report.add("fluoro", what("resident"), "MiB", &[run.resident], budget(RESIDENT_MIB));
            report.add("fluoro", what("maps"), "MiB", &[run.maps], Some(MAPS_MIB));
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
