//! Sockets older than fluoro: `top flows` lists them with their owner and their totals, and their close says that
//! fluoro was not there when they opened.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use crate::workload::actor::Actor;
use crate::workload::exchange::Account;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(100, 10);
    let mut actor = Actor::start(&place.xtask, &["hold", &count.to_string(), "3000"])?;
    let standing = accounts(&actor.hear(place.patience(20))?)?;
    checks.equal("sockets that stand before fluoro", 2 * count as usize, standing.len());
    let server = standing.iter().find(|(_, inbound)| *inbound).map_or(0, |(account, _)| account.local.port());
    let filter = format!("port:{server}");
    let listed = Top::start(place, "flows", &["-f", &filter, "--count", "1", "--rows", "100000"])?.rest()?;
    let listed: Vec<Event> = listed.iter().flat_map(rows).map(Event::facts).collect();
    compare(checks, "listed", &standing, &listed);

    let watch = Observer::start(place, &["flow"], &["-f", &filter], Keep::Events)?;
    actor.tell("close")?;
    let closed = accounts(&actor.conclusion(place.patience(20))?)?;
    let observed = watch.finish()?;
    observed.check_books(checks, &["flow"])?;
    let of_name = |name: &str| observed.events.iter().filter(|event| event.name == name).count();
    checks.equal("flow.open", 0, of_name("flow.open"));
    checks.equal("flow.close", 2 * count as usize, of_name("flow.close"));
    checks.equal(
        "flow.close with flow.primed",
        2 * count as usize,
        observed.events.iter().filter(|event| event.name == "flow.close" && event.primed).count(),
    );
    compare(checks, "closed", &closed, &observed.events);
    Ok(())
}

/// Both sides' accounts; whether each is the accepting one.
fn accounts(value: &Value) -> Result<Vec<(Account, bool)>> {
    let side = |key: &str, inbound: bool| {
        let list = value.get(key).and_then(Value::as_array).with_context(|| format!("no {key}"))?;
        list.iter()
            .map(|value| {
                Account::from_json(value).map(|account| (account, inbound)).context("not an account")
            })
            .collect::<Result<Vec<_>>>()
    };
    Ok([side("clients", false)?, side("servers", true)?].concat())
}

fn compare(checks: &mut Checks, what: &str, expected: &[(Account, bool)], observed: &[Event]) {
    let by_ends: HashMap<(SocketAddr, SocketAddr), &Event> =
        observed.iter().filter_map(|event| Some(((event.local?, event.peer?), event))).collect();
    let (mut missing, mut process, mut bytes, mut direction) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (account, inbound) in expected {
        let Some(event) = by_ends.get(&(account.local, account.peer)) else {
            missing.push(format!("{account:?}"));
            continue;
        };
        if event.pid != Some(account.pid) {
            process.push(format!("{} should be of {}", event.brief(), account.pid));
        }
        if (event.tx_bytes, event.rx_bytes) != (Some(account.tx_bytes), Some(account.rx_bytes)) {
            bytes.push(format!(
                "{} should be tx {} rx {}",
                event.brief(),
                account.tx_bytes,
                account.rx_bytes
            ));
        }
        let wanted = if *inbound { "inbound" } else { "outbound" };
        if event.direction.as_deref().is_some_and(|told| told != wanted && told != "unknown") {
            direction.push(format!("{} should be {wanted}", event.brief()));
        }
    }
    checks.none(format!("{what}: sockets not shown"), &missing);
    checks.none(format!("{what}: wrong process"), &process);
    checks.none(format!("{what}: bytes not the application's"), &bytes);
    checks.none(format!("{what}: wrong direction"), &direction);
}
