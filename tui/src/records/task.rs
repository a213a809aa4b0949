//! The task that a record names.

use fluoro_shared::record::{COMM_LEN, Task};

use super::{CgroupId, ProcKey, StartTime, Tgid, Tid, Uid};

/// A task as the kernel side saw it at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskFacts {
    pub key: ProcKey,
    pub tid: Tid,
    pub parent: Tgid,
    pub uid: Uid,
    pub cgroup: CgroupId,
    /// NUL-padded.
    pub comm: [u8; COMM_LEN],
}

impl TaskFacts {
    /// `None` when the kernel side did not know the task.
    pub fn decode(task: &Task) -> Option<Self> {
        task.is_known().then(|| Self {
            key: ProcKey { tgid: Tgid(task.tgid), start: StartTime::from_boot_ns(task.start_ns) },
            tid: Tid(task.tid),
            parent: Tgid(task.parent_tgid),
            uid: Uid(task.uid),
            cgroup: CgroupId(task.cgroup),
            comm: task.comm,
        })
    }
}
