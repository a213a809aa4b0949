//! docs/keys.md, written from the action table.

use std::fmt::Write as _;

use crate::app::actions::{Mode, actions};
use crate::app::keymap::name_of;

/// The page of keys.
pub fn keys_page() -> String {
    let mut page = String::from(
        "# Keys\n\nWritten from the action table (`tui/src/app/actions.rs`); a test compares the two. In the console, `?` shows\n\
         the same and `:` finds an action by name. In `config.toml` an action has its keys under its part and its name:\n`[keys.table]`, `pause = [\"Space\", \"p\"]`; `fluoro config --print-default` prints them all.\n",
    );
    for mode in Mode::ALL {
        let _ = write!(
            page,
            "\n## {}\n\nIn the configuration: `[keys.{}]`\n\n| key | name | does |\n|---|---|---|\n",
            mode.title(),
            mode.word()
        );
        for action in actions().iter().filter(|a| a.mode == mode) {
            let keys: Vec<String> = action.keys.iter().map(|k| format!("`{k}`")).collect();
            let _ = writeln!(
                page,
                "| {} | {} | {} |",
                keys.join(" "),
                name_of(action),
                described(action.title, action.help)
            );
        }
    }
    page.push_str(
        "\n## The mouse\n\nWhile the console has the mouse (`m`): a heading orders by its column and a second click \
         reverses, a row is selected,\na double click opens its details, a tab shows its view, the wheel scrolls. \
         Hold Shift to mark text with the terminal.\n",
    );
    page
}

/// A view is described by what it lists; its title is its name.
fn described(title: &str, help: &str) -> String {
    if title.starts_with(char::is_uppercase) { format!("**{title}**: {help}") } else { help.to_owned() }
}
