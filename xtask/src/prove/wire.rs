//! What two containers say to each other over a bridge: the namespace with the bridge has no socket in it, and lists it
//! once, with as many bytes as the application sent and its headers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::identity::Scratch;
use super::top::{Top, rows};
use crate::workload::actor::Actor;
use crate::workload::wire::{DATAGRAMS, STREAM};

/// IPv4 and UDP.
const OF_DATAGRAM: u64 = 20 + 8;
/// IPv4, and TCP with time stamps; a SYN has eight bytes of options more.
const OF_SEGMENT: u64 = 20 + 32;
const OF_SYN: u64 = 8;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(500, 20);
    let mut actor = Actor::start(&place.xtask, &["wire", &count.to_string()])?;
    actor.hear(place.patience(20))?;
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
    actor.tell("go")?;
    let account = actor.hear(place.patience(30))?;
    let port = |key: &str| account.get(key).and_then(Value::as_u64).context("no port");
    let (udp, tcp) = (port("udp")?, port("tcp")?);
    let table = settled(&top)?;
    let all = rows(&table);
    checks.equal("conversations that pass through", 2, all.len());
    let find = |port: u64| {
        let here = |row: &&&Value| row.pointer("/network/local/port").and_then(Value::as_u64) == Some(port);
        all.iter().find(here).map_or(&Value::Null, |row| *row)
    };
    let number =
        |row: &Value, key: &str| row.pointer(&format!("/flow/{key}")).and_then(Value::as_u64).unwrap_or(0);
    let row = find(udp);
    let datagrams = u64::from(count);
    checks.equal("udp: packets there", datagrams, number(row, "tx_packets"));
    checks.equal("udp: packets back", datagrams, number(row, "rx_packets"));
    checks.equal("udp: bytes there", datagrams * (DATAGRAMS.0 as u64 + OF_DATAGRAM), number(row, "tx_bytes"));
    checks.equal("udp: bytes back", datagrams * (DATAGRAMS.1 as u64 + OF_DATAGRAM), number(row, "rx_bytes"));
    let row = find(tcp);
    for (way, bytes, packets) in
        [("tx", STREAM.0, number(row, "tx_packets")), ("rx", STREAM.1, number(row, "rx_packets"))]
    {
        checks.at_least(format!("tcp {way}: packets"), (bytes / 1460) as u64 + 2, packets);
        let due = bytes as u64 + packets * OF_SEGMENT + OF_SYN;
        checks.equal(
            format!("tcp {way}: bytes of the stream and of headers"),
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
    checks.none("rows that are not marked, or have a process", &strange);
    actor.end(place.patience(10))
}

/// The table once nothing is added to it any more.
fn settled(top: &Top) -> Result<Value> {
    const TABLES: usize = 60;
    let bytes = |table: &Value| -> u64 {
        rows(table).iter().filter_map(|row| row.pointer("/flow/tx_bytes").and_then(Value::as_u64)).sum()
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
