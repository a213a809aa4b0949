//! `flow` records and sweeps of the socket table in, events and rows out. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fluoro_shared::flow::WHAT_CONNECT;
use fluoro_shared::histogram::HistogramKey;

pub use super::row::{Attribution, FlowRow, Rates, State};
use crate::model::{Distribution, EventDraft, Histograms, LINGER_NS, Lookup, Processes, Series};
use crate::records::flow::{Direction, Record, What};
use crate::records::{BootTime, FlowId, NetnsId, ProcKey, TaskFacts};

/// A socket as the kernel's table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFacts {
    pub id: FlowId,
    pub netns: NetnsId,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub state: State,
    /// As the kernel counts them: with SYN and FIN.
    pub bytes_acked: Option<u64>,
    pub bytes_received: Option<u64>,
    pub rtt_ns: Option<u64>,
    pub retransmits: Option<u32>,
    /// The process found holding it.
    pub holder: Option<ProcKey>,
}

/// What the kernel side has counted at one moment.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub histograms: Vec<(HistogramKey, u64)>,
}

/// How long an opening waits for its acceptor.
const PATIENCE_NS: u64 = 200_000_000;

/// Connections and listeners kept as rows; what is beyond is counted.
const LIVE_MAX: usize = 200_000;

/// Ended rows kept.
const ENDED_MAX: usize = 20_000;

struct Flow {
    row: FlowRow,
    established: BootTime,
    /// The opening has not been announced yet.
    held: bool,
    /// Totals at the last tick.
    before: Option<(u64, u64)>,
    /// The sweep that saw it last.
    swept: u64,
    ended: Option<BootTime>,
}

/// Everything known of connections.
#[derive(Default)]
pub struct FlowModel {
    flows: HashMap<FlowId, Flow>,
    /// Openings whose owner is awaited, in order of their deadlines.
    held: VecDeque<(BootTime, FlowId)>,
    ended: VecDeque<(BootTime, FlowId)>,
    /// Of them, those of the interval that runs, and of the interval before.
    ending: HashSet<FlowId>,
    just_ended: HashSet<FlowId>,
    /// Where minted ids are found by what the socket table knows.
    minted: HashMap<Ends, FlowId>,
    sweep: u64,
    opens: u64,
    untracked: u64,
    totals: FlowTotals,
    histograms: Histograms,
}

type Ends = (NetnsId, SocketAddr, SocketAddr);

/// The header's figures of the last interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FlowTotals {
    pub live: u64,
    pub untracked: u64,
    pub tx_bytes_per_s: Option<f64>,
    pub rx_bytes_per_s: Option<f64>,
    pub opens_per_s: Option<f64>,
}

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
                let row = row_of(record, processes, lookup);
                out.push(draft("flow.listen", record.at, &row));
                self.keep(row, record.at, false);
            }
            What::Open => self.open(record, processes, lookup, out),
            What::Owner => self.own(record, processes, lookup, out),
            What::Fail => {
                let mut row = row_of(record, processes, lookup);
                row.state = State::Closed;
                row.error = Some(errno_name(record.error));
                out.push(draft("flow.fail", record.at, &row));
            }
            What::Close => self.close(record, processes, lookup, out),
        }
    }

    fn open(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        self.opens += 1;
        let row = row_of(record, processes, lookup);
        let hold = row.direction == Some(Direction::Inbound) && row.identity.is_none();
        if hold {
            self.held.push_back((BootTime(record.at.0.saturating_add(PATIENCE_NS)), record.id));
        } else {
            out.push(draft("flow.open", record.at, &row));
        }
        if !self.keep(row, record.at, hold) && hold {
            // Beyond what is kept nobody can be awaited: it is announced as it is.
            self.held.pop_back();
            out.push(draft("flow.open", record.at, &row_of(record, processes, lookup)));
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
            own_by(&mut flow.row, owner, processes, lookup);
        }
        if flow.held {
            flow.held = false;
            out.push(draft("flow.open", flow.established, &flow.row));
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
        let known = self.flows.get(&record.id).and_then(|flow| flow.row.identity.as_ref());
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
        if let Some(flow) = self.flows.get_mut(&record.id) {
            if record.owner.is_none() {
                row.tid = flow.row.tid;
                row.attribution = flow.row.attribution;
            }
            row.primed = flow.row.primed;
            row.connect_ns = row.connect_ns.or(flow.row.connect_ns);
            if row.direction.is_none() {
                row.direction = flow.row.direction;
                uncount(&mut row, record);
            }
            if flow.held {
                flow.held = false;
                let mut opening = flow.row.clone();
                opening.identity.clone_from(&row.identity);
                opening.attribution = row.attribution;
                out.push(draft("flow.open", flow.established, &opening));
            }
        } else {
            // Not seen by the kernel side before either: older than this run.
            row.primed = record.untracked;
            if row.direction.is_none() {
                row.direction = Some(Direction::Outbound);
                uncount(&mut row, record);
            }
        }
        out.push(draft("flow.close", record.at, &row));
        self.end(row, record.at);
    }

    /// Releases openings that have waited long enough.
    pub fn flush(&mut self, now: BootTime, out: &mut Vec<EventDraft>) {
        while let Some(&(deadline, id)) = self.held.front() {
            if deadline > now {
                return;
            }
            self.held.pop_front();
            self.release(id, out);
        }
    }

    /// Releases everything that is held back.
    pub fn finish(&mut self, out: &mut Vec<EventDraft>) {
        for (_, id) in std::mem::take(&mut self.held) {
            self.release(id, out);
        }
    }

    fn release(&mut self, id: FlowId, out: &mut Vec<EventDraft>) {
        if let Some(flow) = self.flows.get_mut(&id)
            && flow.held
        {
            flow.held = false;
            out.push(draft("flow.open", flow.established, &flow.row));
        }
    }

    /// What exists at the start, with who holds it. After attaching: what records have told is not overwritten.
    pub fn prime(&mut self, sockets: &[SocketFacts], processes: &Processes) {
        self.sweep(sockets, processes);
    }

    /// Brings totals up to the socket table; what it no longer has, and no record closed, has ended.
    pub fn sweep(&mut self, sockets: &[SocketFacts], processes: &Processes) {
        self.sweep += 1;
        let listening: HashSet<(NetnsId, u16)> = sockets
            .iter()
            .filter(|socket| socket.state == State::Listen)
            .map(|socket| (socket.netns, socket.local.port()))
            .collect();
        for socket in sockets {
            let ends = (socket.netns, socket.local, socket.peer);
            let id = self.minted.get(&ends).copied().unwrap_or(socket.id);
            if let Some(flow) = self.flows.get_mut(&id) {
                if flow.ended.is_none() {
                    flow.swept = self.sweep;
                    update(&mut flow.row, socket);
                }
                continue;
            }
            if matches!(socket.state, State::Closed | State::TimeWait | State::SynRecv | State::SynSent) {
                continue;
            }
            let mut row = primed(socket, id, &listening, processes);
            update(&mut row, socket);
            if self.keep(row, BootTime(0), false)
                && let Some(flow) = self.flows.get_mut(&id)
            {
                flow.swept = self.sweep;
            }
        }
    }

    /// Ends what the last sweep did not see; `began` is when that sweep began.
    pub fn end_unswept(&mut self, began: BootTime, now: BootTime) {
        let gone: Vec<FlowId> = self
            .flows
            .iter()
            .filter(|(_, flow)| {
                flow.ended.is_none() && flow.swept < self.sweep && flow.established < began && !flow.held
            })
            .map(|(&id, _)| id)
            .collect();
        for id in gone {
            if let Some(flow) = self.flows.get(&id) {
                let mut row = flow.row.clone();
                row.state = State::Closed;
                self.end(row, now);
            }
        }
    }

    /// Ends an interval: rates from the totals, old rows dropped.
    pub fn tick(&mut self, now: BootTime, interval: Duration) {
        self.just_ended = std::mem::take(&mut self.ending);
        while let Some(&(at, id)) = self.ended.front() {
            // What ended in this interval is shown once, however much it is.
            let many = self.ended.len() > ENDED_MAX && !self.just_ended.contains(&id);
            if now.since(at) < LINGER_NS && !many {
                break;
            }
            self.ended.pop_front();
            self.forget(id, at);
        }
        let seconds = interval.as_secs_f64();
        let (mut tx, mut rx, mut live) = (0.0, 0.0, 0);
        for flow in self.flows.values_mut() {
            let row = &mut flow.row;
            if row.direction.is_none() {
                continue;
            }
            if flow.ended.is_none() {
                live += 1;
                if flow.established.0 != 0 {
                    row.duration_ns = now.since(flow.established);
                }
            }
            // An ended row had its last interval when it ended; a primed one has none before its second look.
            let from = flow.before.or_else(|| (!row.primed).then_some((0, 0)));
            row.rates = from.filter(|_| seconds > 0.0).map(|(tx, rx)| Rates {
                tx_bytes_per_s: row.tx_bytes.saturating_sub(tx) as f64 / seconds,
                rx_bytes_per_s: row.rx_bytes.saturating_sub(rx) as f64 / seconds,
            });
            flow.before = Some((row.tx_bytes, row.rx_bytes));
            if let Some(rates) = row.rates {
                tx += rates.tx_bytes_per_s;
                rx += rates.rx_bytes_per_s;
            }
        }
        let measured = seconds > 0.0;
        self.totals = FlowTotals {
            live,
            untracked: self.untracked,
            tx_bytes_per_s: measured.then_some(tx),
            rx_bytes_per_s: measured.then_some(rx),
            opens_per_s: measured.then_some(self.opens as f64 / seconds),
        };
        self.opens = 0;
    }

    /// Takes in what the kernel side counts.
    pub fn count(&mut self, frame: &Frame) {
        self.histograms.take(&frame.histograms);
    }

    pub const fn histograms(&mut self) -> &mut Histograms {
        &mut self.histograms
    }

    /// From SYN to ESTABLISHED, of every connection that a process has made.
    pub fn connects(&self, process: ProcKey) -> Option<&Distribution> {
        self.histograms.since_start(&Series { process, what: WHAT_CONNECT, subject: 0 })
    }

    /// The same of the interval, of every process that has made one in it.
    pub fn new_connects(&self) -> impl Iterator<Item = (ProcKey, &Distribution)> {
        self.histograms
            .iter_interval()
            .filter(|(series, _)| series.what == WHAT_CONNECT)
            .map(|(series, durations)| (series.process, durations))
    }

    pub const fn totals(&self) -> FlowTotals {
        self.totals
    }

    /// Every connection and listener; those that have ended stay for a while, or with `of_interval` only in
    /// the interval that the last tick closed.
    pub fn rows(&self, of_interval: bool) -> Vec<Arc<FlowRow>> {
        self.flows
            .iter()
            .filter(|(id, flow)| !of_interval || flow.ended.is_none() || self.just_ended.contains(id))
            .map(|(_, flow)| flow)
            .map(|flow| Arc::new(flow.row.clone()))
            .collect()
    }

    /// False: there is no room.
    fn keep(&mut self, row: FlowRow, established: BootTime, held: bool) -> bool {
        let id = row.id;
        if !self.flows.contains_key(&id) && !self.has_room() {
            self.untracked += 1;
            return false;
        }
        if id.0 & fluoro_shared::flow::MINTED != 0 {
            self.minted.insert((row.netns, row.local, row.peer), id);
        }
        let flow = Flow { row, established, held, before: None, swept: self.sweep, ended: None };
        self.flows.insert(id, flow);
        true
    }

    fn end(&mut self, row: FlowRow, at: BootTime) {
        let id = row.id;
        if id.0 & fluoro_shared::flow::MINTED != 0 {
            self.minted.remove(&(row.netns, row.local, row.peer));
        }
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.row = FlowRow { event: false, ..row };
            flow.ended = Some(at);
        } else if self.has_room() {
            let flow = Flow { row, established: at, held: false, before: None, swept: 0, ended: Some(at) };
            self.flows.insert(id, flow);
        } else {
            self.untracked += 1;
            return;
        }
        self.ended.push_back((at, id));
        self.ending.insert(id);
    }

    /// Drops the row that ended then. A socket may have connected again since, under the same id.
    fn forget(&mut self, id: FlowId, ended: BootTime) {
        if self.flows.get(&id).is_some_and(|flow| flow.ended == Some(ended)) {
            self.flows.remove(&id);
        }
    }

    /// What has ended makes room for what lives. False: everything that is kept lives.
    fn has_room(&mut self) -> bool {
        while self.flows.len() >= LIVE_MAX {
            let Some((at, id)) = self.ended.pop_front() else { return false };
            self.forget(id, at);
        }
        true
    }
}

fn draft(name: &'static str, at: BootTime, row: &FlowRow) -> EventDraft {
    let row = FlowRow { event: true, rates: None, ..row.clone() };
    EventDraft { name, family: "flow", at, facts: Arc::new(row) }
}

fn row_of(record: &Record, processes: &mut Processes, lookup: &mut dyn Lookup) -> FlowRow {
    let mut row = bare(record);
    if let Some(owner) = &record.owner {
        own_by(&mut row, owner, processes, lookup);
    }
    row
}

/// Without its owner.
fn bare(record: &Record) -> FlowRow {
    FlowRow {
        id: record.id,
        netns: record.netns,
        local: record.local,
        peer: record.peer,
        state: if record.what == What::Listen { State::Listen } else { State::Established },
        direction: record.direction,
        attribution: Attribution::Unknown,
        identity: None,
        tid: None,
        tx_bytes: record.tx_bytes,
        rx_bytes: record.rx_bytes,
        rates: None,
        rtt_ns: record.rtt_ns,
        retransmits: record.retransmits,
        duration_ns: record.duration_ns.unwrap_or(0),
        connect_ns: record.connect_ns,
        error: None,
        primed: false,
        event: false,
    }
}

fn own_by(row: &mut FlowRow, owner: &TaskFacts, processes: &mut Processes, lookup: &mut dyn Lookup) {
    row.identity = Some(processes.identify(owner, lookup));
    row.tid = Some(owner.tid);
    row.attribution = Attribution::Exact;
}

/// A close whose direction only user space knew: the kernel side has not taken the SYN out.
fn uncount(row: &mut FlowRow, record: &Record) {
    if row.direction == Some(Direction::Outbound) {
        row.tx_bytes = record.tx_bytes.saturating_sub(1);
    }
}

/// A socket that was there before. Who has a listener on the same port accepted it.
fn primed(
    socket: &SocketFacts,
    id: FlowId,
    listening: &HashSet<(NetnsId, u16)>,
    processes: &Processes,
) -> FlowRow {
    let identity = socket.holder.and_then(|key| processes.get(key)).cloned();
    let inbound = listening.contains(&(socket.netns, socket.local.port()));
    FlowRow {
        id,
        netns: socket.netns,
        local: socket.local,
        peer: socket.peer,
        state: socket.state,
        direction: (socket.state != State::Listen).then_some(if inbound {
            Direction::Inbound
        } else {
            Direction::Outbound
        }),
        attribution: if identity.is_some() { Attribution::Inferred } else { Attribution::Unknown },
        identity,
        tid: None,
        tx_bytes: 0,
        rx_bytes: 0,
        rates: None,
        rtt_ns: 0,
        retransmits: 0,
        duration_ns: 0,
        connect_ns: None,
        error: None,
        primed: true,
        event: false,
    }
}

fn update(row: &mut FlowRow, socket: &SocketFacts) {
    row.state = socket.state;
    if row.direction.is_none() {
        return;
    }
    let syn = u64::from(row.direction == Some(Direction::Outbound));
    if let Some(acked) = socket.bytes_acked {
        row.tx_bytes = acked.saturating_sub(syn + u64::from(socket.state.fin_acked()));
    }
    if let Some(received) = socket.bytes_received {
        row.rx_bytes = received.saturating_sub(u64::from(socket.state.fin_received()));
    }
    if let Some(rtt) = socket.rtt_ns {
        row.rtt_ns = rtt;
    }
    if let Some(retransmits) = socket.retransmits {
        row.retransmits = retransmits;
    }
}

/// `ECONNREFUSED` and the like.
fn errno_name(code: i32) -> &'static str {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, OnceLock, PoisonError};
    static NAMES: OnceLock<Mutex<BTreeMap<i32, &'static str>>> = OnceLock::new();
    let mut names = NAMES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    names.entry(code).or_insert_with(|| {
        // Leaked once per errno, of which there are about 130.
        format!("{:?}", nix::errno::Errno::from_raw(code)).leak()
    })
}
