#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::columns::infos;
use crate::engine::machine::SocketPart;
use crate::filter::Keys;
use crate::model::{Identity, Lookup, Owner, ProcFacts};
use crate::records::{CgroupId, Outside, StartTime, Tgid, Uid, WallOffset, WallTime};

fn threads(told: &[(u32, u64, u64)]) -> Vec<Scheduled> {
    told.iter().map(|&(tid, on_cpu_ns, waited_ns)| Scheduled { tid, on_cpu_ns, waited_ns }).collect()
}

#[test]
fn a_thread_that_has_ended_takes_nothing_away_from_the_others() {
    let before = threads(&[(7, 100, 10), (8, 5_000, 500)]);
    let now = threads(&[(7, 160, 11), (9, 40, 4)]);
    assert_eq!(scheduled_since(&before, &now), (100, 5));
}

#[test]
fn of_all_processes_only_what_is_asked_for_is_looked_up() {
    let keys = Keys::of(infos::<ProcessRow>());
    let by = |text: &str| of_all(Some(&Filter::parse(text, &keys).unwrap()), false, None);
    assert_eq!(of_all(None, false, Some("pid")), None);
    assert_eq!(of_all(None, true, Some("pid")), Some(Depth::Brief));
    assert_eq!(of_all(None, false, Some("run_wait")), Some(Depth::Scheduled));
    assert_eq!(by("pid:7 user:root"), None);
    assert_eq!(by("cpu>10 or on_cpu>5ms"), Some(Depth::Scheduled));
    assert_eq!(by("!fds>100 cpu>1"), Some(Depth::Whole));
    assert_eq!(by("cwd:/srv/*"), Some(Depth::Whole));
    assert_eq!(by("pid:7 or not nginx"), Some(Depth::Whole));
}

const SECOND: u64 = 1_000_000_000;

/// A /proc that counts how often it is asked for what.
#[derive(Default)]
struct Asked {
    now: u64,
    usage: u64,
    scheduled: u64,
    held: u64,
}

impl Lookup for Asked {
    fn process(&mut self, _: Tgid) -> Option<ProcFacts> {
        None
    }
    fn cgroup(&mut self, _: CgroupId) -> Option<Outside> {
        None
    }
    fn owner(&mut self, _: &Outside) -> Owner {
        Owner::default()
    }
    fn user(&mut self, _: Uid) -> Option<Arc<str>> {
        None
    }
    fn wall(&self, _: BootTime) -> WallTime {
        WallTime(0)
    }
}

impl Machine for Asked {
    fn now(&self) -> BootTime {
        BootTime(self.now)
    }
    fn offset(&self) -> WallOffset {
        WallOffset(0)
    }
    fn refresh(&mut self) {}
    fn processes(&self) -> Vec<ProcFacts> {
        vec![]
    }
    fn pids(&self) -> Vec<u32> {
        vec![]
    }
    /// Half a CPU.
    fn usage(&mut self, _: ProcKey) -> Option<Used> {
        self.usage += 1;
        Some(Used { cpu_ns: self.now / 2, resident_bytes: 8192, threads: 1 })
    }
    fn scheduled(&mut self, process: ProcKey, _: u64) -> Option<Vec<Scheduled>> {
        self.scheduled += 1;
        Some(vec![Scheduled { tid: process.tgid.0, on_cpu_ns: self.now / 2, waited_ns: self.now / 4 }])
    }
    fn held(&mut self, _: ProcKey) -> Held {
        self.held += 1;
        Held { fds: Some(3), working_directory: Some(Outside::new(b"/srv")) }
    }
    fn ask_sockets(&mut self, _: bool) {}
    fn next_sockets(&mut self) -> Option<SocketPart> {
        None
    }
}

fn rows(pids: std::ops::Range<u32>) -> Vec<Arc<ProcessRow>> {
    let key = |pid| ProcKey { tgid: Tgid(pid), start: StartTime(0) };
    pids.map(|pid| Arc::new(ProcessRow::of(Arc::new(Identity::bare(key(pid), WallTime(0)))))).collect()
}

/// What the iterator tells at this time of processes that use half a CPU each.
fn told(pids: std::ops::Range<u32>, now: u64) -> Vec<ThreadUse> {
    let thread = |pid| ThreadUse {
        tgid: pid,
        tid: pid,
        ran_ns: now / 2,
        waited_ns: now / 4,
        resident_pages: 2,
        threads: 1,
        ..ThreadUse::default()
    };
    pids.map(thread).collect()
}

#[test]
fn what_the_iterator_tells_is_not_looked_up() {
    let (mut looks, mut machine) = (Looks::default(), Asked::default());
    let mut rows = rows(1..401);
    for tick in 1..=2 {
        machine.now = tick * SECOND;
        looks.tick();
        assert!(looks.wants_reading());
        looks.read(Some(told(1..401, machine.now)), BootTime(machine.now));
        assert!(!looks.wants_reading(), "once a tick");
        looks.fill(rows.iter_mut(), Depth::Scheduled, &mut machine);
        looks.fill(rows.iter_mut().take(20), Depth::Whole, &mut machine);
    }
    assert_eq!((machine.usage, machine.scheduled, machine.held), (0, 0, 40));
    for (place, row) in rows.iter().enumerate() {
        let usage = row.usage.as_ref().unwrap();
        assert_eq!((usage.cpu_share, usage.resident_bytes, usage.threads), (Some(0.5), 8192, 1));
        assert_eq!((usage.on_cpu_ns, usage.run_wait_ns), (Some(SECOND / 2), Some(SECOND / 4)));
        assert_eq!(usage.fds, (place < 20).then_some(3), "in sight, and in no other way different");
    }
}

#[test]
fn without_an_iterator_no_more_is_looked_up_than_is_asked_for() {
    let (mut looks, mut machine) = (Looks::default(), Asked::default());
    let mut rows = rows(1..401);
    for tick in 1..=2 {
        machine.now = tick * SECOND;
        looks.tick();
        looks.read(None, BootTime(machine.now));
        looks.fill(rows.iter_mut(), Depth::Brief, &mut machine);
        looks.fill(rows.iter_mut().take(20), Depth::Whole, &mut machine);
    }
    assert_eq!((machine.usage, machine.scheduled, machine.held), (800, 40, 40));
    let [first, .., last] = rows.as_slice() else { panic!("no rows") };
    let (seen, unseen) = (first.usage.as_ref().unwrap(), last.usage.as_ref().unwrap());
    assert_eq!((seen.cpu_share, unseen.cpu_share), (Some(0.5), Some(0.5)));
    assert_eq!((seen.on_cpu_ns, seen.run_wait_ns), (Some(SECOND / 2), Some(SECOND / 4)));
    assert_eq!((unseen.on_cpu_ns, unseen.fds), (None, None));
}
