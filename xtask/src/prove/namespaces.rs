//! Two network namespaces with the same addresses and the same ports at the same time: their connections must not be
//! taken for each other.

use anyhow::Result;

use super::Place;
use super::checks::Checks;
use super::flows::{self, Exchanged};
use super::observer::{Keep, Observer};
use super::ports::FreePorts;
use crate::workload::exchange::{Family, Kind};

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(400, 10);
    let port = FreePorts::from(21_100).take()?;
    let watch = Observer::start(place, &["flow"], &["-f", &format!("port:{port}")], Keep::Events)?;
    let first = flows::start(place, Kind::Epoll, Family::V4, count, port, true)?;
    let second = flows::start(place, Kind::Threaded, Family::V4, count, port, true)?;
    let third = flows::start(place, Kind::Plain, Family::V6, count, port, true)?;
    let mut exchanged = Vec::new();
    for actor in [first, second, third] {
        exchanged.push(Exchanged::from_json(&actor.conclusion(place.patience(60))?)?);
    }
    let observed = watch.finish()?;

    observed.check_books(checks, &["flow"])?;
    let books = observed.books("flow")?;
    checks.equal("lost", 0, books.lost);
    flows::compare(place, checks, &exchanged, &observed.events, books.missed)
}
