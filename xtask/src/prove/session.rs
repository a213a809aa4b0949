//! The console looked at as a reader does: whole pictures on the screen of a terminal emulator. Keys are counted.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Place;
use super::pty::{Console, Screen};
use crate::shot::Shot;

/// Ends every picture that the console paints.
const PAINTED: &[u8] = b"\x1b[?2026l";

pub struct Session {
    pub console: Console,
    emulator: vt100::Parser,
    /// Bytes that the emulator has had.
    read: usize,
    pub keys: usize,
}

impl Session {
    pub fn start(place: &Place, args: &[&str], rows: u16, columns: u16) -> Result<Self> {
        // Keys and columns are those that fluoro comes with.
        let environment = [("XDG_CONFIG_HOME", "/nonexistent")];
        let console = Console::start(place, args, &environment, rows, columns)?;
        Ok(Self { console, emulator: vt100::Parser::new(rows, columns, 0), read: 0, keys: 0 })
    }

    /// What stands on the screen after the last whole picture.
    pub fn screen(&mut self) -> &vt100::Screen {
        let Self { console, emulator, read, .. } = self;
        console.with_screen(|screen| feed(emulator, read, screen));
        self.emulator.screen()
    }

    pub fn text(&mut self) -> String {
        self.screen().contents()
    }

    pub fn shot(&mut self, name: &str) -> Shot {
        Shot::of(name, self.screen())
    }

    /// Another size of the window, on both sides.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        // What was painted for other sizes is nothing to this one.
        self.console.resize(rows, columns)?;
        self.emulator.screen_mut().set_size(rows, columns);
        Ok(())
    }

    pub fn press(&mut self, keys: &[Key]) -> Result<()> {
        for key in keys {
            self.console.press(key.bytes().as_slice())?;
            self.keys += 1;
        }
        Ok(())
    }

    /// Waits until the screen is as said; the screen.
    pub fn until(&mut self, what: &str, within: Duration, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let text = self.text();
        if is_so(&text) {
            return Ok(text);
        }
        let Self { console, emulator, read, .. } = self;
        let waited = console.wait_until(what, within, |console| {
            console.with_screen(|screen| feed(emulator, read, screen)) && is_so(&emulator.screen().contents())
        });
        let text = self.text();
        waited.with_context(|| format!("on the screen:\n{text}"))?;
        Ok(text)
    }
}

/// Gives the emulator what has come since, up to the end of the last whole picture. Was there one?
fn feed(emulator: &mut vt100::Parser, read: &mut usize, screen: &Screen) -> bool {
    let new = screen.bytes.get(*read..).unwrap_or_default();
    let Some(at) = new.windows(PAINTED.len()).rposition(|window| window == PAINTED) else { return false };
    let whole = at + PAINTED.len();
    emulator.process(new.get(..whole).unwrap_or_default());
    *read += whole;
    true
}

/// One press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Esc,
    Space,
    Tab,
    Left,
    Right,
}

impl Key {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Char(c) => c.to_string().into_bytes(),
            Self::Enter => b"\r".to_vec(),
            Self::Esc => b"\x1b".to_vec(),
            Self::Space => b" ".to_vec(),
            Self::Tab => b"\t".to_vec(),
            Self::Left => b"\x1b[D".to_vec(),
            Self::Right => b"\x1b[C".to_vec(),
        }
    }

    /// Keys as pages write them: `` `j` `` and `` `/nginx` `` are characters, `Enter` is a key.
    pub fn all(text: &str) -> Result<Vec<Self>> {
        let mut keys = Vec::new();
        for word in text.split_whitespace() {
            match word.trim_matches('`') {
                "Enter" => keys.push(Self::Enter),
                "Esc" => keys.push(Self::Esc),
                "Space" => keys.push(Self::Space),
                "Tab" => keys.push(Self::Tab),
                "Left" => keys.push(Self::Left),
                "Right" => keys.push(Self::Right),
                typed if typed.len() < word.len() => keys.extend(typed.chars().map(Self::Char)),
                _ => anyhow::bail!("{word:?} is no key"),
            }
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_on_a_page_are_characters_and_names() {
        let keys = Key::all("`/a*` Enter `j`").ok();
        assert_eq!(
            keys,
            Some(vec![Key::Char('/'), Key::Char('a'), Key::Char('*'), Key::Enter, Key::Char('j')])
        );
        assert!(Key::all("Entr").is_err());
    }
}
