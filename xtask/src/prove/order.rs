//! Who uses the CPU comes first in `top processes`, whatever the others are and in sight or not; what is said of it is what
//! the kernel counts; and fluoro reads no more of /proc for it when there are more processes.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::top::{Top, rows};
use crate::workload::actor::Actor;

/// The first and a few: in the intervals that its work begins and ends in, others may use more.
const ROWS: &str = "8";

/// Intervals that are looked at with and without the crowd.
const INTERVALS: usize = 2;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let crowd = u64::from(place.scaled(400, 200));
    let mut burner = Actor::start(&place.xtask, &["burn", "2", "400"])?;
    burner.hear(place.patience(10))?;
    let pid = burner.pid();
    // Its like: this very program, its workloads, nobody else's.
    let filter =
        format!("path:\"{}\"", place.xtask.canonicalize().context("the path of this program")?.display());
    let shown = ["-f", &filter, "--sort", "cpu", "--rows", ROWS, "-d", "500ms"];
    let top = Top::start(place, "processes", &shown)?;
    let idle = reads(&top, INTERVALS)?;

    let mut sleepers = Actor::start(&place.xtask, &["sleepers", &crowd.to_string()])?;
    sleepers.hear(place.patience(20))?;
    // The first intervals have their forks in them.
    reads(&top, 1)?;
    let crowded = reads(&top, INTERVALS)?;
    let refused = Doctor::known(place)?.unsupported("process_usage");
    match &refused {
        Some(why) => checks.note(format!("read from /proc, of each process: {why}")),
        None => checks.at_most(
            format!("reads in an interval with {crowd} processes more (without: {idle})"),
            idle + crowd / 4,
            crowded,
        ),
    }

    burner.tell("go")?;
    let mut objects = Vec::new();
    let burnt = loop {
        objects.push(top.next()?);
        if let Ok(account) = burner.hear(std::time::Duration::from_millis(1)) {
            break account.get("cpu_ns").and_then(Value::as_u64).context("no cpu_ns")?;
        }
    };
    // What is over is in the interval that runs, and the one after.
    for _ in 0..INTERVALS {
        objects.push(top.next()?);
    }
    drop(top);
    let last = compare(checks, pid, burnt, &objects, refused.is_none()).context("it is never shown")?;
    let account = fs::read_to_string(format!("/proc/{pid}/stat")).context("read /proc/PID/stat")?;
    let mut fields = account.rsplit(')').next().context("no name")?.split_ascii_whitespace();
    // utime and stime are the 14th and the 15th of all, rss the 24th.
    let mut field =
        |skip: usize| fields.nth(skip).and_then(|field| field.parse::<u64>().ok()).context("stat is short");
    let used_ms = (field(11)? + field(0)?) * 10;
    let bytes = field(8)? as f64 * 4096.0;
    let least = (burnt / 1_000_000).saturating_sub(20);
    checks.that(
        "the same, ms, by /proc/PID/stat since it began",
        format!("{least} to {}", least + 220),
        used_ms,
        (least..=least + 220).contains(&used_ms),
    );
    let resident = number(last, "process.resident_bytes").unwrap_or(0.0);
    checks.that(
        "resident bytes, beside /proc/PID/stat",
        format!("{bytes} within a tenth"),
        resident,
        (resident - bytes).abs() <= bytes / 10.0,
    );
    checks.at_least("open descriptors", 3.0, number(last, "process.fds").unwrap_or(0.0));
    sleepers.end(place.patience(10))?;
    burner.end(place.patience(10))
}

/// The row that is first in each interval it has most of is its own, and what all intervals say comes to what it used; the
/// last of its rows.
fn compare<'a>(
    checks: &mut Checks,
    pid: u32,
    burnt: u64,
    objects: &'a [Value],
    exact: bool,
) -> Option<&'a Value> {
    let (mut ran, mut by_share, mut last) = (0.0, 0.0, None);
    let mut behind = Vec::new();
    for object in objects {
        let seconds = number(object, "interval_ns").unwrap_or(0.0) / 1e9;
        let share = |row: &Value| number(row, "process.cpu_share").unwrap_or(0.0);
        let rows = rows(object);
        let Some(row) = rows.iter().find(|row| number(row, "process.pid") == Some(f64::from(pid))) else {
            continue;
        };
        if rows.first().is_some_and(|first| share(first) < share(row)) {
            behind.push(format!("{row}"));
        }
        ran += number(row, "process.on_cpu_ns").unwrap_or(0.0) / 1e6;
        by_share += share(row) * seconds * 1e3;
        last = Some(*row);
    }
    checks.none("intervals in which it used most and is not first", &behind);
    let burnt = burnt as f64 / 1e6;
    let near = |told: f64, tolerance: f64| (told - burnt).abs() <= burnt * tolerance;
    if exact {
        checks.that(
            "time on a CPU of two threads, in all intervals, ms",
            format!("{burnt:.1} within 3%"),
            format!("{ran:.1}"),
            near(ran, 0.03),
        );
    }
    checks.that(
        "the same by shares of a CPU, ms",
        "within a fifth",
        format!("{by_share:.1}"),
        near(by_share, 0.2),
    );
    last
}

fn number(value: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(value, |value, key| value.get(key))?.as_f64()
}

/// Calls of `read` that fluoro makes from one object to the next, by the kernel's account: the least of so many.
fn reads(top: &Top, intervals: usize) -> Result<u64> {
    let count = || -> Result<u64> {
        let account = fs::read_to_string(format!("/proc/{}/io", top.pid())).context("read /proc/PID/io")?;
        let calls = account.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok());
        calls.context("no syscr in /proc/PID/io")
    };
    top.next()?;
    let mut least = u64::MAX;
    for _ in 0..intervals {
        let before = count()?;
        top.next()?;
        least = least.min(count()? - before);
    }
    Ok(least)
}
