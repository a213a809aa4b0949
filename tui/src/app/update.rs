//! What happens next: one message in, a changed state and effects out. Touches nothing else.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use crate::app::actions::{Act, Step, bound};
use crate::app::chord::Chord;
use crate::app::editor::Editor;
use crate::app::layout::tab_spans;
use crate::app::overlay;
use crate::app::state::{FilterEdit, Layer, State};
use crate::columns::Info;
use crate::filter::{self, Filter, Keys};
use crate::model::{Query, Snapshot, Sort, View};
use crate::views::{FACES, neighbour};
use crate::widgets;

/// What happened.
pub enum Msg {
    /// Time since the console began.
    Tick(Duration),
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(u16, u16),
    Snapshot(Arc<Snapshot>),
    Signal(Signal),
}

/// What the machine asks of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Stop,
    Continue,
}

/// What the runtime must do.
pub enum Effect {
    Ask(Query),
    Quit,
    Suspend,
    /// Paint everything, whatever the terminal is thought to show.
    Redraw,
}

/// Two presses within this time are one double click.
const DOUBLE_CLICK: Duration = Duration::from_millis(400);
/// Rows that a notch of the wheel moves.
const NOTCH: isize = 3;

/// Applies one message.
pub fn update(state: &mut State, msg: Msg) -> Vec<Effect> {
    if !matches!(msg, Msg::Tick(_)) {
        state.dirty = true;
    }
    let mut effects = apply(state, msg);
    // Other rows are in front of the reader than the engine was told.
    if state.has_turned() && !effects.iter().any(|effect| matches!(effect, Effect::Ask(_))) {
        effects.extend(ask(state));
    }
    effects
}

fn apply(state: &mut State, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Tick(now) => state.pass(now),
        Msg::Key(event) if event.kind == KeyEventKind::Release => {}
        Msg::Key(event) => return press(state, event.into()),
        Msg::Mouse(event) => return pointer(state, event),
        Msg::Paste(text) => return paste(state, &text),
        Msg::Resize(columns, lines) => {
            state.size = (columns, lines);
            state.settle();
            return vec![Effect::Redraw];
        }
        Msg::Snapshot(snapshot) => state.hear(snapshot),
        Msg::Signal(Signal::Terminate) => return vec![Effect::Quit],
        Msg::Signal(Signal::Stop) => return vec![Effect::Suspend],
        Msg::Signal(Signal::Continue) => {
            state.resumed();
            return vec![Effect::Redraw];
        }
    }
    vec![]
}

fn ask(state: &mut State) -> Vec<Effect> {
    vec![Effect::Ask(state.question())]
}

fn press(state: &mut State, chord: Chord) -> Vec<Effect> {
    if let Some(action) = bound(chord, state.modes()) {
        return act(state, action.act);
    }
    match chord.typed() {
        Some(c) => edit(state, |editor| editor.insert(c)),
        None => vec![],
    }
}

/// Does what an action of the table says.
pub fn act(state: &mut State, act: Act) -> Vec<Effect> {
    match act {
        Act::Quit | Act::QuitNow => return vec![Effect::Quit],
        Act::Suspend => return vec![Effect::Suspend],
        Act::Redraw => return vec![Effect::Redraw],
        Act::Move(step) => step_rows(state, step),
        Act::Show(view) => {
            state.view = view;
            state.press = None;
            return ask(state);
        }
        Act::Neighbour(steps) => return self::act(state, Act::Show(neighbour(state.view, steps))),
        Act::ByOwner => {
            state.by_owner = !state.by_owner;
            state.view = View::Processes;
            return ask(state);
        }
        Act::Details => details(state),
        Act::Back => return back(state),
        Act::Filter if state.place().infos.is_empty() => {
            state.remark("What can be filtered here is known with the first answer.");
        }
        Act::Filter => {
            let place = state.place();
            let editor = Editor::new(&place.filter_text);
            let before = (place.filter_text, place.filter);
            state.layers.push(Layer::Filter(FilterEdit { editor, before, error: None }));
        }
        Act::SortMove(steps) => return sort_move(state, steps),
        Act::SortReverse => {
            let Some(sort) = state.order() else { return sort_move(state, 1) };
            return sort_by(state, Sort { descending: !sort.descending, ..sort });
        }
        Act::Pause => {
            state.paused = !state.paused;
            state.frozen_at = None;
            return ask(state);
        }
        Act::Own => {
            state.own = !state.own;
            state.remark(if state.own {
                "What fluoro itself does is shown."
            } else {
                "What fluoro itself does is hidden."
            });
            return ask(state);
        }
        Act::Mouse => {
            state.mouse = !state.mouse;
            state.remark(if state.mouse {
                "The mouse selects rows, columns and views; hold Shift to mark text."
            } else {
                "The mouse is the terminal's again."
            });
        }
        Act::Help => state.layers.push(Layer::Help { scroll: 0 }),
        Act::Palette => state.layers.push(Layer::Palette { editor: Editor::default(), chosen: 0 }),
        Act::Scroll(step) => scroll(state, step),
        Act::Choose(steps) => {
            let count = overlay::matches(state).len();
            if let Some(Layer::Palette { chosen, .. }) = state.layers.last_mut() {
                *chosen = chosen.saturating_add_signed(steps).min(count.saturating_sub(1));
            }
        }
        Act::Accept => return accept(state),
        Act::Cancel => return cancel(state),
        Act::Complete => complete(state),
        Act::Edit(what) => return edit(state, |editor| editor.apply(what)),
    }
    vec![]
}

fn step_rows(state: &mut State, step: Step) {
    let page = isize::try_from(state.layout().rows.height).unwrap_or(1).max(2) - 1;
    let last = state.snapshot().map_or(0, |s| s.sheet.len().saturating_sub(1));
    let Some(here) = state.place().selected.map(|s| s.index) else {
        // Nothing is selected: the first step goes to the first row in sight.
        let offset = state.place().offset;
        return state.select(if step == Step::Last { last } else { offset });
    };
    state.select(match step {
        Step::By(n) => here.saturating_add_signed(n),
        Step::Page(n) => here.saturating_add_signed(n * page),
        Step::HalfPage(n) => here.saturating_add_signed(n * (page / 2).max(1)),
        Step::First => 0,
        Step::Last => last,
    });
}

fn details(state: &mut State) {
    if state.place().selected.is_none() {
        state.select(state.place().offset);
    }
    if state.place().selected.is_some() {
        state.layers.push(Layer::Details { scroll: 0 });
        state.settle();
    }
}

/// Closes what is on top; with nothing open clears the filter; with no filter lets go of the row.
fn back(state: &mut State) -> Vec<Effect> {
    if state.layers.pop().is_none() {
        let place = state.place_mut();
        if place.filter_text.is_empty() {
            place.selected = None;
        } else {
            place.filter_text.clear();
            place.filter = None;
            return ask(state);
        }
    }
    state.settle();
    vec![]
}

fn shown_columns(state: &State) -> Vec<&'static Info> {
    let infos = state.place().infos;
    let table = state.layout().heads.width;
    widgets::fit(infos, table).iter().filter_map(|placed| infos.get(placed.column)).collect()
}

fn sort_move(state: &mut State, steps: isize) -> Vec<Effect> {
    let columns = shown_columns(state);
    let here = state.order().and_then(|sort| columns.iter().position(|info| info.id == sort.column));
    let next = match here {
        None => 0,
        Some(at) => at.saturating_add_signed(columns.len() as isize + steps) % columns.len().max(1),
    };
    match columns.get(next) {
        Some(info) => sort_by(state, first_order(info)),
        None => vec![],
    }
}

/// Numbers begin with the largest, words with the first.
fn first_order(info: &Info) -> Sort {
    let descending = info.kind == crate::columns::Kind::Number && info.cell.is_none_or(|c| c.right);
    Sort { column: info.id, descending }
}

/// Orders by a column; a second time reverses.
pub fn sort_on(state: &mut State, info: &Info) -> Vec<Effect> {
    match state.order() {
        Some(sort) if sort.column == info.id => sort_by(state, Sort { descending: !sort.descending, ..sort }),
        _ => sort_by(state, first_order(info)),
    }
}

fn sort_by(state: &mut State, sort: Sort) -> Vec<Effect> {
    state.place_mut().sort = Some(sort);
    ask(state)
}

fn scroll(state: &mut State, step: Step) {
    let (reach, page) = match state.layers.last() {
        Some(Layer::Help { .. }) => overlay::help_reach(state),
        _ => overlay::details_reach(state),
    };
    if let Some(Layer::Help { scroll } | Layer::Details { scroll }) = state.layers.last_mut() {
        let page = (page as isize).max(2) - 1;
        let wanted = match step {
            Step::By(n) => scroll.saturating_add_signed(n),
            Step::Page(n) => scroll.saturating_add_signed(n * page),
            Step::HalfPage(n) => scroll.saturating_add_signed(n * (page / 2)),
            Step::First => 0,
            Step::Last => reach,
        };
        *scroll = wanted.min(reach);
    }
}

fn edit(state: &mut State, change: impl FnOnce(&mut Editor)) -> Vec<Effect> {
    match state.layers.last_mut() {
        Some(Layer::Filter(edit)) => {
            change(&mut edit.editor);
            preview(state)
        }
        Some(Layer::Palette { editor, chosen }) => {
            change(editor);
            *chosen = 0;
            vec![]
        }
        _ => vec![],
    }
}

fn paste(state: &mut State, text: &str) -> Vec<Effect> {
    let line = text.lines().next().unwrap_or_default();
    edit(state, |editor| line.chars().for_each(|c| editor.insert(c)))
}

/// Shows what the text would do; a text that does not parse changes nothing but its error.
fn preview(state: &mut State) -> Vec<Effect> {
    let infos = state.place().infos;
    let Some(Layer::Filter(edit)) = state.layers.last_mut() else { return vec![] };
    let text = edit.editor.text().trim().to_owned();
    let parsed = if text.is_empty() {
        Ok(None)
    } else {
        Filter::parse(edit.editor.text(), &Keys::of(infos)).map(|f| Some(Arc::new(f)))
    };
    match parsed {
        Err(error) => {
            edit.error = Some((error.at.clone(), error.message));
            vec![]
        }
        Ok(filter) => {
            edit.error = None;
            let place = state.place_mut();
            place.filter_text = text;
            place.filter = filter;
            ask(state)
        }
    }
}

fn accept(state: &mut State) -> Vec<Effect> {
    match state.layers.last() {
        // What does not parse cannot be kept: the error stays in sight until it is mended or given up.
        Some(Layer::Filter(FilterEdit { error: Some(_), .. })) | None => vec![],
        Some(Layer::Palette { chosen, .. }) => {
            let entry = overlay::matches(state).into_iter().nth(*chosen);
            state.layers.pop();
            match entry.map(|e| e.does) {
                Some(overlay::Does::Act(act)) => self::act(state, act),
                Some(overlay::Does::Sort(info)) => sort_on(state, info),
                None => vec![],
            }
        }
        Some(_) => {
            state.layers.pop();
            vec![]
        }
    }
}

fn cancel(state: &mut State) -> Vec<Effect> {
    let Some(Layer::Filter(edit)) = state.layers.pop() else { return vec![] };
    let place = state.place_mut();
    let unchanged = place.filter_text == edit.before.0;
    (place.filter_text, place.filter) = edit.before;
    if unchanged { vec![] } else { ask(state) }
}

fn complete(state: &mut State) {
    let infos = state.place().infos;
    let Some(Layer::Filter(edit)) = state.layers.last_mut() else { return };
    let (text, cursor) = (edit.editor.text().to_owned(), edit.editor.cursor());
    let head = text.get(..cursor).unwrap_or_default();
    let start = head.rfind([' ', '(', '!']).map_or(0, |at| at + 1);
    let typed = head.get(start..).unwrap_or_default();
    let found = filter::complete(&text, cursor, &Keys::of(infos));
    match found.as_slice() {
        [] => {}
        [only] => {
            let rest = only.strip_prefix(typed).unwrap_or_default().to_owned();
            rest.chars().chain([':']).for_each(|c| edit.editor.insert(c));
        }
        several => {
            let list = several.join("  ");
            state.remark(&list);
        }
    }
}

fn pointer(state: &mut State, event: MouseEvent) -> Vec<Effect> {
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
        Some(Layer::Palette { .. }) => return act(state, Act::Choose(notch.signum())),
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
    if matches!(state.layers.last(), Some(Layer::Help { .. } | Layer::Palette { .. } | Layer::Filter(_))) {
        return vec![];
    }
    if layout.tabs.contains(at) {
        let hit = tab_spans().iter().position(|(from, to)| (*from..*to).contains(&at.x));
        return match hit.and_then(|tab| FACES.get(tab)) {
            Some(face) => act(state, Act::Show(face.view)),
            None => vec![],
        };
    }
    if layout.heads.contains(at) {
        let infos = state.place().infos;
        let column = widgets::head_at(&widgets::fit(infos, layout.heads.width), at.x - layout.heads.x);
        return match column.and_then(|column| infos.get(column)) {
            Some(info) => sort_on(state, info),
            None => vec![],
        };
    }
    if layout.rows.contains(at) {
        let row = state.place().offset + usize::from(at.y - layout.rows.y);
        let Some(id) = state.snapshot().and_then(|s| s.sheet.id(row)) else { return vec![] };
        let double =
            state.press.is_some_and(|(when, on)| on == id && state.now.saturating_sub(when) <= DOUBLE_CLICK);
        state.press = (!double).then_some((state.now, id));
        state.select(row);
        if double && state.details().is_none() {
            details(state);
        }
    }
    vec![]
}
