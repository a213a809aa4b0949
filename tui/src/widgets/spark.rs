//! The last minute of a figure in one line of bars.

use crate::model::{TRACE, Trace};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Widths into which a minute of points goes without a rest, widest first.
const WIDTHS: [u16; 7] = [60, 30, 20, 15, 12, 10, 6];

/// The widest that fits into `room`.
pub fn spark_width(room: u16) -> u16 {
    WIDTHS.into_iter().find(|width| *width <= room).unwrap_or(0)
}

/// One bar for each run of points, as high as the highest of them; a full bar is `full`. Runs begin at multiples of
/// their length since the start, so that between two of them only the last bar changes.
pub fn spark(trace: &Trace, width: u16, full: f64) -> String {
    let width = usize::from(width);
    if width == 0 {
        return String::new();
    }
    let run = TRACE.div_ceil(width);
    let last = trace.newest / run as u64;
    let mut bars = vec![0.0_f64; width];
    for (age, value) in (0..).zip(trace.points.iter().rev()) {
        let Some(at) = trace.newest.checked_sub(age) else { break };
        let behind = (last - at / run as u64) as usize;
        if let Some(bar) = width.checked_sub(behind + 1).and_then(|bar| bars.get_mut(bar)) {
            *bar = bar.max(*value);
        }
    }
    bars.iter()
        .map(|value| {
            if *value <= 0.0 || full <= 0.0 {
                return ' ';
            }
            let height = (value / full * BARS.len() as f64).ceil() as usize;
            BARS.get(height.clamp(1, BARS.len()) - 1).copied().unwrap_or(' ')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(newest: u64, points: &[f64]) -> Trace {
        let mut all = vec![0.0; TRACE - points.len()];
        all.extend(points);
        Trace { points: all, newest }
    }

    #[test]
    fn a_bar_is_as_high_as_the_highest_of_its_run_and_nothing_is_no_bar() {
        assert_eq!(spark(&trace(119, &[8.0, 1.0, 0.5, 0.0, 0.0, 4.0]), 20, 8.0).trim_start(), "█▄");
        assert_eq!(spark(&trace(119, &[0.001]), 6, 8.0), "     ▁");
        assert_eq!(spark(&trace(1, &[4.0, 8.0]), 60, 8.0).trim_start(), "▄█", "soon after the start");
    }

    #[test]
    fn between_two_runs_only_the_last_bar_changes() {
        let before = spark(&trace(120, &[5.0, 5.0, 9.0]), 20, 9.0);
        let after = spark(&trace(121, &[5.0, 5.0, 9.0, 1.0]), 20, 9.0);
        assert_eq!(before, after);
    }
}
