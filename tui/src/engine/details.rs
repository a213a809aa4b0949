//! What is known of the row whose details are open, beyond its columns.

use crate::columns::{Facts, RowId, Unit, Value};
use crate::families::syscall::model::pid_of;
use crate::fmt;
use crate::model::{Distribution, Event, Identity, MoreFact};
use crate::records::Outside;

/// Lines of a trace that are shown.
const TRACE: usize = 40;

/// Cells of the longest bar.
const BAR: usize = 24;

/// A histogram of how long the calls took, and what the process called last.
pub fn syscall<'a>(
    row: RowId,
    durations: Option<&Distribution>,
    events: impl Iterator<Item = &'a Event>,
) -> Vec<MoreFact> {
    let mut facts = durations.map(bars).unwrap_or_default();
    let pid = u64::from(pid_of(row).0);
    let value = |event: &'a Event, id: &str| {
        let column = event.infos().iter().position(|info| info.id == id);
        column.map_or(Value::Missing, |column| event.value(column))
    };
    let mine = events.filter(|event| value(event, "pid") == Value::Uint(pid)).take(TRACE);
    for (at, event) in mine.enumerate() {
        let Value::Text(call) = value(event, "call") else { continue };
        let mut text = fmt::clock(event.wall).into_bytes();
        text.push(b' ');
        text.extend_from_slice(call.bytes());
        if let Value::Uint(ns) = value(event, "duration") {
            text.extend_from_slice(format!(" <{}>", fmt::value(&Value::Uint(ns), Unit::Nanos)).as_bytes());
        }
        let label = if at == 0 { "trace" } else { "" };
        facts.push(MoreFact { label, text: Outside::new(&text), help: "" });
    }
    facts
}

/// Where a process stands, and its line of descent.
pub fn process(identity: &Identity, directory: Option<Outside>) -> Vec<MoreFact> {
    let directory = directory.filter(|_| !identity.ended);
    let mut facts: Vec<MoreFact> = directory
        .map(|text| MoreFact { label: "directory", text, help: "Its working directory (/proc/PID/cwd)" })
        .into_iter()
        .collect();
    for (at, ancestor) in identity.line.iter().flat_map(|line| line.iter()).enumerate() {
        let mut text = ancestor.comm.bytes().to_vec();
        text.extend_from_slice(format!("({})", ancestor.key.tgid).as_bytes());
        let label = if at == 0 { "made by" } else { "" };
        let help = if at == 0 { "As they were then, gone or not" } else { "" };
        facts.push(MoreFact { label, text: Outside::new(&text), help });
    }
    facts
}

/// A line for each power of two; the length of a bar goes with the logarithm of the count.
fn bars(distribution: &Distribution) -> Vec<MoreFact> {
    let mut octaves: Vec<(u32, u64)> = Vec::new();
    for (low, _, count) in distribution.bars() {
        let octave = low.max(1).ilog2();
        match octaves.last_mut() {
            Some((last, sum)) if *last == octave => *sum += count,
            _ => octaves.push((octave, count)),
        }
    }
    let bits = |count: u64| f64::from(u64::BITS - count.leading_zeros());
    let most = octaves.iter().map(|(_, count)| *count).max().unwrap_or(1);
    octaves
        .iter()
        .enumerate()
        .map(|(at, &(octave, count))| {
            let label = if at == 0 { "latency" } else { "" };
            let from = fmt::value(&Value::Uint(1 << octave), Unit::Nanos);
            let cells = (bits(count) / bits(most) * BAR as f64).ceil() as usize;
            let text = format!("{from:>7} .. {:<BAR$} {count}", "#".repeat(cells));
            MoreFact {
                label,
                text: Outside::new(text.as_bytes()),
                help: "since attaching; bars are logarithmic",
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_for_each_power_of_two_grows_with_the_logarithm() {
        let mut distribution = Distribution::default();
        distribution.add(fluoro_shared::histogram::bucket_of(1100), 1);
        distribution.add(fluoro_shared::histogram::bucket_of(1900), 1);
        distribution.add(fluoro_shared::histogram::bucket_of(70_000), 1_000_000);
        let facts = bars(&distribution);
        let [short, long] = facts.as_slice() else { panic!("{facts:?}") };
        let marks = |fact: &MoreFact| fact.text.bytes().iter().filter(|&&b| b == b'#').count();
        assert_eq!((marks(short), marks(long)), (3, BAR));
        assert_eq!((short.label, long.label), ("latency", ""));
    }
}
