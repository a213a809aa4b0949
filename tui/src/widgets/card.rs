//! A card: labels at the left, values beside them, in two columns where there is room; long ones wrapped under
//! themselves. For one thing seen whole.

use crate::fmt::fit;
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
}

const GAP: u16 = 2;
/// From this width on two facts share a line.
const TWO: u16 = 72;

impl Card<'_> {
    /// The card at this width.
    pub fn lines(&self, room: u16) -> Vec<Line> {
        self.columns(room, if room >= TWO { room.div_ceil(2) } else { room })
    }

    /// One fact below the other, whatever the width.
    pub fn list(&self, room: u16) -> Vec<Line> {
        self.columns(room, room)
    }

    fn columns(&self, room: u16, half: u16) -> Vec<Line> {
        let label = self.entries.iter().map(|e| width(e.label)).max().unwrap_or(0).min(room / 3);
        let mut lines: Vec<Line> = vec![];
        let mut left: Option<Line> = None;
        for entry in self.entries {
            let cut = fit(entry.label, usize::from(label));
            let pad = label.saturating_sub(width(&cut)) + GAP;
            let head = Line::new().own(&cut, Role::Quiet).gap(usize::from(pad));
            let is_short = label + 2 * GAP + width(entry.value.as_str()) <= half;
            if half < room && is_short {
                let line = head.shown(entry.value.clone(), entry.role);
                match left.take() {
                    None => left = Some(line),
                    Some(first) => {
                        let gap = half.saturating_sub(first.width());
                        lines.push(first.gap(usize::from(gap)).and(line));
                    }
                }
                continue;
            }
            lines.extend(left.take());
            let mut values = wrap(entry.value.as_str(), room.saturating_sub(label + GAP).max(1)).into_iter();
            lines.push(head.own(&values.next().unwrap_or_default(), entry.role));
            lines.extend(values.map(|more| Line::new().gap(usize::from(label + GAP)).own(&more, entry.role)));
        }
        lines.extend(left);
        lines
    }
}
