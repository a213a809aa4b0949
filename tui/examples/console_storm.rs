//! The console over made-up records that come faster than a busy machine's: for the test of a terminal that takes
//! nothing meanwhile. The storm begins when Events is opened. What came of it goes to the file named by
//! `FLUORO_STORM_TOLD`, as `name number` lines.

#[path = "../tests/screens/rows.rs"]
mod rows;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::MapError;
use fluoro::app::{Options, run};
use fluoro::collect::taps::KernelFilter;
use fluoro::columns::Listing;
use fluoro::engine::synthetic::{Clock, Described, Shared};
use fluoro::engine::{Core, Handle, Inlet, Service, Source, Sources};
use fluoro::families::Family;
use fluoro::families::flow::model::FlowRow;
use fluoro::model::{Books, Ledger, Query, View};
use fluoro::records::BootTime;
use fluoro_shared::flow::{DIRECTION_OUTBOUND, FlowRecord, KIND_CLOSE, KIND_OPEN};
use fluoro_shared::record::{Header, Task};
use rows::Scene;
use zerocopy::{FromZeros, IntoBytes};

/// Events of one second, and how many seconds.
const PER_SECOND: u64 = 200_000;
const SECONDS: u64 = 4;
/// Records that find room in the ring: 80 ms of them, as a ring of 4 MiB holds.
const RING: usize = 16_384;
/// Connections open at a time.
const LIVE: u64 = 1_000;
/// The collector looks into the ring so often.
const PACE: Duration = Duration::from_millis(10);

/// A ring, with the ledger that is kept where records are put into it.
#[derive(Default)]
struct Ring {
    records: Mutex<VecDeque<Vec<u8>>>,
    seen: AtomicU64,
    lost: AtomicU64,
}

impl Ring {
    fn put(&self, record: Vec<u8>) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() < RING {
            records.push_back(record);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ledger(&self) -> Ledger {
        let (seen, lost) = (self.seen.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed));
        Ledger { seen, lost, submitted: seen - lost, ..Ledger::default() }
    }
}

/// The reader's end of the ring.
struct Tap(Arc<Ring>);

impl Source for Tap {
    fn drain(&mut self, inlet: &mut Inlet<'_>) -> usize {
        let waiting = std::mem::take(&mut *self.0.records.lock().unwrap_or_else(PoisonError::into_inner));
        for record in &waiting {
            inlet.take(record);
        }
        waiting.len()
    }

    fn books(&self) -> Result<Books, MapError> {
        Ok(Books { ledger: self.0.ledger(), ..Books::default() })
    }

    fn set_filter(&mut self, _: &KernelFilter) -> Result<(), MapError> {
        Ok(())
    }

    fn map_bytes(&self) -> u64 {
        0
    }
}

/// The `n`th record: connections open `LIVE` ahead of closing.
fn record(n: u64, at_ns: u64) -> Vec<u8> {
    let (turn, closes) = (n / 2, n % 2 == 1);
    let id = if closes { turn.saturating_sub(LIVE) } else { turn };
    let pid = 1000 + id as u32 % 200;
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"storm");
    let mut record = FlowRecord::new_zeroed();
    let kind = if closes { KIND_CLOSE } else { KIND_OPEN };
    record.header = Header { at_ns, seq: n, cpu: 0, kind, flags: 0 };
    record.owner =
        Task { start_ns: 1_000_000_000, cgroup: 0, tgid: pid, tid: pid, parent_tgid: 1, uid: 0, comm };
    record.id = id + 1;
    (record.local_port, record.peer_port) = (32_768 + (id % 28_000) as u16, 443);
    record.direction = DIRECTION_OUTBOUND;
    record.as_bytes().to_vec()
}

/// Puts what is due into the ring, whatever the reader does.
fn blow(ring: &Ring, clock: &Clock, from: BootTime) {
    let (began, mut made) = (Instant::now(), 0);
    while made < PER_SECOND * SECONDS {
        let due = (began.elapsed().as_nanos() as u64 * PER_SECOND / 1_000_000_000).min(PER_SECOND * SECONDS);
        while made < due {
            ring.put(record(made, from.0 + made * 1_000_000_000 / PER_SECOND));
            made += 1;
        }
        clock.set(BootTime(from.0 + made * 1_000_000_000 / PER_SECOND));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kilobytes: the figure of `/proc/self/status` with this name.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

struct Collector {
    service: Service,
    core: Core,
    sources: Sources,
    ring: Arc<Ring>,
    clock: Clock,
    query: Query,
    told: u64,
}

impl Collector {
    fn new(service: Service) -> Self {
        let clock = Clock::default();
        clock.set(BootTime(100_000_000_000));
        let ring = Arc::<Ring>::default();
        let mut sources = Sources::default();
        sources.open(Family::Flow, Box::new(Tap(Arc::clone(&ring))));
        let core = Core::new(Shared::new(Described { clock: clock.clone(), ..Described::default() }));
        Self { service, core, sources, ring, clock, query: Query::default(), told: 0 }
    }

    fn publish(&mut self) {
        if let Some(asked) = self.service.question() {
            self.query = asked;
        }
        let rows: Vec<Arc<FlowRow>> = self.core.flow_rows(false);
        let total = rows.len();
        let mut scene = Scene::of(Vec::<rows::Flow>::new(), total);
        scene.sheet = Arc::new(Listing { rows, total });
        scene.lost = self.sources.ledger(Family::Flow).lost;
        self.service.publish(scene.answer(&self.query));
    }

    fn take(&mut self) {
        self.core.drain(&mut self.sources);
        while self.core.has_backlog() {
            self.core.drain(&mut self.sources);
        }
        self.told += self.core.take_events().len() as u64;
    }

    fn run(mut self, told: &str) {
        while self.query.view != View::Events && !self.service.stopping() {
            self.publish();
            std::thread::sleep(Duration::from_millis(50));
        }
        let from = self.clock.now();
        let before = memory("VmRSS");
        let (ring, clock) = (Arc::clone(&self.ring), self.clock.clone());
        let storm = std::thread::spawn(move || blow(&ring, &clock, from));
        let mut ticked = Instant::now();
        while !storm.is_finished() {
            std::thread::sleep(PACE);
            self.take();
            if ticked.elapsed() >= Duration::from_millis(200) {
                ticked = Instant::now();
                self.core.tick(Duration::from_millis(200));
                self.publish();
            }
        }
        // What came last has settled by then.
        self.clock.set(BootTime(self.clock.now().0 + 1_000_000_000));
        self.take();
        self.core.flush();
        self.told += self.core.take_events().len() as u64;
        let ledger = self.sources.ledger(Family::Flow);
        let mut text = String::new();
        for (name, number) in [
            ("seen", ledger.seen),
            ("submitted", ledger.submitted),
            ("lost", ledger.lost),
            ("error", ledger.error),
            ("told", self.told),
            ("ring", RING as u64),
            ("kib_before", before),
            ("kib_most", memory("VmHWM")),
        ] {
            let _ = writeln!(text, "{name} {number}");
        }
        // Whoever waits for it finds it whole.
        let part = format!("{told}.part");
        if std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, told)).is_err() {
            eprintln!("cannot write {told}");
        }
        while !self.service.stopping() {
            self.publish();
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn main() {
    let told = std::env::var("FLUORO_STORM_TOLD").unwrap_or_else(|_| "/dev/null".to_owned());
    let (handle, service) = Handle::pair(|| ());
    std::thread::spawn(move || Collector::new(service).run(&told));
    if let Err(error) = run(handle, Options { view: View::Flows, ..Options::default() }) {
        eprintln!("fluoro: {error}");
        std::process::exit(1);
    }
}
