//! Decoded facts: identities, clocks and bytes that come from outside. Knows neither kernel nor screen.

mod ids;
mod outside;

pub use ids::{
    BootTime, CgroupId, FlowId, NetnsId, ProcKey, StartTime, Tgid, Tid, Uid, WallOffset, WallTime,
};
pub use outside::{Outside, Shown};
