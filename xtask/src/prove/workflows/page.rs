//! docs/workflows.md: for each question a table of steps, whose first column is what to press, and a screen.

use anyhow::{Context, Result};

use crate::prove::session::Key;
use crate::shot::Shot;

pub const PAGE: &str = include_str!("../../../../docs/workflows.md");

const OPENS: &str = "```text\n";
const CLOSES: &str = "```";

pub struct Flow {
    pub title: String,
    /// Keys of each step.
    pub steps: Vec<Vec<Key>>,
    pub screen: String,
}

/// The questions with a table of steps, in their order.
pub fn flows(page: &str) -> Result<Vec<Flow>> {
    page.split("\n## ")
        .skip(1)
        .map(|section| {
            let (title, rest) = section.split_once('\n').unwrap_or((section, ""));
            let rows = rest.lines().filter(|line| line.starts_with('|')).skip(2);
            let steps = rows
                .map(|row| Key::all(row.split('|').nth(1).unwrap_or_default()))
                .collect::<Result<_>>()
                .with_context(|| title.to_owned())?;
            let screen = rest.split_once(OPENS).and_then(|(_, rest)| rest.split_once(CLOSES));
            let screen = screen.map(|(screen, _)| screen.to_owned()).unwrap_or_default();
            Ok(Flow { title: title.to_owned(), steps, screen })
        })
        .collect()
}

/// The page with these screens in place of its own; shots are named as the questions.
pub fn with_screens(page: &str, shots: &[Shot]) -> String {
    let mut sections = page.split("\n## ").map(str::to_owned);
    let mut whole = sections.next().unwrap_or_default();
    for section in sections {
        whole.push_str("\n## ");
        let shot = section.split('\n').next().and_then(|title| shots.iter().find(|shot| shot.name == title));
        match (shot, section.split_once(OPENS)) {
            (Some(shot), Some((before, rest))) => {
                let after = rest.split_once(CLOSES).map_or("", |(_, after)| after);
                whole.push_str(before);
                whole.push_str(OPENS);
                whole.push_str(shot.text().trim_end());
                whole.push('\n');
                whole.push_str(CLOSES);
                whole.push_str(after);
            }
            _ => whole.push_str(&section),
        }
    }
    whole
}

/// What of a screen is the same whoever plays the scenario: the views, what is in scope, the columns and their order.
/// Each as the page has it and as the screen has it. A page without a screen claims nothing.
pub fn shape(page: &str, screen: &str) -> Vec<(&'static str, String, String)> {
    let line = |text: &str, at: usize| text.lines().nth(at).unwrap_or_default().trim_end().to_owned();
    // What stands at the right end is of the machine.
    let scope = |text: &str| {
        let line = line(text, 2);
        let left = line.split("   ").next().unwrap_or_default();
        left.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    };
    let columns = |text: &str| {
        let mut lines = text.lines().skip(3).map(str::trim_end);
        lines.find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    };
    if page.trim().is_empty() {
        return Vec::new();
    }
    vec![
        ("views", line(page, 1), line(screen, 1)),
        ("scope", scope(page), scope(screen)),
        ("columns", columns(page), columns(screen)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "# Page\n\n## Who?\n\n| keys | then |\n|---|---|\n| `j` | marks |\n| `/x` Enter | filters \
                           |\n\n```text\nold\n```\n\nmore\n";

    #[test]
    fn steps_and_screen_are_read_off_the_page() {
        let flows = flows(EXAMPLE).unwrap_or_default();
        assert_eq!(flows.len(), 1);
        assert_eq!(flows.iter().map(|flow| flow.steps.len()).sum::<usize>(), 2);
        assert!(flows.iter().all(|flow| flow.title == "Who?" && flow.screen == "old\n"));
    }

    #[test]
    fn a_new_screen_takes_the_place_of_the_old_one() {
        let mut emulator = vt100::Parser::new(2, 20, 0);
        emulator.process(b"new");
        let shot = Shot::of("Who?", emulator.screen());
        let page = with_screens(EXAMPLE, &[shot]);
        assert_eq!(page, EXAMPLE.replace("old", "new"));
        assert_eq!(with_screens(EXAMPLE, &[]), EXAMPLE);
    }

    #[test]
    fn the_shape_of_a_screen_has_no_figures() {
        let page = "h\n tabs\n┃ scope  process a(1)     3 flows\n  A  B\n";
        let screen = "x\n tabs\n┃ scope  process a(27)     5 flows\n  A  B\n  1  2\n";
        assert!(shape(page, screen).iter().all(|(_, page, screen)| page == screen));
    }
}
