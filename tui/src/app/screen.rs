//! A state drawn: the one place that composes a whole screen. Pure; what it returns is a picture that
//! somebody else puts on a terminal.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::app::layout::{Layout, Tab, tabs};
use crate::app::overlay;
use crate::app::state::{Choice, FilterEdit, Layer, State};
use crate::columns::{Info, Unit, Value};
use crate::fmt;
use crate::model::{Coverage, View};
use crate::theme::{Role, Theme, style};
use crate::views::{self, FACES, face, grouped};
use crate::widgets::{Line, Prompt, Table, put, width};

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub cells: Buffer,
    /// Where the terminal's cursor blinks, if a line is being typed.
    pub cursor: Option<Position>,
}

/// Draws the whole screen.
pub fn draw(state: &State, theme: Theme) -> Picture {
    draw_onto(state, theme, Buffer::empty(Rect::new(0, 0, state.size.0, state.size.1)))
}

/// On cells of that size, on which nothing is.
pub fn draw_onto(state: &State, theme: Theme, mut cells: Buffer) -> Picture {
    let layout = state.layout();
    let mut cursor = None;
    let _ = views::header(state.newest.as_deref(), layout.header.width).draw(layout.header, &mut cells);
    draw_tabs(state, layout.tabs, &mut cells);
    match state.layers.last() {
        Some(Layer::Menu { title, entries, chosen }) => {
            draw_menu(title, entries, *chosen, layout.body, &mut cells);
        }
        Some(Layer::Columns { columns, chosen }) => {
            draw_columns(columns, *chosen, layout.body, &mut cells);
        }
        Some(Layer::Help { scroll }) => draw_help(state, *scroll, &mut cells),
        Some(Layer::Palette { editor, chosen }) => {
            let prompt = Prompt { text: editor.text(), cursor: editor.cursor(), wrong: None };
            cursor = Some(draw_prompt(':', &prompt, layout.scope, &mut cells));
            draw_palette(state, *chosen, layout.body, &mut cells);
        }
        _ => {
            draw_table(state, &layout, &mut cells);
            draw_details(state, &layout, &mut cells);
        }
    }
    if let Some(Layer::Filter(edit)) = state.layers.last() {
        cursor = Some(draw_filter(edit, state, &layout, &mut cells));
    } else if !matches!(state.layers.last(), Some(Layer::Palette { .. })) {
        draw_scope(state, layout.scope, &mut cells);
    }
    draw_notes(state, layout.note, &mut cells);
    draw_footer(state, layout.footer, &mut cells);
    theme.settle(&mut cells);
    Picture { cells, cursor }
}

fn indent(area: Rect, by: u16) -> Rect {
    let by = by.min(area.width);
    Rect { x: area.x + by, width: area.width - by, ..area }
}

fn draw_tabs(state: &State, area: Rect, cells: &mut Buffer) {
    for (face, Tab { from, to, title }) in FACES.iter().zip(tabs(area.width)) {
        let place = Rect { x: from, width: to - from, ..area }.intersection(area);
        let front = face.view == state.view;
        let role = if front { Role::Tab } else { Role::Text };
        let room = usize::from(to - from).saturating_sub(2);
        let line = Line::new()
            .own(&format!(" {}", face.digit), if front { Role::Tab } else { Role::Key })
            .own(&format!("{:room$}", format!(" {title}").trim_end()), role);
        let _ = line.draw(place, cells);
    }
}

/// As many notes as there is room for, whole; how many there are beside them, and where they are read.
fn draw_notes(state: &State, area: Rect, cells: &mut Buffer) {
    let notes = state.notes();
    let mut area = indent(Rect { width: area.width.saturating_sub(1), ..area }, 2);
    let hint = |others: usize| {
        let line =
            if others > 0 { Line::new().own(&format!("{others} more: "), Role::Quiet) } else { Line::new() };
        line.own("?", Role::Key).own(" says all", Role::Quiet)
    };
    let mut shown = Line::new();
    for (at, note) in notes.iter().enumerate() {
        let role = if note.severe { Role::Bad } else { Role::Warn };
        let before = if at > 0 { shown.clone().own(" · ", Role::Quiet) } else { Line::new() };
        let line = before.own(&note.text, role);
        let others = notes.len() - at - 1;
        let beside = if others > 0 { hint(others).width() + 2 } else { 0 };
        if line.width() + beside <= area.width {
            shown = line;
            continue;
        }
        // The first is there in any case, if only in part.
        let (line, others) = if at == 0 { (line, others) } else { (shown, others + 1) };
        let hint = hint(others);
        hint.draw_right(area, cells);
        area.width = area.width.saturating_sub(hint.width() + 2);
        let _ = line.draw(area, cells);
        return;
    }
    let _ = shown.draw(area, cells);
}

/// The line that says what part of everything is shown.
fn draw_scope(state: &State, area: Rect, cells: &mut Buffer) {
    let place = state.place();
    let line = scope_chips(state, Line::new().own("┃ ", Role::Here));
    let line = if place.filter_text.is_empty() && !state.scopes.is_empty() {
        line
    } else if place.filter_text.is_empty() {
        let what = match state.view {
            View::Overview => "the whole machine".to_owned(),
            _ => format!("all {}", state.nouns().1),
        };
        line.own(&what, Role::Quiet)
    } else {
        line.own("/ ", Role::Quiet).own(&place.filter_text, Role::Typed)
    };
    let right = scope_right(state, area.width.saturating_sub(line.width().min(area.width / 2)));
    let room = area.width.saturating_sub(right.width() + 2);
    let _ = line.draw(Rect { width: room, ..area }, cells);
    right.draw_right(Rect { width: area.width.saturating_sub(1), ..area }, cells);
}

fn scope_chips(state: &State, mut line: Line) -> Line {
    for (at, scope) in state.scopes.iter().enumerate() {
        line = line
            .own(if at == 0 { "scope " } else { "› " }, Role::Quiet)
            .own(&format!(" {} {} ", scope.word(), fmt::fit(&scope.label(), 40)), Role::Tab)
            .gap(1);
    }
    line
}

/// The right end of the scope line; what matters least goes first when room is short.
fn scope_right(state: &State, room: u16) -> Line {
    let mut parts: Vec<(u8, Line)> = vec![];
    let mut add = |rank, text: &str, role| parts.push((rank, Line::new().own(text, role)));
    if state.paused {
        let since =
            state.frozen_at.map(|t| format!(" at {}", fmt::clock(t).split('.').next().unwrap_or_default()));
        add(0, &format!("PAUSED{}", since.unwrap_or_default()), Role::Warn);
        if let Some(reach) = state.newest.as_ref().map(|s| s.reach) {
            let span = |time: Duration| fmt::value(&Value::Uint(time.as_nanos() as u64), Unit::Nanos);
            add(1, &format!("← {}  {} →", span(reach.before), span(reach.after)), Role::Quiet);
        }
    }
    if let Some(snapshot) = state.snapshot() {
        if snapshot.coverage == Coverage::Degraded {
            add(1, "degraded, see 8", Role::Warn);
        }
        if snapshot.own_hidden > 0 {
            add(3, &format!("{} own hidden", grouped(snapshot.own_hidden as u64)), Role::Quiet);
        }
        let (shown, total) = (snapshot.sheet.len(), snapshot.sheet.total());
        let nouns = state.nouns();
        let noun = if total == 1 { nouns.0 } else { nouns.1 };
        if state.view == View::Overview {
            // It says itself how much it shows.
        } else if shown == total {
            // The header counts what lives.
            let ended = match snapshot.ended {
                0 => String::new(),
                some => format!(", {} ended", grouped(some as u64)),
            };
            add(2, &format!("{} {noun}{ended}", grouped(total as u64)), Role::Quiet);
        } else {
            add(2, &format!("{} of {}", grouped(shown as u64), grouped(total as u64)), Role::Text);
        }
    }
    while parts.iter().map(|(_, line)| line.width() + 3).sum::<u16>() > room {
        let last = parts.iter().enumerate().max_by_key(|(_, (rank, _))| *rank).map(|(at, _)| at);
        last.map(|at| parts.remove(at));
    }
    parts.into_iter().fold(
        Line::new(),
        |line, (_, part)| {
            if line.is_empty() { part } else { line.gap(3).and(part) }
        },
    )
}

fn draw_table(state: &State, layout: &Layout, cells: &mut Buffer) {
    let place = state.place();
    let empty = state.snapshot().is_none_or(|s| s.sheet.is_empty());
    if let Some(snapshot) = state.snapshot()
        && let Some(overview) = &snapshot.overview
    {
        let selected = place.selected.map(|s| s.index);
        return views::overview(overview, snapshot.sheet.as_ref(), selected, layout.table, cells);
    }
    if let Some(snapshot) = state.snapshot() {
        let table = Table {
            sheet: snapshot.sheet.as_ref(),
            sort: state.order(),
            selected: place.selected.map(|s| s.index),
            offset: place.offset,
            columns: state.chosen_columns(),
            names: state.names,
            signal: &views::signal,
        };
        table.draw_heads(layout.heads, cells);
        table.draw_rows(layout.rows, cells);
    }
    if empty {
        let area = indent(layout.rows, 2);
        let room = area.width.saturating_sub(2).min(76);
        let lines = views::explain(
            face(state.view),
            state.snapshot().map(AsRef::as_ref),
            &place.filter_text,
            !state.scopes.is_empty(),
            room,
        );
        let top = u16::from(area.height > 6);
        for (at, line) in lines.iter().enumerate() {
            let y = area.y + top + at as u16;
            if y < area.bottom() {
                let _ = line.draw(Rect { y, height: 1, ..area }, cells);
            }
        }
    }
}

fn draw_details(state: &State, layout: &Layout, cells: &mut Buffer) {
    let Some(scroll) = state.details() else { return };
    let pane = layout.pane;
    if pane.is_empty() {
        return;
    }
    let beside = pane.y == layout.table.y && layout.table.height > 0;
    let inner = overlay::details_area(state);
    if beside {
        for y in pane.y..pane.bottom() {
            put(cells, pane.x, y, "│", 1, style(Role::Quiet));
        }
        let _ = Line::new().own("Details", Role::Title).draw(Rect { y: pane.y, height: 1, ..inner }, cells);
    } else {
        let rule = "─".repeat(usize::from(pane.width));
        put(cells, pane.x, pane.y, &rule, pane.width, style(Role::Quiet));
        let _ = Line::new().own(" Details ", Role::Title).draw(indent(pane, 1), cells);
    }
    let Some(lines) = overlay::details_lines(state, inner.width) else {
        let _ = Line::new().own("No row is selected.", Role::Quiet).draw(inner, cells);
        return;
    };
    let height = usize::from(inner.height);
    let scroll = scroll.min(lines.len().saturating_sub(height));
    for (y, line) in (inner.y..inner.bottom()).zip(lines.iter().skip(scroll)) {
        let _ = line.draw(Rect { y, height: 1, ..inner }, cells);
    }
    let below = lines.len().saturating_sub(height + scroll);
    if below > 0 {
        let more = Line::new().own(&format!(" {below} more: J "), Role::Quiet);
        more.draw_right(Rect { width: pane.width.saturating_sub(2), height: 1, ..pane }, cells);
    }
}

fn draw_prompt(sign: char, prompt: &Prompt<'_>, area: Rect, cells: &mut Buffer) -> Position {
    let _ = Line::new().own("┃ ", Role::Here).own(&format!("{sign} "), Role::Key).draw(area, cells);
    prompt.draw(indent(area, 4), cells)
}

fn draw_filter(edit: &FilterEdit, state: &State, layout: &Layout, cells: &mut Buffer) -> Position {
    let mut area = Rect { width: layout.scope.width.saturating_sub(1), ..layout.scope };
    // The count stays in sight while there is room for both.
    let right = scope_right(state, area.width.saturating_sub(width(edit.editor.text()).saturating_add(8)));
    if !right.is_empty() {
        right.draw_right(area, cells);
        area.width = area.width.saturating_sub(right.width() + 2);
    }
    let wrong = edit.error.as_ref().map(|(span, _)| span.clone());
    let prompt = Prompt { text: edit.editor.text(), cursor: edit.editor.cursor(), wrong };
    let cursor = draw_prompt('/', &prompt, area, cells);
    if let (Some((_, message)), Some(at)) = (&edit.error, prompt.wrong_at(area.width.saturating_sub(4))) {
        let line = Rect { y: layout.scope.bottom(), height: 1, ..layout.scope }.intersection(cells.area);
        for x in line.x..line.right() {
            put(cells, x, line.y, " ", 1, style(Role::Text));
        }
        let caret = 4 + at;
        let text = format!("^ {message}");
        if caret + width(&text) < line.width {
            let _ = Line::new().own(&text, Role::Bad).draw(indent(line, caret), cells);
        } else {
            // No room to the right of the character: the message ends at its caret instead.
            let text = fmt::fit(message, usize::from(line.width.saturating_sub(6)));
            let end = (caret + 1).max(width(&text) + 4).min(line.width);
            let _ = Line::new()
                .own(&format!("{text} ^"), Role::Bad)
                .draw(indent(line, end.saturating_sub(width(&text) + 2)), cells);
        }
    }
    cursor
}

fn draw_help(state: &State, scroll: usize, cells: &mut Buffer) {
    let area = overlay::help_area(state);
    let lines = overlay::help_lines(state, area.width);
    let scroll = scroll.min(lines.len().saturating_sub(usize::from(area.height)));
    for (y, line) in (area.y..area.bottom()).zip(lines.iter().skip(scroll)) {
        let _ = line.draw(Rect { y, height: 1, ..area }, cells);
    }
}

/// The line of an entry in a list, marked if it is the one chosen.
fn draw_entry(line: &Line, front: bool, y: u16, body: Rect, cells: &mut Buffer) {
    let area = Rect { y, height: 1, ..body };
    let _ = line.draw(indent(area, 4), cells);
    if front {
        cells.set_style(area, style(Role::Selected));
        put(cells, area.x + 2, y, "▸", 1, style(Role::Selected));
    }
}

fn draw_menu(title: &str, entries: &[Choice], chosen: usize, body: Rect, cells: &mut Buffer) {
    let _ = Line::new().own(title, Role::Title).draw(indent(body, 2), cells);
    for (y, (at, entry)) in (body.y + 1..body.bottom()).zip(entries.iter().enumerate()) {
        let front = at == chosen;
        let role = |role| if front { Role::Selected } else { role };
        let line = Line::new()
            .own(&format!("{:<14}", entry.title), role(Role::Quiet))
            .own(&entry.text, role(Role::Text));
        draw_entry(&line, front, y, body, cells);
    }
}

fn draw_columns(columns: &[(&'static Info, bool)], chosen: usize, body: Rect, cells: &mut Buffer) {
    let _ = Line::new().own("Columns from left to right", Role::Title).draw(indent(body, 2), cells);
    let height = usize::from(body.height.saturating_sub(1));
    let skipped = (chosen + 1).saturating_sub(height);
    let entries = columns.iter().enumerate().skip(skipped);
    for (y, (at, (info, shown))) in (body.y + 1..body.bottom()).zip(entries) {
        let front = at == chosen;
        let role = |role| if front { Role::Selected } else { role };
        let line = Line::new()
            .own(if *shown { "[x] " } else { "[ ] " }, role(Role::Text))
            .own(&format!("{:<16}", info.id), role(if *shown { Role::Text } else { Role::Quiet }))
            .own(info.help, role(Role::Quiet));
        draw_entry(&line, front, y, body, cells);
    }
}

fn draw_palette(state: &State, chosen: usize, body: Rect, cells: &mut Buffer) {
    let found = overlay::matches(state);
    if found.is_empty() {
        let _ = Line::new()
            .own("No action and no column has these words.", Role::Quiet)
            .draw(indent(body, 4), cells);
    }
    let height = usize::from(body.height);
    let skipped = (chosen + 1).saturating_sub(height);
    let titles = found.iter().map(|e| width(&e.title)).max().unwrap_or(0).min(body.width / 3);
    for (y, (at, entry)) in (body.y..body.bottom()).zip(found.iter().enumerate().skip(skipped)) {
        let area = Rect { y, height: 1, ..body };
        let front = at == chosen;
        if front {
            cells.set_style(area, style(Role::Selected));
            put(cells, area.x + 2, y, "▸", 1, style(Role::Selected));
        }
        let role = |role| if front { Role::Selected } else { role };
        let keys = Line::new().own(&entry.keys, role(Role::Key));
        let pad = usize::from(titles.saturating_sub(width(&entry.title))) + 2;
        let line = Line::new()
            .own(&fmt::fit(&entry.title, usize::from(titles)), role(Role::Text))
            .own(&" ".repeat(pad), role(Role::Text))
            .own(entry.help, role(Role::Quiet));
        let room = area.width.saturating_sub(4 + keys.width() + 3);
        let _ = line.draw(Rect { width: room, ..indent(area, 4) }, cells);
        keys.draw_right(Rect { width: area.width.saturating_sub(1), ..area }, cells);
    }
}

/// The keys that matter now, as many as fit, in the order of the table.
fn draw_footer(state: &State, area: Rect, cells: &mut Buffer) {
    let modes = state.modes();
    let mut entries: Vec<(usize, u8, Line)> = vec![];
    for (depth, mode) in modes.iter().enumerate() {
        for action in state.keys.iter().filter(|a| a.mode == *mode) {
            let (Some(rank), Some(key)) = (action.footer, action.keys.first()) else { continue };
            // A key that a mode above has taken says what it does there.
            if entries.iter().any(|(_, _, line)| line == &hint(key, action.title))
                || taken(state, modes, depth, key)
            {
                continue;
            }
            entries.push((depth, rank, hint(key, action.title)));
        }
    }
    let mut fits = entries.clone();
    while fits.iter().map(|(_, _, l)| l.width() + 3).sum::<u16>() > area.width.saturating_add(2)
        && fits.len() > 1
    {
        let last =
            fits.iter().enumerate().max_by_key(|(_, (depth, rank, _))| (*depth, *rank)).map(|(at, _)| at);
        last.map(|at| fits.remove(at));
    }
    let mut line = Line::new().gap(1);
    for (at, (_, _, entry)) in fits.into_iter().enumerate() {
        line = if at == 0 { line.and(entry) } else { line.gap(3).and(entry) };
    }
    let _ = line.draw(area, cells);
}

fn hint(key: &crate::app::chord::Chord, title: &str) -> Line {
    Line::new().own(&key.to_string(), Role::Key).own(&format!(" {title}"), Role::Quiet)
}

fn taken(
    state: &State,
    modes: &[crate::app::actions::Mode],
    depth: usize,
    key: &crate::app::chord::Chord,
) -> bool {
    let above = modes.get(..depth).unwrap_or_default();
    state.keys.iter().any(|a| above.contains(&a.mode) && a.keys.contains(key))
}
