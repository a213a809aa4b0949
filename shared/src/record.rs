//! What every record carries.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length of a comm, NUL-padded (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// First member of every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// When it happened: `CLOCK_BOOTTIME`, ns.
    pub at_ns: u64,
    /// Position among the records of this CPU and family, from 1.
    pub seq: u64,
    pub cpu: u32,
    /// One of the family's `KIND_*`.
    pub kind: u16,
    /// Family-specific `FLAG_*` bits.
    pub flags: u16,
}

/// The task on whose behalf something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Task {
    /// `start_boottime` of the thread group leader, ns. 0: the task is not known.
    pub start_ns: u64,
    /// kernfs id of the cgroup in the hierarchy that identifies tasks.
    pub cgroup: u64,
    /// In the host's pid namespace.
    pub tgid: u32,
    pub tid: u32,
    pub parent_tgid: u32,
    /// Real user id, in the initial user namespace.
    pub uid: u32,
    pub comm: [u8; COMM_LEN],
}

impl Task {
    /// No task.
    pub const NONE: Self =
        Self { start_ns: 0, cgroup: 0, tgid: 0, tid: 0, parent_tgid: 0, uid: 0, comm: [0; COMM_LEN] };

    pub const fn is_known(&self) -> bool {
        self.start_ns != 0
    }
}

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(size_of::<Task>() == 48);
