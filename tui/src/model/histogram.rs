//! Distributions of durations, from counts that the kernel keeps by process, kind and bucket.

use std::collections::HashMap;

use fluoro_shared::histogram::{HistogramKey, bounds};

use crate::records::{ProcKey, StartTime, Tgid};

/// One histogram: whose, of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    pub process: ProcKey,
    /// One of the family's `WHAT_*`.
    pub what: u16,
    /// 0 where the family tells no subjects apart.
    pub subject: u64,
}

/// Counts by bucket, in the order of the buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    counts: Vec<(u16, u64)>,
}

/// Every histogram of a family: as last read, and what was new in it.
#[derive(Default)]
pub struct Histograms {
    totals: HashMap<HistogramKey, u64>,
    interval: HashMap<Series, Distribution>,
    since_start: HashMap<Series, Distribution>,
}

impl Histograms {
    /// Takes in what the map holds now; what is new since the last time is the interval's. A count that went backwards
    /// began anew.
    pub fn take(&mut self, entries: &[(HistogramKey, u64)]) {
        self.interval.clear();
        for &(key, count) in entries {
            let before = self.totals.insert(key, count).unwrap_or(0);
            let new = count.checked_sub(before).unwrap_or(count);
            if new > 0 {
                let series = series(&key);
                self.interval.entry(series).or_default().add(key.bucket, new);
                self.since_start.entry(series).or_default().add(key.bucket, new);
            }
        }
    }

    /// Of the interval that the last reading closed.
    pub fn of_interval(&self, series: &Series) -> Option<&Distribution> {
        self.interval.get(series)
    }

    /// Since the family was attached.
    pub fn since_start(&self, series: &Series) -> Option<&Distribution> {
        self.since_start.get(series)
    }

    /// Every histogram since the family was attached.
    pub fn iter_since_start(&self) -> impl Iterator<Item = (&Series, &Distribution)> {
        self.since_start.iter()
    }

    /// Every histogram that has something new.
    pub fn iter_interval(&self) -> impl Iterator<Item = (&Series, &Distribution)> {
        self.interval.iter()
    }

    /// Forgets processes that are no longer known. The keys of the map that may go, one behind the other.
    pub fn forget(&mut self, is_known: impl Fn(ProcKey) -> bool) -> Vec<u8> {
        use zerocopy::IntoBytes;
        let mut gone = Vec::new();
        self.totals.retain(|key, _| {
            let keep = is_known(series(key).process);
            if !keep {
                gone.extend_from_slice(key.as_bytes());
            }
            keep
        });
        self.since_start.retain(|series, _| is_known(series.process));
        gone
    }
}

fn series(key: &HistogramKey) -> Series {
    let process = ProcKey { tgid: Tgid(key.tgid), start: StartTime::from_boot_ns(key.start_ns) };
    Series { process, what: key.what, subject: key.subject }
}

impl Distribution {
    pub fn add(&mut self, bucket: u16, count: u64) {
        match self.counts.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
            Ok(at) => {
                if let Some((_, sum)) = self.counts.get_mut(at) {
                    *sum += count;
                }
            }
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|&(bucket, count)| self.add(bucket, count));
    }

    /// Takes out what another has; what it has not is not there.
    pub fn remove(&mut self, other: &Self) {
        for &(bucket, count) in &other.counts {
            if let Ok(at) = self.counts.binary_search_by_key(&bucket, |&(bucket, _)| bucket)
                && let Some((_, sum)) = self.counts.get_mut(at)
            {
                *sum = sum.saturating_sub(count);
            }
        }
        self.counts.retain(|&(_, count)| count > 0);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Least value, greatest value and count of each bucket that is not empty, in order.
    pub fn bars(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.counts.iter().map(|&(bucket, count)| {
            let (low, high) = bounds(bucket);
            (low, high, count)
        })
    }

    /// The value below or at which this share of all lies, ns: right to half a bucket (6.25%). `max`, where it is known
    /// exactly, bounds it.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N], max: Option<u64>) -> Option<[u64; N]> {
        let count = self.count();
        let most = max.unwrap_or(u64::MAX);
        let at = |share: f64| {
            let rank = ((share * count as f64).ceil() as u64).clamp(1, count);
            let mut so_far = 0;
            let found = self.bars().find(|(.., count)| {
                so_far += count;
                so_far >= rank
            });
            found.map_or(most, |(low, high, _)| (low + (high - low) / 2).max(1).min(most))
        };
        (count > 0).then(|| shares.map(at))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use fluoro_shared::histogram::bucket_of;

    fn key(tgid: u32, ns: u64) -> HistogramKey {
        HistogramKey { start_ns: 10_000_000, subject: 0, tgid, what: 1, bucket: bucket_of(ns) }
    }

    fn of(tgid: u32) -> Series {
        Series { process: ProcKey { tgid: Tgid(tgid), start: StartTime(1) }, what: 1, subject: 0 }
    }

    #[test]
    fn an_interval_is_what_came_since_the_reading_before() {
        let mut histograms = Histograms::default();
        histograms.take(&[(key(7, 1000), 3)]);
        histograms.take(&[(key(7, 1000), 5), (key(7, 90_000), 1)]);
        assert_eq!(histograms.of_interval(&of(7)).unwrap().count(), 3);
        assert_eq!(histograms.since_start(&of(7)).unwrap().count(), 6);
        histograms.take(&[(key(7, 1000), 5), (key(7, 90_000), 1)]);
        assert!(histograms.of_interval(&of(7)).is_none());
    }

    #[test]
    fn counts_that_begin_anew_are_not_negative() {
        let mut histograms = Histograms::default();
        histograms.take(&[(key(7, 1000), 9)]);
        histograms.take(&[(key(7, 1000), 2)]);
        assert_eq!(histograms.of_interval(&of(7)).unwrap().count(), 2);
    }

    #[test]
    fn quantiles_are_right_to_a_sixteenth() {
        let mut distribution = Distribution::default();
        for ns in 1..=10_000_u64 {
            distribution.add(bucket_of(ns * 1000), 1);
        }
        let [p50, p99] = distribution.quantiles([0.5, 0.99], None).unwrap();
        for (told, right) in [(p50, 5_000_000.0), (p99, 9_900_000.0)] {
            assert!((told as f64 / right - 1.0).abs() < 0.0725, "{told}");
        }
        assert_eq!(distribution.quantiles([1.0], Some(9_000_000)), Some([9_000_000]));
    }

    #[test]
    fn what_is_forgotten_goes_from_the_map_too() {
        let mut histograms = Histograms::default();
        histograms.take(&[(key(7, 1000), 1), (key(8, 1000), 1)]);
        let gone = histograms.forget(|process| process.tgid.0 == 8);
        assert_eq!(gone.len(), size_of::<HistogramKey>());
        assert!(histograms.since_start(&of(7)).is_none());
        assert!(histograms.since_start(&of(8)).is_some());
    }
}
