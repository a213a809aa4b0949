//! One screen of a terminal, as cells: taken from an emulator, sent as JSON, told as text, drawn as SVG.

mod svg;

use serde::{Deserialize, Serialize};

pub use svg::{moving, still};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shot {
    pub name: String,
    pub columns: u16,
    pub lines: Vec<Vec<Span>>,
}

/// Cells beside each other that look alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    pub text: String,
    /// First cell.
    pub at: u16,
    /// Cells that it takes.
    pub width: u16,
    #[serde(flatten)]
    pub look: Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Look {
    /// Of the sixteen; `None` is the terminal's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<u8>,
    #[serde(default, skip_serializing_if = "is_not")]
    pub bold: bool,
    #[serde(default, skip_serializing_if = "is_not")]
    pub dim: bool,
    #[serde(default, skip_serializing_if = "is_not")]
    pub reversed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

impl Shot {
    pub fn of(name: &str, screen: &vt100::Screen) -> Self {
        let (rows, columns) = screen.size();
        let lines = (0..rows).map(|row| line(screen, row, columns)).collect();
        Self { name: name.to_owned(), columns, lines }
    }

    /// Its characters, without blanks at the ends of lines.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let mut cells = String::new();
            let mut at = 0;
            for span in line {
                cells.extend(std::iter::repeat_n(' ', usize::from(span.at.saturating_sub(at))));
                cells.push_str(&span.text);
                at = span.at + span.width;
            }
            text.push_str(cells.trim_end());
            text.push('\n');
        }
        text
    }
}

fn line(screen: &vt100::Screen, row: u16, columns: u16) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else {
            continue;
        };
        let width = if cell.is_wide() { 2 } else { 1 };
        let color = match cell.fgcolor() {
            vt100::Color::Idx(color) => Some(color),
            _ => None,
        };
        let look = Look { color, bold: cell.bold(), dim: cell.dim(), reversed: cell.inverse() };
        let text = if cell.has_contents() { cell.contents() } else { " " };
        match spans.last_mut() {
            Some(last) if last.look == look && last.at + last.width == column => {
                last.text.push_str(text);
                last.width += width;
            }
            _ => spans.push(Span { text: text.to_owned(), at: column, width, look }),
        }
    }
    spans.retain(|span| span.look.reversed || !span.text.trim().is_empty());
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shot_has_the_characters_and_looks_of_the_screen() {
        let mut emulator = vt100::Parser::new(3, 20, 0);
        emulator.process("plain \x1b[1;36mtitle\x1b[0m\r\n日本 \x1b[7m x \x1b[0m".as_bytes());
        let shot = Shot::of("a", emulator.screen());
        assert_eq!(shot.text(), "plain title\n日本  x\n\n");
        let looks: Vec<Look> = shot.lines.iter().flatten().map(|span| span.look).collect();
        let plain = Look::default();
        let title = Look { color: Some(6), bold: true, ..plain };
        assert_eq!(looks, [plain, title, plain, Look { reversed: true, ..plain }]);
    }
}
