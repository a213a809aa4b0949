//! `process`: fork, exec and exit of whole processes (threads are not events).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{Header, Task};

pub const KIND_FORK: u16 = 1;
pub const KIND_EXEC: u16 = 2;
pub const KIND_EXIT: u16 = 3;

/// The path has more components or bytes than the walk takes: its head is missing.
pub const FLAG_PATH_TRUNCATED: u16 = 1 << 0;

/// Of an exit: the kernel ran out of memory and chose this process.
pub const FLAG_OOM: u16 = 1 << 1;

/// Bytes of the arguments that a record carries at most.
pub const ARGS_MAX: usize = 512;

/// Longest path a record carries.
pub const PATH_MAX: usize = 4096;

/// The fixed end of a process record. Before it stand, of an exec, the executable's path and the arguments, filled up to
/// a multiple of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessRecord {
    pub header: Header,
    /// The process that was born, changed or ended.
    pub task: Task,
    /// As wait(2) gives it, for `KIND_EXIT`.
    pub wait_status: u32,
    /// Real group id, in the initial user namespace.
    pub gid: u32,
    /// Bytes of the arguments, each with its NUL; the last may be cut.
    pub args_len: u32,
    pub pad: u32,
}

const _: () = assert!(size_of::<ProcessRecord>() == 88);

/// Key of the set that makes a process exit once when two threads leave at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExitKey {
    pub start_ns: u64,
    pub tgid: u64,
}

const _: () = assert!(size_of::<ExitKey>() == 16);

/// What the iterator tells of one thread; of a process's first thread also what is counted for all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ThreadUse {
    /// Start of the process: `CLOCK_BOOTTIME`, ns.
    pub start_ns: u64,
    /// Time on a CPU since the thread began.
    pub ran_ns: u64,
    /// Time in which it could have run and another did; [`UNKNOWN`]: this kernel does not count it.
    pub waited_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    /// First thread only: time on a CPU of threads that have ended.
    pub ended_ran_ns: u64,
    /// First thread only: pages in memory.
    pub resident_pages: u64,
    /// First thread only, 0 of others: threads that there are.
    pub threads: u64,
}

const _: () = assert!(size_of::<ThreadUse>() == 56);

pub const UNKNOWN: u64 = u64::MAX;
