//! The mouse: what is pressed where, and the wheel.

use std::time::Duration;

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use crate::app::actions::{Act, Step};
use crate::app::layout::tabs;
use crate::app::state::{Layer, State};
use crate::app::update::{Effect, act, details, scroll, sort_on};
use crate::model::View;
use crate::views::{FACES, Grid};
use crate::widgets;

/// Two presses within this time are one double click.
const DOUBLE_CLICK: Duration = Duration::from_millis(400);
/// Rows that a notch of the wheel moves.
const NOTCH: isize = 3;

/// Does what the mouse asks for.
pub fn pointer(state: &mut State, event: MouseEvent) -> Vec<Effect> {
    let layout = state.layout();
    let at = Position { x: event.column, y: event.row };
    let notch = match event.kind {
        MouseEventKind::ScrollDown => NOTCH,
        MouseEventKind::ScrollUp => -NOTCH,
        MouseEventKind::Down(MouseButton::Left) => return click(state, at),
        _ => return vec![],
    };
    match state.layers.last() {
        Some(Layer::Help { .. }) => scroll(state, Step::By(notch)),
        Some(Layer::Details { .. }) if layout.pane.contains(at) => scroll(state, Step::By(notch)),
        Some(Layer::Palette { .. } | Layer::Menu { .. } | Layer::Columns { .. }) => {
            return act(state, Act::Choose(notch.signum()));
        }
        _ => wheel(state, notch, layout.rows),
    }
    vec![]
}

/// The wheel moves the picture; the marker goes along only when it would leave the screen.
fn wheel(state: &mut State, notch: isize, rows: Rect) {
    let Some(total) = state.snapshot().map(|s| s.sheet.len()) else { return };
    let height = usize::from(rows.height);
    let place = state.place_mut();
    let offset = place.offset.saturating_add_signed(notch).min(total.saturating_sub(height));
    place.offset = offset;
    let kept = place.selected.map(|s| s.index.clamp(offset, offset + height.saturating_sub(1)));
    match kept {
        Some(index) => state.select(index),
        None => state.look_at_top(),
    }
}

fn click(state: &mut State, at: Position) -> Vec<Effect> {
    let layout = state.layout();
    if matches!(
        state.layers.last(),
        Some(
            Layer::Help { .. }
                | Layer::Palette { .. }
                | Layer::Filter(_)
                | Layer::Menu { .. }
                | Layer::Columns { .. }
        )
    ) {
        return vec![];
    }
    if layout.tabs.contains(at) {
        let hit = tabs(layout.tabs.width).iter().position(|tab| (tab.from..tab.to).contains(&at.x));
        return match hit.and_then(|tab| FACES.get(tab)) {
            Some(face) => act(state, Act::Show(face.view)),
            None => vec![],
        };
    }
    if state.view == View::Overview {
        let overview = state.snapshot().and_then(|s| s.overview.clone());
        let grid = Grid::of(layout.table);
        return match overview.and_then(|overview| grid.row_at(&overview, at.x, at.y)) {
            Some(row) => press(state, row),
            None => vec![],
        };
    }
    if layout.heads.contains(at) {
        let infos = state.place().infos;
        let column = widgets::head_at(
            &widgets::fit(infos, state.chosen_columns(), layout.heads.width),
            at.x - layout.heads.x,
        );
        return match column.and_then(|column| infos.get(column)) {
            Some(info) => sort_on(state, info),
            None => vec![],
        };
    }
    if layout.rows.contains(at) {
        let row = state.place().offset + usize::from(at.y - layout.rows.y);
        return press(state, row);
    }
    vec![]
}

/// Selects a row; pressed twice it opens.
fn press(state: &mut State, row: usize) -> Vec<Effect> {
    let Some(id) = state.snapshot().and_then(|s| s.sheet.id(row)) else { return vec![] };
    let double =
        state.press.is_some_and(|(when, on)| on == id && state.now.saturating_sub(when) <= DOUBLE_CLICK);
    state.press = (!double).then_some((state.now, id));
    state.select(row);
    if double && state.details().is_none() {
        details(state);
    }
    vec![]
}
