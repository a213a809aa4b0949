//! What two containers say to each other over a bridge: the namespace with the bridge has no socket in it, and lists it
//! once, with as many bytes as the application sent and its headers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::identity::Scratch;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use crate::workload::actor::Actor;
use crate::workload::wire::{CALL_PORT, DATAGRAMS, STREAM};

/// IPv4 and UDP.
const OF_DATAGRAM: u64 = 20 + 8;
/// IPv4, and TCP with time stamps; a SYN has eight bytes of options more.
const OF_SEGMENT: u64 = 20 + 32;
const OF_SYN: u64 = 8;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(500, 20);
    // Where it was started no packet passes through that is of the namespaces to come.
    let everywhere = Top::start(place, "flows", &["--all-netns", "-f", "wire:true", "-d", "500ms"])?;
    everywhere.next()?;
    let mut actor = Actor::start(&place.xtask, &["wire", &count.to_string()])?;
    let netns = actor.hear(place.patience(20))?.get("netns").and_then(Value::as_u64).context("no netns")?;
    let elsewhere = Top::start(place, "flows", &["-f", "wire:true", "-d", "500ms"])?;
    elsewhere.next()?;
    // fluoro where the bridge is.
    let scratch = Scratch::new("wire")?;
    let there = scratch.path.join("fluoro");
    let script = format!(
        "#!/bin/sh\nexec nsenter --net=/proc/{}/ns/net {} \"$@\"\n",
        actor.pid(),
        place.fluoro.display()
    );
    fs::write(&there, script).context("write the way into the namespace")?;
    fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).context("chmod")?;
    let there = Place { fluoro: there, ..place.clone() };
    let top = Top::start(&there, "flows", &["-f", "wire:true", "-d", "500ms"])?;
    // From the first look on the kernel side knows which addresses are here.
    top.next()?;
    // What was said before may wait; the one after the next begins and ends after now.
    while everywhere.waiting().is_some() {}
    everywhere.next()?;
    everywhere.next()?;
    let calls = format!("port:{CALL_PORT}");
    let watch = Observer::start(place, &["flow"], &["-f", &calls], Keep::Raw)?;
    actor.tell("go")?;
    let account = actor.hear(place.patience(30))?;
    let port = |key: &str| account.get(key).and_then(Value::as_u64).context("no port");
    let ports = [port("udp")?, port("tcp")?];
    let table = settled(&top, netns)?;
    judge(checks, "where the bridge is", &of_namespace(&table, netns), ports, u64::from(count));
    let table = settled(&everywhere, netns)?;
    judge(checks, "--all-netns", &of_namespace(&table, netns), ports, u64::from(count));
    let table = elsewhere.next()?;
    checks.equal("rows without --all-netns", 0, of_namespace(&table, netns).len());
    let talker = account.get("netns");
    let sent = watch.finish()?.raw;
    let cast: Vec<&str> = sent
        .iter()
        .filter(|line| line.pointer("/network/namespace/inode") == talker && talker.is_some())
        .filter(|line| line.pointer("/event_name").and_then(Value::as_str) == Some("flow.open"))
        .filter_map(|line| line.pointer("/flow/cast")?.as_str())
        .collect();
    checks.equal("a datagram to the subnet's broadcast address", "broadcast".to_owned(), cast.join(" "));
    actor.tell("part")?;
    actor.hear(place.patience(30)).context("the end of a namespace")?;
    checks.note("a namespace that fluoro looked into is gone with its last process");
    actor.end(place.patience(10))
}

/// Rows that were seen in a namespace, without what was sent to all: others may have theirs, with the same addresses.
fn of_namespace(table: &Value, netns: u64) -> Vec<&Value> {
    let call = Some(u64::from(CALL_PORT));
    let here = |row: &&Value| {
        row.pointer("/network/namespace/inode").and_then(Value::as_u64) == Some(netns)
            && row.pointer("/network/peer/port").and_then(Value::as_u64) != call
    };
    rows(table).into_iter().filter(here).collect()
}

/// One conversation in datagrams and one stream, each once.
fn judge(checks: &mut Checks, by: &str, all: &[&Value], [udp, tcp]: [u64; 2], datagrams: u64) {
    checks.equal(format!("{by}: conversations that pass through"), 2, all.len());
    let find = |port: u64| {
        let here = |row: &&&Value| row.pointer("/network/local/port").and_then(Value::as_u64) == Some(port);
        all.iter().find(here).map_or(&Value::Null, |row| *row)
    };
    let number =
        |row: &Value, key: &str| row.pointer(&format!("/flow/{key}")).and_then(Value::as_u64).unwrap_or(0);
    let row = find(udp);
    for (way, bytes) in [("tx", DATAGRAMS.0), ("rx", DATAGRAMS.1)] {
        checks.equal(format!("{by}: udp {way}: packets"), datagrams, number(row, &format!("{way}_packets")));
        let due = datagrams * (bytes as u64 + OF_DATAGRAM);
        checks.equal(format!("{by}: udp {way}: bytes"), due, number(row, &format!("{way}_bytes")));
    }
    let row = find(tcp);
    for (way, bytes, packets) in
        [("tx", STREAM.0, number(row, "tx_packets")), ("rx", STREAM.1, number(row, "rx_packets"))]
    {
        checks.at_least(format!("{by}: tcp {way}: packets"), (bytes / 1460) as u64 + 2, packets);
        let due = bytes as u64 + packets * OF_SEGMENT + OF_SYN;
        checks.equal(
            format!("{by}: tcp {way}: bytes of the stream and of headers"),
            due,
            number(row, &format!("{way}_bytes")),
        );
    }
    let strange: Vec<String> = all
        .iter()
        .filter(|row| {
            row.pointer("/flow/direction").and_then(Value::as_str) != Some("forwarded")
                || row.pointer("/flow/wire") != Some(&Value::Bool(true))
                || row.pointer("/flow/verdict").and_then(Value::as_str) != Some("forwarded")
                || row.get("process").is_some()
        })
        .map(ToString::to_string)
        .collect();
    checks.none(format!("{by}: rows that are not marked, or have a process"), &strange);
}

/// The table once nothing is added to it any more.
fn settled(top: &Top, netns: u64) -> Result<Value> {
    const TABLES: usize = 60;
    let bytes = |table: &Value| -> u64 {
        let each = |row: &&Value| row.pointer("/flow/tx_bytes").and_then(Value::as_u64);
        of_namespace(table, netns).iter().filter_map(each).sum()
    };
    let mut last = top.next()?;
    for _ in 0..TABLES {
        let next = top.next()?;
        if bytes(&next) > 0 && bytes(&next) == bytes(&last) {
            return Ok(next);
        }
        last = next;
    }
    Ok(last)
}
