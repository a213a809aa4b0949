//! Connections opened and closed at full speed: every one is in the ledger, which balances exactly, and fluoro's
//! memory stays within its budget.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::ports::FreePorts;
use super::witness;
use crate::workload::actor::Actor;

const CONNECTIONS: u32 = 50_000;
const RESIDENT_MIB: u64 = 120;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(CONNECTIONS, 500);
    let port = FreePorts::from(22_100).take()?;
    let port_text = port.to_string();
    let count_text = count.to_string();
    let mut server = Actor::start(&place.xtask, &["storm-serve", &count_text, &port_text])?;
    let mut client = Actor::start(&place.xtask, &["storm-connect", &count_text, &port_text])?;

    let filter = format!("pid:{},{}", client.pid(), server.pid());
    let trouble_before = kernels_trouble()?;
    let watch = Observer::start(place, &["flow"], &["-f", &filter], Keep::Counts)?;
    server.tell("listen")?;
    server.hear(place.patience(10))?;
    client.tell("go")?;
    let connected = client.conclusion(place.patience(60))?;
    let accepted = server.conclusion(place.patience(60))?;
    // A FIN that was sent while the backlog was full is sent again by a timer.
    let deadline = Instant::now() + place.patience(3);
    while witness::sockets_open(port)? > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    let observed = watch.finish()?;

    let number = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_u64).with_context(|| format!("no {key}"))
    };
    let connects = number(&connected, "connects")?;
    let listens = number(&accepted, "listens")?;
    checks.equal("connections made = accepted", connects, number(&accepted, "accepts")?);
    let seconds = number(&connected, "elapsed_ns")? as f64 / 1e9;
    checks
        .note(format!("{connects} connections in {seconds:.2} s: {:.0} a second", connects as f64 / seconds));

    observed.check_books(checks, &["flow"])?;
    let books = observed.books("flow")?;
    checks.equal("error", 0, books.error);
    let lines = |name: &str| observed.counts.get(name).copied().unwrap_or(0);
    // A full backlog makes the kernel send again, and give up.
    let trouble = lines("flow.retransmit") + lines("flow.reset");
    let due = 4 * connects + listens + trouble;
    let missed = place.excused(due, books.missed);
    // Lines of it may be among those that were lost: no more than the kernel counts.
    let unseen = books.lost.min((kernels_trouble()? - trouble_before).saturating_sub(trouble));
    let mut balance = |what: &str, observed: u64| {
        checks.that(
            format!("{what} = 4 x connections + listens + trouble"),
            format!("{due}, less {missed} missed, {unseen} of trouble lost at most"),
            observed,
            (due.saturating_sub(missed)..=due + unseen).contains(&observed),
        );
    };
    balance("seen - filtered", books.seen - books.filtered);
    let shown = lines("flow.open") + lines("flow.close") + lines("flow.listen") + trouble;
    balance("shown + lost + muted", shown + books.lost + books.muted);
    // Whatever became of its lines the kernel side has counted each end, and each listener; other programs' too.
    checks.at_least(
        "aggregates: counted, 2 x connections + listens",
        (2 * connects + listens).saturating_sub(missed),
        observed.aggregate("flow", "counted")?,
    );
    checks.at_most("lines of other names", 0, observed.shown() - shown);
    checks.that(
        "opens and closes shown",
        format!("{0} and {0}, less what was lost", 2 * connects),
        format!("{} and {}, lost {}", lines("flow.open"), lines("flow.close"), books.lost),
        lines("flow.open") <= 2 * connects && lines("flow.close") <= 2 * connects,
    );
    checks.at_most("most resident memory, MiB", RESIDENT_MIB, observed.peak_kib.div_ceil(1024));
    checks.at_most("hook runs that were left out (missed)", missed, books.missed.unwrap_or(0));
    checks.note(format!("fluoro used {:.2} s of CPU", observed.cpu.as_secs_f64()));
    Ok(())
}

/// Segments of TCP that this network namespace has sent again, and resets, which over the loopback are sent and received.
fn kernels_trouble() -> Result<u64> {
    let tcp = |name| witness::counter("/proc/net/snmp", "Tcp:", name);
    Ok(tcp("RetransSegs")? + 2 * tcp("OutRsts")?)
}
