//! Paths of what is done by path, by the kernel's own dentries: seen where the kernel asks its security modules, which
//! is in the context of the task that asked and before anything is done. What comes of it, the end of the call tells.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns},
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use fluoro_shared::{
    file::{
        FLAG_RESOLVED, KIND_CHMOD, KIND_CHOWN, KIND_CREATE, KIND_LINK, KIND_MKDIR, KIND_OTHER_PATH,
        KIND_PATH, KIND_RENAME, KIND_RMDIR, KIND_SYMLINK, KIND_TRUNCATE, KIND_UNLINK,
    },
    inflight::COMPAT,
};

use super::{
    Ended, calls,
    event::{self, NO_INODE, NO_JOB},
    uring,
};
use crate::{
    access::{Access, Helper, Kptr},
    filter::{self, Verdict},
    inflight, ledger,
    machine::offset,
    path::{self, Job, Place},
    task,
};

macro_rules! asked {
    ($($entry:ident = $function:tt: $body:ident($($index:literal),+);)+) => {
        $(#[fentry(function = $function)]
        pub fn $entry(ctx: FEntryContext) -> i32 {
            $body($(ctx.arg($index)),+)
        })+
    };
}

// One shape each on every kernel from 5.10 to 7.x (with CONFIG_SECURITY_PATH):
// security_path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode), mknod, symlink, unlink and rmdir
// likewise; security_path_rename(old_dir, old_dentry, new_dir, new_dentry, unsigned int flags);
// security_path_link(struct dentry *old, const struct path *new_dir, struct dentry *new);
// security_path_truncate(const struct path *path), chmod and chown likewise.
asked! {
    file_path_mkdir = "security_path_mkdir": on_entry(0, 1);
    file_path_mknod = "security_path_mknod": on_entry(0, 1);
    file_path_symlink = "security_path_symlink": on_entry(0, 1);
    file_path_unlink = "security_path_unlink": on_entry(0, 1);
    file_path_rmdir = "security_path_rmdir": on_entry(0, 1);
    file_path_rename = "security_path_rename": on_rename(0, 1, 2, 3);
    file_path_link = "security_path_link": on_link(0, 1, 2);
    file_path_truncate = "security_path_truncate": on_file(0);
    file_path_chmod = "security_path_chmod": on_file(0);
    file_path_chown = "security_path_chown": on_file(0);
}

fn argument(ctx: &ProbeContext, index: usize) -> Kptr {
    ctx.arg(index).unwrap_or(core::ptr::null())
}

#[kprobe]
pub fn file_path_entry_kprobe(ctx: ProbeContext) -> u32 {
    on_entry(argument(&ctx, 0), argument(&ctx, 1)) as u32
}

#[kprobe]
pub fn file_path_rename_kprobe(ctx: ProbeContext) -> u32 {
    on_rename(argument(&ctx, 0), argument(&ctx, 1), argument(&ctx, 2), argument(&ctx, 3)) as u32
}

#[kprobe]
pub fn file_path_link_kprobe(ctx: ProbeContext) -> u32 {
    on_link(argument(&ctx, 0), argument(&ctx, 1), argument(&ctx, 2)) as u32
}

#[kprobe]
pub fn file_path_file_kprobe(ctx: ProbeContext) -> u32 {
    on_file(argument(&ctx, 0)) as u32
}

const fn kinds<const N: usize>(kinds: [u16; N]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < N {
        bits |= 1 << kinds[index];
        index += 1;
    }
    bits
}

/// A name that is made or goes away.
#[inline(always)]
fn on_entry(dir: Kptr, dentry: Kptr) -> i32 {
    const KINDS: u32 = kinds([KIND_CREATE, KIND_MKDIR, KIND_RMDIR, KIND_UNLINK, KIND_SYMLINK]);
    if let Some(request) = due(KINDS) {
        tell(request, &NO_JOB, &job(KIND_PATH, below(dir, dentry)));
    }
    0
}

#[inline(always)]
fn on_rename(old_dir: Kptr, old: Kptr, new_dir: Kptr, new: Kptr) -> i32 {
    if let Some(request) = due(kinds([KIND_RENAME])) {
        tell(request, &job(KIND_OTHER_PATH, below(old_dir, old)), &job(KIND_PATH, below(new_dir, new)));
    }
    0
}

/// Both names are on one mount: the kernel has compared.
#[inline(always)]
fn on_link(old: Kptr, new_dir: Kptr, new: Kptr) -> i32 {
    if let Some(request) = due(kinds([KIND_LINK])) {
        tell(request, &job(KIND_OTHER_PATH, below(new_dir, old)), &job(KIND_PATH, below(new_dir, new)));
    }
    0
}

/// A file that is there already.
#[inline(always)]
fn on_file(path: Kptr) -> i32 {
    if let Some(request) = due(kinds([KIND_TRUNCATE, KIND_CHMOD, KIND_CHOWN])) {
        tell(request, &NO_JOB, &job(KIND_PATH, Place::at(path)));
    }
    0
}

/// The task is in a call that does this by path, or at a request of io_uring, and somebody wants to know. Opens that
/// make or truncate, sockets that are bound and whatever the kernel does by itself come here, too. The request, 0: a
/// call.
#[inline(always)]
fn due(kinds: u32) -> Option<u32> {
    let ids = bpf_get_current_pid_tgid();
    let (call, request) = match inflight::number(ids as u32) {
        Some(number) => (calls::of(u64::from(number & !COMPAT), number & COMPAT != 0), 0),
        None => {
            let request = uring::of_worker();
            (calls::of_request(Helper::read(request, offset!(req_opcode))), uring::id(request))
        }
    };
    (call.path != 0
        && kinds & 1 << (call.kind & 31) != 0
        && matches!(filter::stance((ids >> 32) as u32), Verdict::Wanted))
    .then_some(request)
}

/// A dentry on the mount of a directory.
#[inline(always)]
fn below(dir: Kptr, dentry: Kptr) -> Place {
    Place { mnt: Helper::read(dir, offset!(path_mnt)), dentry: dentry as u64 }
}

#[inline(always)]
fn job(kind: u16, base: Place) -> Job {
    Job { kind: u64::from(kind), flags: u64::from(FLAG_RESOLVED), base, ..NO_JOB }
}

#[inline(always)]
fn tell(request: u32, first: &Job, second: &Job) {
    let Some(scratch) = path::claim::<Helper>() else {
        ledger::supplement_lost();
        return;
    };
    let asked = Ended {
        call: calls::NONE,
        arguments: [0; 6],
        file: core::ptr::null(),
        result: 0,
        // SAFETY: no arguments.
        now_ns: unsafe { bpf_ktime_get_boot_ns() },
        duration_ns: 0,
        flags: 0,
        request,
    };
    event::fix(scratch, &asked, &task::brief::<Helper>(), &NO_INODE, 0);
    event::assign(scratch, 0, first);
    event::assign(scratch, 1, second);
    event::work(scratch);
}
