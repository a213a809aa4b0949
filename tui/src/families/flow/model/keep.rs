//! What is kept of connections, and for how long.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::{Ends, Flow, FlowModel, FlowRow, Past};
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
    pub(super) fn keep(&mut self, row: Arc<FlowRow>, established: BootTime, held: bool) -> bool {
        let id = row.id;
        if self.is_full() && !self.flows.contains_key(&id) && !self.has_room() {
            self.untracked += 1;
            return false;
        }
        if is_minted(id) {
            self.minted.insert((row.netns, row.local, row.peer), id);
        }
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

    pub(super) fn end(&mut self, row: Arc<FlowRow>, at: BootTime) {
        let id = row.id;
        if is_minted(id) {
            self.minted.remove(&(row.netns, row.local, row.peer));
        }
        let ended = Some(Past { at, interval: self.interval });
        if let Some(flow) = self.flows.get_mut(&id) {
            (flow.row, flow.ended) = (row, ended);
        } else if self.has_room() {
            let told = (true, row.retransmits);
            let flow = Flow { row, established: at, held: false, before: None, told, swept: 0, ended };
            self.flows.insert(id, flow);
        } else {
            self.untracked += 1;
            self.folded.add(&row);
            return;
        }
        self.ended.push_back((at, id));
    }

    /// Drops the row that ended then. A socket may have connected again since, under the same id.
    pub(super) fn forget(&mut self, id: FlowId, ended: BootTime) {
        if let Entry::Occupied(flow) = self.flows.entry(id)
            && flow.get().ended.is_some_and(|past| past.at == ended)
        {
            self.folded.add(&flow.remove().row);
        }
    }

    /// What has ended makes room for what lives. False: everything that is kept lives.
    fn has_room(&mut self) -> bool {
        while self.is_full() {
            let Some((at, id)) = self.ended.pop_front() else { return false };
            self.forget(id, at);
        }
        true
    }

    fn is_full(&self) -> bool {
        self.flows.len() >= self.room.0
    }
}

const fn is_minted(id: FlowId) -> bool {
    id.0 & fluoro_shared::flow::MINTED != 0
}
