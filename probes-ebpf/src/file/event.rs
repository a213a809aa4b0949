//! Events: one record a call, with its path.

use core::ptr::{null, read_volatile};

use aya_ebpf::helpers::{bpf_get_smp_processor_id, generated::bpf_probe_read_user};
use fluoro_shared::{
    file::{
        FLAG_BARE, FLAG_CREATED, FLAG_DELETED, FLAG_RESOLVED, FLAG_TRUNCATED, FileRecord, KIND_NAME,
        KIND_OPEN, KIND_OTHER_PATH, KIND_RMDIR,
    },
    record::{Header, Task},
};

use super::{Ended, Inode, activity, calls, file_of, inode_of};
use crate::{
    access::{Access, Direct, Helper, Kptr},
    filter::{self, Verdict},
    ledger,
    machine::offset,
    path::{self, Job, Place, Scratch},
    ring, task,
};

const AT_FDCWD: i32 = -100;
const AT_REMOVEDIR: u64 = 0x200;
/// O_CREAT | O_WRONLY | O_TRUNC
const CREAT_FLAGS: u64 = 0o1101;
const EFAULT: i64 = 14;
/// Set by the open that made the file (include/linux/fs.h, since 4.19).
const FMODE_CREATED: u32 = 1 << 20;

pub const NO_INODE: Inode = Inode { number: 0, device: 0, mode: 0 };

pub const NO_JOB: Job = Job { kind: 0, flags: 0, base: Place::NOWHERE, text: 0 };

/// A call that makes an event.
#[inline(always)]
pub fn on_call<A: Access>(ended: &Ended) {
    let call = &ended.call;
    let mut kind = u16::from(call.kind);
    if call.special == calls::REMOVES && ended.argument(call.detail) & AT_REMOVEDIR != 0 {
        kind = KIND_RMDIR;
    }
    let file = if kind == KIND_OPEN {
        if ended.result >= 0 && call.special != calls::SLOT {
            file_of::<A>(ended.result as u64)
        } else {
            null()
        }
    } else if !ended.file.is_null() {
        ended.file
    } else if call.path == 0 {
        file_of::<A>(ended.argument(call.dir))
    } else {
        null()
    };
    let mut subject = task::brief::<A>();
    let verdict = filter::verdict(&subject, None);
    let first = kind == KIND_OPEN && activity::on_open(ended, &subject, &verdict, file);
    ledger::seen();
    match verdict {
        Verdict::Wanted => {}
        Verdict::Filtered => {
            ledger::filtered();
            return;
        }
        Verdict::Muted => {
            ledger::muted();
            // What is counted must have a name.
            if !first {
                return;
            }
            kind = KIND_NAME;
        }
    }
    // Only now: what is just counted needs no more, and this takes as long as counting.
    task::complete::<A>(&mut subject);
    if let (Verdict::Wanted, Verdict::Filtered) = (verdict, filter::verdict(&subject, None)) {
        ledger::filtered();
        return;
    }
    let Some(scratch) = path::claim::<A>() else {
        if kind == KIND_NAME {
            ledger::supplement_lost();
        } else {
            ledger::error();
        }
        return;
    };
    let inode = if file.is_null() { NO_INODE } else { inode_of(file) };
    fix(scratch, ended, &subject, &inode, detail(ended));
    let told = ended.result != -EFAULT;
    let text = |argument: u8| if told && argument != 0 { ended.argument(argument) } else { 0 };
    // Each job goes where it is kept at once: the stack has no room for them.
    if call.from_path == 0 {
        assign(scratch, 0, &NO_JOB);
    } else {
        let text = text(call.from_path);
        assign(scratch, 0, &Job { kind: u64::from(KIND_OTHER_PATH), text, ..NO_JOB });
        if call.special != calls::TARGET {
            begin::<A>(scratch, 0, ended, call.from_dir);
        }
    }
    if file.is_null() {
        let text = text(call.path);
        assign(scratch, 1, &Job { kind: u64::from(kind), text, ..NO_JOB });
        if text != 0 {
            begin::<A>(scratch, 1, ended, call.dir);
        }
    } else {
        let created = kind == KIND_OPEN && Helper::read::<u32>(file, offset!(file_mode)) & FMODE_CREATED != 0;
        assign(scratch, 1, &named(kind, file, if created { FLAG_CREATED } else { 0 }));
    }
    work(scratch);
}

/// The path of a file that is counted from now on.
#[inline(always)]
pub fn name<A: Access>(ended: &Ended, subject: &Task, file: Kptr, inode: &Inode) {
    let Some(scratch) = path::claim::<A>() else {
        ledger::supplement_lost();
        return;
    };
    fix(scratch, ended, subject, inode, 0);
    assign(scratch, 0, &NO_JOB);
    assign(scratch, 1, &named(KIND_NAME, file, 0));
    work(scratch);
}

/// Makes and sends the records that are to be made, and gives the scratch back.
#[inline(always)]
pub fn work(scratch: *mut Scratch) {
    do_jobs(path::index(scratch));
}

/// A global function: see ARCHITECTURE.md.
#[unsafe(export_name = "file_work/1")]
#[inline(never)]
extern "C" fn do_jobs(index: u64) -> u64 {
    if let Some(scratch) = path::held(index) {
        job(scratch, 0);
        job(scratch, 1);
        path::release(scratch);
    }
    0
}

#[inline(always)]
fn job(scratch: *mut Scratch, index: usize) {
    // SAFETY: map memory that this program holds.
    let (job, at) = unsafe {
        let job = (&raw mut (*scratch).jobs).cast::<Job>().add(index);
        (job, (&raw mut (*scratch).fixed).cast::<FileRecord>())
    };
    // SAFETY: as above.
    let (kind, text, base, mut flags) = unsafe {
        (
            read_volatile(&raw const (*job).kind),
            read_volatile(&raw const (*job).text),
            Place {
                mnt: read_volatile(&raw const (*job).base.mnt),
                dentry: read_volatile(&raw const (*job).base.dentry),
            },
            read_volatile(&raw const (*job).flags),
        )
    };
    if kind == 0 {
        return;
    }
    path::clear(scratch);
    // SAFETY: as above.
    let (asked, by_request) = unsafe {
        (read_volatile(&raw const (*at).header.flags), read_volatile(&raw const (*at).request) != 0)
    };
    let (begin, text_len) = if text == 0 { (0, 0) } else { path::text(scratch, text, by_request) };
    // SAFETY: as above.
    unsafe { (&raw mut (*at).text_len).write_volatile(text_len as u16) };
    if base.dentry == 0 {
        flags |= u64::from(FLAG_BARE);
    } else if begin != b'/' && path::walk(scratch, base) {
        flags |= u64::from(FLAG_TRUNCATED);
    }
    // SAFETY: as above.
    unsafe {
        let kind = read_volatile(&raw const (*job).kind) as u16;
        (&raw mut (*at).header.kind).write_volatile(kind);
        (&raw mut (*at).header.flags).write_volatile(asked | flags as u16);
        let sent = send(scratch, at);
        (&raw mut (*at).header.flags).write_volatile(asked);
        settle(kind, sent);
    }
}

#[inline(always)]
fn settle(kind: u16, sent: bool) {
    match (kind >= KIND_OTHER_PATH, sent) {
        (false, true) => ledger::submitted(),
        (false, false) => ledger::lost(),
        (true, true) => {}
        (true, false) => ledger::supplement_lost(),
    }
}

/// Lets the path of a job begin at a directory that an argument names, or at the current one.
#[inline(always)]
fn begin<A: Access>(scratch: *mut Scratch, job: u64, ended: &Ended, argument: u8) {
    let descriptor = if argument == 0 { AT_FDCWD as u64 } else { ended.argument(argument) };
    if A::IS_DIRECT {
        begin_direct(path::index(scratch), job, descriptor);
    } else {
        begin_helper(path::index(scratch), job, descriptor);
    }
}

/// A global function: see ARCHITECTURE.md.
#[unsafe(export_name = "begin_direct/3")]
#[inline(never)]
extern "C" fn begin_direct(index: u64, job: u64, descriptor: u64) -> u64 {
    begin_at::<Direct>(index, job, descriptor)
}

#[unsafe(export_name = "begin_helper/3")]
#[inline(never)]
extern "C" fn begin_helper(index: u64, job: u64, descriptor: u64) -> u64 {
    begin_at::<Helper>(index, job, descriptor)
}

#[inline(always)]
fn begin_at<A: Access>(index: u64, job: u64, descriptor: u64) -> u64 {
    let path = if descriptor as i32 == AT_FDCWD {
        let fs: Kptr = A::read(A::current_task(), offset!(task_fs));
        fs.wrapping_add(offset!(fs_pwd) as usize)
    } else {
        let file = file_of::<A>(descriptor);
        if file.is_null() {
            return 0;
        }
        file.wrapping_add(offset!(file_path) as usize)
    };
    let base = Place::at(path);
    if let Some(scratch) = path::held(index) {
        // SAFETY: map memory that the caller's program holds.
        unsafe {
            let job = (&raw mut (*scratch).jobs).cast::<Job>().add(job as usize & 1);
            (&raw mut (*job).base.mnt).write_volatile(base.mnt);
            (&raw mut (*job).base.dentry).write_volatile(base.dentry);
        }
    }
    0
}

/// A record with the path of an open file.
#[inline(always)]
fn named(kind: u16, file: Kptr, flags: u16) -> Job {
    let base = Place::at(file.wrapping_add(offset!(file_path) as usize));
    let deleted = if is_deleted(base.dentry as Kptr) { FLAG_DELETED } else { 0 };
    Job { kind: u64::from(kind), flags: u64::from(FLAG_RESOLVED | deleted | flags), base, text: 0 }
}

#[inline(always)]
pub fn assign(scratch: *mut Scratch, index: usize, job: &Job) {
    macro_rules! write {
        ($($field:ident).+) => {
            // SAFETY: map memory that this program holds.
            unsafe {
                let to = (&raw mut (*scratch).jobs).cast::<Job>().add(index);
                (&raw mut (*to).$($field).+).write_volatile(job.$($field).+);
            }
        };
    }
    write!(kind);
    write!(flags);
    write!(base.mnt);
    write!(base.dentry);
    write!(text);
}

#[inline(always)]
fn detail(ended: &Ended) -> u64 {
    let argument = ended.argument(ended.call.detail);
    match ended.call.special {
        calls::CREAT => CREAT_FLAGS,
        calls::HOW => {
            let mut flags = core::mem::MaybeUninit::<u64>::uninit();
            // SAFETY: `struct open_how` begins with its flags; the helper writes 8 bytes, zeroes when it fails.
            unsafe {
                bpf_probe_read_user(flags.as_mut_ptr().cast(), 8, argument as *const _);
                flags.assume_init()
            }
        }
        _ => argument,
    }
}

#[inline(always)]
fn is_deleted(dentry: Kptr) -> bool {
    let at = offset!(dentry_hash_pprev);
    // They lie side by side on every kernel so far: see `path::link`.
    let [hashed, parent]: [u64; 2] = if offset!(dentry_parent) == at + 8 {
        Helper::read(dentry, at)
    } else {
        [Helper::read(dentry, at), Helper::read(dentry, offset!(dentry_parent))]
    };
    hashed == 0 && parent != dentry as u64
}

/// Writes the fixed part: in the scratch from the first, for which the stack has no room.
#[inline(always)]
pub fn fix(scratch: *mut Scratch, ended: &Ended, subject: &Task, inode: &Inode, detail: u64) {
    // SAFETY: map memory that this program holds.
    let record = unsafe { (&raw mut (*scratch).fixed).cast::<FileRecord>() };
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let header = Header { at_ns: ended.now_ns, seq: 0, cpu, kind: 0, flags: ended.flags };
    macro_rules! write {
        ($($field:ident: $value:expr),+ $(,)?) => {
            // SAFETY: as above.
            $(unsafe { (&raw mut (*record).$field).write_volatile($value) };)+
        };
    }
    // SAFETY: as above.
    unsafe {
        path::put((&raw mut (*record).header).cast(), &header);
        path::put((&raw mut (*record).task).cast(), subject);
    }
    write! {
        duration_ns: ended.duration_ns,
        result: ended.result,
        inode: inode.number,
        detail: detail,
        more: ended.argument(ended.call.more),
        device: inode.device,
        inode_mode: inode.mode,
        request: ended.request,
    }
}

/// Copies the fixed part before the path and sends both, and the text behind.
#[inline(always)]
unsafe fn send(scratch: *mut Scratch, record: *mut FileRecord) -> bool {
    let head = path::headed(scratch);
    // SAFETY: map memory that the caller's program holds.
    unsafe {
        (&raw mut (*record).header.seq).write_volatile(ledger::next_seq());
        (&raw mut (*record).base_len).write_volatile(head.path_len as u16);
        let (from, to) = (record.cast::<u64>(), head.at.cast::<u64>());
        for word in 0..size_of::<FileRecord>() / 8 {
            to.add(word).write_volatile(from.add(word).read_volatile());
        }
        let text_len = u64::from(read_volatile(&raw const (*record).text_len)) & (path::TEXT_MAX - 1);
        ring::send(head.at, head.len + text_len, read_volatile(&raw const (*record).header.cpu))
    }
}
