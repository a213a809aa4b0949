//! The contract between kernel and user space: wire records, map keys and values, kernel-member offsets.
//!
//! Everything here is integers and byte arrays with explicit padding, so that both sides agree byte for byte;
//! the const asserts beside each type are the proof.
#![no_std]

pub mod dns;
pub mod drop;
pub mod file;
pub mod filter;
pub mod flow;
pub mod histogram;
pub mod inflight;
pub mod ledger;
pub mod offsets;
pub mod process;
pub mod record;
pub mod syscall;
pub mod wire;

/// Rings of one family: chosen by CPU, `min(possible CPUs, RINGS)` of them in use.
pub const RINGS: usize = 8;
