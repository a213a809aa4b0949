//! Rows as aligned text, for people who pipe: `-o table` of `observe` and `top`.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::columns::{Cell, Facts, Info, Sheet, Value};
use crate::fmt;
use crate::model::Event;
use crate::records::WallTime;

/// Widest cell of a column whose text varies.
const WIDE: usize = 48;

/// One event a line: time, name, process, then what tells it apart as `key=value`.
pub fn event_line(out: &mut Vec<u8>, event: &Event) {
    let mut line = format!("{} {:<13}", fmt::clock(event.wall), event.name);
    let infos = event.infos();
    let at = |id: &str| infos.iter().position(|info| info.id == id);
    let show = |id: &str| {
        let column = at(id)?;
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
    if let (Some(local), Some(arrow)) = (show("local"), show("direction")) {
        let arrow = if arrow == "inbound" { "<-" } else { "->" };
        let _ = write!(line, " {local} {arrow} {}", show("peer").unwrap_or_default());
    } else if let Some(local) = show("local") {
        let _ = write!(line, " {local}");
    }
    for (label, id) in [
        ("parent", "ppid"),
        ("exe", "exe"),
        ("code", "exit_code"),
        ("signal", "exit_signal"),
        ("tx", "tx_bytes"),
        ("rx", "rx_bytes"),
        ("rtt", "rtt"),
        ("age", "age"),
        ("error", "errno"),
        ("owner", "owner"),
    ] {
        if let Some(text) = show(id).filter(|text| text != "0" && text != "0 B" || label == "code") {
            let _ = write!(line, " {label}={}", text.replace(' ', ""));
        }
    }
    line.push('\n');
    out.extend_from_slice(line.as_bytes());
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
