//! Calls under way: when each task entered the kernel, and by which call.
//!
//! One stamp a task, in an array by its thread id: right for calls that block and for threads that migrate, where a
//! slot a CPU is overwritten, and cheaper than inserting into a hash and deleting again (500 ns a call). Where there
//! are more ids than stamps, several share one; which task a stamp is of is checked, what it overwrites is counted.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
};
use fluoro_shared::inflight::{COMPAT, Stamp};

use crate::{ledger, machine};

/// By thread id and mask; as large as the machine's highest id or the budget allows.
#[map]
static STAMPS: Array<Stamp> = Array::with_max_entries(1, 0);

/// Stamps of other tasks overwritten, of this CPU.
#[map]
static COLLISIONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A call that has returned.
pub struct Call {
    pub started_ns: u64,
    /// As it was entered.
    pub number: u32,
}

/// The task `tid` enters the kernel by call `number`.
#[inline(always)]
pub fn enter(tid: u32, number: u32, now: u64) {
    let Some(stamp) = stamp(tid) else { return };
    // SAFETY: map memory. Only the task itself writes its stamp, or one that shares it: see `Stamp`.
    unsafe {
        let held_ns = read_volatile(&raw const (*stamp).at_ns);
        if held_ns != 0 && (read_volatile(&raw const (*stamp).sealed) ^ held_ns) >> 32 != u64::from(tid) {
            collided();
        }
        write_volatile(&raw mut (*stamp).at_ns, now);
        write_volatile(&raw mut (*stamp).sealed, Stamp::seal(tid, number, now));
    }
}

/// The task `tid` leaves the kernel, as the kernel says from call `number`: -1 after rt_sigreturn, which has put other
/// registers into place. A start of 0: its entry was not seen, or another task has taken the stamp. No `Option`: of what
/// one does not hold the compiler copies a register that was never written, which the verifier refuses: "R2 !read_ok".
#[inline(always)]
pub fn leave(tid: u32, number: i64) -> Call {
    const NONE: Call = Call { started_ns: 0, number: 0 };
    let Some(stamp) = stamp(tid) else { return NONE };
    // SAFETY: as above.
    unsafe {
        let started_ns = read_volatile(&raw const (*stamp).at_ns);
        let entered = read_volatile(&raw const (*stamp).sealed) ^ started_ns;
        if started_ns == 0 || entered >> 32 != u64::from(tid) {
            return NONE;
        }
        write_volatile(&raw mut (*stamp).at_ns, 0);
        let entered = entered as u32;
        // exec between the ABIs leaves by the other one.
        let is_it = number == -1 || u64::from(entered & !COMPAT) == number as u64;
        if is_it { Call { started_ns, number: entered } } else { NONE }
    }
}

/// The call that the task `tid` is in, as it was entered.
#[inline(always)]
pub fn number(tid: u32) -> Option<u32> {
    let stamp = stamp(tid)?;
    // SAFETY: as above.
    unsafe {
        let started_ns = read_volatile(&raw const (*stamp).at_ns);
        let entered = read_volatile(&raw const (*stamp).sealed) ^ started_ns;
        (started_ns != 0 && entered >> 32 == u64::from(tid)).then_some(entered as u32)
    }
}

#[inline(always)]
fn stamp(tid: u32) -> Option<*mut Stamp> {
    STAMPS.get_ptr_mut(tid & machine::stamp_mask())
}

#[inline(always)]
fn collided() {
    if let Some(count) = COLLISIONS.get_ptr_mut(0) {
        ledger::add(count, 1);
    }
}
