//! What the families say of one process in `top processes`, beside what that process knows to have done.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::top::{Top, rows};
use crate::workload::actor::Actor;

/// What it says when it is done, and reads from its starter.
const TALK: u64 = 4096;

/// Intervals of half a second that are yet looked at when all is over: two, and two for a busy machine.
const LOOKS: usize = 4;

/// Numbers of an interval, and rates that times the interval are such.
const COUNTS: &[&str] = &[
    "flow.group.connections",
    "file.errors",
    "drop.packets",
    "syscall.calls",
    "syscall.errors",
    "process.on_cpu_ns",
    "process.run_queue_wait_ns",
];
const RATES: &[&str] = &["file.opens_per_s", "file.read_bytes_per_s", "file.write_bytes_per_s"];
const QUANTILES: &[&str] = &[
    "flow.connect.p99_ns",
    "file.open.p99_ns",
    "file.read.p99_ns",
    "file.write.p99_ns",
    "syscall.duration.p99_ns",
];

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let directory = std::env::temp_dir().canonicalize().context("the temporary directory")?;
    let count = place.scaled(400, 40).to_string();
    let spin = if place.guest.is_some() { "300" } else { "150" };
    let mut actor = Actor::start(&place.xtask, &["deeds", &directory.display().to_string(), &count, spin])?;
    actor.hear(place.patience(10))?;
    let pid = actor.pid();
    let filter = format!("pid:{pid}");
    let failing = Top::start(place, "failures", &["-f", &filter, "-d", "500ms"])?;
    failing.next()?;
    let grouped = Top::start(place, "files", &["-f", &filter, "-d", "500ms", "--by", "directory"])?;
    grouped.next()?;
    // Named, and so attached.
    let top = Top::start(place, "processes", &["-f", &filter, "-d", "500ms", "--sort", "syscalls"])?;
    top.next()?;
    actor.tell("go")?;
    let deeds = actor.hear(place.patience(60))?;
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    let mut longest: BTreeMap<&str, f64> = BTreeMap::new();
    let mut stood = String::new();
    // All of it is over: it is in the intervals that wait to be read, the one that runs, and the one after.
    let mut objects: Vec<Value> = std::iter::from_fn(|| top.waiting()).collect();
    for _ in 0..LOOKS {
        objects.push(top.next()?);
    }
    for object in &objects {
        let seconds = object.get("interval_ns").and_then(Value::as_f64).context("no interval_ns")? / 1e9;
        for row in rows(object) {
            let number = |key: &str| at(row, key).and_then(Value::as_f64).unwrap_or(0.0);
            for key in COUNTS {
                *sums.entry(key).or_default() += number(key);
            }
            for key in RATES {
                *sums.entry(key).or_default() += number(key) * seconds;
            }
            for key in QUANTILES {
                let most = longest.entry(key).or_default();
                *most = most.max(number(key));
            }
            if let Some(told) = at(row, "process.working_directory").and_then(Value::as_str) {
                told.clone_into(&mut stood);
            }
        }
    }
    let mut failures: Vec<Value> = std::iter::from_fn(|| failing.waiting()).collect();
    failures.extend([failing.next()?, failing.next()?]);
    let mut groups: Vec<Value> = std::iter::from_fn(|| grouped.waiting()).collect();
    groups.extend([grouped.next()?, grouped.next()?]);
    drop((top, failing, grouped));
    actor.tell("end")?;
    let threads = actor.conclusion(place.patience(20))?;

    let done = |key: &str| deeds.get(key).and_then(Value::as_u64).with_context(|| format!("no {key}"));
    let sum = |key: &str| sums.get(key).copied().unwrap_or(0.0).round() as u64;
    let (opens, missing, in_the_way) = (done("opens")?, done("missing")?, done("in_the_way")?);
    checks.equal("opens", opens, sum("file.opens_per_s"));
    checks.equal("failed calls on files", done("failed")?, sum("file.errors"));
    within(checks, "bytes written", done("written_bytes")?, TALK, sum("file.write_bytes_per_s"));
    within(checks, "bytes read", done("read_bytes")?, TALK, sum("file.read_bytes_per_s"));
    checks.equal("connections, both ends", done("established")?, sum("flow.group.connections"));
    let doctor = Doctor::known(place)?;
    let unowned = ["drop_packet", "drop_owner"].iter().find_map(|program| doctor.unsupported(program));
    match unowned.or_else(|| doctor.why_not("drop")) {
        Some(why) => checks.note(format!("nobody tells whose packets were dropped: {why}")),
        None => checks.equal("packets dropped", done("dropped")?, sum("drop.packets")),
    }
    checks.at_least("calls", opens * 3, sum("syscall.calls"));
    checks.at_least("failed calls", missing + in_the_way, sum("syscall.errors"));
    let unseen: Vec<String> = QUANTILES
        .iter()
        .filter(|key| longest.get(*key).is_none_or(|ns| *ns <= 0.0))
        .map(|key| (*key).to_owned())
        .collect();
    checks.none("quantiles that are not told", &unseen);
    checks.equal("working directory", directory.display().to_string(), stood);
    let ran = |key: &str| threads.get(key).and_then(Value::as_u64).with_context(|| format!("no {key}"));
    checks.at_least("time on a CPU, ms", ran("on_cpu_ns")? / 1_000_000, sum("process.on_cpu_ns") / 1_000_000);
    checks.at_least(
        "time on a run queue, ms",
        ran("waited_ns")? / 1_000_000,
        sum("process.run_queue_wait_ns") / 1_000_000,
    );
    checks.at_least("of that, by two threads on one CPU, ms", 50, ran("waited_ns")? / 1_000_000);
    failed(checks, &failures, missing, in_the_way);
    let inside = directory.join(format!("fluoro-deeds-{pid}")).display().to_string();
    let opens_of = |mine: &dyn Fn(&Value) -> bool| -> u64 {
        let rows = groups.iter().flat_map(rows).filter(|row| mine(row));
        rows.filter_map(|row| row.get("opens")?.as_u64()).sum()
    };
    let there = opens_of(&|row| at(row, "file.directory").and_then(Value::as_str) == Some(&inside));
    checks.equal("opens in the directory, in top files --by directory", missing, there);
    let nowhere = opens_of(&|row| at(row, "file.group.failed") == Some(&Value::Bool(true)));
    checks.equal("opens that led to no file, there", missing, nowhere);
    Ok(())
}

/// What failed is in the table of failures, each kind once, with a path.
fn failed(checks: &mut Checks, objects: &[Value], missing: u64, in_the_way: u64) {
    for (kind, error, count, path) in
        [("open", "ENOENT", missing, "/missing"), ("mkdir", "EEXIST", in_the_way, "fluoro-deeds-")]
    {
        let mine = |row: &&Value| {
            let text = |key| at(row, key).and_then(Value::as_str);
            text("failure.kind") == Some(kind) && text("error.type") == Some(error)
        };
        let told: Vec<&Value> = objects.iter().flat_map(rows).filter(mine).collect();
        let sum: u64 = told.iter().filter_map(|row| at(row, "failure.count")?.as_u64()).sum();
        checks.equal(format!("{kind} that failed with {error}, in top failures"), count, sum);
        let named = told.iter().all(|row| {
            at(row, "file.path").and_then(Value::as_str).is_some_and(|example| example.contains(path))
        });
        checks.equal(format!("{kind}: its path"), true, named);
    }
}

fn within(checks: &mut Checks, what: &str, least: u64, more: u64, observed: u64) {
    let good = (least..=least + more).contains(&observed);
    checks.that(what, format!("{least} and at most {more} more"), observed, good);
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}
