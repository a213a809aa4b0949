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
