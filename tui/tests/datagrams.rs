//! Flows of datagrams from made-up records and counts: when they open and end, what is told of them, whose they are.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fluoro::engine::synthetic::{Clock, Described, Script, Shared};
use fluoro::engine::{Core, Frame, Sources};
use fluoro::families::{Family, flow};
use fluoro::model::Event;
use fluoro::records::BootTime;
use fluoro_shared::flow::udp::{
    DatagramCount, DatagramKey, DatagramRecord, FLAG_ANNOUNCED, KIND_DATAGRAM_OPEN, KIND_SOCKET_CLOSED,
    protocol,
};
use fluoro_shared::record::{Header, Task};
use zerocopy::IntoBytes;

const SECOND: u64 = 1_000_000_000;
const SOCKET: u64 = 77;

fn key() -> DatagramKey {
    let mapped = |last| {
        let mut address = [0; 16];
        (address[10], address[11], address[12], address[15]) = (0xff, 0xff, 10, last);
        address
    };
    DatagramKey {
        socket: SOCKET,
        local_address: mapped(1),
        peer_address: mapped(2),
        local_port: 4000,
        peer_port: 53,
        protocol: protocol::UDP,
        pad: [0; 3],
    }
}

fn owner() -> Task {
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"asker");
    Task { start_ns: SECOND, cgroup: 0, tgid: 7, tid: 8, parent_tgid: 1, uid: 0, comm }
}

fn record(kind: u16, at: u64) -> (BootTime, Vec<u8>) {
    let record = DatagramRecord {
        header: Header { at_ns: at, seq: 1, cpu: 0, kind, flags: 0 },
        owner: if kind == KIND_DATAGRAM_OPEN { owner() } else { Task::NONE },
        flow: key(),
        id: SOCKET,
        netns: 1,
        flags: FLAG_ANNOUNCED,
    };
    (BootTime(at), record.as_bytes().to_vec())
}

fn frame(at: u64, tx: u64, rx: u64, announced: bool) -> (BootTime, Frame) {
    let count = DatagramCount {
        id: if announced { SOCKET } else { 0 },
        cookie: if announced { SOCKET } else { 0 },
        tx_packets: tx,
        tx_bytes: tx * 10,
        rx_packets: rx,
        rx_bytes: rx * 100,
        opened_ns: SECOND,
        netns: 1,
        flags: if announced { FLAG_ANNOUNCED } else { 0 },
        owner: if announced { owner() } else { Task::NONE },
    };
    (
        BootTime(at),
        Frame::Flow(flow::model::Frame {
            histograms: Vec::new(),
            datagrams: vec![(key(), count)],
            ..flow::model::Frame::default()
        }),
    )
}

struct Stage {
    clock: Clock,
    core: Core,
    sources: Sources,
}

impl Stage {
    fn new(records: Vec<(BootTime, Vec<u8>)>, frames: Vec<(BootTime, Frame)>) -> Self {
        let clock = Clock::default();
        let machine = Shared::new(Described { clock: clock.clone(), ..Described::default() });
        let mut sources = Sources::default();
        let script = Script::new(Family::Flow, clock.clone(), records).counting(frames);
        sources.open(Family::Flow, Box::new(script));
        Self { clock, core: Core::new(machine), sources }
    }

    /// What is told by then; with the counts of that moment read, if asked.
    fn at(&mut self, at: u64, counting: bool) -> Vec<Event> {
        self.clock.set(BootTime(at));
        self.core.drain(&mut self.sources);
        self.core.flush();
        if counting {
            self.core.count(&mut self.sources, None);
            self.core.tick(Duration::from_secs(1));
        }
        self.core.take_events()
    }
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.name).collect()
}

fn text(event: &Event, column: &str) -> String {
    use fluoro::columns::Facts;
    let at = event.infos().iter().position(|info| info.id == column).unwrap();
    format!("{:?}", Facts::value(event, at))
}

#[test]
fn a_flow_opens_with_its_first_datagram_and_ends_with_its_socket_and_its_last_counts() {
    let records = vec![record(KIND_DATAGRAM_OPEN, SECOND), record(KIND_SOCKET_CLOSED, 3 * SECOND / 2)];
    let mut stage = Stage::new(records, vec![frame(SECOND, 3, 1, true)]);
    assert_eq!(names(&stage.at(SECOND + 10_000_000, false)), ["flow.open"]);
    stage.at(3 * SECOND / 2 + 10_000_000, false);
    let told = stage.at(2 * SECOND, true);
    assert_eq!(names(&told), ["flow.close"]);
    let close = told.first().unwrap();
    assert_eq!(close.at, BootTime(3 * SECOND / 2));
    for (column, value) in [
        ("tx_packets", "Uint(3)"),
        ("tx_bytes", "Uint(30)"),
        ("rx_packets", "Uint(1)"),
        ("rx_bytes", "Uint(100)"),
        ("end", "Word(\"socket\")"),
        ("transport", "Word(\"udp\")"),
        ("state", "Word(\"closed\")"),
        ("rtt", "Missing"),
        ("direction", "Word(\"outbound\")"),
        ("attribution", "Word(\"exact\")"),
        ("pid", "Uint(7)"),
    ] {
        assert_eq!(text(close, column), value, "{column}");
    }
    // No record of the kernel side stands for the close.
    assert_eq!(stage.core.made(Family::Flow), 1);
}

#[test]
fn silence_ends_a_flow_and_so_does_the_end_of_fluoro() {
    let records = || vec![record(KIND_DATAGRAM_OPEN, SECOND)];
    let mut stage = Stage::new(records(), vec![frame(SECOND, 1, 0, true), frame(20 * SECOND, 2, 0, true)]);
    for at in 1..50 {
        assert_eq!(
            names(&stage.at(at * SECOND + SECOND / 2, true)),
            if at == 1 { vec!["flow.open"] } else { vec![] }
        );
    }
    let told = stage.at(51 * SECOND, true);
    assert_eq!(
        (names(&told), text(told.first().unwrap(), "end")),
        (vec!["flow.close"], "Word(\"idle\")".to_owned())
    );

    let mut stage = Stage::new(records(), vec![frame(SECOND, 5, 0, true)]);
    stage.at(2 * SECOND, true);
    stage.core.finish();
    let told = stage.core.take_events();
    assert_eq!(text(told.first().unwrap(), "end"), "Word(\"observer\")");
    assert_eq!(text(told.first().unwrap(), "tx_packets"), "Uint(5)");
}

#[test]
fn a_flow_of_which_nobody_told_is_found_in_the_counts_once() {
    let mut stage = Stage::new(vec![], vec![frame(SECOND, 1, 0, false)]);
    // Its record might be on its way.
    assert_eq!(names(&stage.at(SECOND + 1_000_000, true)), [] as [&str; 0]);
    assert_eq!(names(&stage.at(2 * SECOND, true)), ["flow.open"]);
    assert_eq!(names(&stage.at(3 * SECOND, true)), [] as [&str; 0]);
    assert_eq!(stage.core.made(Family::Flow), 1);
}

#[test]
fn whose_a_datagram_is_can_be_asked_by_its_ends_a_while_longer_than_it_lives() {
    let records = vec![record(KIND_DATAGRAM_OPEN, SECOND), record(KIND_SOCKET_CLOSED, SECOND + 1)];
    let nothing = Frame::Flow(flow::model::Frame::default());
    let frames = vec![frame(SECOND, 1, 0, true), (BootTime(5 * SECOND / 2), nothing)];
    let mut stage = Stage::new(records, frames);
    stage.at(2 * SECOND, true);
    stage.at(3 * SECOND, true);
    let whose = |stage: &Stage, local: &str, peer: &str| {
        let owner = stage.core.flow.datagram_owner(None, local.parse().unwrap(), peer.parse().unwrap());
        owner.map(|identity| identity.key.tgid.0)
    };
    assert_eq!(whose(&stage, "10.0.0.1:4000", "10.0.0.2:53"), Some(7));
    assert_eq!(whose(&stage, "10.0.0.1:4000", "10.0.0.3:53"), Some(7), "another peer of the same socket");
    assert_eq!(whose(&stage, "10.0.0.1:4001", "10.0.0.2:53"), None);
    stage.at(40 * SECOND, true);
    stage.at(41 * SECOND, true);
    assert_eq!(whose(&stage, "10.0.0.1:4000", "10.0.0.2:53"), None);
}
