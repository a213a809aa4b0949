//! What being observed costs a workload at full speed: bare and observed runs take turns.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Report, median};
use crate::prove::pty::Console;
use crate::prove::witness::{self, BpfKind};
use crate::prove::{Place, fluoro_command};
use crate::workload::actor::Actor;

const ROUNDS: usize = 7;
pub const LIMIT: Duration = Duration::from_mins(1);

/// How much longer the workload may take, and how much of a CPU the observer may, in percent.
#[derive(Clone, Copy, Default)]
pub struct Budgets {
    /// While connections are looked at.
    pub flows: Option<f64>,
    /// The same while it is also counted who uses files, by hooks on system calls.
    pub files: Option<f64>,
    pub cpu: Option<f64>,
}

/// A way to observe: a name, how to start it, and which budget is its.
struct Watcher {
    who: &'static str,
    in_terminal: bool,
    command: Box<dyn Fn() -> Command>,
    slowdown: Option<f64>,
    cpu: Option<f64>,
}

fn watchers(place: &Place, budgets: Budgets) -> Result<Vec<Watcher>> {
    let fluoro = |args: Vec<String>| {
        let place = place.clone();
        let command = move || fluoro_command(&place, &args.iter().map(String::as_str).collect::<Vec<_>>());
        Box::new(command) as Box<dyn Fn() -> Command>
    };
    let console = |view: &str| -> Result<Box<dyn Fn() -> Command>> {
        let path = place.xtask.with_file_name(format!("bench-{view}.toml"));
        fs::write(&path, format!("view = \"{view}\"\n")).context("write a configuration")?;
        Ok(fluoro(vec!["--config".to_owned(), path.display().to_string()]))
    };
    let watcher = |who, command| Watcher { who, in_terminal: true, command, slowdown: None, cpu: None };
    let observe = ["observe", "flow", "-o", "json"].map(str::to_owned).to_vec();
    let mut watchers = vec![
        Watcher { slowdown: budgets.flows, cpu: budgets.cpu, ..watcher("flows", console("flows")?) },
        Watcher { slowdown: budgets.files, ..watcher("overview", console("overview")?) },
        Watcher { in_terminal: false, ..watcher("observe", fluoro(observe)) },
    ];
    watchers.extend(super::console::PEERS.iter().filter(|(peer, _)| super::console::installed(peer)).map(
        |&(peer, args)| {
            let command = move || {
                let mut command = Command::new(peer);
                command.args(args);
                command
            };
            watcher(peer, Box::new(command))
        },
    ));
    Ok(watchers)
}

pub fn storm(place: &Place, report: &mut Report) -> Result<()> {
    const CONNECTIONS: &str = "20000";
    let port = crate::prove::free_port(26_100)?.to_string();
    let once = || -> Result<Duration> {
        let mut server = Actor::start(&place.xtask, &["storm-serve", CONNECTIONS, &port])?;
        let mut client = Actor::start(&place.xtask, &["storm-connect", CONNECTIONS, &port])?;
        server.tell("listen")?;
        server.hear(LIMIT)?;
        client.tell("go")?;
        let elapsed = elapsed(&client.conclusion(LIMIT)?)?;
        server.conclusion(LIMIT)?;
        Ok(elapsed)
    };
    let budgets = Budgets { flows: Some(1.03), files: None, cpu: Some(20.0) };
    side_by_side(place, report, "20,000 connect/close", budgets, once)
}

pub const BULK: Budgets = Budgets { flows: Some(1.03), files: Some(1.07), cpu: None };

pub fn bulk(place: &Place, report: &mut Report) -> Result<()> {
    let once = || -> Result<Duration> {
        let mut actor = Actor::start(&place.xtask, &["bulk", "4000000000"])?;
        actor.hear(LIMIT)?;
        actor.tell("go")?;
        elapsed(&actor.conclusion(LIMIT)?)
    };
    side_by_side(place, report, "4 GB over one connection", BULK, once)
}

pub fn datagrams(place: &Place, report: &mut Report) -> Result<()> {
    let once = || -> Result<Duration> {
        let mut actor = Actor::start(&place.xtask, &["datagram-bulk", "400000"])?;
        actor.hear(LIMIT)?;
        actor.tell("go")?;
        elapsed(&actor.conclusion(LIMIT)?)
    };
    let budgets = Budgets { flows: Some(1.10), ..Budgets::default() };
    side_by_side(place, report, "400,000 datagrams sent and taken", budgets, once)
}

fn elapsed(account: &Value) -> Result<Duration> {
    Ok(Duration::from_nanos(account.get("elapsed_ns").and_then(Value::as_u64).context("no elapsed_ns")?))
}

pub fn side_by_side(
    place: &Place,
    report: &mut Report,
    what: &str,
    budgets: Budgets,
    once: impl Fn() -> Result<Duration>,
) -> Result<()> {
    once().context("a first run, to warm up")?;
    for watcher in watchers(place, budgets)? {
        let (mut bare, mut observed, mut ratios, mut shares) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Which comes first changes, too.
            if round % 2 == 0 {
                bare.push(once()?.as_secs_f64());
            }
            let (took, share) = watched(&watcher, &once)?;
            observed.push(took.as_secs_f64());
            shares.push(share);
            if round % 2 == 1 {
                bare.push(once()?.as_secs_f64());
            }
        }
        if let Some([bare_median, ..]) = median::of(&bare) {
            ratios.extend(observed.iter().map(|took| took / bare_median));
        }
        report.add("nobody", what, "s", &bare, None);
        report.add(watcher.who, format!("{what}, slowdown"), "x", &ratios, watcher.slowdown);
        report.add(watcher.who, format!("{what}, CPU of the observer"), "%", &shares, watcher.cpu);
    }
    Ok(())
}

/// The workload while somebody observes: how long it took, and the observer's share of a CPU meanwhile, in percent.
fn watched(watcher: &Watcher, once: impl Fn() -> Result<Duration>) -> Result<(Duration, f64)> {
    let mut command = (watcher.command)();
    if watcher.in_terminal {
        let mut console = Console::run(command, 50, 200)?;
        let pid = console.pid();
        if ["flows", "overview"].contains(&watcher.who) {
            console.wait_until("programs are attached", LIMIT, |_| attached(pid))?;
        }
        measured(pid, once)
    } else {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start fluoro")?;
        let pid = child.id();
        let deadline = Instant::now() + LIMIT;
        while !attached(pid) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        ensure!(attached(pid), "fluoro observe attached nothing");
        let result = measured(pid, once);
        let _ = child.kill();
        let _ = child.wait();
        result
    }
}

fn attached(pid: u32) -> bool {
    witness::bpf_ids_held(pid).iter().any(|(kind, _)| *kind == BpfKind::Link)
}

fn measured(pid: u32, once: impl Fn() -> Result<Duration>) -> Result<(Duration, f64)> {
    // What the start costs is not the question here: the last programs are attached when the first have long been.
    thread::sleep(Duration::from_secs(4));
    let before = witness::run_time(pid).context("the observer is gone")?;
    let begun = Instant::now();
    let took = once()?;
    // What a workload says that it took may be of a larger one.
    let elapsed = begun.elapsed();
    let after = witness::run_time(pid).context("the observer is gone")?;
    Ok((took, 100.0 * after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64()))
}
