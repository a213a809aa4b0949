//! Transfers of known size by every way to move bytes: what `top flows` shows while they stand and what `flow.close`
//! says are the application's counts to the byte, whichever way they went.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use crate::workload::actor::Actor;
use crate::workload::exchange::Account;

const WAYS: [&str; 5] = ["write", "sendfile", "splice", "zerocopy", "io_uring"];

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let bytes = place.scaled(2_000_000, 100_000).to_string();
    let mut ready = Vec::new();
    for way in WAYS {
        let actor = Actor::start(&place.xtask, &["ways", way, &bytes, "4"])?;
        match actor.hear(place.patience(10))?.get("cannot").and_then(Value::as_str) {
            Some(why) => checks.note(format!("{way}: {why}")),
            None => ready.push((way, actor)),
        }
    }
    let pids: Vec<String> = ready.iter().map(|(_, actor)| actor.pid().to_string()).collect();
    let filter = format!("pid:{}", pids.join(","));
    let watch = Observer::start(place, &["flow"], &["-f", &filter], Keep::Events)?;
    let mut standing = Vec::new();
    for (way, mut actor) in ready {
        actor.tell("go")?;
        let told = actor.hear(place.patience(30))?;
        let accounts = told.get("accounts").and_then(Value::as_array).context("no accounts")?;
        let accounts: Vec<Account> = accounts.iter().filter_map(Account::from_json).collect();
        checks.equal(format!("{way}: sides"), 8, accounts.len());
        standing.push((way, actor, accounts));
    }
    let listed = Top::start(place, "flows", &["--count", "1", "--rows", "100000"])?.rest()?;
    let listed: Vec<Event> = listed.iter().flat_map(rows).map(Event::facts).collect();
    ss(checks, &standing);
    let mut every = Vec::new();
    for (way, mut actor, accounts) in standing {
        compare(checks, &format!("{way}, while it stands"), &accounts, &listed);
        actor.tell("end")?;
        actor.rest(place.patience(20))?;
        every.push((way, accounts));
    }
    let observed = watch.finish()?;
    observed.check_books(checks, &["flow"])?;
    checks.equal("lost", 0, observed.books("flow")?.lost);
    let closed: Vec<Event> = observed.events.into_iter().filter(|event| event.name == "flow.close").collect();
    for (way, accounts) in every {
        compare(checks, &format!("{way}, closed"), &accounts, &closed);
    }
    Ok(())
}

fn compare(checks: &mut Checks, what: &str, expected: &[Account], observed: &[Event]) {
    let by_ends: HashMap<(SocketAddr, SocketAddr), &Event> =
        observed.iter().filter_map(|event| Some(((event.local?, event.peer?), event))).collect();
    let wrong: Vec<String> = expected
        .iter()
        .filter_map(|account| {
            let told = by_ends.get(&(account.local, account.peer));
            let bytes = told.map(|event| (event.tx_bytes, event.rx_bytes));
            (bytes != Some((Some(account.tx_bytes), Some(account.rx_bytes)))).then(|| {
                format!("{account:?}: {}", told.map_or("not there".to_owned(), |event| event.brief()))
            })
        })
        .collect();
    checks.none(format!("{what}: bytes not the application's"), &wrong);
}

/// `ss -ti`, where it is: one more acknowledged than sent on the side that connected, for its SYN; nothing else, since
/// no FIN has gone.
fn ss(checks: &mut Checks, standing: &[(&str, Actor, Vec<Account>)]) {
    let Ok(output) = Command::new("ss").args(["-tinH"]).output() else {
        checks.note("no ss here to compare with");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let find = |account: &Account| {
        lines.windows(2).find_map(|pair| {
            let [ends, info] = pair else { return None };
            let mut ends = ends.split_whitespace().skip(3);
            let local: SocketAddr = ends.next()?.parse().ok()?;
            let peer: SocketAddr = ends.next()?.parse().ok()?;
            let number = |name: &str| -> u64 {
                let word = info.split_whitespace().find_map(|word| word.strip_prefix(name));
                word.and_then(|word| word.parse().ok()).unwrap_or(0)
            };
            ((local, peer) == (account.local, account.peer))
                .then(|| (number("bytes_acked:"), number("bytes_received:")))
        })
    };
    let mut wrong = Vec::new();
    for (way, _, accounts) in standing {
        // Sides come in pairs, the one that connected first.
        for (account, syn) in accounts.iter().zip([1, 0].into_iter().cycle()) {
            let told = find(account);
            if told != Some((account.tx_bytes + syn, account.rx_bytes)) {
                wrong.push(format!("{way}: {account:?}: ss says {told:?}"));
            }
        }
    }
    checks.none("ss -ti differs by more than the SYN", &wrong);
}
