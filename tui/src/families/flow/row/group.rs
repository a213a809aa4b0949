//! Connections taken together: of a process, an owner, a peer or a port.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::{Distribution, Identity};
use crate::records::{Outside, ProcKey};

/// What connections are taken together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Process,
    Owner,
    Peer,
    Port,
}

impl By {
    pub const ALL: [Self; 4] = [Self::Process, Self::Owner, Self::Peer, Self::Port];
}

/// Whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupKey {
    /// `None`: nobody knows whose.
    Process(Option<ProcKey>),
    /// Container or unit.
    Owner(Option<Outside>),
    Peer(IpAddr),
    /// The port that was called.
    Port(u16),
    /// What found no room.
    Untracked,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sums {
    /// Connections so far.
    pub connections: u64,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    pub retransmits: u64,
    pub connect: Distribution,
    pub rtt: Distribution,
    pub first_byte: Distribution,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    pub key: GroupKey,
    /// Of a process.
    pub identity: Option<Arc<Identity>>,
    /// Connections that are open.
    pub live: u64,
    pub tx_bytes_per_s: f64,
    pub rx_bytes_per_s: f64,
    pub sums: Sums,
    /// The rest of `sums`, worked out once.
    pub connect: Option<Quantiles>,
    pub rtt: Option<Quantiles>,
    pub first_byte: Option<Quantiles>,
}

/// p50, p90 and p99 of a distribution, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles([u64; 3]);

impl Quantiles {
    pub fn of(distribution: &Distribution) -> Option<Self> {
        distribution.quantiles([0.5, 0.9, 0.99], None).map(Self)
    }

    pub const fn p50_ns(self) -> u64 {
        self.0[0]
    }

    pub const fn p90_ns(self) -> u64 {
        self.0[1]
    }

    pub const fn p99_ns(self) -> u64 {
        self.0[2]
    }
}

impl HasIdentity for GroupRow {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }
}

impl Row for GroupRow {
    fn id(&self) -> RowId {
        // Fixed keys: the same row in every answer of a run.
        let mut hasher = std::hash::DefaultHasher::new();
        self.key.hash(&mut hasher);
        RowId(u64::MAX - 4, hasher.finish())
    }

    fn columns() -> &'static [Column<Self>] {
        super::super::columns::group::columns()
    }
}
