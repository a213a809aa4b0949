//! Counts by process, kind of duration and bucket.

use aya_ebpf::{macros::map, maps::HashMap};
use fluoro_shared::{
    histogram::{HistogramKey, bucket_of},
    record::Task,
};

use crate::ledger;

#[map]
static HISTOGRAMS: HashMap<HistogramKey, u64> = HashMap::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;

/// Counts one duration. False: the map is full.
#[inline(always)]
pub fn record(task: &Task, what: u16, subject: u64, ns: u64) -> bool {
    let bucket = bucket_of(ns);
    let key = HistogramKey { start_ns: task.start_ns, subject, tgid: task.tgid, what, bucket };
    if bump(&key) {
        return true;
    }
    // Another CPU may be first.
    HISTOGRAMS.insert(&key, &1, BPF_NOEXIST).is_ok() || bump(&key)
}

#[inline(always)]
fn bump(key: &HistogramKey) -> bool {
    let Some(count) = HISTOGRAMS.get_ptr_mut(key) else { return false };
    ledger::add(count, 1);
    true
}
