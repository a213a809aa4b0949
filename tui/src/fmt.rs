//! Numbers, times and addresses for people: three digits, one unit system, a width that does not wobble.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::columns::{Unit, Value};
use crate::records::WallTime;

/// A value as a table cell shows it.
pub fn value(value: &Value<'_>, unit: Unit) -> String {
    match value {
        Value::Missing => "-".to_owned(),
        Value::Text(text) => text.shown().into_string(),
        Value::Word(word) => crate::records::Shown::own(word).into_string(),
        Value::Uint(n) => number(*n as f64, unit, Some(*n)),
        Value::Int(n) => number(*n as f64, unit, u64::try_from(*n).ok()),
        Value::Real(n) => number(*n, unit, None),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Id(id) => id.to_string(),
        Value::Ip(address) => address.to_string(),
        Value::Socket(address) => address.to_string(),
        Value::Time(at) => clock(*at),
        Value::Args(args) | Value::List(args) => args.spaced().shown().into_string(),
        Value::Counts(counts) => {
            let one = |(name, n): &(&str, u64)| format!("{name} {n}");
            counts.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Value::Process(comm, pid) => format!("{}({pid})", comm.shown().as_str()),
    }
}

fn number(n: f64, unit: Unit, whole: Option<u64>) -> String {
    match unit {
        Unit::Plain => whole.map_or_else(|| digits(n), |n| n.to_string()),
        Unit::Count => count(n, whole),
        Unit::PerSecond => scaled(n, ""),
        Unit::Bytes | Unit::BytesPerSecond => scaled(n, "B"),
        Unit::Nanos => duration(n),
        Unit::Share => format!("{}%", digits(n * 100.0)),
    }
}

/// Exact below ten thousand, with a thousands separator; above as everything else.
fn count(n: f64, whole: Option<u64>) -> String {
    match whole {
        Some(n) if n < 1000 => n.to_string(),
        Some(n) if n < 10_000 => format!("{},{:03}", n / 1000, n % 1000),
        _ => scaled(n, ""),
    }
}

const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// `1.2 MB`, `48 kB`; without a unit `1.2k`.
fn scaled(n: f64, unit: &str) -> String {
    if !n.is_finite() {
        return "-".to_owned();
    }
    // A sum of nothing is -0.0.
    let (mut n, mut step) = (n + 0.0, 0);
    // 999.5 would be shown as 1000: it belongs to the next prefix.
    while n.abs() >= 999.5 && step + 1 < PREFIXES.len() {
        n /= 1000.0;
        step += 1;
    }
    let prefix = PREFIXES.get(step).copied().unwrap_or_default();
    let gap = if unit.is_empty() { "" } else { " " };
    let digits = if step == 0 && unit == "B" { format!("{n:.0}") } else { digits(n) };
    format!("{digits}{gap}{prefix}{unit}")
}

/// Two or three digits.
fn digits(n: f64) -> String {
    if !n.is_finite() {
        "-".to_owned()
    } else if n == 0.0 {
        "0".to_owned()
    } else if n.abs() < 9.95 {
        format!("{n:.1}")
    } else {
        format!("{n:.0}")
    }
}

/// `830 ns` to `12d`: two units from a minute on.
fn duration(ns: f64) -> String {
    if !ns.is_finite() {
        return "-".to_owned();
    }
    let seconds = ns / 1e9;
    if ns == 0.0 {
        "0".to_owned()
    } else if ns < 999.5 {
        format!("{ns:.0} ns")
    } else if ns < 999_500.0 {
        format!("{} us", digits(ns / 1e3))
    } else if ns < 999_500_000.0 {
        format!("{} ms", digits(ns / 1e6))
    } else if seconds < 59.5 {
        format!("{} s", digits(seconds))
    } else {
        let seconds = seconds.round() as u64;
        let minutes = seconds / 60;
        let (hours, days) = (minutes / 60, minutes / 1440);
        if hours == 0 {
            format!("{minutes}m{:02}s", seconds % 60)
        } else if days == 0 {
            format!("{hours}h{:02}m", minutes % 60)
        } else {
            format!("{days}d{:02}h", hours % 24)
        }
    }
}

/// Local time of day.
pub fn clock(at: WallTime) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.0)).map_or_else(
        |_| "-".to_owned(),
        |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string(),
    )
}

/// A thousands separator: `1,204`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, c) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Text cut to `cells`, with a mark where it was cut.
pub fn fit(text: &str, cells: usize) -> String {
    fit_with(text, cells, '\u{2026}')
}

/// As [`fit`]; of a path the end is kept, which tells one file from the next.
pub fn fit_path(text: &str, cells: usize) -> String {
    if text.width() <= cells || !text.starts_with('/') {
        return fit(text, cells);
    }
    let Some(room) = cells.checked_sub(1) else { return String::new() };
    let mut used = 0;
    let kept = text.char_indices().rev().take_while(|(_, c)| {
        used += c.width().unwrap_or(0);
        used <= room
    });
    let mut from = kept.last().map_or(text.len(), |(at, _)| at);
    // What combines with a character that is cut off goes with it.
    while let Some(c) = text.get(from..).and_then(|rest| rest.chars().next()).filter(|c| c.width() == Some(0))
    {
        from += c.len_utf8();
    }
    format!("\u{2026}{}", text.get(from..).unwrap_or_default())
}

/// As [`fit`], with a mark of the caller's (one cell wide).
pub fn fit_with(text: &str, cells: usize, mark: char) -> String {
    if text.width() <= cells {
        return text.to_owned();
    }
    let Some(room) = cells.checked_sub(1) else { return String::new() };
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width > room {
            break;
        }
        used += width;
        out.push(c);
    }
    out.push(mark);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_the_end_is_kept() {
        assert_eq!(fit_path("/srv/shop/stock.pipe", 12), "…/stock.pipe");
        assert_eq!(fit_path("/srv/a", 6), "/srv/a");
        assert_eq!(fit_path("no path at all", 8), "no path…");
        assert_eq!(fit_path("/日本語", 4), "…語");
        assert_eq!(fit_path("/abc", 0), "");
    }

    #[test]
    fn a_number_never_shows_four_digits_before_its_prefix() {
        let show = |n| scaled(n, "");
        assert_eq!(
            [0.0, 1.0, 9.96, 999.4, 999.5, 1204.0, 999_499.0, 999_500.0, 1e30].map(show),
            ["0", "1.0", "10", "999", "1.0k", "1.2k", "999k", "1.0M", "1000000000000E"]
        );
        assert_eq!(scaled(f64::NAN, "B"), "-");
        assert_eq!(scaled(-0.0, "B"), "0 B");
        assert_eq!(value(&Value::Uint(u64::MAX), Unit::Bytes), "18 EB");
        assert_eq!(value(&Value::Uint(17), Unit::Bytes), "17 B");
    }

    #[test]
    fn counts_are_exact_while_they_are_small() {
        let show = |n| value(&Value::Uint(n), Unit::Count);
        assert_eq!([0, 999, 1204, 9999, 10_000].map(show), ["0", "999", "1,204", "9,999", "10k"]);
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }

    #[test]
    fn durations_run_from_nanoseconds_to_days() {
        let show = |ns: u64| value(&Value::Uint(ns), Unit::Nanos);
        assert_eq!(
            [
                0,
                830,
                1_834,
                23_000_000,
                999_600_000,
                4_000_000_000,
                59_400_000_000,
                59_700_000_000,
                61_000_000_000,
                7_980_000_000_000,
                1_040_000_000_000_000
            ]
            .map(show),
            ["0", "830 ns", "1.8 us", "23 ms", "1.0 s", "4.0 s", "59 s", "1m00s", "1m01s", "2h13m", "12d00h"]
        );
    }

    #[test]
    fn cut_text_has_a_mark_and_keeps_its_cells() {
        assert_eq!(fit("abcdef", 4), "abc\u{2026}");
        assert_eq!(fit("abc", 3), "abc");
        // Two cells a character.
        assert_eq!(fit("\u{6f22}\u{5b57}\u{6f22}", 4), "\u{6f22}\u{2026}");
        assert_eq!(fit("abc", 0), "");
    }
}
