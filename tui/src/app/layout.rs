//! Where everything stands on a screen of a given size. Both drawing and the mouse ask here.

use ratatui::layout::Rect;

use crate::views::{FACES, Face};
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

/// A tab: its cells on the line of tabs from start to end, and as much of its title as there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tab {
    pub from: u16,
    pub to: u16,
    pub title: &'static str,
}

/// Letters of a title that still tell which it is.
const SHORT: usize = 4;

/// The tabs of a line this wide, in the order of the faces: every one of them is there.
pub fn tabs(room: u16) -> Vec<Tab> {
    // A blank on both sides belongs to a tab, so that the mark of the one in front has an edge; where room is short
    // neighbours share it.
    let whole = |edge| place(edge, usize::MAX);
    [whole(2), whole(1), place(1, SHORT)]
        .into_iter()
        .find(|tabs| tabs.last().is_some_and(|tab| tab.to <= room))
        .unwrap_or_else(|| place(1, 0))
}

fn place(edges: u16, letters: usize) -> Vec<Tab> {
    let mut from = 0;
    let tab = |face: &Face| {
        let title = face.title.get(..letters.min(face.title.len())).unwrap_or(face.title);
        let blank = u16::from(!title.is_empty());
        let to = from + 1 + blank + width(title) + edges;
        let tab = Tab { from, to, title };
        from = to;
        tab
    };
    FACES.iter().map(tab).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
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

    #[test]
    fn every_view_has_its_tab_at_any_usual_width() {
        for room in [200, 80, 60, 40, 24] {
            let tabs = tabs(room);
            assert_eq!(tabs.len(), FACES.len());
            assert!(tabs.windows(2).all(|two| two[0].to == two[1].from), "{tabs:?}");
            assert!(tabs.last().is_some_and(|tab| tab.to <= room), "{room}: {tabs:?}");
        }
        assert!(tabs(80).iter().zip(&FACES).all(|(tab, face)| tab.title == face.title));
    }
}
