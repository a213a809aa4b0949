//! Where everything stands on a screen of a given size. Both drawing and the mouse ask here.

use ratatui::layout::Rect;

use crate::views::FACES;
use crate::widgets::width;

/// The parts of the screen. A part without room is empty, never absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    pub header: Rect,
    pub tabs: Rect,
    pub scope: Rect,
    /// Headings and rows, or the panels.
    pub table: Rect,
    pub heads: Rect,
    pub rows: Rect,
    /// The details pane.
    pub pane: Rect,
    pub note: Rect,
    pub footer: Rect,
    /// Everything between scope and footer: help and palette stand here.
    pub body: Rect,
}

/// From this width on the details stand beside the table.
const BESIDE: u16 = 140;
/// With fewer rows than this the details take the table's place.
const SHARED: u16 = 13;
/// From this height on there is room for an empty line above the table.
const AIRY: u16 = 30;
/// From this height on the line for notes is always kept, so that a note moves nothing.
const KEPT: u16 = 20;

impl Layout {
    pub fn of((columns, lines): (u16, u16), note: bool, details: bool) -> Self {
        let mut from = 0;
        let mut take = |height: u16| {
            let height = height.min(lines.saturating_sub(from));
            let part = Rect::new(0, from, columns, height);
            from += height;
            part
        };
        let header = take(1);
        let tabs = take(1);
        let scope = take(1);
        let _ = take(u16::from(lines >= AIRY));
        let body_height = lines.saturating_sub(scope.bottom() + u16::from(lines >= AIRY) + 1);
        let note_height = u16::from(note || lines >= KEPT).min(body_height);
        let body = take(body_height - note_height);
        let note = take(note_height);
        let footer = take(1);
        let (table, pane) = split(body, details);
        let heads = Rect { height: table.height.min(1), ..table };
        let rows = Rect { y: heads.bottom(), height: table.height - heads.height, ..table };
        Self { header, tabs, scope, table, heads, rows, pane, note, footer, body }
    }
}

fn split(body: Rect, details: bool) -> (Rect, Rect) {
    if !details {
        return (body, Rect::default());
    }
    if body.width >= BESIDE {
        let pane = (body.width * 2 / 5).max(60);
        let table = Rect { width: body.width - pane, ..body };
        return (table, Rect { x: table.right(), width: pane, ..body });
    }
    if body.height < SHARED {
        return (Rect { height: 0, ..body }, body);
    }
    let pane = body.height / 2;
    let table = Rect { height: body.height - pane, ..body };
    (table, Rect { y: table.bottom(), height: pane, ..body })
}

/// The cells of each tab on the line of tabs: start and end column, in the order of the faces.
pub fn tab_spans() -> Vec<(u16, u16)> {
    let mut x = 1;
    let mut spans = vec![];
    for face in &FACES {
        // A blank on both sides belongs to the tab, so that the mark of the one in front has an edge.
        let end = x + width(face.title) + 4;
        spans.push((x - 1, end - 1));
        x = end;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_cover_the_screen_without_overlap_at_any_size() {
        for size in [(60, 15), (80, 24), (120, 40), (200, 50), (10, 3), (1, 1), (0, 0), (80, 5)] {
            for details in [false, true] {
                for note in [false, true] {
                    let l = Layout::of(size, note, details);
                    let parts = [l.header, l.tabs, l.scope, l.heads, l.rows, l.pane, l.note, l.footer];
                    let screen = Rect::new(0, 0, size.0, size.1);
                    let mut area = 0;
                    for (at, a) in parts.iter().enumerate() {
                        assert!(a.is_empty() || screen.intersection(*a) == *a, "{size:?} {l:?}");
                        assert!(
                            parts.iter().skip(at + 1).all(|b| a.intersection(*b).is_empty()),
                            "{size:?} {l:?}"
                        );
                        area += a.area();
                    }
                    let air = u32::from(size.1 >= AIRY) * u32::from(size.0);
                    assert_eq!(area + air, screen.area(), "{size:?} {l:?}");
                }
            }
        }
    }

    #[test]
    fn a_note_moves_nothing_on_a_screen_of_usual_height() {
        assert_eq!(Layout::of((80, 24), false, false), Layout::of((80, 24), true, false));
    }
}
