//! Many short connections at full speed from eight processes to servers that fork, have threads, poll or ask by rings:
//! every one once, with its owner and its bytes, and none left over.

use anyhow::Result;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::flows::{self, Exchanged};
use super::observer::{Keep, Observer};
use super::ports::FreePorts;
use super::top::{Top, rows};
use crate::workload::exchange::{Family, Kind};
use crate::workload::uring::Ring;

/// Over all pairs of a client and a server.
const CONNECTIONS: u32 = 20_000;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let has_rings = Ring::new().is_ok();
    if !has_rings {
        checks.note("no io_uring here: its servers are left out");
    }
    let kinds = || Kind::BUSY.into_iter().filter(|kind| has_rings || *kind != Kind::Uring);
    let pairs: Vec<(Kind, Family)> = [Family::V4, Family::V6]
        .into_iter()
        .flat_map(|family| kinds().map(move |kind| (kind, family)))
        .collect();
    let count = place.scaled(CONNECTIONS, 160) / pairs.len() as u32;
    let mut free = FreePorts::from(23_100);
    let ports = pairs.iter().map(|_| free.take()).collect::<Result<Vec<u16>>>()?;
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    let filter = format!("port:{}", list.join(","));
    let watch = Observer::start(place, &["flow"], &["-f", &filter], Keep::Events)?;
    let mut actors = Vec::new();
    for ((kind, family), port) in pairs.iter().zip(&ports) {
        actors.push(flows::start(place, *kind, *family, count, *port, false)?);
    }
    let mut exchanged = Vec::new();
    for actor in actors {
        exchanged.push(Exchanged::from_json(&actor.conclusion(place.patience(90))?)?);
    }
    let left = Top::start(place, "flows", &["-f", &filter, "--count", "1"])?.rest()?;
    let left: Vec<String> = left.iter().flat_map(rows).map(|row| Event::facts(row).brief()).collect();
    checks.none("connections left over", &left);
    let observed = watch.finish()?;
    observed.check_books(checks, &["flow"])?;
    let books = observed.books("flow")?;
    let of = |name: &str| observed.events.iter().filter(|event| event.name == name).count() as u64;
    // A full backlog makes the kernel send again.
    let trouble = of("flow.retransmit") + of("flow.reset");
    let connections = exchanged.iter().map(|exchange| exchange.clients.len() as u64).sum::<u64>();
    let due = 4 * connections + pairs.len() as u64;
    checks.note(format!("{connections} connections, {trouble} lines of trouble, lost {}", books.lost));
    // Of what was lost nobody knows whether it was trouble.
    checks.at_least(
        "seen - filtered: open and close of each side, and listens",
        due,
        books.seen - books.filtered,
    );
    checks.at_most("the same, less trouble and what was lost", due, books.submitted - trouble);
    if books.lost > 0 {
        // With so many busy processes on few CPUs fluoro itself may not get to run often enough.
        return Ok(());
    }
    flows::compare(place, checks, &exchanged, &observed.events, books.missed)
}
