//! Questions about names: each belongs to the process that asked, with what was answered and how long that took; the
//! connection that follows bears the name. Answers that lie or harm are told as such, and nothing else suffers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use super::{Place, witness};
use crate::workload::actor::Actor;
use crate::workload::dns::{SLOW, named};

/// Of the loopback, and nobody else's.
const SERVER: &str = "127.77.0.53";

/// In the cases: the address that names of the process that asks have.
const THERE: &str = "";

/// What must be said of the answer to a question that begins so.
struct Case {
    kind: &'static str,
    rcode: &'static str,
    addresses: &'static [&'static str],
    records: &'static [&'static str],
    malformed: bool,
}

const fn case(
    kind: &'static str,
    rcode: &'static str,
    addresses: &'static [&'static str],
    records: &'static [&'static str],
) -> Case {
    Case { kind, rcode, addresses, records, malformed: false }
}

const CASES: &[Case] = &[
    case("plain", "NOERROR", &[THERE], &[]),
    case("slow", "NOERROR", &[THERE], &[]),
    case("stream", "NOERROR", &[THERE], &[]),
    case("alias", "NOERROR", &[THERE], &["CNAME www.fluoro.test"]),
    case("six", "NOERROR", &["2001:db8::1"], &[]),
    case("none", "NXDOMAIN", &[], &[]),
    case("rare", "NOERROR", &[], &["SSHFP 4 bytes"]),
    case("cut", "NOERROR", &[], &[]),
    Case { malformed: true, ..case("loop", "NOERROR", &[], &[]) },
    Case { malformed: true, ..case("lies", "NOERROR", &[THERE], &[]) },
];

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let rounds = place.scaled(40, 4).to_string();
    let service = super::free_port(21_000)?.to_string();
    let mut server = Actor::start(&place.xtask, &["dns-serve", SERVER, &service])?;
    server.hear(place.patience(10))?;
    let watch = Observer::start(place, &["flow", "dns"], &[], Keep::Raw)?;
    // Who asks for a host sees connections by name without asking for questions. One observer is enough in a guest.
    let by_name = if place.guest.is_none() {
        Some(Observer::start(place, &["flow"], &["-f", "host:*.ada.fluoro.test"], Keep::Raw)?)
    } else {
        None
    };
    // So is one table.
    let top = if place.guest.is_none() {
        let top = Top::start(place, "dns", &["-f", "name:*.fluoro.test", "-d", "500ms"])?;
        top.next()?;
        Some(top)
    } else {
        None
    };
    let mut askers = Vec::new();
    for word in ["ada", "bob"] {
        let asker = Actor::start(&place.xtask, &["dns-ask", SERVER, &service, word, &rounds])?;
        asker.hear(place.patience(10))?;
        askers.push((word, asker));
    }
    for (_, asker) in &mut askers {
        asker.tell("go")?;
    }
    let mut accounts = Vec::new();
    for (word, asker) in &mut askers {
        accounts.push((*word, asker.pid(), asker.hear(place.patience(60))?));
    }
    watch.settle();
    if let Some(top) = top {
        table(checks, &top, &accounts)?;
    }
    for (_, asker) in &mut askers {
        asker.end(place.patience(10))?;
    }
    server.end(place.patience(10))?;
    if let Some(by_name) = by_name {
        let found = by_name.finish()?;
        found.check_books(checks, &["flow"])?;
        checks.equal("connections by the name that ada asked for: lines", 2, found.shown());
    }
    // They tell of the process alone.
    let skipped = witness::runs_skipped(watch.pid(), &["dns_owner", "dns_sender"]);
    let observed = watch.finish()?;
    observed.check_books(checks, &["flow", "dns"])?;
    let books = observed.books("dns")?;
    checks.equal("lost", 0, books.lost);
    let ours: Vec<&Value> =
        observed.raw.iter().filter(|line| text(line, "/network/peer/address") == SERVER).collect();
    let mut short = 0;
    let mut due = 0;
    for (word, pid, account) in &accounts {
        let asked = account.get("asked").and_then(Value::as_array).context("nothing asked")?;
        due += asked.len() * 2;
        short += asker(checks, (word, *pid), asked, &ours, books.missed.unwrap_or(0) + skipped)?;
        connection(checks, word, account, &observed.raw);
    }
    checks.equal("answers that are no message, in the ledger", short, books.error);
    // What is too short to be a message makes no line.
    let lines = ours.iter().filter(|line| text(line, "/event_name").starts_with("dns.")).count();
    checks.equal("lines of this server in all", due - short as usize, lines);
    Ok(())
}

/// What `top dns` says of each process, all intervals together: as much as it asked, with what was answered.
fn table(checks: &mut Checks, top: &Top, accounts: &[(&str, u32, Value)]) -> Result<()> {
    const TABLES: usize = 60;
    let mut due = BTreeMap::new();
    for (word, pid, account) in accounts {
        let asked = account.get("asked").and_then(Value::as_array).context("nothing asked")?;
        let of = |kinds: &[&str]| {
            let kind =
                |one: &&Value| kinds.contains(&text(one, "/name").split('-').next().unwrap_or_default());
            asked.iter().filter(kind).count() as u64
        };
        let answers = asked.len() as u64 - of(&["short"]);
        // Noise is told as what it happens to say, and as malformed.
        let figures = [asked.len() as u64, answers, of(&["none", "loop", "lies", "noise"]), of(&["short"])];
        due.insert(u64::from(*pid), (*word, figures));
    }
    let mut told: BTreeMap<u64, [u64; 4]> = BTreeMap::new();
    let mut slow = Vec::new();
    for _ in 0..TABLES {
        let table = top.next()?;
        for pid in due.keys() {
            let sums = told.entry(*pid).or_default();
            // What waits does so in every interval: the last one counts.
            sums[3] = 0;
            for row in rows(&table).into_iter().filter(|row| number(row, "/process/pid") == *pid) {
                for (sum, at) in sums.iter_mut().zip(["queries", "responses", "errors", "waiting"]) {
                    *sum += number(row, &format!("/dns/{at}"));
                }
                if text(row, "/dns/question/name").starts_with("slow") && number(row, "/dns/responses") > 0 {
                    slow.push(number(row, "/duration/p50_ns"));
                }
            }
        }
        if due.iter().all(|(pid, (_, figures))| told.get(pid).is_some_and(|sums| sums[..2] == figures[..2])) {
            break;
        }
    }
    for (pid, (word, figures)) in &due {
        checks.equal(
            format!("{word}: questions, answers, errors, waiting in top dns"),
            format!("{figures:?}"),
            format!("{:?}", told.get(pid).copied().unwrap_or_default()),
        );
    }
    // Right to a sixteenth.
    let least = SLOW.as_nanos() as u64 / 16 * 15;
    checks.at_least("slow answers: least median", least, slow.iter().copied().min().unwrap_or(0));
    Ok(())
}

/// Compares what one process asked with what was told of it. How many of its answers were no message. A socket whose
/// making a hook missed has no process that could be told.
fn asker(
    checks: &mut Checks,
    (word, pid): (&str, u32),
    asked: &[Value],
    lines: &[&Value],
    missed: u64,
) -> Result<u64> {
    let is_unowned = |line: &Value| text(line, "/dns/attribution") == "unknown";
    let is_own = |line: &&&Value| number(line, "/process/pid") == u64::from(pid) || is_unowned(line);
    let mut told: BTreeMap<(String, bool), Vec<&Value>> = BTreeMap::new();
    for line in lines.iter().filter(is_own) {
        let response = match text(line, "/event_name") {
            "dns.query" => false,
            "dns.response" => true,
            _ => continue,
        };
        told.entry((text(line, "/dns/question/name").to_owned(), response)).or_default().push(line);
    }
    let (mut wrong, mut unowned) = (Vec::new(), BTreeMap::new());
    let (mut short, mut noise) = (0, 0);
    for one in asked {
        let name = text(one, "/name");
        let kind = name.split('-').next().unwrap_or_default();
        let [query] = told.get(&(name.to_owned(), false)).map_or(&[][..], Vec::as_slice) else {
            let named = lines.iter().filter(|line| text(line, "/dns/question/name") == name);
            let told: Vec<String> = named.map(ToString::to_string).collect();
            wrong.push(format!("{name}: not one query of its process: {}", told.join(" ")));
            continue;
        };
        if is_unowned(query) {
            unowned.insert(number(query, "/network/local/port"), query.to_string());
        }
        let stream = one.get("tcp") == Some(&Value::Bool(true));
        let transport = if stream { "tcp" } else { "udp" };
        if number(query, "/network/local/port") != number(one, "/port")
            || number(query, "/dns/id") != number(one, "/id")
            || text(query, "/network/transport") != transport
            || !(is_unowned(query) || text(query, "/dns/attribution") == "exact")
        {
            wrong.push(format!("{one}: {query}"));
        }
        if kind == "short" {
            short += 1;
            continue;
        }
        let [response] = told.get(&(name.to_owned(), true)).map_or(&[][..], Vec::as_slice) else {
            wrong.push(format!("{name}: not one response"));
            continue;
        };
        let (took, least) =
            (number(one, "/took_ns"), if kind == "slow" { SLOW.as_nanos() as u64 } else { 1 });
        let latency = number(response, "/dns/duration_ns");
        if !(least..=took).contains(&latency) {
            wrong.push(format!("{name}: {latency} ns, but {least} to {took} by the clock of who asked"));
        }
        if kind == "noise" {
            noise += u64::from(response.pointer("/dns/malformed") == Some(&Value::Bool(true)));
            continue;
        }
        let Some(case) = CASES.iter().find(|case| case.kind == kind) else {
            bail!("no case {kind}");
        };
        let there = named(word).to_string();
        let addresses: Vec<&str> = case
            .addresses
            .iter()
            .map(|&address| if address == THERE { there.as_str() } else { address })
            .collect();
        let list = |at: &str| -> Vec<&str> {
            let items = response.pointer(at).and_then(Value::as_array);
            items.into_iter().flatten().filter_map(Value::as_str).collect()
        };
        if text(response, "/dns/response_code") != case.rcode
            || list("/dns/answers") != addresses
            || list("/dns/records") != case.records
            || (response.pointer("/dns/malformed") == Some(&Value::Bool(true))) != case.malformed
            || (response.pointer("/dns/truncated") == Some(&Value::Bool(true))) != (kind == "cut")
        {
            wrong.push(format!("{name}: {response}"));
        }
    }
    checks.note(format!("{word}: {} asked", asked.len()));
    checks.none(format!("{word}: questions of which something wrong is told"), &wrong);
    let unowned: Vec<String> = unowned.into_values().collect();
    checks.few(format!("{word}: sockets whose process is not told"), missed, &unowned);
    let noisy = asked.iter().filter(|one| text(one, "/name").starts_with("noise")).count() as u64;
    checks.equal(format!("{word}: answers of noise that are told malformed"), noisy, noise);
    Ok(short)
}

/// The connection to what was answered bears the name.
fn connection(checks: &mut Checks, word: &str, account: &Value, lines: &[Value]) {
    let port = number(account, "/connected/port");
    let name = text(account, "/connected/name");
    let open = lines.iter().find(|line| {
        text(line, "/event_name") == "flow.open"
            && text(line, "/network/peer/address") == named(word).to_string()
            && number(line, "/network/local/port") == port
    });
    let told = open.map_or("no flow.open", |line| text(line, "/network/peer/name"));
    checks.equal(format!("{word}: name of the connection that follows"), name, told);
    let age = open.map_or(0, |line| number(line, "/network/peer/name_age_ns"));
    checks.that(
        format!("{word}: age of that name, ns"),
        "less than 10 s",
        age,
        (1..10_000_000_000).contains(&age),
    );
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, at: &str) -> u64 {
    value.pointer(at).and_then(Value::as_u64).unwrap_or(0)
}
