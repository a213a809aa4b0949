//! `drop`: packets that the kernel threw away, by reason, process, flow and interface.

pub mod columns;
pub mod model;
pub mod probe;
pub mod row;
