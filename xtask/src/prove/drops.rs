//! Packets that never arrived, each under its own reason with its count and its process; what arrived is not among them.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use crate::workload::actor::Actor;

/// What must be said of the packets to one port.
struct Case {
    key: &'static str,
    reasons: &'static [&'static str],
    /// Of a kernel that has no reasons: the function.
    function: &'static str,
    direction: &'static str,
    /// How the process is known.
    attribution: &'static str,
}

const CASES: &[Case] = &[
    Case {
        key: "closed",
        reasons: &["NO_SOCKET"],
        function: "__udp4_lib_rcv",
        direction: "receive",
        attribution: "inferred",
    },
    Case {
        key: "full",
        reasons: &["SOCKET_RCVBUFF"],
        function: "SOCKET_RCVBUFF",
        direction: "receive",
        attribution: "exact",
    },
    Case {
        key: "corrupt",
        reasons: &["UDP_CSUM"],
        function: "UDP_CSUM",
        direction: "receive",
        attribution: "inferred",
    },
    Case {
        key: "out",
        reasons: &["NETFILTER_DROP"],
        function: "NETFILTER_DROP",
        direction: "transmit",
        attribution: "exact",
    },
    Case {
        key: "in",
        reasons: &["NETFILTER_DROP"],
        function: "NETFILTER_DROP",
        direction: "receive",
        attribution: "inferred",
    },
];

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(500, 25).to_string();
    // Its socket is older than fluoro and its process, too; those of the packets are younger.
    let mut actor = Actor::start(&place.xtask, &["drops", &count])?;
    let pid = actor.pid();
    let netns = actor.hear(place.patience(10))?.get("netns").and_then(Value::as_u64).context("no netns")?;
    let top = Top::start(place, "failures", &["-f", &format!("kind:drop pid:{pid}"), "-d", "500ms"])?;
    top.next()?;
    let watch = Observer::start(place, &["drop"], &[], Keep::Events)?;
    let flows = Top::start(place, "flows", &["-f", &format!("netns:{netns}"), "-d", "500ms"])?;
    flows.next()?;
    actor.tell("go")?;
    let account = actor.hear(place.patience(20))?;
    let word = |key: &str, member: &str| account.pointer(&format!("/{key}/{member}")).and_then(Value::as_u64);
    // Who has a port is looked for while somebody has it.
    watch.settle_after(CASES.iter().filter_map(|case| word(case.key, "packets")).sum());
    let failures = totals(&top, |key| word(key, "packets"))?;
    actor.end(place.patience(10))?;
    let observed = watch.finish()?;
    observed.check_books(checks, &["drop"])?;
    checks.equal("lost", 0, observed.books("drop")?.lost);
    let ours: Vec<&Event> = observed.events.iter().filter(|event| event.netns == Some(netns)).collect();
    if let Some(reason) = account.get("nftables").and_then(Value::as_str) {
        checks.note(format!("no rule of nftables here: {reason}"));
    }
    for case in CASES {
        let port = word(case.key, "port").context("no port")?;
        let Some(packets) = word(case.key, "packets") else { continue };
        check(checks, case, &ours, port, packets, pid);
        if let Some(&total) = failures.get(case.key) {
            checks.equal(format!("{}: total in top failures", case.key), packets, total);
        }
    }
    verdicts(checks, &flows, &account)?;
    let fine = word("fine", "port").context("no port")?;
    let dropped: Vec<String> = ours
        .iter()
        .filter(|event| [event.local_port(), event.peer_port()].map(u64::from).contains(&fine))
        .map(|event| brief(event))
        .collect();
    checks.none("drops of what arrived", &dropped);
    Ok(())
}

/// What the sender's flows tell of its datagrams. What a rule refused on its way out was never sent, and no flow. The last
/// exchange is with the port from which nothing was dropped.
fn verdicts(checks: &mut Checks, flows: &Top, account: &Value) -> Result<()> {
    const TABLES: usize = 60;
    let cases = ["closed", "full", "in"];
    let number =
        |key: &str, member: &str| account.pointer(&format!("/{key}/{member}")).and_then(Value::as_u64);
    let sender = account.get("sender").and_then(Value::as_u64).context("no sender")?;
    let to = |table: &Value, port: u64| -> Option<Value> {
        let end = |row: &Value, of: &str| row.pointer(&format!("/network/{of}/port")).and_then(Value::as_u64);
        let of = |row: &&&Value| end(row, "local") == Some(sender) && end(row, "peer") == Some(port);
        rows(table).iter().find(of).map(|row| (*row).clone())
    };
    let dropped = |row: &Value| row.pointer("/flow/dropped/packets").and_then(Value::as_u64);
    let due: Vec<(&str, u64, u64)> =
        cases.iter().filter_map(|key| Some((*key, number(key, "port")?, number(key, "packets")?))).collect();
    let fine = number("fine", "port").context("no port")?;
    let mut table = flows.next()?;
    for _ in 0..TABLES {
        let told = |(_, port, packets): &(&str, u64, u64)| {
            to(&table, *port).as_ref().and_then(dropped).is_some_and(|count| count >= *packets)
        };
        if due.iter().all(told) && to(&table, fine).is_some() {
            break;
        }
        table = flows.next()?;
    }
    let word = |row: &Value, path: &str| row.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
    for (key, port, packets) in due {
        let case = CASES.iter().find(|case| case.key == key).context("no such case")?;
        let row = to(&table, port).unwrap_or_default();
        checks.equal(format!("{key}: verdict of the flow"), "dropped", word(&row, "/flow/verdict").as_str());
        checks.equal(format!("{key}: packets in it"), packets, dropped(&row).unwrap_or(0));
        let reason = word(&row, "/flow/dropped/reason");
        let right = case.reasons.contains(&reason.as_str()) || reason == case.function;
        checks.that(format!("{key}: reason in it"), case.reasons.join(" or "), &reason, right);
    }
    let row = to(&table, fine).context("no flow of what arrived")?;
    checks.equal("fine: verdict of the flow", "-", word(&row, "/flow/verdict").as_str());
    Ok(())
}

/// What the table of failures says in the end of the cases whose process the kernel side knows exactly: only those are in
/// it. The last table is the one after all are as many as due.
fn totals(top: &Top, due: impl Fn(&str) -> Option<u64>) -> Result<HashMap<&'static str, u64>> {
    const TABLES: usize = 60;
    let exact = CASES.iter().filter(|case| case.attribution == "exact");
    let due: Vec<(&Case, u64)> = exact.filter_map(|case| Some((case, due(case.key)?))).collect();
    let mut totals: HashMap<&str, u64> = due.iter().map(|(case, _)| (case.key, 0)).collect();
    for _ in 0..TABLES {
        let all = due.iter().all(|(case, packets)| totals.get(case.key) >= Some(packets));
        let table = top.next()?;
        for row in rows(&table) {
            let reason = row.pointer("/error/type").and_then(Value::as_str).unwrap_or_default();
            let total = row.pointer("/failure/total").and_then(Value::as_u64);
            if let Some((case, _)) = due.iter().find(|(case, _)| case.reasons.contains(&reason)) {
                totals.insert(case.key, total.unwrap_or(0));
            }
        }
        if all {
            break;
        }
    }
    Ok(totals)
}

fn check(checks: &mut Checks, case: &Case, ours: &[&Event], port: u64, packets: u64, pid: u32) {
    let Case { key, reasons, function, direction, attribution } = case;
    let to_port = |event: &&&Event| {
        let end = if *direction == "receive" { event.local_port() } else { event.peer_port() };
        u64::from(end) == port
    };
    let found: Vec<&Event> = ours.iter().filter(to_port).copied().collect();
    let right = |event: &&&Event| {
        let reason = event.reason.as_deref().unwrap_or_default();
        reasons.contains(&reason) || reason == *function
    };
    checks.equal(format!("{key}: packets under {}", reasons.join(" or ")), packets, {
        found.iter().filter(right).count() as u64
    });
    let others: Vec<String> = found.iter().filter(|event| !right(event)).map(|event| brief(event)).collect();
    checks.none(format!("{key}: packets under another reason"), &others);
    let wrong: Vec<String> = found
        .iter()
        .filter(|event| {
            event.pid != Some(pid)
                || event.drop_attribution.as_deref() != Some(attribution)
                || event.io_direction.as_deref() != Some(direction)
        })
        .map(|event| brief(event))
        .collect();
    checks.none(format!("{key}: wrong process, attribution or direction"), &wrong);
}

fn brief(event: &Event) -> String {
    format!(
        "{} {} {} at {} {}",
        event.reason.as_deref().unwrap_or("-"),
        event.drop_attribution.as_deref().unwrap_or("-"),
        event.io_direction.as_deref().unwrap_or("-"),
        event.location.as_deref().unwrap_or("-"),
        event.brief()
    )
}
