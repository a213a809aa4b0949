//! Decoded facts: identities, clocks, bytes that come from outside, and the records of each family. Knows neither
//! kernel nor screen; decoding validates and never trusts.

pub mod dns;
pub mod drop;
pub mod file;
pub mod flow;
mod ids;
mod outside;
pub mod process;
pub mod syscall;
mod task;

pub use ids::{
    BootTime, ById, CgroupId, FlowId, Gid, NetnsId, ProcKey, Spread, StartTime, Tgid, Tid, Uid, WallOffset,
    WallTime,
};
pub use outside::{Outside, Shown};
pub use task::TaskFacts;

/// Why bytes from a ring are no record. Counted, never fatal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a record of {0} bytes")]
    Size(usize),
    #[error("a record of the unknown kind {0}")]
    Kind(u16),
}
