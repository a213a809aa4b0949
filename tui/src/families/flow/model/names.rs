//! What answers called the peers of connections.

use super::{FlowModel, FlowRow};
use crate::families::flow::row::PeerName;
use crate::records::BootTime;

impl FlowModel {
    /// Calls the peer as it was called last, unless it has a name: a connection keeps the one that it was made by.
    pub(super) fn call(&self, row: &mut FlowRow, at: BootTime) {
        if row.peer_name.is_none()
            && let Some(observed) = self.names.get(row.peer.ip())
        {
            row.peer_name = Some(PeerName::new(observed, at));
        }
    }

    /// Calls those that had no name when they were made by what was told since.
    pub(super) fn call_fresh(&mut self, now: BootTime) {
        let fresh = self.names.take_fresh();
        if fresh.is_empty() {
            return;
        }
        for flow in self.flows.values_mut() {
            if flow.row.peer_name.is_none()
                && fresh.contains(&flow.row.peer.ip())
                && let Some(observed) = self.names.get(flow.row.peer.ip())
            {
                std::sync::Arc::make_mut(&mut flow.row).peer_name = Some(PeerName::new(observed, now));
            }
        }
    }
}
