//! One workload under several filters at once: what the kernel can refuse by itself and what only user space can
//! judge must give the same lines, and so must a filter of our own over the unfiltered lines.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::observer::{Keep, Observer};
use super::ports::FreePorts;
use crate::workload::actor::Actor;

const CONNECTIONS: u32 = 1_000;
const LEAST: u32 = 25;

/// Whether a line is what a filter asks for.
type Judge = Box<dyn Fn(&Event) -> bool>;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(CONNECTIONS, LEAST).to_string();
    let mut ports = FreePorts::from(23_100);
    let (port, elsewhere) = (ports.take()?, ports.take()?);
    let mut pairs = Vec::new();
    for port in [port, elsewhere] {
        let server = Actor::start(&place.xtask, &["storm-serve", &count, &port.to_string()])?;
        let client = Actor::start(&place.xtask, &["storm-connect", &count, &port.to_string()])?;
        pairs.push((server, client));
    }
    let Some((server, client)) = pairs.first().map(|(server, client)| (server.pid(), client.pid())) else {
        return Ok(());
    };

    let on_port = move |event: &Event| event.local_port() == port || event.peer_port() == port;
    // The first of each pair can be pushed into the kernel as it is, the second cannot: it is no AND of terms.
    let mut questions: Vec<([String; 2], Judge)> = vec![
        ([format!("port:{port}"), format!("port:{port} or port:{port}")], Box::new(on_port)),
        (
            [format!("pid:{client}"), format!("pid:{client} or pid:{client}")],
            Box::new(move |e| e.pid == Some(client)),
        ),
        (
            [format!("pid:{server} user:0"), format!("(pid:{server} or pid:{server}) user:0")],
            Box::new(move |e| e.pid == Some(server) && e.uid == Some(0)),
        ),
        (
            [format!("port:{port} !pid:{client}"), format!("!(!port:{port} or pid:{client})")],
            Box::new(move |e| on_port(e) && e.pid != Some(client)),
        ),
    ];

    if place.guest.is_some() {
        checks.note("in a guest: the first two questions");
        questions.truncate(2);
    }

    let unfiltered = Observer::start(place, &["flow"], &[], Keep::Events)?;
    let mut filtered = Vec::new();
    for (filters, _) in &questions {
        for filter in filters {
            filtered.push(Observer::start(place, &["flow"], &["-f", filter], Keep::Events)?);
        }
    }
    for (server, _) in &mut pairs {
        server.tell("listen")?;
        server.hear(place.patience(10))?;
    }
    for (_, client) in &mut pairs {
        client.tell("go")?;
    }
    for (server, client) in pairs {
        client.conclusion(place.patience(60))?;
        server.conclusion(place.patience(60))?;
    }
    let all = unfiltered.finish()?;
    all.check_books(checks, &["flow"])?;
    let mut lost = all.books("flow")?.lost;
    let of_ports = |event: &&Event| {
        [port, elsewhere].iter().any(|port| event.local_port() == *port || event.peer_port() == *port)
    };
    // A machine that is busy sends again and resets: true, and not of the workload.
    let (trouble, lines): (Vec<&Event>, Vec<&Event>) = all
        .events
        .iter()
        .filter(of_ports)
        .partition(|event| matches!(event.name.as_str(), "flow.retransmit" | "flow.reset"));
    if !trouble.is_empty() {
        checks.note(format!("beside them: {:?}", counted(trouble.into_iter())));
    }
    let connections = 2 * place.scaled(CONNECTIONS, LEAST) as usize;
    checks.equal(
        "lines of both workloads, unfiltered: 4 a connection and 2 listens",
        4 * connections + 2,
        lines.len(),
    );

    let mut answers = filtered.into_iter();
    for (filters, judge) in &questions {
        let expected = counted(all.events.iter().filter(|event| judge(event)));
        for (filter, answer) in filters.iter().zip(&mut answers) {
            let answer = answer.finish()?;
            let books = answer.books("flow")?;
            lost += books.lost;
            checks.that(
                format!("-f '{filter}': ledger balances, shown = submitted"),
                books.seen,
                format!("{} + {} filtered", answer.shown(), books.filtered),
                books.seen == books.submitted + books.muted + books.filtered + books.lost + books.error
                    && books.submitted == answer.shown(),
            );
            let told = counted(answer.events.iter());
            let differences: Vec<String> = expected
                .keys()
                .chain(told.keys().filter(|key| !expected.contains_key(*key)))
                .filter_map(|key| {
                    let (ours, theirs) = (expected.get(key).unwrap_or(&0), told.get(key).unwrap_or(&0));
                    (ours != theirs).then(|| format!("{key}: {ours} without the filter, {theirs} with it"))
                })
                .collect();
            checks.that(
                format!("-f '{filter}': lines"),
                expected.values().sum::<usize>(),
                answer.events.len(),
                answer.events.len() == expected.values().sum::<usize>(),
            );
            checks.none(format!("-f '{filter}': lines that differ"), &differences);
        }
    }
    checks.equal("lost in all of these", 0, lost);
    Ok(())
}

/// Lines by what is the same for every observer.
fn counted<'a>(events: impl Iterator<Item = &'a Event>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for event in events {
        *counted.entry(event.brief()).or_default() += 1;
    }
    counted
}
