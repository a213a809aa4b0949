//! A line being typed: the filter's, with its preview, completion and history, or the palette's.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use crate::app::editor::Editor;
use crate::app::state::{FilterEdit, Layer, State};
use crate::app::update::{Effect, ask};
use crate::columns::{Info, Kind, Value};
use crate::families::Family;
use crate::filter::{self, Filter, Keys};
use crate::fmt;
use crate::model::View;

/// Rows that are looked through for values.
const LOOKED_AT: usize = 2_000;
/// Filters that are remembered.
const REMEMBERED: usize = 50;

/// The columns that a filter of the view in front looks at: those of its rows; of the stream those of every family,
/// whose facts stand behind its lines.
pub fn filtered(state: &State) -> &'static [Info] {
    static OF_ALL: OnceLock<Vec<Info>> = OnceLock::new();
    match state.view {
        View::Events => {
            OF_ALL.get_or_init(|| Family::ALL.iter().flat_map(|family| family.infos()).copied().collect())
        }
        _ => state.place().infos,
    }
}

/// Opens the filter's line.
pub fn open(state: &mut State) {
    if state.place().infos.is_empty() {
        return state.remark("What can be filtered here is known with the first answer.");
    }
    let place = state.place();
    let editor = Editor::new(&place.filter_text);
    let before = (place.filter_text, place.filter);
    state.layers.push(Layer::Filter(FilterEdit { editor, before, error: None, recalled: None }));
}

pub fn edit(state: &mut State, change: impl FnOnce(&mut Editor)) -> Vec<Effect> {
    match state.layers.last_mut() {
        Some(Layer::Filter(edit)) => {
            change(&mut edit.editor);
            edit.recalled = None;
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

pub fn paste(state: &mut State, text: &str) -> Vec<Effect> {
    let line = text.lines().next().unwrap_or_default();
    edit(state, |editor| line.chars().for_each(|c| editor.insert(c)))
}

/// Shows what the text would do; a text that does not parse changes nothing but its error.
fn preview(state: &mut State) -> Vec<Effect> {
    let infos = filtered(state);
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

/// Keeps what is typed, if it parses: an error stays in sight until it is mended or given up.
pub fn keep(state: &mut State) {
    if !matches!(state.layers.last(), Some(Layer::Filter(FilterEdit { error: None, .. }))) {
        return;
    }
    state.layers.pop();
    state.unsay();
    let text = state.place().filter_text;
    if !text.is_empty() {
        state.filters.retain(|known| *known != text);
        state.filters.push(text);
        let surplus = state.filters.len().saturating_sub(REMEMBERED);
        state.filters.drain(..surplus);
    }
}

/// Goes back to the filter from before.
pub fn restore(state: &mut State) -> Vec<Effect> {
    let Some(Layer::Filter(edit)) = state.layers.pop() else { return vec![] };
    state.unsay();
    let place = state.place_mut();
    let unchanged = place.filter_text == edit.before.0;
    (place.filter_text, place.filter) = edit.before;
    if unchanged { vec![] } else { ask(state) }
}

/// An earlier filter, or a later one; behind the newest stands an empty line.
pub fn recall(state: &mut State, steps: isize) -> Vec<Effect> {
    let filters = state.filters.clone();
    let Some(Layer::Filter(edit)) = state.layers.last_mut() else { return vec![] };
    let here = edit.recalled.map_or(-1, |back| back as isize);
    let there = (here - steps).clamp(-1, filters.len() as isize - 1);
    edit.recalled = usize::try_from(there).ok();
    let text = edit.recalled.and_then(|back| filters.iter().rev().nth(back));
    edit.editor.replace(text.cloned().unwrap_or_default());
    preview(state)
}

/// Completes the name of a key, or behind a key a value that the table shows.
pub fn complete(state: &mut State) -> Vec<Effect> {
    let infos = filtered(state);
    let Some(Layer::Filter(edit)) = state.layers.last() else { return vec![] };
    let (text, cursor) = (edit.editor.text().to_owned(), edit.editor.cursor());
    let head = text.get(..cursor).unwrap_or_default();
    let start = head.rfind([' ', '(', '!', ',']).map_or(0, |at| at + 1);
    let typed = head.get(start..).unwrap_or_default();
    let term = head.rfind([' ', '(', '!']).map_or(0, |at| at + 1);
    let key = head.get(term..).and_then(|term| term.split_once(':')).map(|(key, _)| key);
    let (typed, found) = match key {
        Some(key) => {
            let typed = typed.rsplit_once(':').map_or(typed, |(_, value)| value);
            (typed.trim_start_matches('"'), values(state, key, typed.trim_start_matches('"')))
        }
        None => (typed, filter::complete(&text, cursor, &Keys::of(infos))),
    };
    let shared = shared_start(&found).get(typed.len()..).unwrap_or_default().to_owned();
    if found.len() > 1 && shared.is_empty() {
        let list: Vec<String> = found.iter().take(30).map(|text| fmt::fit(text, 40)).collect();
        state.remark(&list.join("  "));
    }
    let done = found.len() == 1 && key.is_some();
    let quote = done && found.iter().any(|value| needs_quotes(value));
    let back = typed.chars().count();
    if quote {
        let value = found.first().cloned().unwrap_or_default();
        return edit_line(state, |editor| {
            (0..back).for_each(|_| editor.apply(crate::app::editor::Edit::Backspace));
            format!("\"{value}\" ").chars().for_each(|c| editor.insert(c));
        });
    }
    let tail = if done { " " } else { "" };
    edit_line(state, |editor| shared.chars().chain(tail.chars()).for_each(|c| editor.insert(c)))
}

fn edit_line(state: &mut State, change: impl FnOnce(&mut Editor)) -> Vec<Effect> {
    let before = state.layers.last().and_then(|layer| match layer {
        Layer::Filter(edit) => Some(edit.editor.text().to_owned()),
        _ => None,
    });
    let mut unchanged = false;
    if let Some(Layer::Filter(edit)) = state.layers.last_mut() {
        change(&mut edit.editor);
        unchanged = before.as_deref() == Some(edit.editor.text());
    }
    if unchanged { vec![] } else { preview(state) }
}

fn needs_quotes(value: &str) -> bool {
    value.contains([' ', '(', ')', ',', '"', '!'])
}

/// What the columns of a key hold in the table that begins like this, in order.
fn values(state: &State, key: &str, typed: &str) -> Vec<String> {
    let Some(snapshot) = state.snapshot() else { return vec![] };
    let sheet = snapshot.sheet.as_ref();
    let carries = |info: &crate::columns::Info| info.keys.contains(&key) && info.kind != Kind::Number;
    let ports =
        |info: &crate::columns::Info| info.keys.contains(&key) && info.unit == crate::columns::Unit::Plain;
    let infos = sheet.infos().iter().enumerate();
    let columns: Vec<usize> =
        infos.filter(|(_, info)| carries(info) || ports(info)).map(|(column, _)| column).collect();
    let mut found = BTreeSet::new();
    for row in 0..sheet.len().min(LOOKED_AT) {
        for &column in &columns {
            let text = match sheet.value(row, column) {
                Value::Text(text) | Value::Process(text, _) => text.shown().into_string(),
                Value::Word(word) => word.to_owned(),
                Value::Uint(n) => n.to_string(),
                Value::Ip(address) => address.to_string(),
                Value::Socket(address) => address.ip().to_string(),
                _ => continue,
            };
            if text.starts_with(typed) {
                found.insert(text);
            }
        }
    }
    found.into_iter().collect()
}

/// What all of them begin with.
fn shared_start(texts: &[String]) -> String {
    let Some(first) = texts.first() else { return String::new() };
    let mut end = first.len();
    for text in texts {
        let same = first.chars().zip(text.chars()).take_while(|(a, b)| a == b);
        end = end.min(same.map(|(c, _)| c.len_utf8()).sum());
    }
    first.get(..end).unwrap_or_default().to_owned()
}
