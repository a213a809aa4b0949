//! Where no hook tells of connections and datagrams, packets do: what a program sent to each of its peers is in the row of
//! that end, with every header, whichever program sees the packets; and no connection is told by the socket table and by
//! packets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::top::{Top, rows};
use super::udp::{Ends, ends, number};
use crate::workload::actor::Actor;

/// What was sent from one end to the other.
type Sent = BTreeMap<Ends, (u64, u64)>;

const UDP: u64 = 8;
/// TCP with time stamps; a SYN has eight bytes of options more.
const TCP: u64 = 32;
const OF_SYN: u64 = 8;

/// Bytes that a client sends, and that come back.
const ASKED: usize = 300;
const ANSWERED: usize = 15_000;

/// Tables until nothing more is awaited.
const TABLES: usize = 40;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    for way in ["packet_socket", "cgroup"] {
        let hook = format!("dns_packet={way}");
        let args = ["--btf", "none", "--all-netns", "--hook", &hook, "-d", "500ms"];
        let top = Top::start(place, "flows", &args)?;
        top.next()?;
        // Nothing tells that it has begun, nor of its namespace: both are found when they are looked for.
        let mut actor = Actor::start(&place.xtask, &["datagrams", &place.scaled(300, 20).to_string()])?;
        let pid = actor.pid();
        actor.hear(place.patience(10))?;
        while top.waiting().is_some() {}
        top.next()?;
        top.next()?;
        actor.tell("go")?;
        let account = actor.hear(place.patience(30))?;
        datagrams(checks, way, &top, &sent(&account)?, pid)?;
        actor.end(place.patience(10))?;
        connections(place, checks, way, &top)?;
    }
    Ok(())
}

fn sent(account: &Value) -> Result<Sent> {
    let mut sent = Sent::new();
    for flow in account.get("flows").and_then(Value::as_array).context("no flows")? {
        let text = |key: &str| flow.get(key).and_then(Value::as_str).context("no text");
        let number = |key: &str| flow.get(key).and_then(Value::as_u64).unwrap_or(0);
        let ends: Ends = (text("local")?.parse()?, text("peer")?.parse()?);
        if number("tx_packets") > 0 {
            let held = sent.entry(ends).or_default();
            *held = (held.0 + number("tx_packets"), held.1 + number("tx_bytes"));
        }
    }
    Ok(sent)
}

/// The table in which all of these rows have grown to what was sent, or the last that was waited for.
fn datagrams(checks: &mut Checks, way: &str, top: &Top, sent: &Sent, pid: u32) -> Result<()> {
    // Without BTF the other cannot tell whose namespace a socket is in.
    let owners = usize::from(way == "packet_socket");
    let mut wrong = vec![];
    let mut owned = 0;
    for _ in 0..TABLES {
        let table = top.next()?;
        let told = by_ends(&table, "udp");
        let of = |ends: &Ends| told.get(ends).and_then(|rows| rows.first()).copied().unwrap_or(&Value::Null);
        wrong = sent
            .iter()
            .filter_map(|(ends, &(packets, bytes))| {
                let due = (packets, bytes + packets * (ip(ends) + UDP));
                let row = of(ends);
                let is = (number(row, "tx_packets"), number(row, "tx_bytes"));
                let marked = row.pointer("/flow/wire") == Some(&Value::Bool(true));
                (is != due || !marked || told.get(ends).map(Vec::len) != Some(1))
                    .then(|| format!("{ends:?}: {is:?} instead of {due:?}: {row}"))
            })
            .collect();
        let whose =
            |ends: &&Ends| of(ends).pointer("/process/pid").and_then(Value::as_u64) == Some(u64::from(pid));
        owned = owned.max(sent.keys().filter(whose).count());
        if wrong.is_empty() && owned >= owners {
            break;
        }
    }
    checks.at_least(format!("{way}: ends that sent datagrams"), 20, sent.len());
    checks.none(
        format!("{way}: whose packets and bytes are not those that were sent, once, and marked"),
        &wrong,
    );
    // All but one of the sockets are closed before anybody looks for who has them.
    checks.at_least(format!("{way}: with the process that has the socket still"), owners, owned);
    Ok(())
}

/// Connections that are over between two looks at the socket table.
fn connections(place: &Place, checks: &mut Checks, way: &str, top: &Top) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let server = listener.local_addr()?;
    let count = place.scaled(40, 10) as usize;
    let mut clients = vec![];
    for _ in 0..count {
        let mut client = TcpStream::connect(server).context("connect")?;
        let (mut served, _) = listener.accept().context("accept")?;
        clients.push(client.local_addr()?);
        client.write_all(&[1; ASKED]).context("ask")?;
        served.read_exact(&mut [0; ASKED]).context("read")?;
        served.write_all(&[2; ANSWERED]).context("answer")?;
        drop(served);
        client.read_to_end(&mut vec![]).context("read the answer")?;
    }
    let deadline = Instant::now() + place.patience(20);
    let mut last = 0;
    let (wrong, by_packets) = loop {
        let table = top.next()?;
        let told = by_ends(&table, "tcp");
        let (mut wrong, mut by_packets) = (vec![], 0);
        for &client in &clients {
            for (ends, due) in [((client, server), ASKED), ((server, client), ANSWERED)] {
                match told.get(&ends).map(Vec::as_slice) {
                    Some([row]) if row.pointer("/flow/wire").is_none() => {}
                    Some([row]) => {
                        by_packets += 1;
                        let packets = number(row, "tx_packets");
                        let due = due as u64 + packets * (ip(&ends) + TCP) + OF_SYN;
                        if packets == 0 || number(row, "tx_bytes") != due {
                            wrong.push(format!("{due} bytes: {row}"));
                        }
                    }
                    // What the socket table has told is shown once.
                    None if last > 0 => {}
                    other => wrong.push(format!("{ends:?}: {other:?}")),
                }
            }
        }
        if (wrong.is_empty() && by_packets == last && last > 0) || Instant::now() > deadline {
            break (wrong, by_packets);
        }
        last = by_packets;
    };
    checks.none(
        format!("{way}: ends of {count} connections that are not told once, with what they sent"),
        &wrong,
    );
    checks.at_least(format!("{way}: that only packets tell of"), count, by_packets);
    Ok(())
}

fn ip(ends: &Ends) -> u64 {
    if ends.0.is_ipv4() { 20 } else { 40 }
}

fn by_ends<'a>(table: &'a Value, transport: &str) -> BTreeMap<Ends, Vec<&'a Value>> {
    let mut by_ends: BTreeMap<Ends, Vec<&Value>> = BTreeMap::new();
    for row in rows(table) {
        if row.pointer("/network/transport").and_then(Value::as_str) == Some(transport)
            && let Some(ends) = ends(row)
        {
            by_ends.entry(ends).or_default().push(row);
        }
    }
    by_ends
}
