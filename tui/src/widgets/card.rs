//! A card: labels at the left, values beside them, wrapped under themselves. For one thing seen whole.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::records::Shown;
use crate::theme::Role;
use crate::widgets::{Line, width, wrap};

/// One fact of the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub label: &'static str,
    pub value: Shown,
    pub role: Role,
}

/// The facts of one thing.
pub struct Card<'a> {
    pub entries: &'a [Entry],
    /// Lines scrolled away at the top.
    pub scroll: usize,
}

impl Card<'_> {
    /// Lines that the card takes at this width.
    pub fn lines(&self, room: u16) -> Vec<Line> {
        let widest = self.entries.iter().map(|e| width(e.label)).max().unwrap_or(0);
        let label = widest.min(room * 3 / 5);
        let value = room.saturating_sub(label + 2).max(1);
        let mut lines = vec![];
        for entry in self.entries {
            let cut = crate::fmt::fit(entry.label, usize::from(label));
            let pad = usize::from(label.saturating_sub(width(&cut))) + 2;
            let mut values = wrap(entry.value.as_str(), value).into_iter();
            let first = values.next().unwrap_or_default();
            lines.push(Line::new().own(&cut, Role::Quiet).gap(pad).own(&first, entry.role));
            lines.extend(values.map(|more| Line::new().gap(usize::from(label) + 2).own(&more, entry.role)));
        }
        lines
    }

    /// How far the card can be scrolled in an area of this size.
    pub fn reach(&self, area: Rect) -> usize {
        self.lines(area.width).len().saturating_sub(usize::from(area.height))
    }

    pub fn draw(&self, area: Rect, picture: &mut Buffer) {
        let lines = self.lines(area.width);
        let scroll = self.scroll.min(lines.len().saturating_sub(usize::from(area.height)));
        for (at, line) in lines.iter().skip(scroll).take(usize::from(area.height)).enumerate() {
            let _ = line.draw(Rect { y: area.y + at as u16, height: 1, ..area }, picture);
        }
    }
}
