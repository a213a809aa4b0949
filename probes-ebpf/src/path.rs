//! Absolute paths by walking dentries and mounts up to the process's root, written backward so that nothing is
//! reversed. Works on every kernel from 5.10 (bounded loop; the position lives in map memory, because a position
//! in a register makes the verifier explore ten times as much).

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user_str},
    macros::map,
    maps::PerCpuArray,
};
use fluoro_shared::process::{ARGS_MAX, PATH_MAX};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    machine::offset,
};

/// A walk takes so many steps at most, each over a component or a mount: the longest path there is, and some mounts.
const ROUNDS: usize = 132;
const STEPS: usize = 16;

/// Room before the path for a record's fixed part.
pub const HEAD: usize = 128;

/// Room behind the path for the arguments and the record's fixed part.
pub const TAIL: usize = 2 * ARGS_MAX + 128;

/// A text is shorter.
pub const TEXT_MAX: u64 = PATH_MAX as u64;

/// Longest name of a component.
const NAME_MAX: u32 = 255;

const _: () = assert!(PATH_MAX > NAME_MAX as usize);

/// Per-CPU memory in which a record with a path is built.
#[repr(C)]
pub struct Scratch {
    busy: u64,
    index: u64,
    position: u64,
    dentry: u64,
    vfsmount: u64,
    root_dentry: u64,
    root_vfsmount: u64,
    mount_root: u64,
    /// A record's fixed part and what is yet to be done, kept here while a path is walked: what stands in registers and
    /// on the stack the verifier would tell apart, and check the walk again for each.
    pub fixed: [u64; HEAD / 8],
    pub jobs: [Job; 2],
    /// The path ends at HEAD + PATH_MAX; behind it stand the record's fixed part or a text as passed. The verifier does
    /// not relate a start to its length, so as much again lies behind: every start plus every length stays inside.
    bytes: [u8; ROOM],
}

/// Where a path begins that is walked: a `struct path`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Place {
    pub mnt: u64,
    /// 0: nowhere.
    pub dentry: u64,
}

impl Place {
    pub const NOWHERE: Self = Self { mnt: 0, dentry: 0 };

    /// The one at this address.
    #[inline(always)]
    pub fn at(path: Kptr) -> Self {
        if offset!(path_mnt) == 0 && offset!(path_dentry) == 8 {
            return Helper::read(path, 0);
        }
        Self { mnt: Helper::read(path, offset!(path_mnt)), dentry: Helper::read(path, offset!(path_dentry)) }
    }
}

/// One record to make: with the path by dentries from `base`, and a text of user memory.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Job {
    /// The record's kind; 0: there is nothing to do.
    pub kind: u64,
    pub flags: u64,
    pub base: Place,
    /// 0: none.
    pub text: u64,
}

/// A start that is masked to twice PATH_MAX, a fixed part, and two paths.
const ROOM: usize = 2 * PATH_MAX + HEAD + 2 * PATH_MAX + PATH_MAX;

/// Two: a program that is preempted while it holds one leaves the other to its successor.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

/// Claims a scratch of this CPU; `None` when both are held. Paths in it end at the root of the current task.
#[inline(always)]
pub fn claim<A: Access>() -> Option<*mut Scratch> {
    match if A::IS_DIRECT { claim_direct() } else { claim_helper() } {
        NONE => None,
        index => held(index),
    }
}

const NONE: u64 = 2;

/// A global function: see ARCHITECTURE.md.
#[unsafe(export_name = "claim_direct/0")]
#[inline(never)]
extern "C" fn claim_direct() -> u64 {
    find_free::<Direct>()
}

#[unsafe(export_name = "claim_helper/0")]
#[inline(never)]
extern "C" fn claim_helper() -> u64 {
    find_free::<Helper>()
}

#[inline(always)]
fn find_free<A: Access>() -> u64 {
    for index in 0..NONE {
        let Some(scratch) = held(index) else { return NONE };
        // SAFETY: map memory of this CPU. An interrupt between read and write gives back what it took.
        unsafe {
            if read_volatile(&raw const (*scratch).busy) == 0 {
                write_volatile(&raw mut (*scratch).busy, 1);
                write_volatile(&raw mut (*scratch).index, index);
                let (fs, root): (Kptr, u32) =
                    (A::read(A::current_task(), offset!(task_fs)), offset!(fs_root));
                write_volatile(&raw mut (*scratch).root_dentry, A::read(fs, root + offset!(path_dentry)));
                write_volatile(&raw mut (*scratch).root_vfsmount, A::read(fs, root + offset!(path_mnt)));
                return index;
            }
        }
    }
    NONE
}

#[inline(always)]
pub fn release(scratch: *mut Scratch) {
    // SAFETY: claimed above.
    unsafe { write_volatile(&raw mut (*scratch).busy, 0) }
}

/// Where begins what has no path in front.
#[inline(always)]
pub fn head(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: inside the scratch.
    unsafe { (&raw mut (*scratch).bytes).cast::<u8>() }
}

/// Where the record's fixed part goes.
#[inline(always)]
pub fn tail(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: inside the scratch.
    unsafe { (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + PATH_MAX) }
}

/// Forgets the path: it is empty.
#[inline(always)]
pub fn clear(scratch: *mut Scratch) {
    // SAFETY: claimed above.
    unsafe { write_volatile(&raw mut (*scratch).position, PATH_MAX as u64) }
}

/// Reads a text of user memory, or of the kernel's, to where the path ends: its first byte and its length without the NUL.
#[inline(always)]
pub fn text(scratch: *mut Scratch, at: u64, kernel: bool) -> (u8, u64) {
    let to = tail(scratch);
    // SAFETY: behind the path there is room for as much again; the helper ends what it copies with a NUL.
    unsafe {
        let copied = if kernel {
            bpf_probe_read_kernel_str(to.cast(), PATH_MAX as u32, at as *const _)
        } else {
            bpf_probe_read_user_str(to.cast(), PATH_MAX as u32, at as *const _)
        };
        if copied <= 1 {
            return (0, 0);
        }
        (read_volatile(to), (copied as u64 - 1) & (PATH_MAX as u64 - 1))
    }
}

/// A record that begins before the path.
pub struct Headed {
    /// Where its fixed part goes, aligned to 8: up to 7 bytes lie between it and the path.
    pub at: *mut u8,
    /// From there to the end of the path.
    pub len: u64,
    pub path_len: u64,
}

#[inline(always)]
pub fn headed(scratch: *mut Scratch) -> Headed {
    const MASK: u64 = 2 * PATH_MAX as u64 - 1;
    // SAFETY: the mask keeps the pointer inside the scratch.
    unsafe {
        let position = read_volatile(&raw const (*scratch).position);
        let start = position & MASK & !7;
        let bytes = (&raw mut (*scratch).bytes).cast::<u8>();
        Headed {
            at: bytes.add(start as usize),
            len: ((PATH_MAX as u64).wrapping_sub(start) & MASK) + HEAD as u64,
            path_len: (PATH_MAX as u64).wrapping_sub(position),
        }
    }
}

/// Start of the path and its length; `None` when it is empty.
#[inline(always)]
pub fn start(scratch: *mut Scratch) -> Option<(*const u8, u64)> {
    // SAFETY: the mask keeps the pointer inside the scratch.
    unsafe {
        let position = read_volatile(&raw const (*scratch).position);
        if position >= PATH_MAX as u64 {
            return None;
        }
        let position = position & (PATH_MAX as u64 - 1);
        let bytes = (&raw const (*scratch).bytes).cast::<u8>();
        Some((bytes.add(HEAD + position as usize), PATH_MAX as u64 - position))
    }
}

/// Walks from a place to the root. True: the head of the path is missing.
#[inline(always)]
pub fn walk(scratch: *mut Scratch, from: Place) -> bool {
    // SAFETY: map memory that this program holds.
    unsafe {
        write_volatile(&raw mut (*scratch).position, PATH_MAX as u64);
        write_volatile(&raw mut (*scratch).dentry, from.dentry);
        enter_mount(scratch, from.mnt);
    }
    for _ in 0..ROUNDS {
        match steps(index(scratch)) {
            FURTHER => {}
            ROOT => return false,
            _ => return true,
        }
    }
    true
}

/// A scratch as global functions are given it.
#[inline(always)]
pub fn index(scratch: *mut Scratch) -> u64 {
    // SAFETY: map memory that this program holds.
    unsafe { read_volatile(&raw const (*scratch).index) }
}

/// The scratch with this index, of this CPU.
#[inline(always)]
pub fn held(index: u64) -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(index as u32)
}

/// As many steps as the verifier reads in no time. A global function: see ARCHITECTURE.md.
#[unsafe(export_name = "steps/1")]
#[inline(never)]
extern "C" fn steps(index: u64) -> u64 {
    let Some(scratch) = held(index) else { return NO_ROOM };
    for _ in 0..STEPS {
        // SAFETY: map memory that the caller's program holds.
        let came = unsafe { step(scratch) };
        if came != FURTHER {
            return came;
        }
    }
    FURTHER
}

#[inline(always)]
unsafe fn enter_mount(scratch: *mut Scratch, vfsmount: u64) {
    // SAFETY: map memory that this program holds; kernel memory is read by helper.
    unsafe {
        write_volatile(&raw mut (*scratch).vfsmount, vfsmount);
        let root = Helper::read(vfsmount as Kptr, offset!(vfsmount_root));
        write_volatile(&raw mut (*scratch).mount_root, root);
    }
}

/// `d_parent` and `d_name` of a dentry. They lie side by side on every kernel so far: one read instead of three, 90 ns
/// a component less.
#[derive(Clone, Copy)]
#[repr(C)]
struct Link {
    parent: u64,
    hash: u32,
    len: u32,
    name: Kptr,
}

#[inline(always)]
fn link(dentry: Kptr) -> Link {
    let at = offset!(dentry_parent);
    if offset!(dentry_name) == at + 8 && offset!(qstr_len) == 4 && offset!(qstr_name) == 8 {
        return Helper::read(dentry, at);
    }
    let qstr = dentry.wrapping_add(offset!(dentry_name) as usize);
    Link {
        parent: Helper::read(dentry, at),
        hash: 0,
        len: Helper::read(qstr, offset!(qstr_len)),
        name: Helper::read(qstr, offset!(qstr_name)),
    }
}

/// What came of a step.
const FURTHER: u64 = 0;
const ROOT: u64 = 1;
const NO_ROOM: u64 = 2;

/// One component, or one mount.
#[inline(always)]
unsafe fn step(scratch: *mut Scratch) -> u64 {
    // SAFETY: map memory that this program holds; kernel memory is read by helper.
    unsafe {
        let dentry = read_volatile(&raw const (*scratch).dentry);
        let vfsmount = read_volatile(&raw const (*scratch).vfsmount);
        if dentry == read_volatile(&raw const (*scratch).root_dentry)
            && vfsmount == read_volatile(&raw const (*scratch).root_vfsmount)
        {
            return ROOT;
        }
        let Link { parent, len, name, .. } = link(dentry as Kptr);
        if dentry == read_volatile(&raw const (*scratch).mount_root) || dentry == parent {
            let mount = vfsmount.wrapping_sub(u64::from(offset!(mount_vfsmount)));
            let above: u64 = Helper::read(mount as Kptr, offset!(mount_parent));
            if above == mount || above == 0 {
                return ROOT;
            }
            let mountpoint: u64 = Helper::read(mount as Kptr, offset!(mount_mountpoint));
            write_volatile(&raw mut (*scratch).dentry, mountpoint);
            enter_mount(scratch, above.wrapping_add(u64::from(offset!(mount_vfsmount))));
            return FURTHER;
        }
        let len = u64::from(len & NAME_MAX);
        let position = read_volatile(&raw const (*scratch).position);
        if position < len + 1 || position > PATH_MAX as u64 {
            return NO_ROOM;
        }
        let position = (position - len - 1) & (PATH_MAX as u64 - 1);
        let bytes = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD);
        bytes.add(position as usize).write_volatile(b'/');
        bpf_probe_read_kernel(bytes.add(position as usize + 1).cast(), len as u32, name.cast());
        write_volatile(&raw mut (*scratch).position, position);
        write_volatile(&raw mut (*scratch).dentry, parent);
        FURTHER
    }
}

/// Writes `value` where it belongs, without the byte loop that a struct copy may become.
#[inline(always)]
pub unsafe fn put<T: Copy>(at: *mut u8, value: &T) {
    let words = size_of::<T>() / 8;
    let from: *const u64 = (&raw const *value).cast();
    let mut word = 0;
    while word < words {
        // SAFETY: the caller's place holds a T, whose size is a multiple of 8.
        unsafe { at.cast::<u64>().add(word).write_volatile(from.add(word).read_volatile()) };
        word += 1;
    }
}
