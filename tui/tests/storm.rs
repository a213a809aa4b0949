//! More connections in one interval than there are rows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use fluoro::engine::synthetic::{Clock, Described, Script, Shared};
use fluoro::engine::{Core, Sources};
use fluoro::families::Family;
use fluoro::model::View;
use fluoro::records::BootTime;
use fluoro_shared::flow::{DIRECTION_OUTBOUND, FlowRecord, KIND_CLOSE, KIND_OPEN};
use fluoro_shared::record::Header;
use zerocopy::{FromZeros, IntoBytes};

const BEGAN: u64 = 100_000_000_000;

fn record(id: u64, kind: u16) -> (BootTime, Vec<u8>) {
    let mut record = FlowRecord::new_zeroed();
    let at_ns = BEGAN + id * 1000 + u64::from(kind);
    record.header = Header { at_ns, seq: id, cpu: 0, kind, flags: 0 };
    (record.id, record.direction) = (id, DIRECTION_OUTBOUND);
    (BootTime(BEGAN), record.as_bytes().to_vec())
}

/// A second with so many connections that open and close, and one at the end that stays.
fn second_of(connections: u64) -> Core {
    let clock = Clock::default();
    let mut core = Core::new(Shared::new(Described { clock: clock.clone(), ..Described::default() }));
    let mut sources = Sources::default();
    let records = (1..=connections)
        .flat_map(|id| [record(id, KIND_OPEN), record(id, KIND_CLOSE)])
        .chain([record(connections + 1, KIND_OPEN)]);
    sources.open(Family::Flow, Box::new(Script::new(Family::Flow, clock.clone(), records)));
    clock.set(BootTime(BEGAN + 1_000_000_000));
    assert_eq!(core.drain(&mut sources) as u64, 2 * connections + 1);
    while core.has_backlog() {
        core.drain(&mut sources);
    }
    assert_eq!(core.take_events().len() as u64, 2 * connections + 1, "every event is told");
    core.tick(Duration::from_secs(1));
    core
}

fn totals(core: &Core) -> (Option<f64>, Option<f64>) {
    let totals: BTreeMap<_, _> = core.totals(View::Flows).into_iter().collect();
    (totals.get("flows").copied().flatten(), totals.get("untracked").copied().flatten())
}

#[test]
fn what_ended_in_an_interval_is_shown_once_however_much_it_is() {
    let mut core = second_of(30_000);
    assert_eq!(totals(&core), (Some(1.0), Some(0.0)));
    assert_eq!(core.flow_rows(true).len(), 30_001);
    core.tick(Duration::from_secs(1));
    assert_eq!(core.flow_rows(true).len(), 1);
    assert!(core.flow_rows(false).len() <= 20_001, "what lingers is bounded");
}

#[test]
fn a_live_connection_takes_the_place_of_one_that_has_ended() {
    let core = second_of(205_000);
    assert_eq!(totals(&core), (Some(1.0), Some(0.0)));
    assert!(core.flow_rows(false).len() <= 200_000);
}
