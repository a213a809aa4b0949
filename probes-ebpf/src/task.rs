//! Whose doing it is: a `Task` filled from a `task_struct`.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::bpf_get_current_cgroup_id,
};
use fluoro_shared::{offsets::ABSENT, record::Task};

use crate::{
    access::{Access, Helper, Kptr},
    machine::{self, offset},
};

/// The task that runs now. Only in process context: in softirq it is a bystander.
#[inline(always)]
pub fn current<A: Access>() -> Task {
    let mut filled = brief::<A::Behind>();
    complete::<A>(&mut filled);
    filled
}

/// The task that runs now, as far as counting needs it: without name, group and parent.
#[inline(always)]
pub fn brief<A: Access>() -> Task {
    let ids = bpf_get_current_pid_tgid();
    let mut filled = Task::NONE;
    filled.tgid = (ids >> 32) as u32;
    filled.tid = ids as u32;
    filled.uid = bpf_get_current_uid_gid() as u32;
    let leader: Kptr = A::read(A::current_task(), offset!(task_leader));
    filled.start_ns = A::read(leader, offset!(task_start));
    filled
}

/// What is brief of the task that runs now, with the rest.
#[inline(always)]
pub fn complete<A: Access>(brief: &mut Task) {
    let task = A::Behind::current_task();
    brief.comm = bpf_get_current_comm().unwrap_or_default();
    brief.parent_tgid = parent_of::<A::Behind>(A::Behind::read(task, offset!(task_leader)));
    // SAFETY: no arguments.
    brief.cgroup = if machine::cgroup_subsys() == ABSENT {
        unsafe { bpf_get_current_cgroup_id() }
    } else {
        cgroup_of::<A::Behind>(task)
    };
}

/// A process that the current task has just forked: it has its parent's name and user.
#[inline(always)]
pub fn child_of_current<A: Access>(task: Kptr) -> Task {
    let mut filled = Task::NONE;
    filled.tgid = A::read(task, offset!(task_tgid));
    filled.tid = A::read(task, offset!(task_pid));
    filled.uid = bpf_get_current_uid_gid() as u32;
    filled.comm = bpf_get_current_comm().unwrap_or_default();
    let leader: Kptr = A::Behind::read(task, offset!(task_leader));
    filled.start_ns = A::Behind::read(leader, offset!(task_start));
    filled.parent_tgid = parent_of::<A::Behind>(leader);
    filled.cgroup = cgroup_of::<A::Behind>(task);
    filled
}

/// Of the leader of a process.
#[inline(always)]
fn parent_of<A: Access>(leader: Kptr) -> u32 {
    let parent: Kptr = A::read(leader, offset!(task_parent));
    A::read(parent, offset!(task_tgid))
}

/// kernfs id of the cgroup in the hierarchy chosen by user space.
#[inline(always)]
fn cgroup_of<A: Access>(task: Kptr) -> u64 {
    let css_set: Kptr = A::read(task, offset!(task_cgroups));
    let subsys = machine::cgroup_subsys();
    let cgroup: Kptr = if subsys == ABSENT {
        A::read(css_set, offset!(css_set_default))
    } else {
        let css: Kptr = A::read(css_set, offset!(css_set_subsys).wrapping_add(subsys.wrapping_mul(8)));
        A::read(css, offset!(css_cgroup))
    };
    let kn: Kptr = A::read(cgroup, offset!(cgroup_kn));
    A::read(kn, offset!(kernfs_id))
}

/// The `struct socket` behind a descriptor of the current task; null where there is none.
#[inline(always)]
pub fn open_socket(fd: i64) -> Kptr {
    let files: Kptr = Helper::read(Helper::current_task(), offset!(task_files));
    let table: Kptr = Helper::read(files, offset!(files_fdt));
    if fd < 0 || fd >= i64::from(Helper::read::<u32>(table, offset!(fdtable_max))) {
        return core::ptr::null();
    }
    let fds: Kptr = Helper::read(table, offset!(fdtable_fd));
    let file: Kptr = Helper::read(fds.wrapping_add(fd as usize * 8), 0);
    Helper::read(file, offset!(file_private))
}
