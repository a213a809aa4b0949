//! What happens next: one message in, a changed state and effects out. Touches nothing else.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, MouseEvent};

use crate::app::actions::{Act, Step, bound};
use crate::app::chord::Chord;
use crate::app::copy;
use crate::app::editor::Editor;
use crate::app::overlay;
use crate::app::pointer;
use crate::app::state::{Choice, Chosen, Layer, State};
use crate::app::typing;
use crate::columns::{Info, Value};
use crate::families::Family;
use crate::families::file::row::group::By;
use crate::model::{Query, Scope, Snapshot, Sort, View};
use crate::views::neighbour;
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
    /// Hand this to the terminal's clipboard.
    Copy(String),
    /// Keep the columns of a view for the next time; `None`: those it begins with.
    KeepColumns(View, Option<Vec<String>>),
    Quit,
    Suspend,
    /// Paint everything, whatever the terminal is thought to show.
    Redraw,
}

/// Keys that may be typed ahead of their rows.
const AHEAD: usize = 64;

/// Applies one message.
pub fn update(state: &mut State, msg: Msg) -> Vec<Effect> {
    // A hand waits for what it did to be seen; time alone and news say themselves what they change.
    state.dirty |= !matches!(msg, Msg::Tick(_) | Msg::Snapshot(_));
    let mut effects = apply(state, msg);
    // Another row under the marker, another size of the screen: other details, another number of rows.
    if state.wants_more() && !effects.iter().any(|effect| matches!(effect, Effect::Ask(_))) {
        effects.extend(ask(state));
    }
    effects
}

fn apply(state: &mut State, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Tick(now) => state.pass(now),
        Msg::Key(event) if event.kind == KeyEventKind::Release => {}
        Msg::Key(event) => return press(state, event.into()),
        Msg::Mouse(event) => return pointer::pointer(state, event),
        Msg::Paste(text) => return typing::paste(state, &text),
        Msg::Resize(columns, lines) => {
            state.size = (columns, lines);
            state.settle();
            return vec![Effect::Redraw];
        }
        Msg::Snapshot(snapshot) => {
            state.hear(snapshot);
            if !state.awaits_rows() {
                let ahead = std::mem::take(&mut state.ahead);
                return ahead.into_iter().flat_map(|chord| press(state, chord)).collect();
            }
        }
        Msg::Signal(Signal::Terminate) => return vec![Effect::Quit],
        Msg::Signal(Signal::Stop) => return vec![Effect::Suspend],
        Msg::Signal(Signal::Continue) => {
            state.resumed();
            return vec![Effect::Redraw];
        }
    }
    vec![]
}

pub fn ask(state: &mut State) -> Vec<Effect> {
    vec![Effect::Ask(state.question())]
}

fn press(state: &mut State, chord: Chord) -> Vec<Effect> {
    let action = bound(state.keys, chord, state.modes());
    if chord.alt && action.is_none() {
        // Escape and a key that arrive together, as on a slow line, read as one key with Alt.
        let mut effects = press(state, Chord::key(KeyCode::Esc));
        effects.extend(press(state, Chord { alt: false, ..chord }));
        return effects;
    }
    let leaves = action.is_some_and(|a| matches!(a.act, Act::Quit | Act::QuitNow | Act::Suspend));
    if state.layers.is_empty() && state.awaits_rows() && !leaves {
        // What follows a key that waits may be meant for what that key opens: it waits as well.
        let follows = !state.ahead.is_empty() && state.ahead.len() < AHEAD;
        if follows || action.is_some_and(|a| waits(a.act)) {
            state.ahead.push(chord);
            return vec![];
        }
    }
    match (action, chord.typed()) {
        (Some(action), _) => act(state, action.act),
        (None, Some(c)) => typing::edit(state, |editor| editor.insert(c)),
        (None, None) => vec![],
    }
}

/// Typed ahead of the rows it is about: on a slow line hands are faster than answers.
const fn waits(act: Act) -> bool {
    !matches!(
        act,
        Act::Quit
            | Act::QuitNow
            | Act::Suspend
            | Act::Redraw
            | Act::Show(_)
            | Act::Neighbour(_)
            | Act::Help
            | Act::Palette
            | Act::Pause
    )
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
        Act::Together if state.view == View::Files => {
            // Each, by directory, by process, by mount, and each again.
            let next =
                state.files_by.map_or(0, |by| 1 + By::ALL.iter().take_while(|one| **one != by).count());
            state.files_by = By::ALL.get(next).copied();
            state.remark(state.files_by.map_or("each file", By::title));
            return ask(state);
        }
        Act::Together => {
            state.by_owner = !state.by_owner;
            state.view = View::Processes;
            return ask(state);
        }
        Act::Details => details(state),
        Act::Back => return back(state),
        Act::Filter => typing::open(state),
        Act::Scope => {
            return match offers(state).into_iter().next() {
                Some(scope) => narrow(state, scope),
                None => vec![],
            };
        }
        Act::Scopes => {
            let entries: Vec<Choice> = offers(state)
                .into_iter()
                .map(|scope| Choice { title: scope.word(), text: scope.label(), does: Chosen::Scope(scope) })
                .collect();
            if !entries.is_empty() {
                state.layers.push(Layer::Menu { title: "Narrow every view to", entries, chosen: 0 });
            }
        }
        Act::Unscope => {
            return if state.scopes.pop().is_some() { ask(state) } else { vec![] };
        }
        Act::Time(steps) => return travel(state, steps),
        Act::Copy => return copy_row(state),
        Act::Commands => commands(state),
        Act::Columns => open_columns(state),
        Act::ColumnToggle | Act::ColumnMove(_) | Act::ColumnReset => change_columns(state, act),
        Act::SortMove(steps) => return sort_move(state, steps),
        Act::SortReverse => {
            let Some(sort) = state.order() else { return sort_move(state, 1) };
            return sort_by(state, Sort { descending: !sort.descending, ..sort });
        }
        Act::Pause => {
            state.paused = !state.paused;
            state.frozen_at = None;
            state.moment = None;
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
        Act::Names => {
            state.names = !state.names;
            state.remark(if state.names {
                "Peers are called by the names that answers gave them, with how long ago."
            } else {
                "Peers are shown as addresses."
            });
        }
        Act::Hand => return by_hand(state),
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
            let matches = overlay::matches(state).len();
            let (chosen, count) = match state.layers.last_mut() {
                Some(Layer::Palette { chosen, .. }) => (chosen, matches),
                Some(Layer::Menu { chosen, entries, .. }) => (chosen, entries.len()),
                Some(Layer::Columns { chosen, columns }) => (chosen, columns.len()),
                _ => return vec![],
            };
            *chosen = chosen.saturating_add_signed(steps).min(count.saturating_sub(1));
        }
        Act::Accept => return accept(state),
        Act::Cancel => return cancel(state),
        Act::Complete => return typing::complete(state),
        Act::Recall(steps) => return typing::recall(state, steps),
        Act::Edit(what) => return typing::edit(state, |editor| editor.apply(what)),
    }
    vec![]
}

/// Attaches or detaches the family of the marked program; a second time leaves it to the views again.
fn by_hand(state: &mut State) -> Vec<Effect> {
    if state.view != View::Probes {
        state.remark("Families are attached and detached by hand in Probes: press 8.");
        return vec![];
    }
    let chosen = state.row().and_then(|row| match (row.named("family"), row.named("state")) {
        (Value::Word(family), Value::Word(word)) => Some((Family::from_stem(family)?, word.to_owned())),
        _ => None,
    });
    let Some((family, state_word)) = chosen else {
        state.remark("No program is selected: j or a click selects one.");
        return vec![];
    };
    let name = family.stem();
    if state_word == "attaching" {
        state.remark(&format!("{name} is being attached."));
        return vec![];
    }
    let attached = state_word != "detached";
    let text = if state_word == "failed" {
        state.hand.insert(family, true);
        state.again = Some((family, state.again.map_or(0, |(_, times)| times + 1)));
        format!("{name} is tried again.")
    } else if state.hand.remove(&family).is_some() {
        format!("{name} is attached again while a view needs it, and no longer.")
    } else {
        state.hand.insert(family, !attached);
        let what = if attached { "detached" } else { "attached" };
        format!("{name} is {what} by hand, whatever views need; a again leaves it to them.")
    };
    state.remark(&text);
    ask(state)
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

pub fn details(state: &mut State) {
    if state.place().selected.is_none() {
        state.select(state.place().offset);
    }
    if state.place().selected.is_some() {
        state.layers.push(Layer::Details { scroll: 0 });
        state.settle();
    }
}

/// Closes what is on top; with nothing open clears the filter, then the scope; then lets go of the row.
fn back(state: &mut State) -> Vec<Effect> {
    if state.layers.pop().is_none() {
        let scoped = !state.scopes.is_empty();
        let place = state.place_mut();
        if place.filter_text.is_empty() && scoped {
            state.scopes.clear();
            return ask(state);
        }
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
    widgets::fit(infos, state.chosen_columns(), table)
        .iter()
        .filter_map(|placed| infos.get(placed.column))
        .collect()
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

pub fn scroll(state: &mut State, step: Step) {
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

fn accept(state: &mut State) -> Vec<Effect> {
    match state.layers.last().cloned() {
        Some(Layer::Filter(_)) => typing::keep(state),
        Some(Layer::Palette { chosen, .. }) => {
            let entry = overlay::matches(state).into_iter().nth(chosen);
            state.layers.pop();
            return match entry.map(|e| e.does) {
                Some(overlay::Does::Act(act)) => self::act(state, act),
                Some(overlay::Does::Sort(info)) => sort_on(state, info),
                None => vec![],
            };
        }
        Some(Layer::Menu { entries, chosen, .. }) => {
            state.layers.pop();
            return match entries.into_iter().nth(chosen).map(|entry| entry.does) {
                Some(Chosen::Scope(scope)) => narrow(state, scope),
                Some(Chosen::Copy(text)) => copied(state, text),
                None => vec![],
            };
        }
        Some(Layer::Columns { columns, .. }) => {
            state.layers.pop();
            let ids: Vec<String> =
                columns.iter().filter(|(_, shown)| *shown).map(|(info, _)| info.id.to_owned()).collect();
            let own: Vec<&str> = columns_of(state, None).iter().map(|info| info.id).collect();
            let view = state.view;
            if ids.is_empty() || ids == own {
                state.columns.remove(&view);
            } else {
                state.columns.insert(view, ids);
            }
            return vec![Effect::KeepColumns(view, state.columns.get(&view).cloned())];
        }
        Some(_) => {
            state.layers.pop();
        }
        None => {}
    }
    vec![]
}

fn cancel(state: &mut State) -> Vec<Effect> {
    if matches!(state.layers.last(), Some(Layer::Filter(_))) {
        return typing::restore(state);
    }
    state.layers.pop();
    vec![]
}

/// Adds a scope; the same one twice is one.
fn narrow(state: &mut State, scope: Scope) -> Vec<Effect> {
    if state.scopes.contains(&scope) {
        state.remark(&format!("The scope is {} already. Backspace takes it away.", scope.label()));
        return vec![];
    }
    state.scopes.push(scope);
    ask(state)
}

fn offers(state: &mut State) -> Vec<Scope> {
    if state.row().is_none() {
        state.select(state.place().offset);
    }
    let offers = state.row().map(Scope::offers).unwrap_or_default();
    if offers.is_empty() {
        state.remark("This row tells nothing that other views could be narrowed to.");
    }
    offers
}

fn copied(state: &mut State, text: String) -> Vec<Effect> {
    state.remark(&format!("Copied: {}", crate::fmt::fit(&text.replace('\t', "  "), 60)));
    vec![Effect::Copy(text)]
}

fn copy_row(state: &mut State) -> Vec<Effect> {
    // Those that a narrow screen has no room for, too.
    let known = |id: &String| state.place().infos.iter().find(|info| info.id == id);
    let columns: Vec<&'static Info> = match state.chosen_columns() {
        Some(chosen) => chosen.iter().filter_map(known).collect(),
        None => state.place().infos.iter().filter(|info| info.cell.is_some()).collect(),
    };
    let Some(text) = state.row().map(|facts| copy::row(facts, &columns)) else {
        state.remark("No row is selected: j or a click selects one.");
        return vec![];
    };
    copied(state, text)
}

fn commands(state: &mut State) {
    let ended = state.place().selected.zip(state.snapshot()).is_some_and(|(row, s)| s.sheet.ended(row.index));
    let entries = state.row().map(|facts| copy::commands(facts, ended)).unwrap_or_default();
    if entries.is_empty() {
        return state.remark("There is no command about this row.");
    }
    state.layers.push(Layer::Menu { title: "Copy a command", entries, chosen: 0 });
}

/// The columns of the view in front, as chosen or as it begins.
fn columns_of(state: &State, chosen: Option<&[String]>) -> Vec<&'static Info> {
    let infos = state.place().infos;
    let fitted = widgets::fit(infos, chosen, u16::MAX / 2);
    fitted.iter().filter_map(|placed| infos.get(placed.column)).collect()
}

fn open_columns(state: &mut State) {
    let shown = columns_of(state, state.chosen_columns());
    if state.view == View::Processes && state.by_owner {
        return state.remark("The columns of owners are what they are; b shows each process.");
    }
    if shown.is_empty() || state.view == View::Overview {
        return state.remark("This view has no columns to choose.");
    }
    let rest = state.place().infos.iter().filter(|info| !shown.iter().any(|known| known.id == info.id));
    let columns = shown.iter().map(|info| (*info, true)).chain(rest.map(|info| (info, false))).collect();
    state.layers.push(Layer::Columns { columns, chosen: 0 });
}

fn change_columns(state: &mut State, act: Act) {
    let own: Vec<&'static Info> = columns_of(state, None);
    let Some(Layer::Columns { columns, chosen }) = state.layers.last_mut() else { return };
    match act {
        Act::ColumnMove(steps) => {
            let to = chosen.saturating_add_signed(steps).min(columns.len().saturating_sub(1));
            columns.swap(*chosen, to);
            *chosen = to;
        }
        Act::ColumnToggle => {
            if let Some((_, shown)) = columns.get_mut(*chosen) {
                *shown = !*shown;
            }
        }
        _ => {
            columns.sort_by_key(|(info, _)| {
                own.iter().position(|known| known.id == info.id).unwrap_or(usize::MAX)
            });
            for (info, shown) in columns.iter_mut() {
                *shown = own.iter().any(|known| known.id == info.id);
            }
        }
    }
}

/// Another moment, while paused.
fn travel(state: &mut State, steps: isize) -> Vec<Effect> {
    let Some(moment) = state.moment.filter(|_| state.paused) else {
        state.remark("Space pauses; then left and right step through what has been.");
        return vec![];
    };
    state.moment = Some(moment.saturating_add_signed(steps as i64));
    ask(state)
}
