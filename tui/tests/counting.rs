//! What the kernel side counts reaches the model at a tick, and goes when its process is forgotten.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fluoro::columns::Row;
use fluoro::engine::synthetic::{Clock, Described, Script, Shared};
use fluoro::engine::{Core, Frame, Sources};
use fluoro::families::Family;
use fluoro::families::{flow, syscall};
use fluoro::model::{Latency, ProcFacts};
use fluoro::records::{BootTime, Gid, Outside, ProcKey, StartTime, Tgid, Uid};
use fluoro_shared::flow::WHAT_CONNECT;
use fluoro_shared::histogram::{HistogramKey, bucket_of};
use fluoro_shared::syscall::{ABI_NATIVE, BUCKETS, Cell, CellKey, ERRNOS, ErrnoCount, Peak, bucket};

const SECOND: u64 = 1_000_000_000;
const MEMBER: ProcKey = ProcKey { tgid: Tgid(7), start: StartTime(100) };

fn frame(at: u64, connects: u64) -> (BootTime, Frame) {
    let bucket = bucket_of(23_000_000);
    let key = HistogramKey { start_ns: SECOND + 5, subject: 0, tgid: 7, what: WHAT_CONNECT, bucket };
    (
        BootTime(at),
        Frame::Flow(flow::model::Frame {
            histograms: vec![(key, connects)],
            ..flow::model::Frame::default()
        }),
    )
}

fn member() -> ProcFacts {
    ProcFacts {
        key: MEMBER,
        parent: Tgid(1),
        comm: Outside::new(b"member"),
        executable: None,
        uid: Uid(0),
        gid: Gid(0),
        args: None,
        cgroup: None,
        owner: fluoro::model::Owner::default(),
    }
}

#[test]
fn counts_of_a_process_are_kept_as_long_as_it_is_known() {
    let clock = Clock::default();
    let machine = Described { clock: clock.clone(), processes: vec![member()], ..Described::default() };
    let machine = Shared::new(machine);
    let mut core = Core::new(machine.clone());
    let mut sources = Sources::default();
    let script = Script::new(Family::Flow, clock.clone(), []);
    sources.open(Family::Flow, Box::new(script.counting([frame(2 * SECOND, 3), frame(3 * SECOND, 5)])));
    core.prime(false);

    for (at, connects) in [(2, 3), (3, 5)] {
        clock.set(BootTime(at * SECOND));
        core.count(&mut sources, None);
        core.tick(Duration::from_secs(1));
        assert_eq!(core.flow.distribution(MEMBER, WHAT_CONNECT).unwrap().count(), connects);
    }
    let [p50] = core.flow.distribution(MEMBER, WHAT_CONNECT).unwrap().quantiles([0.5], None).unwrap();
    assert!((21_562_500..=24_437_500).contains(&p50), "{p50}");

    machine.with(|machine| machine.processes.clear());
    core.sweep_processes();
    clock.set(BootTime(30 * SECOND));
    core.tick(Duration::from_secs(1));
    core.count(&mut sources, None);
    assert!(core.flow.distribution(MEMBER, WHAT_CONNECT).is_none());
}

fn calls(number: u16, durations: [u64; 2]) -> (CellKey, Cell) {
    let key = CellKey { start_ns: SECOND + 5, tgid: 7, number, abi: ABI_NATIVE, shard: 0 };
    let mut cell = Cell {
        untimed: 0,
        errors: 0,
        sum_ns: 0,
        peaks: [Peak::default(); 2],
        errnos: [ErrnoCount::default(); ERRNOS],
        buckets: [0; BUCKETS],
    };
    for ns in durations {
        *cell.buckets.get_mut(bucket(ns)).unwrap() += 1;
    }
    (key, cell)
}

#[test]
fn calls_of_a_process_have_a_histogram_all_together() {
    let clock = Clock::default();
    let machine = Described { clock: clock.clone(), processes: vec![member()], ..Described::default() };
    let mut core = Core::new(Shared::new(machine));
    let mut sources = Sources::default();
    let script = Script::new(Family::Syscall, clock.clone(), []);
    let cells = vec![calls(0, [1_000, 2_000]), calls(1, [2_000_000, 4_000_000])];
    let frame = Frame::Syscall(syscall::model::Frame { epoch: 1, cells, collisions: 0 });
    let same = Frame::Syscall(syscall::model::Frame::default());
    let frames = [(BootTime(2 * SECOND), frame), (BootTime(3 * SECOND), same)];
    sources.open(Family::Syscall, Box::new(script.counting(frames)));
    core.prime(false);

    let row = core.process_rows(false).first().unwrap().id();
    let all = |latencies: Vec<Latency>| {
        latencies.iter().find(|one| one.what == "call of any kind").map(|one| one.durations.count())
    };
    assert_eq!(all(core.durations(&[row].into())), None);
    for (at, new) in [(2, Some(4)), (3, None)] {
        clock.set(BootTime(at * SECOND));
        core.count(&mut sources, None);
        core.tick(Duration::from_secs(1));
        assert_eq!(all(core.durations(&[row].into())), Some(4), "since it was attached");
        let interval = core.latencies().into_iter().filter(|(id, _)| *id == row).map(|(_, one)| one);
        assert_eq!(all(interval.collect()), new, "of the interval");
    }
}
