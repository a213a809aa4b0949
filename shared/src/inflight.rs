//! When a task entered the kernel: one stamp a task, found by its thread id.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Of a call's number: it came by the 32-bit ABI, whose numbers mean other calls.
pub const COMPAT: u32 = 1 << 31;

/// Two tasks whose ids share a stamp may write it at the same time: the halves fit together only if one task wrote
/// both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stamp {
    /// `CLOCK_BOOTTIME`, ns. 0: the task is not in a call.
    pub at_ns: u64,
    /// [`Stamp::seal`].
    pub sealed: u64,
}

impl Stamp {
    /// Thread id (high half) and call number, exclusive-or the time.
    pub const fn seal(tid: u32, number: u32, at_ns: u64) -> u64 {
        ((tid as u64) << 32 | number as u64) ^ at_ns
    }
}

const _: () = assert!(size_of::<Stamp>() == 16);
