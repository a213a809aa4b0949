//! Datagrams in every way they can be sent and taken: each flow is told once with its process, and its counts are those
//! of the program.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::observer::{Keep, Observer};
use crate::workload::actor::Actor;

pub type Ends = (SocketAddr, SocketAddr);

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(300, 20).to_string();
    let mut actor = Actor::start(&place.xtask, &["datagrams", &count])?;
    let pid = actor.pid();
    let netns = actor.hear(place.patience(10))?.get("netns").and_then(Value::as_u64).context("no netns")?;
    let watch =
        Observer::start(place, &["flow"], &["-f", &format!("netns:{netns} !transport:tcp")], Keep::Raw)?;
    actor.tell("go")?;
    let account = actor.hear(place.patience(30))?;
    let flows = account.get("flows").and_then(Value::as_array).context("no flows")?;
    // All but the one that is held end with their sockets, by the second look at the latest.
    let due = 2 * flows.len() as u64 - 1;
    let deadline = Instant::now() + place.patience(4);
    while watch.lines() < due && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let observed = watch.finish()?;
    actor.end(place.patience(10))?;
    observed.check_books(checks, &["flow"])?;
    checks.equal("lost", 0, observed.books("flow")?.lost);

    let mut opens: BTreeMap<Ends, Vec<&Value>> = BTreeMap::new();
    let mut closes: BTreeMap<Ends, Vec<&Value>> = BTreeMap::new();
    let mut pings = Vec::new();
    for line in &observed.raw {
        let text = |at: &str| line.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let Some(ends) = ends(line) else { continue };
        match (text("/network/transport"), text("/event_name")) {
            ("udp", "flow.open") => opens.entry(ends).or_default().push(line),
            ("udp", "flow.close") => closes.entry(ends).or_default().push(line),
            ("icmp", "flow.close") => pings.push(line),
            _ => {}
        }
    }
    // Where no hook tells from whom a socket received, the sum of what it did is a flow of its own.
    let estimated: Vec<&Value> =
        closes.values().flatten().copied().filter(|line| line.pointer("/flow/estimated").is_some()).collect();
    let mut by_case: BTreeMap<&str, Case> = BTreeMap::new();
    for flow in flows {
        let text = |key: &str| flow.get(key).and_then(Value::as_str).context("no text");
        let ends: Ends = (text("local")?.parse()?, text("peer")?.parse()?);
        let case = by_case.entry(text("case")?).or_default();
        let opened = opens.remove(&ends).unwrap_or_default();
        let closed = closes.remove(&ends).unwrap_or_default();
        let of_port = |line: &&&Value| {
            line.pointer("/network/local/port").and_then(Value::as_u64) == Some(u64::from(ends.0.port()))
        };
        let lines = opened.iter().chain(&closed);
        let due = text("case")?.split(' ').next().filter(|word| word.ends_with("cast")).unwrap_or("unicast");
        case.strangers.extend(
            lines
                .filter(|line| line.pointer("/flow/cast").and_then(Value::as_str) != Some(due))
                .map(ToString::to_string),
        );
        let unnamed: Vec<&Value> = estimated.iter().filter(of_port).copied().collect();
        if unnamed.is_empty() {
            case.judge(flow, &opened, &closed, pid);
        } else {
            case.judge_part(flow, &opened, &closed, &unnamed);
        }
    }
    for (name, case) in &by_case {
        checks.equal(format!("{name}: flows told once, with their process"), case.flows, case.told);
        checks.none(format!("{name}: counts that are not the program's"), &case.wrong());
        checks.none(
            format!("{name}: flows that are not told as what they are: to one, several or all"),
            &case.strangers,
        );
    }
    let named = |line: &&&Value| line.pointer("/network/peer/port").and_then(Value::as_u64) != Some(0);
    let foreign: Vec<String> =
        opens.values().chain(closes.values()).flatten().filter(named).map(ToString::to_string).collect();
    checks.none("flows that the program did not have", &foreign);
    if !estimated.is_empty() {
        checks.note(format!(
            "{} flows are estimated: the hook in use does not tell from whom a socket received",
            estimated.len()
        ));
    }
    let of_udp = || {
        let is = |line: &&Value| line.pointer("/network/transport").and_then(Value::as_str) == Some("udp");
        observed.raw.iter().filter(is)
    };
    let ended = |by: &str| {
        let of = |line: &&Value| line.pointer("/flow/end").and_then(Value::as_str) == Some(by);
        of_udp().filter(of).count() as u64
    };
    let opened =
        of_udp().filter(|line| line.pointer("/event_name").and_then(Value::as_str) == Some("flow.open"));
    checks.equal("flows that ended with their socket", opened.count() as u64 - 1, ended("socket"));
    checks.equal("flows that ended with fluoro", 1, ended("observer"));
    let quic = |line: &&Value| line.pointer("/network/protocol/name").and_then(Value::as_str) == Some("quic");
    checks.equal(
        "lines of QUIC",
        if estimated.is_empty() { 4 } else { 2 },
        of_udp().filter(quic).count() as u64,
    );
    if let Some(packets) = account.pointer("/ping/packets").and_then(Value::as_u64) {
        let bytes = account.pointer("/ping/bytes").and_then(Value::as_u64).context("no bytes")?;
        let sum = |key: &str| {
            pings.iter().filter_map(|line| line.pointer(&format!("/flow/{key}"))?.as_u64()).sum::<u64>()
        };
        checks.equal("echo requests", packets, sum("tx_packets"));
        checks.equal("bytes of echo requests", bytes, sum("tx_bytes"));
        let blind = sum("rx_packets") == 0;
        checks.equal("echo replies", if blind { 0 } else { packets }, sum("rx_packets"));
        if blind {
            checks.note("the hook in use does not see what ping sockets receive");
        }
    }
    Ok(())
}

#[derive(Default)]
struct Case {
    flows: u64,
    told: u64,
    wrong: Vec<String>,
    strangers: Vec<String>,
    /// Bytes taken at a port, and those told of it.
    sums: BTreeMap<u64, (u64, u64)>,
}

/// A figure of a flow; 0 where there is none.
pub fn number(line: &Value, key: &str) -> u64 {
    line.pointer(&format!("/flow/{key}")).and_then(Value::as_u64).unwrap_or(0)
}

impl Case {
    fn judge(&mut self, flow: &Value, opened: &[&Value], closed: &[&Value], pid: u32) {
        let owned = |line: &Value| {
            line.pointer("/process/pid").and_then(Value::as_u64) == Some(u64::from(pid))
                && line.pointer("/flow/attribution").and_then(Value::as_str) == Some("exact")
        };
        self.flows += 1;
        if let ([open], [close]) = (opened, closed)
            && owned(open)
            && owned(close)
            && open.pointer("/flow/id") == close.pointer("/flow/id")
        {
            self.told += 1;
        }
        self.compare(flow, closed, &["tx_packets", "tx_bytes", "rx_packets", "rx_bytes"]);
    }

    /// What it sent is told by peer, what it received is not.
    fn judge_part(&mut self, flow: &Value, opened: &[&Value], closed: &[&Value], unnamed: &[&Value]) {
        let sends = flow.get("tx_packets").and_then(Value::as_u64) > Some(0);
        if sends {
            self.flows += 1;
            self.told += u64::from(opened.len() == 1 && closed.len() == 1);
        }
        self.compare(flow, closed, &["tx_packets", "tx_bytes"]);
        let port = unnamed.iter().find_map(|line| line.pointer("/network/local/port")?.as_u64()).unwrap_or(0);
        let told = unnamed.iter().map(|line| number(line, "rx_bytes")).sum();
        let sum = self.sums.entry(port).or_default();
        *sum = (sum.0 + flow.get("rx_bytes").and_then(Value::as_u64).unwrap_or(0), told);
    }

    fn compare(&mut self, flow: &Value, closed: &[&Value], keys: &[&str]) {
        for key in keys {
            let due = flow.get(*key).and_then(Value::as_u64).unwrap_or(0);
            let told: u64 = closed.iter().map(|line| number(line, key)).sum();
            if told != due {
                self.wrong.push(format!("{key} {told} instead of {due}: {flow}"));
            }
        }
    }

    fn wrong(&self) -> Vec<String> {
        let sums = self.sums.iter().filter(|(_, (due, told))| due != told);
        let sums = sums.map(|(port, (due, told))| format!("rx_bytes {told} instead of {due} at port {port}"));
        self.wrong.iter().cloned().chain(sums).collect()
    }
}

/// This side's end and the other.
pub fn ends(line: &Value) -> Option<Ends> {
    let side = |side: &str| {
        let address = line.pointer(&format!("/network/{side}/address"))?.as_str()?.parse().ok()?;
        let port = line.pointer(&format!("/network/{side}/port"))?.as_u64()?;
        Some(SocketAddr::new(address, u16::try_from(port).ok()?))
    };
    Some((side("local")?, side("peer")?))
}
