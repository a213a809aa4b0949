//! Exchanges of every kind of server and address family, here and in a network namespace: one open and one close a
//! side, each with the right process, direction, addresses and byte counts.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::event::Event;
use super::observer::{Keep, Observer};
use super::ports::FreePorts;
use crate::workload::actor::Actor;
use crate::workload::exchange::{Account, Family, Kind};

const EXCHANGES: u32 = 2_000;

/// One finished run of the `exchange` workload.
pub struct Exchanged {
    pub kind: String,
    pub network_type: String,
    pub port: u16,
    pub server_pid: u32,
    pub clients: Vec<Account>,
    pub servers: Vec<Account>,
}

impl Exchanged {
    pub fn from_json(value: &Value) -> Result<Self> {
        let text = |key| value.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let accounts = |key| {
            value
                .get(key)
                .and_then(Value::as_array)?
                .iter()
                .map(Account::from_json)
                .collect::<Option<Vec<_>>>()
        };
        (|| {
            Some(Self {
                kind: text("kind")?,
                network_type: text("network_type")?,
                port: value.get("port")?.as_u64()?.try_into().ok()?,
                server_pid: value.get("server_pid")?.as_u64()?.try_into().ok()?,
                clients: accounts("clients")?,
                servers: accounts("servers")?,
            })
        })()
        .with_context(|| format!("not an account of an exchange: {value}"))
    }
}

/// Starts an exchange; `apart` puts it into a network namespace of its own.
pub fn start(place: &Place, kind: Kind, family: Family, count: u32, port: u16, apart: bool) -> Result<Actor> {
    let (count, port) = (count.to_string(), port.to_string());
    let where_ = if apart { "apart" } else { "here" };
    Actor::start(&place.xtask, &["exchange", kind.word(), family.word(), &count, &port, where_])
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    // Over a forced hook each kind of server and each family is met once: every pair of them has been over the hooks that
    // are chosen unasked.
    let forced = !place.hooks.is_empty();
    let combinations = Kind::BY_CALL.iter().enumerate().flat_map(|(turn, kind)| {
        let met = move |at: usize| !forced || at == turn % Family::ALL.len();
        let here = Family::ALL.iter().enumerate().filter(move |(at, _)| met(*at));
        let apart = (!forced || turn == 0).then_some((*kind, Family::V4, true));
        here.map(move |(_, family)| (*kind, *family, false)).chain(apart)
    });
    let each = place.scaled(EXCHANGES / 20, 5);
    let mut ports = FreePorts::from(20_100);

    let watch = Observer::start(place, &["flow"], &[], Keep::Events)?;
    let mut exchanged = Vec::new();
    for (kind, family, apart) in combinations {
        let actor = start(place, kind, family, each, ports.take()?, apart)?;
        exchanged.push(Exchanged::from_json(&actor.conclusion(place.patience(60))?)?);
    }
    let observed = watch.finish()?;

    observed.check_books(checks, &["flow"])?;
    let books = observed.books("flow")?;
    checks.equal("lost", 0, books.lost);
    compare(place, checks, &exchanged, &observed.events, books.missed)
}

/// A side of a connection as an observer should tell it.
struct Side<'a> {
    account: &'a Account,
    direction: &'static str,
    exchange: &'a Exchanged,
    /// Whether the observer can know for certain whose it is.
    certain: bool,
}

/// Holds the events against what the programs know. Events are matched by the process's view of the connection:
/// where two namespaces use the same ports, by the process as well. What [`Place::excused`] allows may be missing.
pub fn compare(
    place: &Place,
    checks: &mut Checks,
    exchanged: &[Exchanged],
    events: &[Event],
    missed: Option<u64>,
) -> Result<()> {
    let no_accept = Doctor::known(place)?.unsupported("flow_accept");
    let mut by_ends: HashMap<(SocketAddr, SocketAddr), Vec<&Event>> = HashMap::new();
    for event in events.iter().filter(|event| !event.is_trouble()) {
        if let (Some(local), Some(peer)) = (event.local, event.peer) {
            by_ends.entry((local, peer)).or_default().push(event);
        }
    }
    // The last way in, over the exit of accept(2), does not see io_uring.
    let blind = Doctor::known(place)?.program("flow_accept").is_none_or(|program| program.status != "live");
    let mut sides = Vec::new();
    for exchange in exchanged {
        let side = |direction, certain| move |account| Side { account, direction, exchange, certain };
        sides.extend(exchange.clients.iter().map(side("outbound", true)));
        let certain = !(blind && exchange.kind == Kind::Uring.word());
        sides.extend(exchange.servers.iter().map(side("inbound", certain)));
    }

    let mut found = Findings::default();
    for side in &sides {
        let ends = (side.account.local, side.account.peer);
        let all = by_ends.get(&ends).map_or(&[] as &[&Event], Vec::as_slice);
        let shared =
            sides.iter().filter(|other| (other.account.local, other.account.peer) == ends).count() > 1;
        // Connections that share their ends are told apart by process, so theirs must be known.
        let own = all.iter().copied().filter(|event| !shared || event.pid == Some(side.account.pid));
        found.side(side, &own.collect::<Vec<_>>());
    }

    let connections = exchanged.iter().map(|exchange| exchange.clients.len()).sum::<usize>();
    checks.note(format!("{connections} connections in {} exchanges", exchanged.len()));
    let sides = 2 * connections as u64;
    let missed = place.excused(2 * sides, missed);
    checks.short("flow.open, both sides", sides, missed, found.opens as u64);
    checks.short("flow.close, both sides", sides, missed, found.closes as u64);
    checks.few("sides without exactly one open and one close", missed, &found.not_once);
    checks.none("events in the wrong order, or with different flow.id", &found.disorder);
    checks.none("flow.id used for more than one side", &found.repeated_ids());
    checks.few("wrong direction, network.type or primed", missed, &found.wrong_shape);
    checks.none("wrong process", &found.wrong_process);
    checks.none("wrong thread", &found.wrong_thread);
    checks.none("tx_bytes or rx_bytes not the application's", &found.wrong_bytes);
    let (exact, judged) = match &no_accept {
        None => (found.exact_outbound + found.exact_inbound, found.outbound + found.inbound),
        Some(reason) => {
            checks.note(format!("doctor: flow_accept is unsupported here: {reason}"));
            checks.equal(
                "inbound events with attribution exact, without flow_accept",
                0,
                found.exact_inbound,
            );
            (found.exact_outbound, found.outbound)
        }
    };
    // An owner is learnt in one run, and named in two events. An emulated server may take longer than 200 ms to accept:
    // then the opening is told without.
    let late = if place.guest.is_some() { found.late } else { 0 };
    let excused = (2 * missed as usize + late).min(judged - exact);
    let share = 100.0 * (exact + excused) as f64 / judged.max(1) as f64;
    checks.that(
        "attribution exact",
        "at least 99.9%",
        format!("{share:.3}% ({exact}, and {excused} that may have been missed or late, of {judged})"),
        share >= 99.9,
    );

    let mut listens: Vec<String> = Vec::new();
    for exchange in exchanged {
        let told = events
            .iter()
            .filter(|e| e.name == "flow.listen" && e.local_port() == exchange.port)
            .collect::<Vec<_>>();
        let right = told.iter().filter(|e| e.pid == Some(exchange.server_pid)).count();
        let sharing = exchanged.iter().filter(|other| other.port == exchange.port).count();
        if right != 1 || told.len() != sharing {
            listens.push(format!(
                "{} on port {}: {} flow.listen, {right} by {}",
                exchange.kind,
                exchange.port,
                told.len(),
                exchange.server_pid
            ));
        }
    }
    checks.none("listeners without exactly one flow.listen by their process", &listens);
    Ok(())
}

#[derive(Default)]
struct Findings {
    opens: usize,
    closes: usize,
    outbound: usize,
    inbound: usize,
    exact_outbound: usize,
    exact_inbound: usize,
    /// Told without owner because nobody had accepted it in time; the close names who did.
    late: usize,
    ids: HashMap<String, usize>,
    not_once: Vec<String>,
    disorder: Vec<String>,
    wrong_shape: Vec<String>,
    wrong_process: Vec<String>,
    wrong_thread: Vec<String>,
    wrong_bytes: Vec<String>,
}

impl Findings {
    fn side(&mut self, side: &Side<'_>, events: &[&Event]) {
        let account = side.account;
        let expected = format!(
            "{} {}→{} of {} tx {} rx {}",
            side.exchange.kind, account.local, account.peer, account.pid, account.tx_bytes, account.rx_bytes
        );
        let named =
            |name: &str| events.iter().copied().filter(|event| event.name == name).collect::<Vec<_>>();
        let (opens, closes) = (named("flow.open"), named("flow.close"));
        self.opens += opens.len();
        self.closes += closes.len();
        if opens.len() != 1 || closes.len() != 1 || events.len() != 2 {
            let found: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
            self.not_once.push(format!("{expected}: {found:?}"));
        }
        if let ([open], [close]) = (opens.as_slice(), closes.as_slice())
            && (open.time > close.time || open.flow != close.flow || open.flow.is_none())
        {
            self.disorder
                .push(format!("{expected}: {} {} {:?} {:?}", open.time, close.time, open.flow, close.flow));
        }
        if let Some(id) = closes.first().and_then(|close| close.flow.clone()) {
            *self.ids.entry(id).or_default() += 1;
        }
        let says =
            |event: Option<&&Event>, word| event.is_some_and(|e| e.attribution.as_deref() == Some(word));
        self.late += usize::from(says(opens.first(), "unknown") && says(closes.first(), "exact"));
        for event in events {
            self.event(side, event, &expected);
        }
        for close in closes {
            if (close.tx_bytes, close.rx_bytes) != (Some(account.tx_bytes), Some(account.rx_bytes)) {
                self.wrong_bytes.push(format!("{expected}: {}", close.brief()));
            }
        }
    }

    fn event(&mut self, side: &Side<'_>, event: &Event, expected: &str) {
        if event.direction.as_deref() != Some(side.direction)
            || event.network_type.as_deref() != Some(&side.exchange.network_type)
            || event.primed
        {
            let network = event.network_type.as_deref().unwrap_or("-");
            self.wrong_shape.push(format!("{expected} {}: {} {network}", side.direction, event.brief()));
        }
        let exact = event.attribution.as_deref() == Some("exact");
        let named = event.pid.is_some() && event.attribution.as_deref() != Some("unknown");
        if (exact || named) && event.pid != Some(side.account.pid) {
            self.wrong_process.push(format!("{expected}: {}", event.brief()));
        } else if exact && event.tid.is_some_and(|tid| tid != side.account.tid) {
            self.wrong_thread.push(format!("{expected} by {}: tid {:?}", side.account.tid, event.tid));
        }
        if !side.certain {
            return;
        }
        let (count, good) = if side.direction == "outbound" {
            (&mut self.outbound, &mut self.exact_outbound)
        } else {
            (&mut self.inbound, &mut self.exact_inbound)
        };
        *count += 1;
        *good += usize::from(exact && event.pid == Some(side.account.pid));
    }

    fn repeated_ids(&self) -> Vec<String> {
        self.ids
            .iter()
            .filter(|(_, times)| **times > 1)
            .map(|(id, times)| format!("{id}: {times} times"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn exchanged() -> Exchanged {
        let account = |local: &str, peer: &str, tx_bytes, rx_bytes, pid| Account {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            tx_bytes,
            rx_bytes,
            pid,
            tid: pid,
        };
        Exchanged {
            kind: "plain".to_owned(),
            network_type: "ipv4".to_owned(),
            port: 80,
            server_pid: 7,
            clients: vec![account("127.0.0.1:4000", "127.0.0.1:80", 12, 34, 5)],
            servers: vec![account("127.0.0.1:80", "127.0.0.1:4000", 34, 12, 7)],
        }
    }

    /// Open and close of the client's side, as they should be.
    fn right(exchange: &Exchanged) -> Vec<Event> {
        let account = exchange.clients.first().unwrap();
        ["flow.open", "flow.close"]
            .map(|name| Event {
                name: name.to_owned(),
                pid: Some(account.pid),
                tid: Some(account.tid),
                direction: Some("outbound".to_owned()),
                network_type: Some("ipv4".to_owned()),
                attribution: Some("exact".to_owned()),
                flow: Some("1".to_owned()),
                local: Some(account.local),
                peer: Some(account.peer),
                tx_bytes: Some(if name == "flow.open" { 0 } else { 12 }),
                rx_bytes: Some(if name == "flow.open" { 0 } else { 34 }),
                ..Event::default()
            })
            .to_vec()
    }

    fn found(change: impl FnOnce(&mut Vec<Event>)) -> Findings {
        let exchange = exchanged();
        let mut events = right(&exchange);
        change(&mut events);
        let mut found = Findings::default();
        let account = exchange.clients.first().unwrap();
        let side = Side { account, direction: "outbound", exchange: &exchange, certain: true };
        found.side(&side, &events.iter().collect::<Vec<_>>());
        found
    }

    #[test]
    fn the_right_events_leave_nothing_to_find() {
        let found = found(|_| ());
        let lists =
            [&found.not_once, &found.disorder, &found.wrong_shape, &found.wrong_process, &found.wrong_bytes];
        assert!(lists.iter().all(|list| list.is_empty()));
        assert_eq!((found.outbound, found.exact_outbound), (2, 2));
    }

    #[test]
    fn each_kind_of_wrong_event_is_found() {
        let last = |change: fn(&mut Event)| found(|events| change(events.last_mut().unwrap()));
        assert_eq!(last(|close| close.tx_bytes = Some(13)).wrong_bytes.len(), 1);
        assert_eq!(last(|close| close.pid = Some(6)).wrong_process.len(), 1);
        assert_eq!(last(|close| close.tid = Some(6)).wrong_thread.len(), 1);
        assert_eq!(last(|close| close.flow = Some("2".to_owned())).disorder.len(), 1);
        assert_eq!(last(|close| close.primed = true).wrong_shape.len(), 1);
        assert_eq!(found(|events| events.truncate(1)).not_once.len(), 1);
        assert_eq!(found(|events| events.extend(events.clone())).not_once.len(), 1);
    }

    #[test]
    fn an_unknown_owner_is_neither_wrong_nor_exact() {
        let found = found(|events| {
            for event in events {
                event.attribution = Some("unknown".to_owned());
                event.pid = None;
            }
        });
        assert!(found.wrong_process.is_empty());
        assert_eq!((found.outbound, found.exact_outbound), (2, 0));
    }
}
