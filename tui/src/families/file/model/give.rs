//! What the use of files adds to the rows of processes.

use std::collections::HashMap;

use fluoro_shared::file::{FileCell, WHAT_OPEN, WHAT_READ, WHAT_WRITE};

use super::FileModel;
use crate::families::process::model::Gifts;
use crate::records::ProcKey;

/// Which distribution makes which column.
const SLOWEST: [(u16, &str); 3] =
    [(WHAT_OPEN, "open_p99"), (WHAT_READ, "read_p99"), (WHAT_WRITE, "write_p99")];

impl FileModel {
    /// What each process's use of files comes to in the interval that the last tick closed.
    pub fn give(&self, to: &mut Gifts) {
        to.measure(&["opens_per_s", "read_bytes_per_s", "write_bytes_per_s", "file_errors"]);
        let mut sums: HashMap<ProcKey, FileCell> = HashMap::new();
        for ((process, _), used) in self.uses.iter().filter(|(_, used)| used.used == self.ticks) {
            let sum = sums.entry(*process).or_default();
            *sum = sum.plus(used.interval);
        }
        let seconds = self.seconds;
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        for (process, sum) in sums {
            let numbers = [
                ("opens_per_s", rate(sum.opens)),
                ("read_bytes_per_s", rate(sum.read_bytes)),
                ("write_bytes_per_s", rate(sum.write_bytes)),
                ("file_errors", sum.errors as f64),
            ];
            to.give(process, numbers);
        }
        for ((process, what), durations) in self.new_durations() {
            let Some((_, column)) = SLOWEST.iter().find(|(kind, _)| *kind == what) else { continue };
            to.give(process, durations.quantiles([0.99], None).map(|[p99]| (*column, p99 as f64)));
        }
    }
}
