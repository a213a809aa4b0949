//! A line of text being typed: scrolls sideways to keep the cursor in sight, marks the part that is wrong.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::records::Shown;
use crate::theme::{Role, style};
use crate::widgets::{put, width};

/// What is typed, where the cursor stands (a byte offset at a character), and the bytes that do not parse.
pub struct Prompt<'a> {
    pub text: &'a str,
    pub cursor: usize,
    pub wrong: Option<Range<usize>>,
}

impl Prompt<'_> {
    /// Draws, and returns where the terminal's cursor belongs.
    pub fn draw(&self, area: Rect, picture: &mut Buffer) -> Position {
        let skipped = self.skipped(area.width);
        for (at, c) in self.text.char_indices() {
            let Some(x) = self.column(at).checked_sub(skipped) else { continue };
            let shown = Shown::own(c.encode_utf8(&mut [0; 4]));
            if x.saturating_add(width(shown.as_str())) > area.width {
                break;
            }
            let wrong = self.wrong.as_ref().is_some_and(|span| span.contains(&at));
            let role = if wrong { Role::Bad } else { Role::Typed };
            let mut look = style(role);
            if wrong {
                look = look.add_modifier(ratatui::style::Modifier::UNDERLINED);
            }
            put(picture, area.x + x, area.y, shown.as_str(), area.width - x, look);
        }
        Position {
            x: area.x + (self.column(self.cursor) - skipped).min(area.width.saturating_sub(1)),
            y: area.y,
        }
    }

    /// Where the wrong part begins, in cells from the left edge of `area`.
    pub fn wrong_at(&self, room: u16) -> Option<u16> {
        let at = self.wrong.as_ref()?.start.min(self.text.len());
        Some(self.column(at).saturating_sub(self.skipped(room)))
    }

    fn column(&self, byte: usize) -> u16 {
        width(&Shown::own(self.text.get(..byte).unwrap_or(self.text)).into_string())
    }

    fn skipped(&self, room: u16) -> u16 {
        self.column(self.cursor).saturating_sub(room.saturating_sub(1))
    }
}
