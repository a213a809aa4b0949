//! Activity: what each process does with each file, counted in the kernel.

use core::ptr::null;

use aya_ebpf::{macros::map, maps::PerCpuHashMap};
use fluoro_shared::{
    file::{
        FAILED, FileCell, FileKey, KIND_COPY, KIND_READ, KIND_WRITE, WHAT_OPEN, WHAT_READ, WHAT_SYNC,
        WHAT_WRITE, format,
    },
    record::Task,
};

use super::{Ended, Inode, event, file_of, inode_of};
use crate::{
    access::{Access, Kptr},
    filter::{self, Verdict},
    histogram, ledger,
    path::Scratch,
    task,
};

/// Sized by the budget; no number is ever evicted.
#[map]
static FILES: PerCpuHashMap<FileKey, FileCell> = PerCpuHashMap::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;

/// What a cell begins as; not on the stack, which has no room for it.
static BLANK: FileCell = FileCell {
    opens: 0,
    reads: 0,
    writes: 0,
    syncs: 0,
    read_bytes: 0,
    write_bytes: 0,
    errors: 0,
    busy_ns: 0,
    max_ns: 0,
};

/// Counts an open. True: the first that this process does with this file.
#[inline(always)]
pub fn on_open(ended: &Ended, subject: &Task, verdict: &Verdict, inode: &Inode) -> bool {
    let key = if ended.result < 0 { failed(subject, ended.result) } else { key(subject, inode) };
    sample(ended, subject, verdict, WHAT_OPEN, &key);
    fold(verdict, &key, |cell| {
        // SAFETY: the map's own memory.
        unsafe {
            ledger::add(&raw mut (*cell).opens, 1);
            time(cell, ended);
        }
    })
}

/// A call that moves bytes, or waits until they are kept.
#[inline(always)]
pub fn on_transfer<A: Access>(ended: &Ended) -> Option<*mut Scratch> {
    let call = &ended.call;
    let subject = task::brief::<A>();
    let verdict = filter::verdict(&subject, None);
    let kind = u16::from(call.kind);
    if kind == KIND_COPY {
        let read = count(ended, &subject, &verdict, file_of::<A>(ended.argument(call.dir)), KIND_READ);
        let written =
            count(ended, &subject, &verdict, file_of::<A>(ended.argument(call.from_dir)), KIND_WRITE);
        // Of two files seen for the first time one is named now, the other when it is used by itself.
        name(ended, &subject, if written.is_null() { read } else { written })
    } else {
        let file = if ended.file.is_null() { file_of::<A>(ended.argument(call.dir)) } else { ended.file };
        name(ended, &subject, count(ended, &subject, &verdict, file, kind))
    }
}

#[inline(always)]
fn name(ended: &Ended, subject: &Task, file: Kptr) -> Option<*mut Scratch> {
    if file.is_null() { None } else { event::name(ended, subject, file, &inode_of(file)) }
}

/// The file, where it is seen for the first time.
#[inline(always)]
fn count(ended: &Ended, subject: &Task, verdict: &Verdict, file: Kptr, kind: u16) -> Kptr {
    let bytes = if ended.result > 0 { ended.result as u64 } else { 0 };
    let update = |cell: *mut FileCell| {
        // SAFETY: the map's own memory.
        unsafe {
            match kind {
                KIND_READ => {
                    ledger::add(&raw mut (*cell).reads, 1);
                    ledger::add(&raw mut (*cell).read_bytes, bytes);
                }
                KIND_WRITE => {
                    ledger::add(&raw mut (*cell).writes, 1);
                    ledger::add(&raw mut (*cell).write_bytes, bytes);
                }
                _ => ledger::add(&raw mut (*cell).syncs, 1),
            }
            time(cell, ended);
        }
    };
    if file.is_null() {
        fold(verdict, &failed(subject, ended.result), update);
        return null();
    }
    let inode = inode_of(file);
    let key = key(subject, &inode);
    let what = match kind {
        KIND_READ => WHAT_READ,
        KIND_WRITE => WHAT_WRITE,
        _ => WHAT_SYNC,
    };
    sample(ended, subject, verdict, what, &key);
    if fold(verdict, &key, update) && key.device != 0 { file } else { null() }
}

#[inline(always)]
fn key(subject: &Task, inode: &Inode) -> FileKey {
    let format = u32::from(inode.mode) & format::MASK;
    let socket = format == format::SOCKET;
    FileKey {
        start_ns: subject.start_ns,
        inode: if socket { 0 } else { inode.number },
        device: if socket { 0 } else { inode.device },
        tgid: subject.tgid,
        format,
        pad: 0,
    }
}

#[inline(always)]
fn failed(subject: &Task, result: i64) -> FileKey {
    FileKey {
        start_ns: subject.start_ns,
        inode: result.wrapping_neg() as u64,
        device: 0,
        tgid: subject.tgid,
        format: FAILED,
        pad: 0,
    }
}

/// Time and failure of a call.
#[inline(always)]
unsafe fn time(cell: *mut FileCell, ended: &Ended) {
    // SAFETY: the caller's cell is the map's own memory, of this CPU. A maximum that an interrupted program writes
    // late may lose to a smaller one of the same moment.
    unsafe {
        if ended.result < 0 {
            ledger::add(&raw mut (*cell).errors, 1);
        }
        ledger::add(&raw mut (*cell).busy_ns, ended.duration_ns);
        if ended.duration_ns > (*cell).max_ns {
            (*cell).max_ns = ended.duration_ns;
        }
    }
}

/// How long it took, of this file; where there is no room for that, of the process alone.
#[inline(always)]
fn sample(ended: &Ended, subject: &Task, verdict: &Verdict, what: u16, key: &FileKey) {
    if matches!(verdict, Verdict::Filtered) || ended.duration_ns == 0 {
        return;
    }
    ledger::sample(
        histogram::record(subject, what, key.subject(), ended.duration_ns)
            || histogram::record(subject, what, 0, ended.duration_ns),
    );
}

/// True: the cell is new.
#[inline(always)]
fn fold(verdict: &Verdict, key: &FileKey, update: impl Fn(*mut FileCell)) -> bool {
    ledger::aggregate_seen();
    if let Verdict::Filtered = verdict {
        ledger::aggregate_filtered();
        return false;
    }
    if let Some(cell) = FILES.get_ptr_mut(key) {
        update(cell);
        ledger::counted();
        return false;
    }
    let new = FILES.insert(key, &BLANK, BPF_NOEXIST).is_ok();
    match FILES.get_ptr_mut(key) {
        Some(cell) => {
            update(cell);
            ledger::counted();
        }
        None => ledger::untracked(),
    }
    new
}
