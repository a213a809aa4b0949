//! Rows as aligned text, for people who pipe: `-o table` of `observe` and `top`.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::columns::{Cell, Facts, Info, Sheet, Value};
use crate::fmt;
use crate::model::Event;
use crate::records::WallTime;

/// Widest cell of a column whose text varies.
const WIDE: usize = 48;

/// What an event is about, in the order of its line.
const SUBJECT: &[&str] = &["reason", "name", "qtype", "rcode", "answers"];

/// What else tells it apart, with its label. Who made a process and of what belongs to the lines of processes.
const PARENTAGE: &[(&str, &str)] = &[("parent", "ppid"), ("exe", "exe")];
const LABELLED: &[(&str, &str)] = &[
    ("code", "exit_code"),
    ("signal", "exit_signal"),
    ("tx", "tx_bytes"),
    ("rx", "rx_bytes"),
    ("rtt", "rtt"),
    ("age", "age"),
    ("flags", "flags"),
    ("took", "took"),
    ("took", "duration"),
    ("error", "errno"),
    ("owner", "owner"),
];

/// One event a line: time, name, process, what it is about, then what tells it apart as `key=value`.
pub fn event_line(out: &mut Vec<u8>, event: &Event) {
    let mut line = format!("{} {:<13}", fmt::clock(event.wall), event.name);
    let infos = event.infos();
    let show = |id: &str| {
        let column = infos.iter().position(|info| info.id == id)?;
        let value = event.value(column);
        (value != Value::Missing)
            .then(|| fmt::value(&value, infos.get(column).map_or(crate::columns::Unit::Plain, |i| i.unit)))
    };
    let process = show("process").unwrap_or_else(|| "-".to_owned());
    // Writing into a string cannot fail.
    let _ = write!(line, " {}", pad(&fmt::fit(&process, 24), 24, false));
    if let Some(call) = show("call") {
        let took = show("duration").map(|took| format!(" <{took}>")).unwrap_or_default();
        let _ = writeln!(line, " {call}{took}");
        out.extend_from_slice(line.as_bytes());
        return;
    }
    for text in SUBJECT.iter().filter_map(|id| show(id)) {
        let _ = write!(line, " {text}");
    }
    for text in [ends(&show), path(&show)].into_iter().flatten() {
        let _ = write!(line, " {text}");
    }
    let parentage = if event.name.starts_with("process.") { PARENTAGE } else { &[] };
    for (label, id) in parentage.iter().chain(LABELLED) {
        if let Some(text) = show(id).filter(|text| text != "0" && text != "0 B" || *label == "code") {
            let _ = write!(line, " {label}={}", text.replace(' ', ""));
        }
    }
    line.push('\n');
    out.extend_from_slice(line.as_bytes());
}

/// Both ends of a connection or packet, and which way it goes.
fn ends(show: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let direction = show("direction").or_else(|| show("dir"));
    let arrow = if matches!(direction.as_deref(), Some("inbound" | "receive")) { "<-" } else { "->" };
    match (show("local"), show("peer")) {
        (Some(local), Some(peer)) => Some(format!("{local} {arrow} {peer}")),
        (one, other) => one.or(other),
    }
}

/// The path; from where a rename or a link came; where a symbolic link points to.
fn path(show: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let path = show("path")?;
    Some(match (show("old_path"), show("target")) {
        (Some(old), _) => format!("{old} -> {path}"),
        (None, Some(target)) => format!("{path} -> {target}"),
        (None, None) => path,
    })
}

/// One table of `top`, headed by its time.
pub fn top(out: &mut Vec<u8>, at: WallTime, lost: u64, sheet: &dyn Sheet, max_rows: usize) {
    let columns: Vec<(usize, &Info, Cell)> = sheet
        .infos()
        .iter()
        .enumerate()
        .filter_map(|(index, info)| Some((index, info, info.cell?)))
        .collect();
    let rows = sheet.len().min(max_rows);
    let cells: Vec<Vec<String>> = (0..rows)
        .map(|row| {
            columns
                .iter()
                .map(|(index, info, _)| fmt::fit(&fmt::value(&sheet.value(row, *index), info.unit), WIDE))
                .collect()
        })
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(position, (_, _, cell))| {
            let widest = cells.iter().filter_map(|row| row.get(position)).map(|text| text.width()).max();
            widest.unwrap_or(0).max(cell.title.width())
        })
        .collect();
    let mut text = format!("{}  {} of {}  lost {lost}\n", fmt::clock(at), rows, sheet.total());
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        let mut line = String::new();
        for ((cell, width), (_, _, how)) in cells.zip(&widths).zip(&columns) {
            line.push_str(&pad(&cell, *width, how.right));
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&mut columns.iter().map(|(_, _, cell)| cell.title.to_owned()));
    for row in cells {
        line(&mut row.into_iter());
    }
    text.push('\n');
    out.extend_from_slice(text.as_bytes());
}

/// `text` in `cells` cells.
fn pad(text: &str, cells: usize, right: bool) -> String {
    let space = " ".repeat(cells.saturating_sub(text.width()));
    if right { format!("{space}{text}") } else { format!("{text}{space}") }
}
