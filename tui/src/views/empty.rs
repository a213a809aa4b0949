//! Why a table is empty, and what to do about it. An empty table without a reason is the worst answer.

use crate::model::{Coverage, Snapshot};
use crate::theme::Role;
use crate::views::{Face, grouped};
use crate::widgets::{Line, wrap};

/// The lines to show in place of rows. `filter` is the text of the filter in force; `room` in cells.
pub fn explain(face: &Face, snapshot: Option<&Snapshot>, filter: &str, scoped: bool, room: u16) -> Vec<Line> {
    let mut lines = vec![];
    let mut say = |text: &str, role: Role| {
        lines.extend(wrap(text, room).iter().map(|line| Line::new().own(line, role)));
    };
    let Some(snapshot) = snapshot else {
        say(&format!("Asking for {} …", face.title), Role::Quiet);
        return lines;
    };
    let hidden = snapshot.sheet.total();
    match &snapshot.coverage {
        Coverage::Absent(reason) => {
            say(&format!("Nothing feeds {} on this machine.", face.title), Role::Bad);
            say(reason, Role::Text);
            say("Press 8 to see what was tried.", Role::Quiet);
        }
        _ if hidden > 0 && !filter.is_empty() => {
            say(&format!("No {} matches the filter.", face.nouns.0), Role::Strong);
            let what = if hidden == 1 { face.nouns.0 } else { face.nouns.1 };
            let verb = if hidden == 1 { "is" } else { "are" };
            say(
                &format!(
                    "{} {what} {verb} hidden by it. Press Esc to clear it, / to change it.",
                    grouped(hidden as u64)
                ),
                Role::Quiet,
            );
        }
        Coverage::Live | Coverage::Degraded if scoped => {
            say(&format!("No {} is in scope.", face.nouns.0), Role::Strong);
            say("Press Backspace to take the last scope away.", Role::Quiet);
        }
        Coverage::Attaching => say(&format!("Attaching what feeds {} …", face.title), Role::Quiet),
        Coverage::Live | Coverage::Degraded => {
            say(face.waiting, Role::Quiet);
            if snapshot.own_hidden > 0 {
                say("What fluoro itself does is hidden. Press . to show it.", Role::Quiet);
            }
        }
    }
    lines
}
