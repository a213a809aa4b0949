//! A console without terminal or engine: messages in, pictures and questions out.

use std::fmt::Write as _;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use fluoro::app::{Effect, Msg, Picture, State, draw, update};
use fluoro::model::{Query, View};
use fluoro::theme::{Palette, Theme};
use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

use crate::rows::Scene;

pub struct Console {
    pub state: State,
    pub asked: Vec<Query>,
    pub quit: bool,
    pub copied: Vec<String>,
    pub kept: Vec<(View, Option<Vec<String>>)>,
    clock: Duration,
}

impl Console {
    pub fn new(columns: u16, lines: u16) -> Self {
        Self::showing(View::Flows, columns, lines)
    }

    pub fn showing(view: View, columns: u16, lines: u16) -> Self {
        let state = State::new((columns, lines), view, true);
        Self { state, asked: vec![], quit: false, copied: vec![], kept: vec![], clock: Duration::ZERO }
    }

    pub fn send(&mut self, msg: Msg) -> &mut Self {
        for effect in update(&mut self.state, msg) {
            match effect {
                Effect::Ask(query) => self.asked.push(query),
                Effect::Quit => self.quit = true,
                Effect::Copy(text) => self.copied.push(text),
                Effect::KeepColumns(view, columns) => self.kept.push((view, columns)),
                Effect::Suspend | Effect::Redraw => {}
            }
        }
        self
    }

    /// Keys as in a script: `j`, `/port:443`, `<Enter>`, `<C-d>`.
    pub fn keys(&mut self, script: &str) -> &mut Self {
        let mut rest = script;
        while let Some(c) = rest.chars().next() {
            let (key, len) = match rest.strip_prefix('<').and_then(|r| r.split_once('>')) {
                Some((name, _)) if !name.is_empty() => (named(name), name.len() + 2),
                _ => (KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), c.len_utf8()),
            };
            self.send(Msg::Key(key));
            rest = &rest[len..];
        }
        self
    }

    pub fn click(&mut self, column: u16, row: u16) -> &mut Self {
        let kind = MouseEventKind::Down(MouseButton::Left);
        self.send(Msg::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
    }

    pub fn wheel(&mut self, kind: MouseEventKind) -> &mut Self {
        self.send(Msg::Mouse(MouseEvent { kind, column: 5, row: 8, modifiers: KeyModifiers::NONE }))
    }

    pub fn pass(&mut self, time: Duration) -> &mut Self {
        self.clock += time;
        self.send(Msg::Tick(self.clock))
    }

    /// The engine answers the newest question, or the one that a fresh console asks for its view.
    pub fn answer(&mut self, scene: Scene) -> &mut Self {
        let view = self.state.view;
        let first = || Query { view, ..Query::default() };
        let query = self.asked.last().cloned().unwrap_or_else(first);
        self.send(Msg::Snapshot(scene.answer(&query)))
    }

    pub fn picture(&self) -> Picture {
        draw(&self.state, Theme { color: true, unicode: true, palette: Palette::Dark })
    }

    pub fn text(&self) -> String {
        text(&self.picture())
    }

    /// The line under the marker, without the marker.
    pub fn marked(&self) -> Option<String> {
        self.text().lines().find_map(|line| line.strip_prefix("▸ ").map(str::to_owned))
    }
}

fn named(name: &str) -> KeyEvent {
    let (code, modifiers) = match name {
        "Enter" => (KeyCode::Enter, KeyModifiers::NONE),
        "Esc" => (KeyCode::Esc, KeyModifiers::NONE),
        "Tab" => (KeyCode::Tab, KeyModifiers::NONE),
        "S-Tab" => (KeyCode::BackTab, KeyModifiers::SHIFT),
        "Down" => (KeyCode::Down, KeyModifiers::NONE),
        "Up" => (KeyCode::Up, KeyModifiers::NONE),
        "PgDn" => (KeyCode::PageDown, KeyModifiers::NONE),
        "PgUp" => (KeyCode::PageUp, KeyModifiers::NONE),
        "Left" => (KeyCode::Left, KeyModifiers::NONE),
        "Right" => (KeyCode::Right, KeyModifiers::NONE),
        "BS" => (KeyCode::Backspace, KeyModifiers::NONE),
        "lt" => (KeyCode::Char('<'), KeyModifiers::NONE),
        "C-Left" => (KeyCode::Left, KeyModifiers::CONTROL),
        other if let Some(c) = other.strip_prefix("A-").and_then(|c| c.chars().next()) => {
            (KeyCode::Char(c), KeyModifiers::ALT)
        }
        other => {
            let c = other.strip_prefix("C-").and_then(|c| c.chars().next());
            (KeyCode::Char(c.unwrap_or_else(|| panic!("no key is called <{other}>"))), KeyModifiers::CONTROL)
        }
    };
    KeyEvent::new(code, modifiers)
}

/// The characters of a picture, line by line; what a wide character covers is left out, as on a terminal.
pub fn text(picture: &Picture) -> String {
    let width = usize::from(picture.cells.area.width);
    let mut text = String::new();
    for line in picture.cells.content.chunks(width.max(1)) {
        let mut at = 0;
        let mut shown = String::new();
        while let Some(cell) = line.get(at) {
            shown.push_str(cell.symbol());
            at += unicode_width::UnicodeWidthStr::width(cell.symbol()).max(1);
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// How the cells look, one letter a cell: upper case is bold or reversed; lines that look plain are left out.
pub fn looks(picture: &Picture) -> String {
    let letter = |cell: &Cell| {
        let letter = match cell.fg {
            Color::Reset if cell.modifier.contains(Modifier::DIM) => 'd',
            Color::Reset if cell.modifier.contains(Modifier::REVERSED) => 'R',
            Color::Reset if cell.modifier.contains(Modifier::BOLD) => 'B',
            Color::Reset => '.',
            Color::Cyan => 'c',
            Color::Green => 'g',
            Color::Yellow => 'y',
            Color::Red => 'r',
            _ => '?',
        };
        if cell.modifier.contains(Modifier::BOLD) { letter.to_ascii_uppercase() } else { letter }
    };
    let width = usize::from(picture.cells.area.width);
    let mut looks = String::new();
    for (at, line) in picture.cells.content.chunks(width.max(1)).enumerate() {
        let line: String = line.iter().map(letter).collect();
        let line = line.trim_end_matches('.');
        if !line.is_empty() {
            let _ = writeln!(looks, "{at:>2} {line}");
        }
    }
    looks
}
