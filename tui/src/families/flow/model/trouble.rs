//! What goes wrong: attempts that fail, segments sent again, resets, listeners that turn attempts away.

use std::sync::Arc;

use super::line::{bare, draft, row_of};
use super::{FlowModel, FlowRow, Queue, State};
use crate::model::{EventDraft, Failure, Lookup, Processes, Subject};
use crate::records::BootTime;
use crate::records::flow::{Direction, End, Record, Reset};

impl FlowModel {
    pub(super) fn fail(&mut self, row: &FlowRow, at: BootTime) {
        let failure = failure("connect", row, at);
        self.failures.push(Failure { error: row.error, latency_ns: row.connect_ns, ..failure });
    }

    pub(super) fn retransmitted(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        let row = self.of_trouble(record, processes, lookup);
        if let Some(flow) = self.flows.get_mut(&record.id).filter(|flow| flow.ended.is_none())
            && record.counted
            && flow.row.direction.is_some()
        {
            Arc::make_mut(&mut flow.row).retransmits = record.retransmits;
        }
        let failure = failure("retransmit", &row, record.at);
        self.failures.push(Failure { latency_ns: record.counted.then_some(row.rtt_ns), ..failure });
        out.push(draft("flow.retransmit", record.at, row));
    }

    pub(super) fn was_reset(
        &mut self,
        record: &Record,
        reset: Reset,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
        out: &mut Vec<EventDraft>,
    ) {
        let mut row = self.of_trouble(record, processes, lookup);
        row.reset = Some(reset);
        // It had closed already as far as its states tell.
        if let Some(flow) = self.flows.get_mut(&record.id).filter(|flow| flow.ended.is_some())
            && reset == Reset::Sent
            && State::from_kernel(record.state) == State::Closed
        {
            Arc::make_mut(&mut flow.row).end = Some(End::Reset(reset));
        }
        let kind = match reset {
            Reset::Sent => "reset_sent",
            Reset::Received => "reset_received",
        };
        self.failures.push(failure(kind, &row, record.at));
        out.push(draft("flow.reset", record.at, row));
    }

    /// The connection as it is known, with what the record tells anew.
    fn of_trouble(&self, record: &Record, processes: &mut Processes, lookup: &mut dyn Lookup) -> FlowRow {
        // What is told of a request bears its listener's id.
        let known = self.flows.get(&record.id).filter(|flow| flow.row.direction.is_some());
        let Some(flow) = known else { return row_of(record, processes, lookup) };
        let mut row = (*flow.row).clone();
        let told = bare(record);
        row.state = told.state;
        row.end = None;
        if record.counted {
            // The kernel side takes the SYN out where it knows the direction.
            let syn = u64::from(record.direction.is_none() && row.direction == Some(Direction::Outbound));
            (row.tx_bytes, row.rx_bytes) = (told.tx_bytes.saturating_sub(syn), told.rx_bytes);
            (row.rtt_ns, row.retransmits) = (told.rtt_ns, told.retransmits);
        }
        row.duration_ns = record.duration_ns.unwrap_or(row.duration_ns);
        if let Some(owner) = &record.owner {
            let same = row.identity.as_ref().is_some_and(|identity| identity.key == owner.key);
            if !same {
                row.identity = Some(processes.recall(owner, lookup));
            }
            row.tid = Some(owner.tid);
            row.attribution = super::Attribution::Exact;
        }
        row
    }

    /// What a listener turned away since the last sweep, and whether its handshakes fill its queue.
    pub(super) fn watch_queue(&mut self, row: &FlowRow, before: Option<Queue>, queue: Queue, at: BootTime) {
        let known = match before {
            Some(before) => before.drops,
            // It began to listen before our eyes.
            None if !row.primed => Some(0),
            None => None,
        };
        let turned_away = queue.drops.zip(known).map_or(0, |(drops, known)| drops.wrapping_sub(known));
        if turned_away > 0 {
            let failure = failure("listen_drop", row, at);
            self.failures.push(Failure { count: u64::from(turned_away), ..failure });
        }
        if queue.half_open > 0 && queue.half_open >= queue.backlog.max(1) {
            let failure = failure("syn_flood", row, at);
            self.failures.push(Failure { count: u64::from(queue.half_open), standing: true, ..failure });
        }
    }
}

fn failure(kind: &'static str, row: &FlowRow, at: BootTime) -> Failure {
    Failure {
        at,
        family: "flow",
        kind,
        error: None,
        identity: row.identity.clone(),
        subject: match row.direction {
            Some(Direction::Outbound | Direction::Forwarded) => Subject::Peer(row.peer),
            // Its port would make a row of each connection.
            Some(Direction::Inbound) => Subject::Client { peer: row.peer.ip(), local: row.local },
            None => Subject::Listener(row.local),
        },
        count: 1,
        standing: false,
        latency_ns: None,
    }
}
