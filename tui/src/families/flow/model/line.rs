//! From records to rows and event lines.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Attribution, FlowRow, State};
use crate::families::flow::row::Passing;
use crate::model::{EventDraft, Lookup, Processes};
use crate::records::flow::{Direction, Record, What};
use crate::records::{BootTime, FlowId, NetnsId, TaskFacts};

pub(super) fn draft(name: &'static str, at: BootTime, row: &FlowRow) -> EventDraft {
    let mut row = FlowRow { event: true, rates: None, ..row.clone() };
    if let Some(name) = &mut row.peer_name {
        name.age_ns = at.since(name.observed.at);
    }
    EventDraft { name, family: "flow", at, facts: Arc::new(row) }
}

pub(super) fn row_of(record: &Record, processes: &mut Processes, lookup: &mut dyn Lookup) -> FlowRow {
    let mut row = bare(record);
    if let Some(owner) = &record.owner {
        own_by(&mut row, owner, processes, lookup);
    }
    row
}

/// Without its owner.
pub(super) fn bare(record: &Record) -> FlowRow {
    let state = match record.what {
        What::Listen => State::Listen,
        What::Retransmit | What::Reset(_) => State::from_kernel(record.state),
        _ => State::Established,
    };
    FlowRow {
        direction: record.direction,
        tx_bytes: record.tx_bytes,
        rx_bytes: record.rx_bytes,
        rtt_ns: record.rtt_ns,
        retransmits: record.retransmits,
        duration_ns: record.duration_ns.unwrap_or(0),
        connect_ns: record.connect_ns,
        first_byte_ns: record.first_byte_ns,
        ..FlowRow::between(record.id, record.netns, record.local, record.peer, state)
    }
}

/// What packets tell of, before anything is known of it but between whom.
pub(super) fn by_packets(
    id: FlowId,
    local: SocketAddr,
    peer: SocketAddr,
    direction: Direction,
    passing: Passing,
) -> FlowRow {
    let state = if direction == Direction::Forwarded { State::Forwarded } else { State::Unknown };
    FlowRow {
        direction: Some(direction),
        wire: Some(passing),
        ..FlowRow::between(id, NetnsId(0), local, peer, state)
    }
}

pub(super) fn own_by(
    row: &mut FlowRow,
    owner: &TaskFacts,
    processes: &mut Processes,
    lookup: &mut dyn Lookup,
) {
    row.identity = Some(processes.identify(owner, lookup));
    row.tid = Some(owner.tid);
    row.attribution = Attribution::Exact;
}

/// A close whose direction only user space knew: the kernel side has not taken the SYN out.
pub(super) fn uncount(row: &mut FlowRow, record: &Record) {
    if row.direction == Some(Direction::Outbound) {
        row.tx_bytes = record.tx_bytes.saturating_sub(1);
    }
}
