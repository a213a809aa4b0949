//! From records to rows and event lines.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Attribution, FlowRow, State};
use crate::families::flow::row::Passing;
use crate::model::{EventDraft, Lookup, Processes};
use crate::records::flow::{Direction, Record, What};
use crate::records::{BootTime, FlowId, NetnsId, TaskFacts};

/// A line with this row: shared with the table where both say the same.
pub(super) fn draft(name: &'static str, at: BootTime, row: impl Into<Arc<FlowRow>>) -> EventDraft {
    let mut row = row.into();
    let named_ns = row.peer_name.as_ref().map(|name| at.since(name.observed.at));
    let is_timed = row.timed || row.duration_ns != 0;
    if !is_timed || row.rates.is_some() || row.peer_name.as_ref().map(|name| name.age_ns) != named_ns {
        let row = Arc::make_mut(&mut row);
        (row.timed, row.rates) = (true, None);
        if let (Some(name), Some(age_ns)) = (&mut row.peer_name, named_ns) {
            name.age_ns = age_ns;
        }
    }
    EventDraft { name, family: "flow", at, facts: row }
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
