//! The one table of what can be done and by which key. Dispatch, footer, help, palette and
//! docs/keys.md all read it.

use std::sync::LazyLock;

use crossterm::event::KeyCode;

use crate::app::chord::Chord;
use crate::app::editor::Edit;
use crate::model::View;
use crate::views::FACES;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    QuitNow,
    Quit,
    Suspend,
    Redraw,
    Move(Step),
    Show(View),
    Neighbour(isize),
    /// Rows taken together.
    Together,
    Details,
    Back,
    Filter,
    /// Narrow everything to what the row is about.
    Scope,
    /// Choose to which of its things.
    Scopes,
    Unscope,
    /// Steps through the moments while paused.
    Time(isize),
    Copy,
    Commands,
    Columns,
    /// Shows or hides the column, moves it, takes the view's own again.
    ColumnToggle,
    ColumnMove(isize),
    ColumnReset,
    SortMove(isize),
    SortReverse,
    Pause,
    Own,
    Names,
    /// The family of a program by hand: attached although no view needs it, or detached although one does.
    Hand,
    Mouse,
    Help,
    Palette,
    /// Lines of the details pane or the help.
    Scroll(Step),
    Choose(isize),
    Accept,
    Cancel,
    Complete,
    /// An earlier filter.
    Recall(isize),
    Edit(Edit),
}

/// How far to go in something that has lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    By(isize),
    Page(isize),
    HalfPage(isize),
    First,
    Last,
}

/// Where an action applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Whatever else is open.
    Always,
    Table,
    /// The details pane is open; the table's keys still work.
    Details,
    /// A line is being typed: the filter's or the palette's.
    Typing,
    Filter,
    Palette,
    /// One of a few things is chosen.
    Menu,
    Columns,
    Help,
}

impl Mode {
    /// Its name in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Always => "anywhere",
            Self::Table => "table",
            Self::Details => "details",
            Self::Typing => "typing",
            Self::Filter => "filter",
            Self::Palette => "palette",
            Self::Menu => "choice",
            Self::Columns => "columns",
            Self::Help => "help",
        }
    }

    pub const ALL: [Self; 9] = [
        Self::Table,
        Self::Details,
        Self::Filter,
        Self::Palette,
        Self::Typing,
        Self::Menu,
        Self::Columns,
        Self::Help,
        Self::Always,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Always => "Anywhere",
            Self::Table => "The table",
            Self::Details => "The details pane",
            Self::Typing => "While a line is typed",
            Self::Filter => "The filter",
            Self::Palette => "The palette",
            Self::Menu => "A choice",
            Self::Columns => "The columns",
            Self::Help => "This help",
        }
    }
}

/// One entry of the table.
#[derive(Debug, Clone)]
pub struct Action {
    pub act: Act,
    pub mode: Mode,
    pub keys: Vec<Chord>,
    /// In the footer and the palette.
    pub title: &'static str,
    pub help: &'static str,
    /// Place in the footer; what has a higher number goes first when room is short. `None`: not there.
    pub footer: Option<u8>,
}

fn action(mode: Mode, act: Act, keys: &[Chord], title: &'static str, help: &'static str) -> Action {
    Action { act, mode, keys: keys.to_vec(), title, help, footer: None }
}

impl Action {
    fn footer(mut self, rank: u8) -> Self {
        self.footer = Some(rank);
        self
    }

    /// The keys as a reader sees them: `j Down`.
    pub fn keys_shown(&self) -> String {
        self.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// The table.
pub fn actions() -> &'static [Action] {
    static ACTIONS: LazyLock<Vec<Action>> = LazyLock::new(make);
    &ACTIONS
}

/// The action of a key where the modes in `open` apply, earlier ones first.
pub fn bound(keys: &'static [Action], chord: Chord, open: &[Mode]) -> Option<&'static Action> {
    open.iter().find_map(|mode| keys.iter().find(|a| a.mode == *mode && a.keys.contains(&chord)))
}

fn make() -> Vec<Action> {
    let mut all = table();
    all.extend(FACES.iter().map(|face| {
        action(Mode::Table, Act::Show(face.view), &[Chord::char(face.digit)], face.title, face.about)
    }));
    all.extend(details());
    all.extend(typing());
    all.extend(menu());
    all.extend(help());
    all.extend(always());
    all
}

fn table() -> Vec<Action> {
    use KeyCode as K;
    use Mode::Table as M;
    let (c, k, ctrl) = (Chord::char, Chord::key, Chord::ctrl);
    let control = |code| Chord { control: true, ..k(code) };
    vec![
        action(M, Act::Details, &[k(K::Enter)], "details", "Open the details of the selected row").footer(3),
        action(M, Act::Scope, &[c('o')], "scope", "Narrow every view to the process of the selected row")
            .footer(2),
        action(
            M,
            Act::Scopes,
            &[c('O')],
            "choose scope",
            "Narrow every view to its owner, user, peer, port, path or call",
        ),
        action(M, Act::Unscope, &[k(K::Backspace)], "unscope", "Take the last scope away"),
        action(M, Act::Filter, &[c('/')], "filter", "Type a filter; rows follow as you type").footer(1),
        action(M, Act::SortMove(1), &[c('s'), c('>')], "sort", "Order by the next column to the right")
            .footer(5),
        action(M, Act::SortMove(-1), &[c('<')], "sort left", "Order by the next column to the left"),
        action(M, Act::SortReverse, &[c('S')], "reverse", "Reverse the order"),
        action(M, Act::Pause, &[c(' ')], "pause", "Freeze the picture; counting goes on").footer(4),
        action(M, Act::Time(-1), &[k(K::Left)], "back in time", "While paused: the moment before"),
        action(M, Act::Time(1), &[k(K::Right)], "forth in time", "While paused: the moment after"),
        action(M, Act::Time(-10), &[control(K::Left)], "far back", "While paused: ten moments back"),
        action(M, Act::Time(10), &[control(K::Right)], "far forth", "While paused: ten moments forth"),
        action(M, Act::Help, &[c('?'), c('h'), k(K::F(1))], "help", "Keys, columns and filters").footer(0),
        action(M, Act::Quit, &[c('q')], "quit", "Detach everything and leave").footer(3),
        action(M, Act::Move(Step::By(1)), &[c('j'), k(K::Down)], "down", "Select the next row"),
        action(M, Act::Move(Step::By(-1)), &[c('k'), k(K::Up)], "up", "Select the row before"),
        action(M, Act::Move(Step::First), &[c('g'), k(K::Home)], "first", "Select the first row"),
        action(M, Act::Move(Step::Last), &[c('G'), k(K::End)], "last", "Select the last row"),
        action(M, Act::Move(Step::Page(1)), &[k(K::PageDown), ctrl('f')], "page down", "A page down"),
        action(M, Act::Move(Step::Page(-1)), &[k(K::PageUp), ctrl('b')], "page up", "A page up"),
        action(M, Act::Move(Step::HalfPage(1)), &[ctrl('d')], "half down", "Half a page down"),
        action(M, Act::Move(Step::HalfPage(-1)), &[ctrl('u')], "half up", "Half a page up"),
        action(
            M,
            Act::Back,
            &[k(K::Esc)],
            "back",
            "Close the pane, then clear the filter, then the scope, then let go of the row",
        ),
        action(
            M,
            Act::Copy,
            &[c('y'), c('c')],
            "copy row",
            "Copy the row to the terminal's clipboard (OSC 52)",
        ),
        action(M, Act::Commands, &[c('Y')], "copy command", "Copy a ready command: ss, lsof, strace, kill"),
        action(M, Act::Columns, &[c('C')], "columns", "Choose the columns of the table and their order"),
        action(
            M,
            Act::Together,
            &[c('b')],
            "together",
            "Files by directory, process or mount; else processes by unit or container; or each again",
        ),
        action(M, Act::Own, &[c('.')], "own traffic", "Show or hide what fluoro itself and its session do"),
        action(
            M,
            Act::Names,
            &[c('n')],
            "names",
            "Call peers by the names that answers of DNS gave them, or not",
        ),
        action(
            M,
            Act::Hand,
            &[c('a')],
            "attach or detach",
            "In Probes: attach or detach the family of the row by hand (one that failed: try again); again, and views decide",
        ),
        action(M, Act::Mouse, &[c('m')], "mouse", "Take the mouse, or leave it to the terminal"),
        action(M, Act::Palette, &[c(':')], "palette", "Find an action or a column by name"),
        action(M, Act::Neighbour(1), &[k(K::Tab)], "next view", "The view to the right"),
        action(M, Act::Neighbour(-1), &[k(K::BackTab)], "previous view", "The view to the left"),
    ]
}

fn details() -> Vec<Action> {
    use Mode::Details as M;
    vec![
        action(
            M,
            Act::Back,
            &[Chord::key(KeyCode::Esc), Chord::key(KeyCode::Enter)],
            "close",
            "Close the pane",
        )
        .footer(0),
        action(M, Act::Scroll(Step::By(1)), &[Chord::char('J')], "scroll", "Scroll the pane down").footer(6),
        action(M, Act::Scroll(Step::By(-1)), &[Chord::char('K')], "scroll up", "Scroll the pane up"),
    ]
}

fn typing() -> Vec<Action> {
    use KeyCode as K;
    use Mode::{Filter, Palette, Typing as M};
    let (k, ctrl) = (Chord::key, Chord::ctrl);
    vec![
        action(Filter, Act::Accept, &[k(K::Enter)], "keep", "Keep the filter").footer(0),
        action(Filter, Act::Cancel, &[k(K::Esc)], "restore", "Go back to the filter from before").footer(1),
        action(Filter, Act::Complete, &[k(K::Tab)], "complete", "Complete a key, or a value from the table")
            .footer(2),
        action(Filter, Act::Recall(-1), &[k(K::Up), ctrl('p')], "earlier", "The filter before this one"),
        action(Filter, Act::Recall(1), &[k(K::Down), ctrl('n')], "later", "The filter after this one"),
        action(Palette, Act::Accept, &[k(K::Enter)], "do it", "Do what is marked").footer(0),
        action(Palette, Act::Cancel, &[k(K::Esc)], "close", "Close the palette").footer(1),
        action(Palette, Act::Choose(1), &[k(K::Down), k(K::Tab), ctrl('n')], "next", "Mark the next entry")
            .footer(2),
        action(
            Palette,
            Act::Choose(-1),
            &[k(K::Up), k(K::BackTab), ctrl('p')],
            "previous",
            "Mark the entry before",
        ),
        action(M, Act::Edit(Edit::Clear), &[ctrl('u')], "clear", "Delete everything left of the cursor")
            .footer(3),
        action(
            M,
            Act::Edit(Edit::DeleteWord),
            &[ctrl('w')],
            "delete word",
            "Delete the word left of the cursor",
        ),
        action(
            M,
            Act::Edit(Edit::Backspace),
            &[k(K::Backspace), ctrl('h')],
            "backspace",
            "Delete to the left",
        ),
        action(M, Act::Edit(Edit::Delete), &[k(K::Delete), ctrl('d')], "delete", "Delete to the right"),
        action(M, Act::Edit(Edit::Left), &[k(K::Left), ctrl('b')], "left", "One character left"),
        action(M, Act::Edit(Edit::Right), &[k(K::Right), ctrl('f')], "right", "One character right"),
        action(M, Act::Edit(Edit::Home), &[k(K::Home), ctrl('a')], "start", "To the start of the line"),
        action(M, Act::Edit(Edit::End), &[k(K::End), ctrl('e')], "end", "To the end of the line"),
    ]
}

fn menu() -> Vec<Action> {
    use KeyCode as K;
    use Mode::{Columns, Menu};
    let (c, k) = (Chord::char, Chord::key);
    let mut all = vec![];
    for (mode, done) in [(Menu, "choose"), (Columns, "keep")] {
        let what = if mode == Menu { "Do what is marked" } else { "Keep the columns" };
        all.push(action(mode, Act::Accept, &[k(K::Enter)], done, what).footer(0));
        all.push(action(mode, Act::Cancel, &[k(K::Esc), c('q')], "close", "Change nothing").footer(1));
        all.push(action(mode, Act::Choose(1), &[c('j'), k(K::Down)], "down", "Mark the next entry"));
        all.push(action(mode, Act::Choose(-1), &[c('k'), k(K::Up)], "up", "Mark the entry before"));
    }
    let more = [
        (Act::ColumnToggle, c(' '), "show or hide", "Show or hide the marked column", 2),
        (Act::ColumnMove(-1), c('<'), "left", "Move the marked column to the left", 3),
        (Act::ColumnMove(1), c('>'), "right", "Move the marked column to the right", 3),
        (Act::ColumnReset, c('r'), "reset", "Take the columns that the view begins with", 4),
    ];
    all.extend(
        more.map(|(act, key, title, help, rank)| action(Columns, act, &[key], title, help).footer(rank)),
    );
    all
}

fn help() -> Vec<Action> {
    use KeyCode as K;
    use Mode::Help as M;
    let (c, k, ctrl) = (Chord::char, Chord::key, Chord::ctrl);
    vec![
        action(M, Act::Back, &[k(K::Esc), c('?'), c('h'), c('q'), k(K::F(1))], "close", "Close the help")
            .footer(0),
        action(M, Act::Scroll(Step::By(1)), &[c('j'), k(K::Down)], "down", "A line down").footer(1),
        action(M, Act::Scroll(Step::By(-1)), &[c('k'), k(K::Up)], "up", "A line up").footer(2),
        action(
            M,
            Act::Scroll(Step::Page(1)),
            &[k(K::PageDown), c(' '), ctrl('f')],
            "page down",
            "A page down",
        )
        .footer(3),
        action(M, Act::Scroll(Step::Page(-1)), &[k(K::PageUp), ctrl('b')], "page up", "A page up"),
        action(M, Act::Scroll(Step::First), &[c('g'), k(K::Home)], "first", "To the top"),
        action(M, Act::Scroll(Step::Last), &[c('G'), k(K::End)], "last", "To the end"),
    ]
}

fn always() -> Vec<Action> {
    use Mode::Always as M;
    vec![
        action(M, Act::QuitNow, &[Chord::ctrl('c')], "quit at once", "Leave, whatever is open"),
        action(M, Act::Redraw, &[Chord::ctrl('l')], "redraw", "Paint the whole screen again"),
        action(M, Act::Suspend, &[Chord::ctrl('z')], "suspend", "Back to the shell; fg returns"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_in_one_mode() {
        for (at, a) in actions().iter().enumerate() {
            for b in actions().iter().skip(at + 1).filter(|b| b.mode == a.mode) {
                assert!(
                    a.keys.iter().all(|k| !b.keys.contains(k)),
                    "{} and {} share a key",
                    a.title,
                    b.title
                );
            }
        }
    }

    #[test]
    fn keys_that_work_anywhere_are_not_taken_by_a_mode() {
        for a in actions().iter().filter(|a| a.mode == Mode::Always) {
            for b in actions().iter().filter(|b| b.mode != Mode::Always) {
                assert!(a.keys.iter().all(|k| !b.keys.contains(k)), "{} hides {}", b.title, a.title);
            }
        }
    }

    #[test]
    fn while_typing_no_plain_letter_is_a_command() {
        let typing = [Mode::Typing, Mode::Filter, Mode::Palette, Mode::Always];
        for a in actions().iter().filter(|a| typing.contains(&a.mode)) {
            assert!(a.keys.iter().all(|k| k.typed().is_none()), "{}", a.title);
        }
    }
}
