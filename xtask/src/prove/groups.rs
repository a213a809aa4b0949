//! `top flows --by`: connections taken together by process, owner, peer and port come to what their programs say, and
//! stand in the order that is asked for.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::top::{Top, rows};
use crate::workload::actor::Actor;
use crate::workload::exchange::Account;

/// Connections of each pair of processes, and what the first of them carries one way.
const CROWDS: [(u32, u32); 3] = [(30, 500), (20, 3_000), (10, 1_000)];

/// What groups can be ordered by, and where that stands in a row.
const ORDERS: [(&str, &str); 5] = [
    ("connections", "/flow/group/connections"),
    ("rx", "/flow/rx_bytes_per_s"),
    ("tx_bytes", "/flow/tx_bytes"),
    ("retransmits", "/flow/retransmits"),
    ("rtt", "/flow/rtt/p50_ns"),
];

/// Connections, bytes sent, bytes received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums(u64, u64, u64);

impl Sums {
    fn add(&mut self, account: &Account) {
        self.0 += 1;
        self.1 += account.tx_bytes;
        self.2 += account.rx_bytes;
    }

    fn of(row: &Value) -> Self {
        let number = |at: &str| row.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        Self(number("/flow/group/connections"), number("/flow/tx_bytes"), number("/flow/rx_bytes"))
    }
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let mut actors = Vec::new();
    let mut ports = Vec::new();
    let mut accounts: Vec<(u64, Account)> = Vec::new();
    for (count, bytes) in CROWDS {
        let actor = Actor::start(&place.xtask, &["hold", &count.to_string(), &bytes.to_string()])?;
        let told = actor.hear(place.patience(20))?;
        let port = told.get("port").and_then(Value::as_u64).context("no port")?;
        for side in ["clients", "servers"] {
            let list = told.get(side).and_then(Value::as_array).with_context(|| format!("no {side}"))?;
            for value in list {
                accounts.push((port, Account::from_json(value).context("not an account")?));
            }
        }
        ports.push(port.to_string());
        actors.push(actor);
    }
    let filter = format!("port:{} !state:listen", ports.join(","));

    let sums = |key: &dyn Fn(u64, &Account) -> String| {
        let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
        for (port, account) in &accounts {
            sums.entry(key(*port, account)).or_default().add(account);
        }
        sums
    };
    let ways: [(&str, &str, BTreeMap<String, Sums>); 4] = [
        ("process", "/process/pid", sums(&|_, account| account.pid.to_string())),
        ("port", "/server/port", sums(&|port, _| port.to_string())),
        ("peer", "/network/peer/address", sums(&|_, account| account.peer.ip().to_string())),
        // All of them are where this program is.
        ("owner", "/flow/group/owner", sums(&|_, _| String::new())),
    ];
    for (by, key, expected) in &ways {
        for (sort, at) in ORDERS.iter().filter(|(sort, _)| *by == "process" || *sort == "rtt") {
            let found = ask(place, &filter, by, sort)?;
            let mut told: BTreeMap<String, Sums> = BTreeMap::new();
            for row in &found {
                let name = match row.pointer(key) {
                    Some(Value::String(text)) if *by != "owner" => text.clone(),
                    Some(Value::Number(number)) => number.to_string(),
                    _ => String::new(),
                };
                told.insert(name, Sums::of(row));
            }
            checks.equal(
                format!("by {by}, ordered by {sort}: connections, tx, rx of each"),
                format!("{expected:?}"),
                format!("{told:?}"),
            );
            if *by == "peer" {
                times_of_a_peer(checks, &found);
            }
            let figures: Vec<f64> =
                found.iter().map(|row| row.pointer(at).and_then(Value::as_f64).unwrap_or(-1.0)).collect();
            checks.that(
                format!("by {by}: {sort} descends"),
                "from the largest to the smallest",
                format!("{figures:?}"),
                figures.is_sorted_by(|a, b| a >= b),
            );
        }
    }
    for mut actor in actors {
        actor.tell("close")?;
        actor.conclusion(place.patience(20))?;
    }
    Ok(())
}

fn times_of_a_peer(checks: &mut Checks, peers: &[Value]) {
    let quantiles = |at: &str| peers.first().and_then(|row| row.pointer(at)).and_then(Value::as_u64);
    let of_rtt = ["p50_ns", "p90_ns", "p99_ns"].map(|name| quantiles(&format!("/flow/rtt/{name}")));
    checks.that(
        "a peer's round-trip times",
        "p50, p90 and p99, in this order",
        format!("{of_rtt:?}"),
        of_rtt.iter().all(|ns| ns.is_some_and(|ns| ns > 0)) && of_rtt.is_sorted(),
    );
}

/// The groups of one interval.
fn ask(place: &Place, filter: &str, by: &str, sort: &str) -> Result<Vec<Value>> {
    let args = ["--by", by, "--sort", sort, "-f", filter, "--count", "1", "-d", "300ms", "--rows", "1000"];
    let objects = Top::start(place, "flows", &args)?.rest()?;
    Ok(objects.iter().flat_map(rows).cloned().collect())
}
