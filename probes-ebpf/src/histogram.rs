//! Counts by process, kind of duration and bucket.

use aya_ebpf::{macros::map, maps::HashMap};
use fluoro_shared::histogram::{HistogramKey, bucket_of};

use crate::ledger;

#[map]
static HISTOGRAMS: HashMap<HistogramKey, u64> = HashMap::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;

/// Counts one duration of the process that began then, of this subject; where there is no room for that, of the process
/// alone. In the books only where there is none at all.
#[inline(always)]
pub fn sample(start_ns: u64, tgid: u32, what: u16, subject: u64, ns: u64) {
    sample_of(start_ns, u64::from(tgid) << 32 | u64::from(what), subject, ns);
}

/// A global function: see ARCHITECTURE.md.
#[unsafe(export_name = "sample/4")]
#[inline(never)]
extern "C" fn sample_of(start_ns: u64, tgid_what: u64, subject: u64, ns: u64) -> u64 {
    let (tgid, what) = ((tgid_what >> 32) as u32, tgid_what as u16);
    let mut key = HistogramKey { start_ns, subject, tgid, what, bucket: bucket_of(ns) };
    if is_kept(&key) {
        return 0;
    }
    if subject != 0 {
        key.subject = 0;
        if is_kept(&key) {
            return 0;
        }
    }
    ledger::aggregate_seen();
    ledger::untracked();
    0
}

#[inline(always)]
fn is_kept(key: &HistogramKey) -> bool {
    // Another CPU may be first.
    bump(key) || HISTOGRAMS.insert(key, &1, BPF_NOEXIST).is_ok() || bump(key)
}

#[inline(always)]
fn bump(key: &HistogramKey) -> bool {
    let Some(count) = HISTOGRAMS.get_ptr_mut(key) else { return false };
    ledger::add(count, 1);
    true
}
