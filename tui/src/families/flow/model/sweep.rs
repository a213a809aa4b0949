//! The kernel's socket table, read every interval: totals of live connections, queues of listeners.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Attribution, FlowModel, FlowRow, Live, Queue, State};
use crate::model::Processes;
use crate::records::flow::Direction;
use crate::records::{BootTime, FlowId, NetnsId, ProcKey};

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
    pub live: Live,
    /// Of a listener, as far as its own line tells.
    pub queue: Option<Queue>,
    /// The process found holding it.
    pub holder: Option<ProcKey>,
}

/// A reading of the table that is being taken in: what only all of it tells.
#[derive(Default)]
pub(super) struct Reading {
    listening: HashSet<(NetnsId, u16)>,
    half_open: HalfOpen,
    listeners: Vec<SocketFacts>,
}

impl FlowModel {
    /// A reading of the socket table begins.
    pub fn begin_sweep(&mut self) {
        self.sweep += 1;
        self.reading = Reading::default();
    }

    /// Brings totals up to a part of the reading. What records have told is not overwritten.
    pub fn sweep(&mut self, sockets: Vec<SocketFacts>, processes: &Processes, now: BootTime) {
        for socket in sockets {
            match socket.state {
                State::Listen => {
                    self.reading.listening.insert((socket.netns, socket.local.port()));
                    self.reading.listeners.push(socket);
                }
                State::SynRecv => self.reading.half_open.count(&socket),
                _ => self.take_in(&socket, None, processes, now),
            }
        }
    }

    /// Nobody but the socket table tells of connections, and of one it has not been told whose it is.
    pub fn lacks_owners(&self) -> bool {
        self.is_untold && self.flows.values().any(|flow| flow.ended.is_none() && flow.row.identity.is_none())
    }

    /// The reading is over: who listens has the requests that wait there.
    pub fn end_sweep(&mut self, processes: &Processes, now: BootTime) {
        let reading = std::mem::take(&mut self.reading);
        for listener in &reading.listeners {
            let queue = listener.queue.map(|queue| reading.half_open.at(listener, queue));
            self.take_in(listener, queue, processes, now);
        }
    }

    fn take_in(&mut self, socket: &SocketFacts, queue: Option<Queue>, processes: &Processes, now: BootTime) {
        let minted = if self.minted.is_empty() {
            None
        } else {
            self.minted_at((socket.netns, socket.local, socket.peer))
        };
        let id = minted.unwrap_or(socket.id);
        if let Some(flow) = self.flows.get_mut(&id) {
            if flow.ended.is_none() {
                flow.swept = self.sweep;
                // Accepted between the attaching of the program that tells of it and of the one that tells by whom.
                if flow.row.identity.is_none()
                    && let Some(identity) = socket.holder.and_then(|key| processes.get(key))
                {
                    let row = Arc::make_mut(&mut flow.row);
                    row.identity = Some(Arc::clone(identity));
                    row.attribution = Attribution::Inferred;
                }
                let before = flow.row.queue;
                update(&mut flow.row, socket, queue);
                if let Some(queue) = queue {
                    let row = Arc::clone(&flow.row);
                    self.watch_queue(&row, before, queue, now);
                }
            }
            return;
        }
        if matches!(socket.state, State::Closed | State::TimeWait | State::SynRecv | State::SynSent) {
            return;
        }
        let mut row = Arc::new(primed(socket, id, &self.reading.listening, processes));
        if self.is_untold && self.sweep > 1 {
            Arc::make_mut(&mut row).primed = false;
        }
        update(&mut row, socket, queue);
        if self.keep(row, BootTime(0), false)
            && let Some(flow) = self.flows.get_mut(&id)
        {
            flow.swept = self.sweep;
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
                let mut row = (*flow.row).clone();
                row.state = State::Closed;
                self.end(Arc::new(row), now);
            }
        }
    }
}

/// Requests whose handshake is not over, by where they came to.
#[derive(Default)]
struct HalfOpen(HashMap<(NetnsId, u16), Vec<IpAddr>>);

impl HalfOpen {
    fn count(&mut self, request: &SocketFacts) {
        self.0.entry((request.netns, request.local.port())).or_default().push(request.local.ip());
    }

    /// A listener's queue with what it has of them.
    fn at(&self, listener: &SocketFacts, queue: Queue) -> Queue {
        let here = self.0.get(&(listener.netns, listener.local.port()));
        let any = listener.local.ip().is_unspecified();
        let half_open =
            here.into_iter().flatten().filter(|ip| any || **ip == listener.local.ip()).count() as u32;
        Queue { half_open, ..queue }
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
    let direction = if inbound { Direction::Inbound } else { Direction::Outbound };
    FlowRow {
        direction: (socket.state != State::Listen).then_some(direction),
        attribution: if identity.is_some() { Attribution::Inferred } else { Attribution::Unknown },
        identity,
        primed: true,
        ..FlowRow::between(id, socket.netns, socket.local, socket.peer, socket.state)
    }
}

/// Copies the row only where something of it is new.
fn update(row: &mut Arc<FlowRow>, socket: &SocketFacts, queue: Option<Queue>) {
    let is_flow = row.direction.is_some();
    let syn = u64::from(row.direction == Some(Direction::Outbound));
    let of_flow = |told: Option<u64>, held: u64| told.filter(|_| is_flow).unwrap_or(held);
    let tx_bytes = socket.bytes_acked.map(|n| n.saturating_sub(syn + u64::from(socket.state.fin_acked())));
    let rx_bytes = socket.bytes_received.map(|n| n.saturating_sub(u64::from(socket.state.fin_received())));
    let tx_bytes = of_flow(tx_bytes, row.tx_bytes);
    let rx_bytes = of_flow(rx_bytes, row.rx_bytes);
    let rtt_ns = of_flow(socket.rtt_ns, row.rtt_ns);
    let retransmits = socket.retransmits.filter(|_| is_flow).unwrap_or(row.retransmits);
    let live = if is_flow { socket.live } else { row.live };
    let held = (row.state, row.tx_bytes, row.rx_bytes, row.rtt_ns, row.retransmits, row.live, row.queue);
    let told = (socket.state, tx_bytes, rx_bytes, rtt_ns, retransmits, live, queue);
    if held != told {
        let row = Arc::make_mut(row);
        (row.state, row.tx_bytes, row.rx_bytes, row.rtt_ns, row.retransmits, row.live, row.queue) = told;
    }
}
