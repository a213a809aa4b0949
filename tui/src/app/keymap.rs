//! Keys as the reader wants them: names of modes, actions and keys as the configuration has them, and the table of
//! actions with other keys. What cannot work is refused with the reason.

use crossterm::event::KeyCode;

use crate::app::actions::{Act, Action, Mode};
use crate::app::chord::Chord;

/// One wish of the configuration: these keys, and no others, for an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub mode: Mode,
    pub action: String,
    pub keys: Vec<Chord>,
}

/// `move up` is `move-up` in the configuration.
pub fn name_of(action: &Action) -> String {
    action.title.to_lowercase().replace(' ', "-")
}

/// The key that is written like this: `G`, `ctrl-D`, `PgUp`, `Space`.
pub fn parse_key(text: &str) -> Option<Chord> {
    let (control, rest) = text.strip_prefix("ctrl-").map_or((false, text), |rest| (true, rest));
    let (alt, rest) = rest.strip_prefix("alt-").map_or((false, rest), |rest| (true, rest));
    let named = |name: &str| {
        Some(match name.to_ascii_lowercase().as_str() {
            "space" => KeyCode::Char(' '),
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "tab" => KeyCode::Tab,
            "shift-tab" => KeyCode::BackTab,
            "backspace" => KeyCode::Backspace,
            "delete" => KeyCode::Delete,
            "insert" => KeyCode::Insert,
            "home" => KeyCode::Home,
            "end" => KeyCode::End,
            "pgup" => KeyCode::PageUp,
            "pgdn" => KeyCode::PageDown,
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "left" => KeyCode::Left,
            "right" => KeyCode::Right,
            name => KeyCode::F(name.strip_prefix('f')?.parse().ok().filter(|n| (1..=12).contains(n))?),
        })
    };
    let mut chars = rest.chars();
    let code = match (chars.next(), chars.next()) {
        (Some(c), None) if !c.is_control() => KeyCode::Char(if control { c.to_ascii_lowercase() } else { c }),
        _ => named(rest)?,
    };
    Some(Chord { code, control, alt })
}

/// The table with these wishes fulfilled.
pub fn remap(table: &[Action], wishes: Vec<Wish>) -> Result<Vec<Action>, String> {
    let mut table = table.to_vec();
    for wish in wishes {
        let of_mode = || table.iter().filter(|action| action.mode == wish.mode);
        let Some(at) = table.iter().position(|a| a.mode == wish.mode && name_of(a) == wish.action) else {
            let names: Vec<String> = of_mode().map(name_of).collect();
            return Err(format!(
                "keys.{} has no action {}{}",
                wish.mode.word(),
                wish.action,
                suggest(&wish.action, names.iter().map(String::as_str))
            ));
        };
        if let Some(action) = table.get_mut(at) {
            action.keys = wish.keys;
        }
    }
    check(&table)?;
    Ok(table)
}

/// No key has two meanings where both apply, typed letters stay text, and there is a way out.
fn check(table: &[Action]) -> Result<(), String> {
    let said = |a: &Action| format!("keys.{}.{}", a.mode.word(), name_of(a));
    for (at, a) in table.iter().enumerate() {
        let typing = matches!(a.mode, Mode::Typing | Mode::Filter | Mode::Palette | Mode::Always);
        if let Some(key) = a.keys.iter().find(|key| typing && key.typed().is_some()) {
            return Err(format!(
                "{}: {key} is text while a line is typed; use a key with ctrl or alt",
                said(a)
            ));
        }
        for b in table.iter().skip(at + 1) {
            let meet = a.mode == b.mode || a.mode == Mode::Always || b.mode == Mode::Always;
            if let Some(key) = a.keys.iter().find(|key| meet && b.keys.contains(key)) {
                return Err(format!("{key} is given to both {} and {}", said(a), said(b)));
            }
        }
        if a.act == Act::QuitNow && a.keys.is_empty() {
            return Err(format!("{} needs a key: there must be a way out", said(a)));
        }
    }
    Ok(())
}

/// `; did you mean ..?`, where a known name is like it.
pub fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    near.filter(|(distance, _)| *distance <= 3)
        .map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::app::actions::actions;

    fn wish(mode: Mode, action: &str, keys: &[&str]) -> Wish {
        let keys = keys.iter().map(|key| parse_key(key).unwrap()).collect();
        Wish { mode, action: action.to_owned(), keys }
    }

    #[test]
    fn every_key_of_the_table_is_read_as_it_is_written_and_every_action_has_a_name_of_its_own() {
        for action in actions() {
            for key in &action.keys {
                assert_eq!(parse_key(&key.to_string()), Some(*key), "{key}");
            }
            let same = |other: &&Action| other.mode == action.mode && name_of(other) == name_of(action);
            assert_eq!(actions().iter().filter(same).count(), 1, "{}", action.title);
        }
        assert_eq!(parse_key("hyper-x"), None);
        assert_eq!(parse_key(""), None);
    }

    #[test]
    fn a_key_can_be_given_to_another_action_once_it_is_free() {
        let refused = remap(actions(), vec![wish(Mode::Table, "pause", &["p", "q"])]).unwrap_err();
        assert_eq!(refused, "q is given to both keys.table.pause and keys.table.quit");
        let table =
            remap(actions(), vec![wish(Mode::Table, "pause", &["q"]), wish(Mode::Table, "quit", &["Q"])]);
        assert!(table.unwrap().iter().any(|a| a.act == Act::Pause && a.keys == [Chord::char('q')]));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let refused =
            |mode, action: &str, keys: &[&str]| remap(actions(), vec![wish(mode, action, keys)]).unwrap_err();
        assert!(refused(Mode::Table, "puase", &["p"]).ends_with("did you mean pause?"));
        assert!(refused(Mode::Filter, "keep", &["k"]).contains("is text"));
        assert!(refused(Mode::Always, "quit-at-once", &[]).contains("way out"));
        assert!(refused(Mode::Always, "redraw", &["Enter"]).contains("given to both"));
    }
}
