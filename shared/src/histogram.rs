//! Histograms kept in the kernel: counts by process, kind of duration and bucket, of one map per family.
//!
//! Buckets are log-linear, eight to a power of two: one is at most 12.5% wider than its lower end.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits of a value that tell buckets of one power of two apart.
const FINE: u32 = 3;

/// Buckets that any 64-bit value falls into.
pub const BUCKETS: u16 = bucket_of(u64::MAX) + 1;

/// Key of the map `HISTOGRAMS`; its value is a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HistogramKey {
    /// `start_boottime` of the process, ns.
    pub start_ns: u64,
    /// What of the process it is about, where the family tells that apart; else 0.
    pub subject: u64,
    pub tgid: u32,
    /// One of the family's `WHAT_*`.
    pub what: u16,
    pub bucket: u16,
}

const _: () = assert!(size_of::<HistogramKey>() == 24);

/// The bucket that a value falls into.
#[inline]
pub const fn bucket_of(value: u64) -> u16 {
    if value < 1 << FINE {
        return value as u16;
    }
    let shift = value.ilog2() - FINE;
    ((shift as u64) << FINE) as u16 + (value >> shift) as u16
}

/// Least and greatest value of a bucket.
pub const fn bounds(bucket: u16) -> (u64, u64) {
    if bucket < 2 << FINE {
        return (bucket as u64, bucket as u64);
    }
    let shift = (bucket >> FINE) as u32 - 1;
    let low = ((bucket as u64 & ((1 << FINE) - 1)) + (1 << FINE)) << shift;
    (low, low + ((1 << shift) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_join_without_gap_and_are_narrow() {
        let mut next = 0_u64;
        for bucket in 0..BUCKETS {
            let (low, high) = bounds(bucket);
            assert_eq!(low, next, "bucket {bucket}");
            assert!(high - low <= low / 8, "bucket {bucket}");
            assert_eq!((bucket_of(low), bucket_of(high)), (bucket, bucket));
            next = high.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends with the last value");
    }
}
