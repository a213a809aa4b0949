//! More connections in one interval than there are rows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use fluoro::engine::synthetic::{Clock, Described, Script, Shared};
use fluoro::engine::{Core, Sources};
use fluoro::families::Family;
use fluoro::families::flow::row::group::{By, GroupKey};
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

/// A connection to a peer that opens, and ends if it is told with which bytes.
fn to_peer(peer: u32, id: u64, tx_bytes: Option<u64>, at_ns: u64) -> Vec<(BootTime, Vec<u8>)> {
    let told = |kind| {
        let mut record = FlowRecord::new_zeroed();
        record.header = Header { at_ns, seq: id, cpu: 0, kind, flags: 0 };
        (record.id, record.direction) = (id, DIRECTION_OUTBOUND);
        record.peer_address = Ipv4Addr::from(peer).to_ipv6_mapped().octets();
        record.tx_bytes = tx_bytes.unwrap_or(0);
        (BootTime(at_ns), record.as_bytes().to_vec())
    };
    std::iter::once(told(KIND_OPEN)).chain(tx_bytes.map(|_| told(KIND_CLOSE))).collect()
}

#[test]
fn what_a_peer_was_sent_never_grows_less_however_many_came_before_it() {
    const SECOND: u64 = 1_000_000_000;
    const LATE: u32 = 0x0b00_0001;
    const COMES: u64 = 8;
    let clock = Clock::default();
    let mut core = Core::new(Shared::new(Described { clock: clock.clone(), ..Described::default() }));
    let mut records = Vec::new();
    for second in 0..26 {
        let at = BEGAN + second * SECOND;
        // Each of these comes once.
        let crowd = (0..1_500).map(|n| second * 10_000 + n + 1);
        records.extend(crowd.flat_map(|id| to_peer(0x0a00_0000 + id as u32, id, Some(10), at)));
        if second == COMES {
            records.extend(to_peer(LATE, 900_000, None, at));
        }
        if second >= COMES {
            records.extend(to_peer(LATE, 900_001 + second, Some(100), at));
        }
    }
    let mut sources = Sources::default();
    sources.open(Family::Flow, Box::new(Script::new(Family::Flow, clock.clone(), records)));
    for second in 0..26 {
        clock.set(BootTime(BEGAN + second * SECOND + SECOND / 2));
        core.drain(&mut sources);
        while core.has_backlog() {
            core.drain(&mut sources);
        }
        core.take_events();
        core.tick(Duration::from_secs(1));
        let groups = core.flow.groups(By::Peer, &core.flow_rows(false), true);
        let late = groups.iter().find(|group| group.key == GroupKey::Peer(Ipv4Addr::from(LATE).into()));
        let due = (second >= COMES).then(|| 100 * (second - COMES + 1));
        assert_eq!(late.map(|group| group.sums.tx_bytes), due, "after {second} s");
    }
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
