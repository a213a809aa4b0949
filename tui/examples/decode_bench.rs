//! How many events a second one core decodes, models and drops: `cargo run --release --example decode_bench [MILLIONS]`.
//! Connections open and close, some processes run programs; records come in batches as large as a busy ring's.

use std::time::{Duration, Instant};

use fluoro::collect::taps::KernelFilter;
use fluoro::engine::synthetic::{Clock, Described, Shared};
use fluoro::engine::{Core, Inlet, Source, Sources};
use fluoro::families::Family;
use fluoro::model::{Books, Ledger};
use fluoro::records::BootTime;
use fluoro_shared::flow::{DIRECTION_OUTBOUND, FlowRecord, KIND_CLOSE, KIND_OPEN};
use fluoro_shared::process::{KIND_EXEC, ProcessRecord};
use fluoro_shared::record::{Header, Task};
use zerocopy::{FromZeros, IntoBytes};

/// Records of one drain.
const BATCH: u64 = 4096;
/// Connections open at a time.
const LIVE: u64 = 1000;
/// Processes that connect.
const PROCESSES: u32 = 200;
/// From one record to the next.
const STEP_NS: u64 = 500;

/// Makes records as fast as they are taken.
struct Endless {
    family: Family,
    clock: Clock,
    made: u64,
}

fn task(number: u64) -> Task {
    let pid = 1000 + number as u32 % PROCESSES;
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"bench");
    Task { start_ns: 1_000_000_000, cgroup: 0, tgid: pid, tid: pid, parent_tgid: 1, uid: 0, comm }
}

impl Endless {
    /// Opens `LIVE` connections ahead of closing them.
    fn flow(&self, at_ns: u64) -> FlowRecord {
        let (turn, closes) = (self.made / 2, self.made % 2 == 1);
        let id = if closes { turn.saturating_sub(LIVE) } else { turn };
        let mut record = FlowRecord::new_zeroed();
        let kind = if closes { KIND_CLOSE } else { KIND_OPEN };
        record.header = Header { at_ns, seq: self.made, cpu: 0, kind, flags: 0 };
        record.owner = task(id);
        record.id = id + 1;
        (record.local_port, record.peer_port) = (32768 + (id % 28_000) as u16, 443);
        record.direction = DIRECTION_OUTBOUND;
        if closes {
            record.duration_ns = LIVE * 2 * STEP_NS;
        }
        record
    }

    fn exec(&self, at_ns: u64) -> Vec<u8> {
        let header = Header { at_ns, seq: self.made, cpu: 0, kind: KIND_EXEC, flags: 0 };
        let record =
            ProcessRecord { header, task: task(self.made), wait_status: 0, gid: 0, args_len: 0, pad: 0 };
        [b"/usr/bin/bench", record.as_bytes()].concat()
    }
}

impl Source for Endless {
    fn drain(&mut self, inlet: &mut Inlet<'_>) -> usize {
        // One process event among sixteen of connections.
        let records = if self.family == Family::Flow { BATCH } else { BATCH / 16 };
        let now = self.clock.now().0;
        for number in 0..records {
            let at = now + number * STEP_NS;
            match self.family {
                Family::Flow => inlet.take(self.flow(at).as_bytes()),
                _ => inlet.take(&self.exec(at)),
            }
            self.made += 1;
        }
        records as usize
    }

    fn books(&self) -> Result<Books, aya::maps::MapError> {
        let ledger = Ledger { seen: self.made, submitted: self.made, ..Ledger::default() };
        Ok(Books { ledger, ..Books::default() })
    }

    fn set_filter(&mut self, _: &KernelFilter) -> Result<(), aya::maps::MapError> {
        Ok(())
    }

    fn map_bytes(&self) -> u64 {
        0
    }
}

fn main() {
    let millions: f64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let wanted = (millions * 1e6) as u64;
    let clock = Clock::default();
    clock.set(BootTime(100_000_000_000));
    let machine = Described { clock: clock.clone(), ..Described::default() };
    let mut core = Core::new(Shared::new(machine));
    let mut sources = Sources::default();
    for family in [Family::Process, Family::Flow] {
        sources.open(family, Box::new(Endless { family, clock: clock.clone(), made: 0 }));
    }
    let (mut events, mut second) = (0_u64, 0);
    let began = Instant::now();
    while events < wanted {
        core.drain(&mut sources);
        core.flush();
        events += core.take_events().len() as u64;
        clock.set(BootTime(clock.now().0 + BATCH * STEP_NS));
        if clock.now().0 / 1_000_000_000 != second {
            second = clock.now().0 / 1_000_000_000;
            core.tick(Duration::from_secs(1));
        }
    }
    let spent = began.elapsed();
    let malformed: u64 = Family::ALL.iter().map(|&family| sources.ledger(family).error).sum();
    assert_eq!(malformed, 0, "every record was understood");
    println!(
        "{events} events in {:.2} s: {:.2} million a second, {:.0} ns each",
        spent.as_secs_f64(),
        events as f64 / spent.as_secs_f64() / 1e6,
        spent.as_nanos() as f64 / events as f64
    );
    if cfg!(debug_assertions) {
        println!("an unoptimised build: the figure says nothing");
    }
}
