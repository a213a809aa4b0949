//! Which background the terminal has, as it says itself (OSC 11). The answer comes among the keys, whenever it comes:
//! it is taken out of them, so that no part of it is read as a command. Nobody waits for it.

use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyModifiers};

use crate::theme::Palette;

/// The question.
pub const QUESTION: &[u8] = b"\x1b]11;?\x1b\\";

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// `11;rgb:ffff/ffff/ffff` and a little more.
const LONGEST: usize = 40;

/// What has come of the answer.
pub struct Background {
    until: Option<Instant>,
    text: Option<String>,
}

/// What an event is.
pub enum Heard {
    /// Not of the answer.
    Event(Event),
    Part,
    Answer(Option<Palette>),
}

impl Background {
    /// Whether this terminal can be asked; the Linux console and real terminals print what they do not know.
    pub fn can_be_asked(term: &str) -> bool {
        !["linux", "vt", "dumb", "ansi"].iter().any(|name| term.starts_with(name))
    }

    pub fn asked(now: Option<Instant>) -> Self {
        Self { until: now.map(|now| now + PATIENCE), text: None }
    }

    pub fn hear(&mut self, event: Event, now: Instant) -> Heard {
        let Some(until) = self.until else { return Heard::Event(event) };
        let Event::Key(key) = &event else { return Heard::Event(event) };
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (&mut self.text, key.code) {
            (None, _) if now > until => {
                self.until = None;
                Heard::Event(event)
            }
            (None, KeyCode::Char(']')) if alt => {
                self.text = Some(String::new());
                Heard::Part
            }
            (None, _) => Heard::Event(event),
            (Some(text), KeyCode::Char(c)) if !alt && !control && text.len() < LONGEST => {
                text.push(c);
                Heard::Part
            }
            // The string ends in ESC \ or BEL; anything else was not said by a terminal.
            (Some(text), _) => {
                let palette = text.strip_prefix("11;").and_then(Palette::for_background);
                *self = Self { until: None, text: None };
                Heard::Answer(palette)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    fn key(c: char, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(KeyCode::Char(c), modifiers))
    }

    #[test]
    fn an_answer_is_taken_out_of_the_keys_whole() {
        let now = Instant::now();
        let mut background = Background::asked(Some(now));
        assert!(matches!(background.hear(key('j', KeyModifiers::NONE), now), Heard::Event(_)));
        assert!(matches!(background.hear(key(']', KeyModifiers::ALT), now), Heard::Part));
        for c in "11;rgb:ffff/ffff/ffff".chars() {
            assert!(matches!(background.hear(key(c, KeyModifiers::NONE), now), Heard::Part));
        }
        let end = background.hear(key('\\', KeyModifiers::ALT), now);
        assert!(matches!(end, Heard::Answer(Some(Palette::Light))));
        assert!(matches!(background.hear(key(']', KeyModifiers::ALT), now), Heard::Event(_)), "asked once");
    }

    #[test]
    fn who_was_not_asked_or_answers_late_is_a_reader() {
        let now = Instant::now();
        let mut background = Background::asked(None);
        assert!(matches!(background.hear(key(']', KeyModifiers::ALT), now), Heard::Event(_)));
        let mut background = Background::asked(Some(now));
        let late = now + PATIENCE * 2;
        assert!(matches!(background.hear(key(']', KeyModifiers::ALT), late), Heard::Event(_)));
    }
}
