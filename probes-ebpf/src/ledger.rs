//! The books: counted where the decision falls, added to atomically because an interrupt may come between.

use core::intrinsics::{AtomicOrdering::Relaxed, atomic_xadd};

use aya_ebpf::{macros::map, maps::PerCpuArray};
use fluoro_shared::ledger::Counts;

#[map]
static LEDGER: PerCpuArray<Counts> = PerCpuArray::with_max_entries(1, 0);

macro_rules! count {
    ($($name:ident => $field:ident),+ $(,)?) => {
        $(#[inline(always)]
        pub fn $name() {
            if let Some(counts) = LEDGER.get_ptr_mut(0) {
                // SAFETY: the map's own memory.
                add(unsafe { &raw mut (*counts).$field }, 1);
            }
        })+
    };
}

count! {
    seen => seen,
    submitted => submitted,
    muted => muted,
    filtered => filtered,
    lost => lost,
    error => error,
    aggregate_seen => aggregate_seen,
    counted => counted,
    aggregate_filtered => aggregate_filtered,
    untracked => untracked,
    supplement_lost => supplements_lost,
}

/// Runs that a spare did for the first program; of this CPU, modulo 2^64.
#[map]
static RECOVERED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A spare does what the kernel skipped.
#[inline(always)]
pub fn recovered(by: i64) {
    if let Some(count) = RECOVERED.get_ptr_mut(0) {
        add(count, by as u64);
    }
}

/// Adds to a number of map memory, aligned to 8.
#[inline(always)]
pub fn add(number: *mut u64, by: u64) {
    // SAFETY: as said.
    unsafe { atomic_xadd::<u64, u64, { Relaxed }>(number, by) };
}

/// A duration for a histogram, beside what is counted anyway: in the books only where it found no room.
#[inline(always)]
pub fn sample(kept: bool) {
    if !kept {
        aggregate_seen();
        untracked();
    }
}

/// Adds to a number of map memory, aligned to 4.
#[inline(always)]
pub fn add32(number: *mut u32, by: u32) {
    // SAFETY: as said.
    unsafe { atomic_xadd::<u32, u32, { Relaxed }>(number, by) };
}

/// The next sequence number of this CPU.
#[inline(always)]
pub fn next_seq() -> u64 {
    let Some(counts) = LEDGER.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above. Not one instruction (fetching adds are 5.12): an interrupt between add and read may give
    // two records one number, which costs nothing since only gaps are looked for.
    unsafe {
        atomic_xadd::<u64, u64, { Relaxed }>(&raw mut (*counts).seq, 1);
        core::ptr::read_volatile(&raw const (*counts).seq)
    }
}
