//! The first line: where we are, what moves, what was lost, what it costs. Figures stand in fields of a
//! fixed width, so that a changing number moves nothing but itself. No clock: nothing ticks for its own sake.

use crate::columns::{ESTIMATED, Unit, Value};
use crate::fmt;
use crate::model::Snapshot;
use crate::theme::Role;
use crate::widgets::Line;

/// Between parts that have nothing to do with each other.
const APART: &str = "   ";
/// Cells of the machine's name.
const LONGEST_NAME: usize = 24;

/// A part of the header: the higher its number, the sooner it goes when room is short.
struct Part {
    rank: u8,
    /// What stands between it and the part before.
    join: &'static str,
    line: Line,
}

/// The header that fits into `room` cells.
pub fn header(snapshot: Option<&Snapshot>, room: u16) -> Line {
    let name = Line::new().own("fluoro", Role::Title);
    let Some(snapshot) = snapshot else { return name.gap(2).own("starting …", Role::Quiet) };
    let mut parts = parts(snapshot);
    loop {
        let mut line = name.clone();
        for (at, part) in parts.iter().enumerate() {
            line = line.own(if at == 0 { "  " } else { part.join }, Role::Quiet).and(part.line.clone());
        }
        if line.width() <= room || parts.is_empty() {
            return line;
        }
        let last = parts.iter().enumerate().max_by_key(|(_, p)| p.rank).map(|(at, _)| at);
        last.map(|at| parts.remove(at));
    }
}

fn parts(snapshot: &Snapshot) -> Vec<Part> {
    let totals = &snapshot.totals;
    let mut parts = vec![];
    let mut push = |rank, join, line| parts.push(Part { rank, join, line });
    let host = &snapshot.host;
    push(2, APART, Line::new().own(&fmt::fit(&host.name, LONGEST_NAME), Role::Strong));
    push(5, " · ", Line::new().own(&host.kernel, Role::Quiet));
    push(6, " · ", Line::new().own(&format!("{} cpus", host.cpus), Role::Quiet));
    if let Some(rx) = totals.rx_bytes_per_s {
        push(1, APART, Line::new().own("↓ ", Role::Quiet).own(&rate(rx), Role::Text));
    }
    if let Some(tx) = totals.tx_bytes_per_s {
        push(1, " ", Line::new().own("↑ ", Role::Quiet).own(&rate(tx), Role::Text));
    }
    if let Some(flows) = totals.flows {
        push(3, APART, Line::new().own("flows ", Role::Quiet).own(&field(&grouped(flows), 6), Role::Text));
    }
    if let Some(opens) = totals.flow_opens_per_s {
        push(7, " ", Line::new().own(&field(&format!("+{}/s", count(opens)), 6), Role::Text));
    }
    if let Some(execs) = totals.execs_per_s {
        push(
            8,
            APART,
            Line::new().own("execs ", Role::Quiet).own(&field(&format!("{}/s", count(execs)), 5), Role::Text),
        );
    }
    let role = if totals.lost > 0 { Role::Bad } else { Role::Text };
    push(
        0,
        APART,
        Line::new()
            .own("lost ", if totals.lost > 0 { role } else { Role::Quiet })
            .own(&grouped(totals.lost), role),
    );
    if let Some(missed) = totals.missed.filter(|&m| m > 0) {
        push(0, APART, Line::new().own(&format!("missed {}", grouped(missed)), Role::Bad));
    }
    if let Some(cost) = totals.cost_share {
        push(
            4,
            APART,
            Line::new()
                .own("cost ", Role::Quiet)
                // Time in programs is sampled.
                .own(&format!("{ESTIMATED}{}", fmt::value(&Value::Real(cost), Unit::Share)), Role::Text),
        );
    }
    parts
}

fn rate(bytes: f64) -> String {
    field(&format!("{}/s", fmt::value(&Value::Real(bytes.max(0.0).round()), Unit::Bytes)), 9)
}

fn count(per_second: f64) -> String {
    fmt::value(&Value::Real(per_second.max(0.0).round()), Unit::Count)
}

fn field(text: &str, cells: usize) -> String {
    format!("{text:>cells$}")
}

/// Digits in groups of three.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_in_threes() {
        assert_eq!([0, 999, 1_000, 1_204_333].map(grouped), ["0", "999", "1,000", "1,204,333"]);
    }
}
