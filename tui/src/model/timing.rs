//! How long what is done again and again takes: told to the log at the end.

use std::time::Duration;

use fluoro_shared::histogram::bucket_of;

use super::Distribution;

pub struct Timing {
    what: &'static str,
    durations: Distribution,
    longest: Duration,
}

impl Timing {
    pub fn new(what: &'static str) -> Self {
        Self { what, durations: Distribution::default(), longest: Duration::ZERO }
    }

    pub fn add(&mut self, took: Duration) {
        self.durations.add(bucket_of(took.as_nanos() as u64), 1);
        self.longest = self.longest.max(took);
    }

    fn line(&self) -> Option<String> {
        let [p50, p99] = self.durations.quantiles([0.5, 0.99], None)?.map(|ns| ns as f64 / 1e6);
        let (count, longest) = (self.durations.count(), self.longest.as_secs_f64() * 1e3);
        Some(format!("{} {count}: p50 {p50:.3} ms, p99 {p99:.3} ms, longest {longest:.3} ms", self.what))
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.line().iter().for_each(|line| crate::log::line(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_done_is_not_told() {
        let mut timing = Timing::new("ticks");
        assert_eq!(timing.line(), None);
        timing.add(Duration::from_millis(3));
        timing.add(Duration::from_millis(40));
        let line = timing.line().unwrap_or_default();
        assert!(line.starts_with("ticks 2: p50 ") && line.ends_with("longest 40.000 ms"), "{line}");
    }
}
