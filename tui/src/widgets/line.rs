//! One line of pieces, each with its role; and text measured and broken in cells of the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::fmt;
use crate::records::Shown;
use crate::theme::{Role, style};

/// Cells that a text takes.
pub fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// Writes text into at most `room` cells from a place that may lie outside of the picture; returns the
/// column after it.
pub fn put(picture: &mut Buffer, x: u16, y: u16, text: &str, room: u16, look: Style) -> u16 {
    if picture.area.contains(Position { x, y }) {
        picture.set_stringn(x, y, text, usize::from(room), look).0
    } else {
        x
    }
}

/// A line in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    pieces: Vec<(Shown, Role)>,
}

impl Line {
    pub fn new() -> Self {
        Self::default()
    }

    /// Text of fluoro's own.
    #[must_use]
    pub fn own(self, text: &str, role: Role) -> Self {
        self.shown(Shown::own(text), role)
    }

    #[must_use]
    pub fn shown(mut self, text: Shown, role: Role) -> Self {
        self.pieces.push((text, role));
        self
    }

    #[must_use]
    pub fn gap(self, cells: usize) -> Self {
        self.own(&" ".repeat(cells), Role::Text)
    }

    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    pub fn width(&self) -> u16 {
        self.pieces.iter().fold(0, |sum, (text, _)| sum.saturating_add(width(text.as_str())))
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(|(text, _)| text.as_str().is_empty())
    }

    /// Draws from the left edge of `area`'s first row; what does not fit ends in an ellipsis. Returns the
    /// column after the last cell drawn.
    pub fn draw(&self, area: Rect, picture: &mut Buffer) -> u16 {
        let area = area.intersection(picture.area);
        if area.is_empty() {
            return area.x;
        }
        let mut x = area.x;
        for (text, role) in &self.pieces {
            let room = area.right().saturating_sub(x);
            if room == 0 {
                break;
            }
            let cut = fmt::fit(text.as_str(), usize::from(room));
            x = put(picture, x, area.y, &cut, room, style(*role));
            if width(text.as_str()) > room {
                break;
            }
        }
        x
    }

    /// Draws against the right edge.
    pub fn draw_right(&self, area: Rect, picture: &mut Buffer) {
        let wanted = self.width().min(area.width);
        let _ = self.draw(Rect { x: area.right().saturating_sub(wanted), width: wanted, ..area }, picture);
    }
}

/// Breaks at spaces so that no line is wider than `cells`; a longer word is broken where it must be.
pub fn wrap(text: &str, cells: u16) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = vec![];
    let mut line = String::new();
    for word in text.split_whitespace() {
        let joined = width(&line).saturating_add(1).saturating_add(width(word));
        if !line.is_empty() && joined <= cells {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0) as u16;
            if !line.is_empty() && width(&line).saturating_add(wide) > cells {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_breaks_at_spaces_and_only_then_inside_words() {
        assert_eq!(wrap("CONFIG_KPROBES is off here", 14), ["CONFIG_KPROBES", "is off here"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 4), Vec::<String>::new());
    }

    #[test]
    fn a_line_too_long_ends_in_an_ellipsis_inside_its_area() {
        let mut picture = Buffer::empty(Rect::new(0, 0, 10, 1));
        let line = Line::new().own("lost ", Role::Quiet).own("1,204,333", Role::Bad);
        let _ = line.draw(Rect::new(1, 0, 8, 1), &mut picture);
        let text: String = picture.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        assert_eq!(text, " lost 1,… ");
    }
}
