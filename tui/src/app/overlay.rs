//! What the help and the palette contain, and how far help and details can be scrolled. Reads the action
//! table and the columns of the view in front; decides nothing.

use ratatui::layout::Rect;

use crate::app::actions::{Act, Mode};
use crate::app::state::{Layer, State};
use crate::app::typing;
use crate::columns::{ESTIMATED, Info};
use crate::model::Scope;
use crate::theme::Role;
use crate::views::{details, face};
use crate::widgets::{Line, title_of, width, wrap};

/// What an entry of the palette does.
#[derive(Debug, Clone, Copy)]
pub enum Does {
    Act(Act),
    Sort(&'static Info),
}

/// One entry of the palette.
#[derive(Debug, Clone)]
pub struct Entry {
    pub does: Does,
    pub title: String,
    pub help: &'static str,
    pub keys: String,
}

/// The entries whose words contain every word typed, those that match by title first.
pub fn matches(state: &State) -> Vec<Entry> {
    let Some(Layer::Palette { editor, .. }) = state.layers.last() else { return vec![] };
    let typed = editor.text().to_lowercase();
    let words: Vec<&str> = typed.split_whitespace().collect();
    let mut found: Vec<(bool, Entry)> = all(state)
        .into_iter()
        .filter_map(|entry| {
            let title = entry.title.to_lowercase();
            let text = format!("{title} {}", entry.help.to_lowercase());
            words.iter().all(|w| text.contains(w)).then(|| (!words.iter().all(|w| title.contains(w)), entry))
        })
        .collect();
    found.sort_by_key(|(by_help, _)| *by_help);
    found.into_iter().map(|(_, entry)| entry).collect()
}

fn all(state: &State) -> Vec<Entry> {
    let acts =
        state.keys.iter().filter(|a| matches!(a.mode, Mode::Table | Mode::Always) && a.act != Act::Palette);
    let acts = acts.map(|a| Entry {
        does: Does::Act(a.act),
        title: a.title.to_owned(),
        help: a.help,
        keys: a.keys_shown(),
    });
    let sorts = state.place().infos.iter().filter(|info| info.cell.is_some()).map(|info| Entry {
        does: Does::Sort(info),
        title: format!("sort by {}", info.id),
        help: info.help,
        keys: String::new(),
    });
    acts.chain(sorts).collect()
}

/// The whole help at this width.
pub fn help_lines(state: &State, room: u16) -> Vec<Line> {
    let mut lines = vec![];
    if let Some(notes) = state.newest.as_ref().map(|s| &s.notes).filter(|n| !n.is_empty()) {
        section(&mut lines, "What to know about these numbers");
        for note in notes.iter() {
            let role = if note.severe { Role::Bad } else { Role::Text };
            lines.extend(
                wrap(&note.text, room.saturating_sub(2)).iter().map(|l| Line::new().gap(2).own(l, role)),
            );
        }
    }
    for mode in [Mode::Table, Mode::Details, Mode::Filter, Mode::Columns, Mode::Always] {
        section(&mut lines, mode.title());
        for action in state.keys.iter().filter(|a| a.mode == mode) {
            pair(&mut lines, &action.keys_shown(), 16, action.help, Role::Key, room);
        }
    }
    let place = state.place();
    if !place.infos.is_empty() {
        section(&mut lines, &format!("Columns of {}", face(state.view).title));
        for (mark, meaning) in MARKS {
            pair(&mut lines, mark, 16, meaning, Role::Text, room);
        }
        for info in place.infos {
            pair(&mut lines, title_of(info), 16, info.help, Role::Text, room);
        }
        section(&mut lines, "Filters");
        for (example, meaning) in FILTERS {
            pair(&mut lines, example, 24, meaning, Role::Typed, room);
        }
        let infos = typing::filtered(state);
        let mut keys: Vec<&str> =
            infos.iter().flat_map(|info| info.keys.iter().copied().chain(numeric(info))).collect();
        keys.sort_unstable();
        keys.dedup();
        pair(&mut lines, "keys here", 24, &keys.join(" "), Role::Quiet, room);
    }
    lines
}

/// What stands in place of a value, or before it.
const MARKS: [(&str, &str); 2] = [
    ("-", "not known, or does not apply"),
    (
        ESTIMATED,
        "estimated: a percentile read off buckets, an owner inferred from who holds the socket, a sample",
    ),
];

const FILTERS: [(&str, &str); 7] = [
    ("nginx", "any text column contains it, in any case"),
    ("port:80,443", "one of these"),
    ("net:10.0.0.0/8", "inside this network"),
    ("path:/etc/*", "the whole text matches this pattern"),
    ("tx>1M rtt>=20ms", "numbers with units; a blank means and"),
    ("proc~^ngin", "a regular expression"),
    ("!user:root or (..)", "not, or, parentheses; \"quotes\" for blanks"),
];

fn numeric(info: &Info) -> Option<&'static str> {
    (info.kind == crate::columns::Kind::Number).then_some(info.id)
}

fn section(lines: &mut Vec<Line>, title: &str) {
    if !lines.is_empty() {
        lines.push(Line::new());
    }
    lines.push(Line::new().own(title, Role::Title));
}

fn pair(lines: &mut Vec<Line>, left: &str, column: u16, right: &str, role: Role, room: u16) {
    let start = (2 + column.max(width(left))).min(room / 2) + 2;
    let mut texts = wrap(right, room.saturating_sub(start)).into_iter();
    let pad = start.saturating_sub(2 + width(left)).max(1);
    let first = Line::new().gap(2).own(left, role).gap(usize::from(pad));
    lines.push(first.own(&texts.next().unwrap_or_default(), Role::Text));
    lines.extend(texts.map(|text| Line::new().gap(usize::from(start)).own(&text, Role::Text)));
}

/// Inside of the help: the body with a margin.
pub fn help_area(state: &State) -> Rect {
    inset(state.layout().body)
}

/// Inside of the details pane, below its rule.
pub fn details_area(state: &State) -> Rect {
    let layout = state.layout();
    let pane = layout.pane;
    let beside = pane.y == layout.table.y && layout.table.height > 0;
    let left = if beside { 2 } else { 0 };
    let inner = Rect {
        x: pane.x + left,
        y: pane.y + 1,
        width: pane.width.saturating_sub(left),
        height: pane.height.saturating_sub(1),
    };
    inset(inner.intersection(pane))
}

fn inset(area: Rect) -> Rect {
    let margin = 2.min(area.width / 2);
    Rect { x: area.x + margin, width: area.width - 2 * margin, ..area }
}

/// How far the help scrolls, and the lines of a page.
pub fn help_reach(state: &State) -> (usize, usize) {
    let area = help_area(state);
    let page = usize::from(area.height);
    (help_lines(state, area.width).len().saturating_sub(page), page)
}

/// The details of the row under the marker at this width.
pub fn details_lines(state: &State, room: u16) -> Option<Vec<Line>> {
    let snapshot = state.snapshot()?;
    // While another row's details are on their way, those that have come are not this one's.
    let subject = Scope::offers(state.row()?).into_iter().next();
    let detail = snapshot.detail.as_deref().filter(|detail| Some(&detail.subject) == subject.as_ref());
    let open = state.place().selected.map(|row| row.id);
    let more = snapshot.more.as_deref().filter(|more| Some(more.row) == open);
    Some(details(state.row()?, more, detail, room))
}

/// How far the details scroll, and the lines of a page.
pub fn details_reach(state: &State) -> (usize, usize) {
    let area = details_area(state);
    let page = usize::from(area.height);
    let lines = details_lines(state, area.width).map_or(0, |lines| lines.len());
    (lines.saturating_sub(page), page)
}
