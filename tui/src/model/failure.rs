//! What went wrong, as any family contributes it: one occurrence, or several of a kind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::Identity;
use crate::records::{BootTime, Outside};

/// One contribution. What may be repeated has the same family, kind, error, process and subject each time.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub at: BootTime,
    /// Stem of the family that contributes it.
    pub family: &'static str,
    /// What failed: `connect`, `reset_received`, `open`, ..
    pub kind: &'static str,
    /// errno by name, or a reason.
    pub error: Option<&'static str>,
    pub identity: Option<Arc<Identity>>,
    pub subject: Subject,
    pub count: u64,
    /// `count` is how much there is of it now: it replaces what was said before.
    pub standing: bool,
    /// How long it took to fail.
    pub latency_ns: Option<u64>,
}

/// What it failed with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    None,
    /// Who was called.
    Peer(SocketAddr),
    /// Who called, and where.
    Client {
        peer: IpAddr,
        local: SocketAddr,
    },
    Listener(SocketAddr),
    Path(Outside),
    Interface(Outside),
}
