//! What watching files costs: each openat+close more, beside bare and beside peers; and how soon a folder is seen.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Report;
use crate::prove::{Place, fluoro_command};
use crate::workload::actor::Actor;

const ROUNDS: usize = 5;
const OPENS: u32 = 100_000;
const BUDGET_NS: f64 = 1_200.0;
const FOLDERS: usize = 100;
const LIMIT: Duration = Duration::from_secs(30);

type Start = fn(&Place) -> Option<Child>;

const WATCHERS: &[(&str, Start)] = &[
    ("observe", |place| begin(fluoro_command(place, &["observe", "file", "-o", "json"]))),
    ("top", |place| begin(fluoro_command(place, &["top", "files", "-o", "json"]))),
    ("opensnoop", |_| begin(Command::new("opensnoop"))),
    ("bpftrace", |_| {
        let script = "tracepoint:syscalls:sys_enter_openat { @s[tid] = nsecs; } \
            tracepoint:syscalls:sys_exit_openat /@s[tid]/ { @h[pid] = hist(nsecs - @s[tid]); delete(@s[tid]); }";
        let mut command = Command::new("bpftrace");
        command.args(["-e", script]);
        begin(command)
    }),
];

fn begin(mut command: Command) -> Option<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

/// Nanoseconds an openat+close of a path of two components takes.
fn once(place: &Place) -> Result<f64> {
    let mut actor = Actor::start(&place.xtask, &["file-storm", &OPENS.to_string(), "/etc/hostname"])?;
    actor.hear(LIMIT)?;
    actor.tell("go")?;
    let told = actor.conclusion(LIMIT)?;
    let elapsed = told.get("elapsed_ns").and_then(Value::as_u64).context("no elapsed_ns")?;
    Ok(elapsed as f64 / f64::from(OPENS))
}

pub fn opens(place: &Place, report: &mut Report) -> Result<()> {
    let mut bare = Vec::new();
    for &(who, start) in WATCHERS {
        let mut added = Vec::new();
        for _ in 0..ROUNDS {
            let without = once(place)?;
            bare.push(without);
            let Some(mut child) = start(place) else { break };
            thread::sleep(Duration::from_secs(2));
            let with = once(place);
            let alive = matches!(child.try_wait(), Ok(None));
            let _ = child.kill();
            let _ = child.wait();
            if !alive {
                break;
            }
            added.push(with? - without);
        }
        let budget = ["observe", "top"].contains(&who).then_some(BUDGET_NS);
        report.add(who, "openat+close, added", "ns", &added, budget);
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
