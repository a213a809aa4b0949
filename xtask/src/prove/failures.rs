//! What goes wrong, each under its own reason and once per occurrence: events of `observe`, rows of `top failures` and
//! the kernel's own counts beside each other.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use crate::workload::actor::Actor;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = u64::from(place.scaled(100, 10));
    let mut actor = Actor::start(&place.xtask, &["trouble", &count.to_string()])?;
    actor.hear(place.patience(10))?;
    let pid = actor.pid();
    let filter = format!("pid:{pid}");
    let top = Top::start(place, "failures", &["-f", &filter, "-d", "500ms"])?;
    top.next()?;
    let flows = Top::start(place, "flows", &["-f", &filter, "-d", "500ms"])?;
    flows.next()?;
    let watch = Observer::start(place, &["flow"], &["-f", &filter], Keep::Raw)?;
    actor.tell("go")?;
    let account = actor.hear(place.patience(60))?;
    // One more look at the socket table.
    let mut told = top.gather(place.patience(2))?;
    told.extend(top.gather(place.patience(1))?);
    let tables = flows.gather(place.patience(1))?;
    actor.tell("end")?;
    let observed = watch.finish()?;
    observed.check_books(checks, &["flow"])?;
    checks.equal("lost", 0, observed.books("flow")?.lost);

    let number = |at: &str| account.pointer(at).and_then(Value::as_u64).with_context(|| format!("no {at}"));
    let events = |name: &str, wanted: &dyn Fn(&Value) -> bool| {
        observed.raw.iter().filter(|line| text(line, "/event_name") == name && wanted(line)).count() as u64
    };
    let last = |kind: &str, at: &str, port: u64| {
        told.iter().flat_map(rows).rfind(|row| {
            text(row, "/failure/kind") == kind && row.pointer(at).and_then(Value::as_u64) == Some(port)
        })
    };
    let total = |row: Option<&Value>| {
        row.and_then(|row| row.pointer("/failure/total")).and_then(Value::as_u64).unwrap_or(0)
    };
    let of_us = |row: Option<&Value>| {
        row.and_then(|row| row.pointer("/process/pid")).and_then(Value::as_u64) == Some(u64::from(pid))
    };

    let port = number("/refused_port")?;
    let refused = |line: &Value| port_is(line, "peer", port) && text(line, "/error/type") == "ECONNREFUSED";
    checks.equal("refused: flow.fail", count, events("flow.fail", &refused));
    checks.equal("refused: resets", 0, events("flow.reset", &|line| port_is(line, "peer", port)));
    let row = last("connect", "/network/peer/port", port);
    checks.equal("refused: total in top failures", count, total(row));
    checks.equal("refused: process in top failures", true, of_us(row));
    let why = text(row.unwrap_or(&Value::Null), "/error/type");
    checks.equal("refused: error in top failures", "ECONNREFUSED", why);

    let tried = account.get("unreachable").and_then(Value::as_array).context("no unreachable")?;
    checks.equal("without a way: attempts", 2 * count, tried.len() as u64);
    let known = Doctor::known(place)?.unsupported("flow_unstarted");
    if let Some(why) = &known {
        checks.note(format!("doctor: flow_unstarted is unsupported here: {why}"));
    }
    for address in ["192.0.2.1", "2001:db8::1"] {
        let code = tried.iter().find(|one| one.get(0).and_then(Value::as_str) == Some(address));
        let code = code.and_then(|one| one.get(1)?.as_i64()).context("no error")?;
        let error = format!("{:?}", nix::errno::Errno::from_raw(code as i32));
        let failed = |line: &Value| {
            text(line, "/network/peer/address") == address
                && port_is(line, "peer", 7)
                && text(line, "/error/type") == error
                && text(line, "/flow/attribution") == "exact"
        };
        let due = if known.is_none() { count } else { 0 };
        checks.equal(
            format!("without a way to {address}: flow.fail with {error}"),
            due,
            events("flow.fail", &failed),
        );
    }

    for (what, at) in [("SO_LINGER of 0", "/aborting_port"), ("closed with data unread", "/unread_port")] {
        let port = number(at)?;
        for (side, word) in [("local", "sent"), ("peer", "received")] {
            let resets = |line: &Value| port_is(line, side, port) && text(line, "/flow/reset") == word;
            checks.equal(format!("{what}: flow.reset {word}"), count, events("flow.reset", &resets));
            let end = format!("reset_{word}");
            let ended = |line: &Value| port_is(line, side, port) && text(line, "/flow/end") == end;
            checks.equal(format!("{what}: flow.close with end {end}"), count, events("flow.close", &ended));
            let row = last(&end, &format!("/network/{side}/port"), port);
            checks.equal(format!("{what}: {end} in top failures"), count, total(row));
            checks.equal(format!("{what}: process of {end} in top failures"), true, of_us(row));
        }
    }

    let (port, retransmits) = (number("/resent/port")?, number("/resent/retransmits")?);
    let resent = |line: &Value| port_is(line, "local", port) && text(line, "/flow/direction") == "outbound";
    checks.at_least("segments sent again, by the kernel's count", 2, retransmits);
    checks.equal("dropped by a filter: flow.retransmit", retransmits, events("flow.retransmit", &resent));

    let port = number("/full/port")?;
    let row = last("listen_drop", "/network/local/port", port);
    checks.at_least("full queue: listen_drop", count, total(row));
    let flooded = number("/flooded/port")?;
    let dropped = total(row) + total(last("listen_drop", "/network/local/port", flooded));
    checks.equal("listen_drop of both listeners, by ListenDrops", number("/drops")?, dropped);
    checks.equal("full queue: process", true, of_us(row));

    // Over kprobes what answers a segment is not seen.
    let port = number("/stray/port")?;
    let live =
        Doctor::known(place)?.program("flow_reset_sent").is_some_and(|program| program.status == "live");
    let strays = |line: &Value| {
        port_is(line, "local", port)
            && text(line, "/flow/reset") == "sent"
            && text(line, "/flow/direction") == "inbound"
            && text(line, "/network/peer/address").starts_with("10.9.")
            && of_us(Some(line))
    };
    let sent = number("/stray/resets")?;
    checks.at_least("stray acknowledgements: resets, by OutRsts", count, sent);
    let due = if live { sent } else { 0 };
    checks.equal("stray acknowledgements: flow.reset of the listener", due, events("flow.reset", &strays));
    let row = last("reset_sent", "/network/local/port", port);
    checks.equal("stray acknowledgements: process in top failures", live, of_us(row));

    let row = last("syn_flood", "/network/local/port", flooded);
    let half_open = number("/flooded/half_open")?;
    checks.at_least("half-open requests, by /proc/net/tcp", 8, half_open);
    checks.equal("flood: requests in top failures", half_open, total(row));
    checks.equal("flood: process", true, of_us(row));
    let synacks = |line: &Value| {
        port_is(line, "local", flooded) && text(line, "/network/connection/state") == "syn_received"
    };
    checks.at_least("flood: flow.retransmit of SYN-ACKs", 1, events("flow.retransmit", &synacks));
    let of_listener = |row: &&Value| port_is(row, "local", flooded);
    let shown = tables.iter().flat_map(rows).filter(of_listener);
    let most = shown.filter_map(|row| row.pointer("/flow/listen/half_open")?.as_u64()).max();
    checks.equal("flood: half_open of its row in top flows", half_open, most.unwrap_or(0));
    Ok(())
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn port_is(value: &Value, side: &str, port: u64) -> bool {
    value.pointer(&format!("/network/{side}/port")).and_then(Value::as_u64) == Some(port)
}
