//! Rows as aligned text, for people who pipe: `-o table` of `observe` and `top`.

use unicode_width::UnicodeWidthStr;

use crate::columns::{Cell, Info, Sheet};
use crate::model::Event;
use crate::records::WallTime;
use crate::{fmt, wording};

/// Widest cell of a column whose text varies.
const WIDE: usize = 48;

/// One event a line: time, name, process, and what it says.
pub fn event_line(out: &mut Vec<u8>, event: &Event) {
    let process = wording::fact(event, "process").unwrap_or_else(|| "-".to_owned());
    let process = pad(&fmt::fit(&process, 24), 24, false);
    let (clock, words) = (fmt::clock(event.wall), wording::of(event));
    let line = format!("{clock} {:<13} {process} {words}", event.name);
    out.extend_from_slice(line.trim_end().as_bytes());
    out.push(b'\n');
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
