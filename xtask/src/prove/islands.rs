//! `--all-netns`: namespaces that come after fluoro are seen with theirs, each apart although addresses, ports and ids are
//! the same; what passes through is counted once; when fluoro ends, no socket is left in them.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use crate::workload::actor::Actor;
use crate::workload::island::{DATAGRAMS, FAR_PORT, name};

/// IPv4 and UDP.
const HEADERS: u64 = 20 + 8;

struct Island {
    actor: Actor,
    netns: u64,
    port: u16,
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(200, 10) as u16;
    let filter = "name:*.island.fluoro.test";
    let watch = Observer::start(place, &["dns"], &["--all-netns", "-f", filter], Keep::Raw)?;
    let top = Top::start(place, "flows", &["--all-netns", "-f", "wire:true", "-d", "500ms"])?;
    top.next()?;
    let mut islands = Vec::new();
    for port in [1001, 1002] {
        let actor = Actor::start(&place.xtask, &["island", &count.to_string(), &u16::to_string(&port)])?;
        let netns =
            actor.hear(place.patience(10))?.get("netns").and_then(Value::as_u64).context("no netns")?;
        islands.push(Island { actor, netns, port });
    }
    for island in &islands {
        wait_for_sockets(place, island.actor.pid(), 2)?;
    }
    // The kernel side counts from the moment on where it has the addresses, told in the look that opened the socket.
    while top.waiting().is_some() {}
    top.next()?;
    for island in &mut islands {
        island.actor.tell("go")?;
    }
    for island in &islands {
        island.actor.hear(place.patience(30))?;
    }
    let due = u64::from(count) * 4;
    let deadline = Instant::now() + place.patience(10);
    while watch.lines() < due && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    for island in &islands {
        judge_wire(checks, &top, island, u64::from(count))?;
    }
    drop(top);
    let observed = watch.finish()?;
    observed.check_books(checks, &["dns"])?;
    checks.equal("lines in all", due, observed.raw.len() as u64);
    for island in &islands {
        judge_names(checks, &observed.raw, island, count);
        wait_for_sockets(place, island.actor.pid(), 0).context("after fluoro's end")?;
    }
    islands.into_iter().try_for_each(|mut island| island.actor.end(place.patience(10)))
}

/// Packet sockets of the namespace that a process is in, as the kernel lists them.
fn wait_for_sockets(place: &Place, pid: u32, due: usize) -> Result<()> {
    let deadline = Instant::now() + place.patience(20);
    loop {
        let listed =
            fs::read_to_string(format!("/proc/{pid}/net/packet")).context("read /proc/PID/net/packet")?;
        let sockets = listed.lines().skip(1).count();
        if sockets == due {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{sockets} packet sockets in the namespace of {pid} instead of {due}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn netns(line: &Value) -> Option<u64> {
    line.pointer("/network/namespace/inode")?.as_u64()
}

fn judge_wire(checks: &mut Checks, top: &Top, island: &Island, count: u64) -> Result<()> {
    const TABLES: usize = 60;
    let number =
        |row: &Value, key: &str| row.pointer(&format!("/flow/{key}")).and_then(Value::as_u64).unwrap_or(0);
    let (mut seen, mut ports) = ([0; 4], Vec::new());
    let due = [count, count * (DATAGRAMS.0 as u64 + HEADERS), count, count * (DATAGRAMS.1 as u64 + HEADERS)];
    // What comes last is in the table after.
    for _ in 0..TABLES {
        let table = top.next()?;
        let here: Vec<&Value> =
            rows(&table).into_iter().filter(|row| netns(row) == Some(island.netns)).collect();
        let port =
            |row: &&Value, side: &str| row.pointer(&format!("/network/{side}/port")).and_then(Value::as_u64);
        ports = here.iter().map(|row| (port(row, "local"), port(row, "peer"))).collect();
        if let [row] = here.as_slice() {
            seen = ["tx_packets", "tx_bytes", "rx_packets", "rx_bytes"].map(|key| number(row, key));
        }
        if seen == due {
            break;
        }
    }
    let port = island.port;
    checks.equal(
        format!("{port}: ports of what passes through"),
        format!("{:?}", [(Some(port), Some(FAR_PORT))]),
        format!("{ports:?}"),
    );
    checks.equal(
        format!("{port}: packets and bytes there, and back"),
        format!("{due:?}"),
        format!("{seen:?}"),
    );
    Ok(())
}

/// Each name was asked for and answered once, by the process of this namespace.
fn judge_names(checks: &mut Checks, lines: &[Value], island: &Island, count: u16) {
    let mut told: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for line in lines.iter().filter(|line| netns(line) == Some(island.netns)) {
        let text = |at: &str| line.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        told.entry((text("/dns/question/name"), text("/event_name"))).or_default().push(line);
    }
    let mut wrong = Vec::new();
    for event in ["dns.query", "dns.response"] {
        for round in 0..count {
            let lines = told.remove(&(name(round), event.to_owned())).unwrap_or_default();
            let own = |line: &&&Value| {
                line.pointer("/process/pid").and_then(Value::as_u64) == Some(u64::from(island.actor.pid()))
                    && line.pointer("/dns/attribution").and_then(Value::as_str) == Some("exact")
                    && line.pointer("/dns/id").and_then(Value::as_u64) == Some(u64::from(round))
            };
            if lines.len() != 1 || lines.iter().filter(own).count() != 1 {
                wrong.push(format!("{event} of {}: {lines:?}", name(round)));
            }
        }
    }
    wrong.extend(told.keys().map(|(name, event)| format!("{event} of {name}, which was not asked for")));
    checks.none(format!("{}: questions and answers that are not told once, as its own", island.port), &wrong);
}
