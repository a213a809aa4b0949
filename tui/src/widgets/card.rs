//! A card: labels at the left, values beside them, long ones wrapped under themselves, and what each
//! means where there is room. For one thing seen whole.

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
    /// What the fact is, said beside it where there is room.
    pub help: &'static str,
}

/// The facts of one thing.
pub struct Card<'a> {
    pub entries: &'a [Entry],
    /// Lines scrolled away at the top.
    pub scroll: usize,
}

const GAP: u16 = 2;
/// Values up to this width share their line with the help.
const SHORT: u16 = 28;
/// Help narrower than this is more riddle than help.
const LEAST_HELP: u16 = 24;

impl Card<'_> {
    /// Lines that the card takes at this width.
    pub fn lines(&self, room: u16) -> Vec<Line> {
        let label = self.entries.iter().map(|e| width(e.label)).max().unwrap_or(0).min(room / 3);
        let value = room.saturating_sub(label + GAP).max(1);
        let short =
            self.entries.iter().map(|e| width(e.value.as_str())).filter(|w| *w <= SHORT).max().unwrap_or(0);
        let help = value.saturating_sub(short + GAP);
        let mut lines = vec![];
        for entry in self.entries {
            let cut = crate::fmt::fit(entry.label, usize::from(label));
            let pad = label.saturating_sub(width(&cut)) + GAP;
            let head = Line::new().own(&cut, Role::Quiet).gap(usize::from(pad));
            let wide = width(entry.value.as_str());
            if wide <= SHORT && help >= LEAST_HELP {
                let help = crate::fmt::fit(entry.help, usize::from(help));
                let line = head.shown(entry.value.clone(), entry.role);
                lines.push(line.gap(usize::from(short - wide + GAP)).own(&help, Role::Quiet));
                continue;
            }
            let mut values = wrap(entry.value.as_str(), value).into_iter();
            lines.push(head.own(&values.next().unwrap_or_default(), entry.role));
            lines.extend(values.map(|more| Line::new().gap(usize::from(label + GAP)).own(&more, entry.role)));
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
