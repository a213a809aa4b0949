//! Activity: what each process does with each file, counted in the kernel.

use core::ptr::null;

use aya_ebpf::{macros::map, maps::PerCpuHashMap};
use fluoro_shared::{
    file::{
        FAILED, FileCell, FileKey, KIND_COPY, KIND_OPEN, KIND_READ, KIND_WRITE, WHAT_OPEN, WHAT_READ,
        WHAT_SYNC, WHAT_WRITE, format,
    },
    record::Task,
};

use super::{Ended, event, file_of, inode_of};
use crate::{
    access::{Access, Kptr},
    filter::{self, Verdict},
    histogram, ledger, task,
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
pub fn on_open(ended: &Ended, subject: &Task, verdict: &Verdict, file: Kptr) -> bool {
    count(ended, subject, verdict, file, KIND_OPEN) != KNOWN
}

/// A call that moves bytes, or waits until they are kept.
#[inline(always)]
pub fn on_transfer<A: Access>(ended: &Ended) {
    let call = &ended.call;
    let subject = task::brief::<A>();
    let verdict = filter::verdict(&subject, None);
    let transfer = |file, kind| {
        if count(ended, &subject, &verdict, file, kind) == NAMELESS { file } else { null() }
    };
    let kind = u16::from(call.kind);
    let nameless = if kind == KIND_COPY {
        let read = transfer(file_of::<A>(ended.argument(call.dir)), KIND_READ);
        let written = transfer(file_of::<A>(ended.argument(call.from_dir)), KIND_WRITE);
        // Of two files seen for the first time one is named now, the other when it is used by itself.
        if written.is_null() { read } else { written }
    } else if ended.file.is_null() {
        transfer(file_of::<A>(ended.argument(call.dir)), kind)
    } else {
        transfer(ended.file, kind)
    };
    if !nameless.is_null() {
        event::name::<A>(ended, &subject, nameless, &inode_of(nameless));
    }
}

/// What came of counting: the cell was there; it is new; it is new and of a file that can be named.
const KNOWN: u64 = 0;
const NEW: u64 = 1;
const NAMELESS: u64 = 2;

#[inline(always)]
fn count(ended: &Ended, subject: &Task, verdict: &Verdict, file: Kptr, kind: u16) -> u64 {
    let filtered = if let Verdict::Filtered = verdict { FILTERED } else { 0 };
    let what = u64::from(subject.tgid) << 32 | filtered | u64::from(kind);
    count_of(subject.start_ns, what, file as u64, ended.result, ended.duration_ns)
}

/// Beside the kind in an argument of [`count_of`].
const FILTERED: u64 = 1 << 16;

/// Counts what a process has done with a file; null: it failed before there was one, or another thread has closed it
/// since. A global function: see ARCHITECTURE.md.
#[unsafe(export_name = "count/5")]
#[inline(never)]
extern "C" fn count_of(start_ns: u64, what: u64, file: u64, result: i64, duration_ns: u64) -> u64 {
    ledger::aggregate_seen();
    if what & FILTERED != 0 {
        ledger::aggregate_filtered();
        return KNOWN;
    }
    let (tgid, kind) = ((what >> 32) as u32, what as u16);
    let mut key = FileKey { start_ns, inode: 0, device: 0, tgid, format: 0, pad: 0 };
    if result < 0 && (file == 0 || kind == KIND_OPEN) {
        (key.inode, key.format) = (result.wrapping_neg() as u64, FAILED);
    } else if file != 0 {
        let inode = inode_of(file as Kptr);
        key.format = u32::from(inode.mode) & format::MASK;
        if key.format != format::SOCKET {
            (key.inode, key.device) = (inode.number, inode.device);
        }
    }
    if duration_ns != 0 {
        let what = match kind {
            KIND_OPEN => WHAT_OPEN,
            KIND_READ => WHAT_READ,
            KIND_WRITE => WHAT_WRITE,
            _ => WHAT_SYNC,
        };
        histogram::sample(start_ns, tgid, what, key.subject(), duration_ns);
    }
    let mut came = KNOWN;
    let mut cell = FILES.get_ptr_mut(&key);
    if cell.is_none() {
        if FILES.insert(&key, &BLANK, BPF_NOEXIST).is_ok() {
            came = if key.device == 0 { NEW } else { NAMELESS };
        }
        cell = FILES.get_ptr_mut(&key);
    }
    match cell {
        Some(cell) => {
            // SAFETY: the map's own memory, of this CPU.
            unsafe { add(cell, kind, result, duration_ns) };
            ledger::counted();
        }
        None => ledger::untracked(),
    }
    came
}

#[inline(always)]
unsafe fn add(cell: *mut FileCell, kind: u16, result: i64, duration_ns: u64) {
    let bytes = if result > 0 { result as u64 } else { 0 };
    // SAFETY: the caller's cell. A maximum that an interrupted program writes late may lose to a smaller one of the same
    // moment.
    unsafe {
        match kind {
            KIND_OPEN => ledger::add(&raw mut (*cell).opens, 1),
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
        if result < 0 {
            ledger::add(&raw mut (*cell).errors, 1);
        }
        ledger::add(&raw mut (*cell).busy_ns, duration_ns);
        if duration_ns > (*cell).max_ns {
            (*cell).max_ns = duration_ns;
        }
    }
}
