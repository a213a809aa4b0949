//! Packets over the loopback that found no TCP socket: the kernel answers each with a reset to a socket of this very
//! machine, which tells it as its own refused connect, with its process. The packet is the echo of that, and not a
//! second failure.

use std::collections::HashMap;

use fluoro_shared::drop::{DropFlowKey, DropKey};

use super::flows::end;
use crate::records::NetnsId;

/// What the kernel calls them, from 5.17 on.
pub(super) const REASON: &str = "NO_SOCKET";

const TCP: u64 = 6;
/// The loopback, in every namespace.
const LOOPBACK: u32 = 1;

/// By network namespace.
#[derive(Default)]
pub(super) struct Echoes(HashMap<NetnsId, Counts>);

#[derive(Default)]
struct Counts {
    /// Packets of TCP, by conversation.
    answered: u64,
    /// All without an owner, of whatever protocol: at the reading before, and since.
    dropped: u64,
    newly: u64,
    /// Of them, what was told as failures.
    told: u64,
    /// One of their keys.
    key: Option<DropKey>,
}

impl Echoes {
    /// Takes `count` more packets of this conversation in, for the reason [`REASON`].
    pub(super) fn answered(&mut self, key: &DropFlowKey, count: u64) {
        let ends = [key.source_address, key.destination_address].map(|address| end(address, 0).ip());
        let [source, destination] = ends;
        if key.protocol == TCP && (source == destination || ends.iter().all(std::net::IpAddr::is_loopback)) {
            self.0.entry(NetnsId(key.netns)).or_default().answered += count;
        }
    }

    /// Takes `count` more packets in, for the reason [`REASON`]. False: they are no echo, whatever else was counted.
    pub(super) fn dropped(&mut self, key: &DropKey, count: u64) -> bool {
        let may_be = key.start_ns == 0 && key.ifindex == LOOPBACK;
        if may_be {
            let counts = self.0.entry(NetnsId(key.netns)).or_default();
            counts.newly += count;
            counts.key = Some(*key);
        }
        may_be
    }

    /// What is no echo, of the packets up to the reading before: those of the newest may not have been taken in by
    /// conversation yet.
    pub(super) fn rest(&mut self) -> Vec<(DropKey, u64)> {
        let mut rest = vec![];
        for counts in self.0.values_mut() {
            let due = counts.dropped.saturating_sub(counts.answered.saturating_add(counts.told));
            counts.told += due;
            counts.dropped += std::mem::take(&mut counts.newly);
            if let Some(key) = counts.key.filter(|_| due > 0) {
                rest.push((key, due));
            }
        }
        rest
    }
}
