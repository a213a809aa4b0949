//! `flow` records and sweeps of the socket table in, events, rows and failures out. Pure.

mod give;
mod groups;
mod keep;
mod line;
mod lost;
mod names;
mod sweep;
mod tick;
mod trouble;
mod udp;
mod wires;

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use fluoro_shared::flow::udp::{DatagramCount, DatagramKey, DatagramOther};
use fluoro_shared::histogram::HistogramKey;

pub use super::row::{Attribution, FlowRow, Live, Queue, Rates, State};
use crate::model::{
    Distribution, EventDraft, Failure, Histograms, Lookup, Names, Processes, Series, errno_name,
};
use crate::records::flow::{Direction, Record, What};
use crate::records::{BootTime, ById, FlowId, NetnsId, ProcKey};
use line::{bare, draft, own_by, row_of, uncount};
pub use sweep::SocketFacts;
pub use tick::FlowTotals;
pub use udp::Tally;

/// What the kernel side has counted at one moment.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub histograms: Vec<(HistogramKey, u64)>,
    pub datagrams: Vec<(DatagramKey, DatagramCount)>,
    /// Of flows that found no room, since the program was attached.
    pub other_datagrams: DatagramOther,
}

/// How long an opening waits for its acceptor.
const PATIENCE_NS: u64 = 200_000_000;

struct Flow {
    /// Shared with who was shown it; copied only when a fact of it changes.
    row: Arc<FlowRow>,
    established: BootTime,
    /// The opening has not been announced yet.
    held: bool,
    /// Totals at the last tick.
    before: Option<(u64, u64)>,
    /// Its process has been told that it was established, and of so many segments sent again.
    told: (bool, u32),
    /// The sweep that saw it last.
    swept: u64,
    ended: Option<Past>,
}

/// The end of a connection.
#[derive(Clone, Copy)]
struct Past {
    at: BootTime,
    /// In which interval that was.
    interval: u64,
}

impl Flow {
    /// In the interval before the one that runs.
    fn has_just_ended(&self, running: u64) -> bool {
        self.ended.is_some_and(|past| past.interval + 1 == running)
    }
}

/// Everything known of connections.
#[derive(Default)]
pub struct FlowModel {
    flows: ById<Flow>,
    /// Openings wait for their owner however long that takes, or for their close: whoever asks for a process would else
    /// never hear of one that was slow to accept.
    pub awaits_owners: bool,
    /// No program tells of connections: what the socket table did not have before is new.
    pub is_untold: bool,
    /// Openings whose owner is awaited, in order of their deadlines.
    held: VecDeque<(BootTime, FlowId)>,
    ended: VecDeque<(BootTime, FlowId)>,
    /// Which interval runs, counted from 0.
    interval: u64,
    /// Where minted ids are found by what the socket table knows.
    minted: foldhash::HashMap<Ends, FlowId>,
    sweep: u64,
    reading: sweep::Reading,
    opens: u64,
    untracked: u64,
    totals: FlowTotals,
    failures: Vec<Failure>,
    histograms: Histograms,
    /// Of the interval that the last tick closed.
    news: foldhash::HashMap<ProcKey, give::News>,
    /// What answers called addresses.
    pub names: Names,
    folded: groups::Folded,
    room: keep::Room,
    wires: wires::Wires,
    losses: lost::Losses,
    datagrams: udp::Datagrams,
}

type Ends = (NetnsId, SocketAddr, SocketAddr);

impl FlowModel {
    /// Takes one record in; what became due goes to `out`.
    pub fn apply(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        match record.what {
            What::Listen => {
                let row = FlowRow { timed: true, ..row_of(record, processes, lookup) };
                let row = Arc::new(row);
                out.push(draft("flow.listen", record.at, Arc::clone(&row)));
                self.keep(row, record.at, false);
            }
            What::Open => self.open(record, processes, lookup, out),
            What::Owner => self.own(record, processes, lookup, out),
            What::Data => self.moved(record, processes, lookup),
            What::Fail => {
                let mut row = row_of(record, processes, lookup);
                row.state = State::Closed;
                row.error = Some(errno_name(record.error));
                self.call(&mut row, record.at);
                self.fail(&row, record.at);
                out.push(draft("flow.fail", record.at, row));
            }
            What::Retransmit => self.retransmitted(record, processes, lookup, out),
            What::Reset(reset) => self.was_reset(record, reset, processes, lookup, out),
            What::Close => self.close(record, processes, lookup, out),
            What::FirstDatagram(key, flags) => {
                self.opens += 1;
                self.datagrams.first(record, key, flags, processes, lookup, out);
            }
            What::SocketClosed(socket) => self.datagrams.closed(socket, record.at),
        }
    }

    /// Takes in what the kernel side counts.
    pub fn count(&mut self, frame: &Frame) {
        self.histograms.take(&frame.histograms);
        self.datagrams.take_other(&frame.other_datagrams);
    }

    pub const fn histograms(&mut self) -> &mut Histograms {
        &mut self.histograms
    }

    /// What the kernel side has folded of a process: one of `WHAT_*`.
    pub fn distribution(&self, process: ProcKey, what: u16) -> Option<&Distribution> {
        self.histograms.since_start(&Series { process, what, subject: 0 })
    }

    /// The same of these processes together.
    pub fn durations(&self, of: &HashSet<ProcKey>, what: u16) -> Distribution {
        let mut all = Distribution::default();
        of.iter().filter_map(|&process| self.distribution(process, what)).for_each(|some| all.merge(some));
        all
    }

    /// What is new in the interval.
    pub fn new_distributions(&self) -> impl Iterator<Item = (&Series, &Distribution)> {
        self.histograms.iter_interval()
    }

    /// What went wrong since this was asked last.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    fn open(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        self.opens += 1;
        let mut row = FlowRow { timed: true, ..row_of(record, processes, lookup) };
        self.call(&mut row, record.at);
        let hold = row.direction == Some(Direction::Inbound) && row.identity.is_none();
        if hold {
            // The socket table may have been read between the transition and its record: it knew who held it.
            let primed = self.flows.get(&record.id).filter(|flow| flow.row.primed && flow.ended.is_none());
            if let Some(identity) = primed.and_then(|flow| flow.row.identity.clone()) {
                (row.identity, row.attribution) = (Some(identity), Attribution::Inferred);
            }
            self.held.push_back((BootTime(record.at.0.saturating_add(PATIENCE_NS)), record.id));
        }
        let row = Arc::new(row);
        if !hold {
            out.push(draft("flow.open", record.at, Arc::clone(&row)));
        }
        if !self.keep(row, record.at, hold) && hold {
            // Beyond what is kept nobody can be awaited: it is announced as it is.
            self.held.pop_back();
            out.push(draft("flow.open", record.at, row_of(record, processes, lookup)));
        }
    }

    fn own(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        let Some(flow) = self.flows.get_mut(&record.id) else { return };
        if let Some(owner) = &record.owner {
            own_by(Arc::make_mut(&mut flow.row), owner, processes, lookup);
        }
        if flow.held {
            flow.held = false;
            out.push(draft("flow.open", flow.established, Arc::clone(&flow.row)));
        }
    }

    /// The record's owner moved data.
    fn moved(&mut self, record: &Record, processes: &mut Processes, lookup: &mut dyn Lookup) {
        if let Some(flow) = self.flows.get_mut(&record.id) {
            let mover = record.owner.as_ref().map(|owner| processes.identify(owner, lookup));
            let row = Arc::make_mut(&mut flow.row);
            row.mover = mover;
            row.first_byte_ns = record.first_byte_ns;
        }
    }

    fn close(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        let mut row = bare(record);
        row.state = State::Closed;
        row.end = record.end;
        let flow = self.flows.get_mut(&record.id);
        let known = flow.as_ref().and_then(|flow| flow.row.identity.as_ref());
        match &record.owner {
            // The owner was read when the connection was made; since then the process may have changed or ended.
            Some(owner) => {
                let identity = known.filter(|identity| identity.key == owner.key).cloned();
                row.identity = Some(identity.unwrap_or_else(|| processes.recall(owner, lookup)));
                row.tid = Some(owner.tid);
                row.attribution = Attribution::Exact;
            }
            None => row.identity = known.cloned(),
        }
        if let Some(flow) = flow {
            if record.owner.is_none() {
                row.tid = flow.row.tid;
                row.attribution = flow.row.attribution;
            }
            row.primed = flow.row.primed;
            row.peer_name.clone_from(&flow.row.peer_name);
            row.connect_ns = row.connect_ns.or(flow.row.connect_ns);
            row.mover.clone_from(&flow.row.mover);
            row.live = flow.row.live;
            if row.direction.is_none() {
                row.direction = flow.row.direction;
                uncount(&mut row, record);
            }
            if flow.held {
                flow.held = false;
                let mut opening = (*flow.row).clone();
                opening.identity.clone_from(&row.identity);
                opening.attribution = row.attribution;
                out.push(draft("flow.open", flow.established, opening));
            }
        } else {
            // Not seen by the kernel side before either: older than this run.
            row.primed = record.untracked;
            if row.direction.is_none() {
                row.direction = Some(Direction::Outbound);
                uncount(&mut row, record);
            }
        }
        self.call(&mut row, record.at);
        // Anybody else would have been told.
        if row.mover.is_none() && !record.untracked && row.tx_bytes + row.rx_bytes > 0 {
            row.mover.clone_from(&row.identity);
        }
        let row = Arc::new(row);
        out.push(draft("flow.close", record.at, Arc::clone(&row)));
        self.end(row, record.at);
    }

    /// Releases openings that have waited long enough.
    pub fn flush(&mut self, now: BootTime, out: &mut Vec<EventDraft>) {
        while let Some(&(deadline, id)) = self.held.front() {
            if deadline > now {
                return;
            }
            self.held.pop_front();
            if !self.awaits_owners {
                self.release(id, out);
            }
        }
    }

    /// Releases everything that is held back.
    pub fn finish(&mut self, out: &mut Vec<EventDraft>) {
        let waits = |(&id, flow): (&FlowId, &Flow)| flow.held.then_some((flow.established, id));
        let mut waiting: Vec<_> = self.flows.iter().filter_map(waits).collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            self.release(id, out);
        }
        self.datagrams.end_all(out);
    }

    fn release(&mut self, id: FlowId, out: &mut Vec<EventDraft>) {
        if let Some(flow) = self.flows.get_mut(&id)
            && flow.held
        {
            flow.held = false;
            out.push(draft("flow.open", flow.established, Arc::clone(&flow.row)));
        }
    }
}
