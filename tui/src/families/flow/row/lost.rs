//! What became of a conversation's packets on their way, as far as another family tells: those that the kernel threw away.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::records::NetnsId;

/// Two ends in a namespace, whichever of them sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conversation {
    pub netns: NetnsId,
    /// `IPPROTO_*`
    pub protocol: u8,
    low: SocketAddr,
    high: SocketAddr,
}

impl Conversation {
    pub fn new(netns: NetnsId, protocol: u8, one: SocketAddr, other: SocketAddr) -> Self {
        Self { netns, protocol, low: one.min(other), high: one.max(other) }
    }

    /// The lower one first.
    pub const fn ends(&self) -> [SocketAddr; 2] {
        [self.low, self.high]
    }
}

/// Packets of a conversation that were thrown away, both ways, in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub packets: u64,
    /// Of most of them.
    pub reason: &'static str,
    /// `dropped`, and the reason.
    pub words: Arc<str>,
}

impl Lost {
    pub fn new(packets: u64, reason: &'static str) -> Self {
        Self { packets, reason, words: format!("dropped {reason}").into() }
    }
}
