//! Sockets older than fluoro, here, in a network namespace and in what looks like a container: `top flows` lists them
//! with their owner and their totals, and their close says that fluoro was not there when they opened.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::identity::cgroups::Cgroup;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use crate::workload::actor::Actor;
use crate::workload::exchange::Account;

/// What a container's cgroup is called by the runtime whose path says most.
const CONTAINER: &str = "5f0e2d4c6b8a79885a4b3c2d1e0f9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e";

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(100, 10);
    // As a container has it: a namespace and a cgroup. It goes last, when everybody has left it.
    let group = Cgroup::make(&format!("docker/{CONTAINER}"))?;
    let mut crowd = vec![Held::start("here", Actor::start(&place.xtask, &hold(count, &[]))?)];
    crowd.push(Held::start("in a namespace", Actor::start(&place.xtask, &hold(count, &["apart"]))?));
    if let Some(group) = &group {
        let mut command = std::process::Command::new(&place.xtask);
        group.enter_on_start(&mut command)?;
        command.arg("workload").args(hold(count, &["apart"]));
        let mut held = Held::start("in a container", Actor::run(command)?);
        held.container = Some(CONTAINER);
        crowd.push(held);
    } else {
        checks.note("no cgroup hierarchy is mounted: a container cannot be shown here");
    }
    for held in &mut crowd {
        held.standing = accounts(&held.actor.hear(place.patience(20))?)?;
        checks.equal(format!("{}: sockets that stand", held.what), 2 * count as usize, held.standing.len());
    }
    let ports: Vec<String> = crowd.iter().filter_map(|held| Some(held.port()?.to_string())).collect();
    let filter = format!("port:{}", ports.join(","));
    let listed = Top::start(place, "flows", &["-f", &filter, "--count", "1", "--rows", "100000"])?.rest()?;
    let listed: Vec<Event> = listed.iter().flat_map(rows).map(Event::facts).collect();
    for held in &crowd {
        held.compare(checks, "listed", &held.standing, &listed);
    }

    let watch = Observer::start(place, &["flow"], &["-f", &filter], Keep::Events)?;
    let mut closed = Vec::new();
    for mut held in crowd {
        held.actor.tell("close")?;
        let (what, container) = (held.what, held.container);
        let accounts = accounts(&held.actor.conclusion(place.patience(20))?)?;
        closed.push((what, container, accounts));
    }
    let observed = watch.finish()?;
    observed.check_books(checks, &["flow"])?;
    let of_name = |name: &str| observed.events.iter().filter(|event| event.name == name).count();
    let due = closed.len() * 2 * count as usize;
    checks.equal("flow.open", 0, of_name("flow.open"));
    checks.equal("flow.close", due, of_name("flow.close"));
    checks.equal(
        "flow.close with flow.primed",
        due,
        observed.events.iter().filter(|event| event.name == "flow.close" && event.primed).count(),
    );
    for (what, container, accounts) in &closed {
        compare(checks, &format!("{what}: closed"), accounts, *container, &observed.events);
    }
    Ok(())
}

fn hold(count: u32, more: &[&str]) -> Vec<String> {
    let told = ["hold".to_owned(), count.to_string(), "3000".to_owned()];
    told.into_iter().chain(more.iter().map(ToString::to_string)).collect()
}

/// Connections that stand somewhere before fluoro does.
struct Held {
    what: &'static str,
    actor: Actor,
    container: Option<&'static str>,
    standing: Vec<(Account, bool)>,
}

impl Held {
    const fn start(what: &'static str, actor: Actor) -> Self {
        Self { what, actor, container: None, standing: Vec::new() }
    }

    /// Where its server listens.
    fn port(&self) -> Option<u16> {
        self.standing.iter().find(|(_, inbound)| *inbound).map(|(account, _)| account.local.port())
    }

    fn compare(&self, checks: &mut Checks, when: &str, expected: &[(Account, bool)], observed: &[Event]) {
        compare(checks, &format!("{}: {when}", self.what), expected, self.container, observed);
    }
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

fn compare(
    checks: &mut Checks,
    what: &str,
    expected: &[(Account, bool)],
    container: Option<&str>,
    observed: &[Event],
) {
    // Namespaces may use the same ports at the same time.
    let by_ends: HashMap<(SocketAddr, SocketAddr, Option<u32>), &Event> =
        observed.iter().filter_map(|event| Some(((event.local?, event.peer?, event.pid), event))).collect();
    let (mut missing, mut bytes, mut direction, mut owner) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (account, inbound) in expected {
        let Some(event) = by_ends.get(&(account.local, account.peer, Some(account.pid))) else {
            missing.push(format!("{account:?}"));
            continue;
        };
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
        if container.is_some() && event.container.as_deref() != container {
            owner.push(format!("{} is in {:?}", event.brief(), event.container));
        }
    }
    checks.none(format!("{what}: sockets not shown with their process"), &missing);
    checks.none(format!("{what}: bytes not the application's"), &bytes);
    checks.none(format!("{what}: wrong direction"), &direction);
    if container.is_some() {
        checks.none(format!("{what}: not in their container"), &owner);
    }
}
