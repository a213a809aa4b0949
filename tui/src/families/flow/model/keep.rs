//! What is kept of connections, and for how long.

use std::sync::Arc;

use super::{Ends, Flow, FlowModel, FlowRow};
use crate::records::{BootTime, FlowId};

/// Connections and listeners kept as rows; what is beyond is counted.
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(200_000)
    }
}

impl FlowModel {
    /// Keeps this many rows and no more.
    pub const fn keep_at_most(&mut self, rows: usize) {
        self.room = Room(rows);
    }

    /// False: there is no room.
    pub(super) fn keep(&mut self, row: FlowRow, established: BootTime, held: bool) -> bool {
        let id = row.id;
        if !self.flows.contains_key(&id) && !self.has_room() {
            self.untracked += 1;
            return false;
        }
        if is_minted(id) {
            self.minted.insert((row.netns, row.local, row.peer), id);
        }
        let row = Arc::new(row);
        // What was sent again before fluoro saw it is no news.
        let told = (row.primed, if row.primed { row.retransmits } else { 0 });
        let flow = Flow { row, established, held, before: None, told, swept: self.sweep, ended: None };
        self.flows.insert(id, flow);
        true
    }

    /// The minted id of a connection with these ends.
    pub(super) fn minted_at(&self, ends: Ends) -> Option<FlowId> {
        self.minted.get(&ends).copied()
    }

    pub(super) fn end(&mut self, row: FlowRow, at: BootTime) {
        let id = row.id;
        if is_minted(id) {
            self.minted.remove(&(row.netns, row.local, row.peer));
        }
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.row = Arc::new(FlowRow { event: false, ..row });
            flow.ended = Some(at);
        } else if self.has_room() {
            let row = Arc::new(row);
            let told = (true, row.retransmits);
            let flow =
                Flow { row, established: at, held: false, before: None, told, swept: 0, ended: Some(at) };
            self.flows.insert(id, flow);
        } else {
            self.untracked += 1;
            self.folded.add(&row);
            return;
        }
        self.ended.push_back((at, id));
        self.ending.insert(id);
    }

    /// Drops the row that ended then. A socket may have connected again since, under the same id.
    pub(super) fn forget(&mut self, id: FlowId, ended: BootTime) {
        if self.flows.get(&id).is_some_and(|flow| flow.ended == Some(ended))
            && let Some(flow) = self.flows.remove(&id)
        {
            self.folded.add(&flow.row);
        }
    }

    /// What has ended makes room for what lives. False: everything that is kept lives.
    fn has_room(&mut self) -> bool {
        while self.flows.len() >= self.room.0 {
            let Some((at, id)) = self.ended.pop_front() else { return false };
            self.forget(id, at);
        }
        true
    }
}

const fn is_minted(id: FlowId) -> bool {
    id.0 & fluoro_shared::flow::MINTED != 0
}
