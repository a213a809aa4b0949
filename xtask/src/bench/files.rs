//! What watching files costs: each openat+close more, beside bare and beside peers; and how soon a folder is seen.

use std::io::{BufRead, BufReader, Read as _, Seek as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Report;
use super::peers::{Tracefs, end};
use crate::prove::{Place, fluoro_command};
use crate::workload::actor::Actor;

const ROUNDS: usize = 5;
const OPENS: u32 = 100_000;
const BUDGET_NS: f64 = 1_200.0;
const FOLDERS: usize = 100;
const LIMIT: Duration = Duration::from_secs(30);

type Watcher = fn(&Place) -> Command;

/// fluoro and its peers: each with a word of what it says of the opens, by which it is seen to work here.
const WATCHERS: &[(&str, Watcher, &str)] = &[
    ("observe", |place| fluoro_command(place, &["observe", "file", "-o", "json"]), PATH),
    ("top", |place| fluoro_command(place, &["top", "files", "-o", "json"]), PATH),
    ("opensnoop", |_| Command::new("opensnoop"), PATH),
    (
        "bpftrace",
        |_| {
            let script = "tracepoint:syscalls:sys_enter_openat { @s[tid] = nsecs; } \
                tracepoint:syscalls:sys_exit_openat /@s[tid]/ { @h[pid] = hist(nsecs - @s[tid]); delete(@s[tid]); }";
            let mut command = Command::new("bpftrace");
            command.args(["-e", script]);
            command
        },
        "@h[",
    ),
];

const PATH: &str = "/etc/hostname";
/// How long one gets until it has attached.
const SETTLE: Duration = Duration::from_secs(3);

fn begin(mut command: Command, output: impl Into<Stdio>) -> Option<Child> {
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn().ok()
}

/// Whether it sees opens on this machine.
fn sees(place: &Place, watcher: Watcher, word: &str) -> Result<bool> {
    let mut output = tempfile::tempfile()?;
    let Some(mut child) = begin(watcher(place), output.try_clone()?) else { return Ok(false) };
    thread::sleep(SETTLE);
    once(place, 1_000)?;
    thread::sleep(SETTLE);
    end(&mut child);
    let mut said = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).contains(word))
}

/// Nanoseconds an openat+close of a path of two components takes.
fn once(place: &Place, opens: u32) -> Result<f64> {
    let mut actor = Actor::start(&place.xtask, &["file-storm", &opens.to_string(), PATH])?;
    actor.hear(LIMIT)?;
    actor.tell("go")?;
    let told = actor.conclusion(LIMIT)?;
    let elapsed = told.get("elapsed_ns").and_then(Value::as_u64).context("no elapsed_ns")?;
    Ok(elapsed as f64 / f64::from(opens))
}

pub fn opens(place: &Place, report: &mut Report) -> Result<()> {
    let tracefs = Tracefs::mount();
    let mut seeing = Vec::new();
    for &(who, watcher, word) in WATCHERS {
        if sees(place, watcher, word)? {
            seeing.push((who, watcher, Vec::new()));
        } else {
            eprintln!("{who} does not see opens here, or is not installed");
        }
    }
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        for (_, watcher, added) in &mut seeing {
            let without = once(place, OPENS)?;
            bare.push(without);
            let mut child = begin(watcher(place), Stdio::null()).context("start a watcher")?;
            thread::sleep(SETTLE);
            let with = once(place, OPENS);
            let alive = matches!(child.try_wait(), Ok(None));
            end(&mut child);
            // Who ended meanwhile has watched a part.
            if alive {
                added.push(with? - without);
            }
        }
    }
    drop(tracefs);
    for (who, _, added) in &seeing {
        let budget = ["observe", "top"].contains(who).then_some(BUDGET_NS);
        report.add(who, "openat+close, added", "ns", added, budget);
    }
    report.add("nobody", "openat+close", "ns", &bare, None);
    Ok(())
}

/// From the call to the line, for folders made one at a time.
pub fn mkdir(place: &Place, report: &mut Report) -> Result<()> {
    let directory = std::env::temp_dir().display().to_string();
    let mut actor = Actor::start(&place.xtask, &["mkdirs", &directory])?;
    actor.hear(LIMIT)?;
    let filter = format!("pid:{} event:file.mkdir", actor.pid());
    let mut child = fluoro_command(place, &["observe", "file", "-o", "json", "-f", &filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start fluoro")?;
    let mut said = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let ready = said.next().context("fluoro said nothing")??;
    anyhow::ensure!(ready.contains("observing"), "{ready}");
    let mut delays = Vec::new();
    for _ in 0..FOLDERS {
        let began = Instant::now();
        actor.tell("go")?;
        lines.next().context("no line")??;
        delays.push(began.elapsed().as_secs_f64() * 1e3);
        actor.hear(LIMIT)?;
    }
    let _ = child.kill();
    let _ = child.wait();
    report.add("observe", "mkdir, from call to line", "ms", &delays, Some(100.0));
    Ok(())
}
