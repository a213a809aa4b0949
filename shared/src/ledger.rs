//! The books of a family, per CPU, added to atomically.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `seen = submitted + muted + filtered + lost + error` and
/// `aggregate_seen = counted + aggregate_filtered + untracked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counts {
    pub seen: u64,
    pub submitted: u64,
    pub muted: u64,
    pub filtered: u64,
    pub lost: u64,
    pub error: u64,
    pub aggregate_seen: u64,
    pub counted: u64,
    pub aggregate_filtered: u64,
    pub untracked: u64,
    /// Records that are no events (owners told late) and did not fit into the ring.
    pub supplements_lost: u64,
    /// Last sequence number given on this CPU.
    pub seq: u64,
}

const _: () = assert!(size_of::<Counts>() == 96);
