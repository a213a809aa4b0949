//! `syscall`: calls into the kernel, folded by process and call, and traced where somebody asks.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::histogram;
use crate::record::{Header, Task};

mod texts;

pub use texts::TEXT_ARGS;

/// A call has returned, or is one of those that never do.
pub const KIND_EXIT: u16 = 1;

/// Its entry was not seen: the duration is not known.
pub const FLAG_UNTIMED: u16 = 1 << 0;
/// `exit` and `exit_group`: there is no result.
pub const FLAG_ENDLESS: u16 = 1 << 1;
/// `args` were not to be had from this hook.
pub const FLAG_NO_ARGS: u16 = 1 << 2;

/// Which table a number is of.
pub const ABI_NATIVE: u8 = 0;
/// 32-bit programs on a 64-bit kernel.
pub const ABI_COMPAT: u8 = 1;
/// x86-64 with 32-bit pointers.
pub const ABI_X32: u8 = 2;

/// In a number as the kernel has it: the x32 ABI.
pub const X32_BIT: u32 = 0x4000_0000;

/// [`CellKey::number`] of what no table has.
pub const NUMBER_OTHER: u16 = u16::MAX;

/// Numbers of one ABI that [`TEXT_ARGS`] has room for.
pub const NUMBERS: u32 = 512;

/// Calls of one process, of one kind.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CellKey {
    /// `start_boottime` of the process, ns.
    pub start_ns: u64,
    pub tgid: u32,
    pub number: u16,
    /// `ABI_*`.
    pub abi: u8,
    /// Which of the CPUs that do not share a cell: threads of one process must not fight for a cache line.
    pub shard: u8,
}

const _: () = assert!(size_of::<CellKey>() == 16);

/// Errors of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ErrnoCount {
    /// 0: free.
    pub errno: u32,
    /// Modulo 2^32.
    pub count: u32,
}

/// Kinds of errors that a cell tells apart; the rest is only in `errors`.
pub const ERRNOS: usize = 8;

/// The longest call of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Peak {
    pub epoch: u64,
    pub max_ns: u64,
}

/// What is counted of them. Calls: what is in `buckets` and `untimed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cell {
    /// Calls whose duration is not known.
    pub untimed: u64,
    pub errors: u64,
    pub sum_ns: u64,
    /// By the lowest bit of [`Control::epoch`].
    pub peaks: [Peak; 2],
    pub errnos: [ErrnoCount; ERRNOS],
    /// Durations, by [`bucket`]; modulo 2^32, more than any interval sees.
    pub buckets: [u32; BUCKETS],
}

const _: () = assert!(size_of::<Cell>() == 8 * 3 + 32 + 8 * ERRNOS + 4 * BUCKETS);

/// What user space tells the programs, beside the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// Number of the interval that runs, from 1.
    pub epoch: u64,
}

const _: () = assert!(size_of::<Control>() == 8);

/// Records that one CPU may send in a second; what is beyond is lost, and counted so.
pub const RECORDS_PER_S: u64 = 50_000;

/// Buckets of a cell: those of [`histogram`] from 64 ns up to 275 s; what lies outside is in the first and the last.
pub const BUCKETS: usize = 256;

/// The bucket of [`histogram`] that is a cell's first.
pub const FIRST_BUCKET: u16 = histogram::bucket_of(64);

/// A cell's bucket of a duration.
#[inline]
pub const fn bucket(ns: u64) -> usize {
    let index = histogram::bucket_of(if ns < 64 { 64 } else { ns }) as usize - FIRST_BUCKET as usize;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// Texts that a record may carry, and bytes of each with its NUL.
pub const TEXTS: usize = 2;
pub const TEXT_MAX: usize = 1024;

/// One call. Behind it the texts: the second begins `TEXT_MAX` after the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SyscallRecord {
    pub header: Header,
    pub task: Task,
    pub args: [u64; 6],
    /// As it stands in the register: errors are negative.
    pub result: i64,
    pub duration_ns: u64,
    pub number: u32,
    pub abi: u8,
    pub pad: [u8; 3],
    /// Bytes of each text with its NUL; 0: none, or it could not be read.
    pub text_len: [u16; TEXTS],
    /// The argument that it is.
    pub text_arg: [u8; TEXTS],
    pub pad_end: [u8; 2],
}

const _: () = assert!(size_of::<SyscallRecord>() == 152);

/// Calls that the programs must know, by ABI.
pub mod number {
    pub const RT_SIGRETURN: u32 = 15;
    pub const CLONE: u32 = 56;
    pub const FORK: u32 = 57;
    pub const VFORK: u32 = 58;
    pub const EXECVE: u32 = 59;
    pub const EXIT: u32 = 60;
    pub const EXIT_GROUP: u32 = 231;
    pub const EXECVEAT: u32 = 322;
    /// The same in all tables.
    pub const CLONE3: u32 = 435;

    pub mod compat {
        pub const EXIT: u32 = 1;
        pub const FORK: u32 = 2;
        pub const EXECVE: u32 = 11;
        pub const CLONE: u32 = 120;
        pub const VFORK: u32 = 190;
        pub const EXIT_GROUP: u32 = 252;
        pub const EXECVEAT: u32 = 358;
    }
}
