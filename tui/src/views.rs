//! The views: what stands behind each digit, and how the parts of a screen that do not depend on the
//! console's state are composed. Knows snapshots; knows no keys.

mod details;
mod empty;
mod header;
mod overview;
mod signal;

pub use details::details;
pub use empty::explain;
pub use header::{grouped, header};
pub use overview::{Grid, overview};
pub use signal::signal;

use crate::columns::Info;
use crate::model::{Sort, View};

/// How a view presents itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Face {
    pub view: View,
    pub digit: char,
    pub title: &'static str,
    /// What it lists, for help and palette.
    pub about: &'static str,
    /// Said while nothing has come yet.
    pub waiting: &'static str,
    /// One of its things, and several.
    pub nouns: (&'static str, &'static str),
    /// The column that orders it before the reader chooses.
    pub sort: Option<Sort>,
}

/// Digits are those of the finished console, so that hands need not learn twice; what does not exist
/// yet is not shown.
pub static FACES: [Face; 8] = [
    Face {
        view: View::Overview,
        digit: '1',
        title: "Overview",
        about: "who does most: network, files, syscalls, failures, connects, with the last minute of each",
        waiting: "Nothing has happened yet.",
        nouns: ("subject", "subjects"),
        sort: None,
    },
    Face {
        view: View::Flows,
        digit: '2',
        title: "Flows",
        about: "connections: who talks to whom, how fast, since when",
        waiting: "No connection yet. The next one appears here by itself.",
        nouns: ("flow", "flows"),
        sort: Some(Sort { column: "rx", descending: true }),
    },
    Face {
        view: View::Files,
        digit: '3',
        title: "Files",
        about: "files: who opens, reads and writes what, and how long that takes",
        waiting: "No file has been used yet. What is opened, read or written next appears here by itself.",
        nouns: ("file", "files"),
        sort: Some(Sort { column: "busy", descending: true }),
    },
    Face {
        view: View::Syscalls,
        digit: '4',
        title: "Syscalls",
        about: "calls into the kernel: what each process asks for, how often, how long it waits",
        waiting: "No call has returned yet.",
        nouns: ("call", "calls"),
        sort: Some(Sort { column: "time", descending: true }),
    },
    Face {
        view: View::Processes,
        digit: '5',
        title: "Processes",
        about: "processes: who runs, since when, started by whom",
        waiting: "No process is known yet.",
        nouns: ("process", "processes"),
        sort: None,
    },
    Face {
        view: View::Events,
        digit: '6',
        title: "Events",
        about: "the live stream: one line an event, newest first",
        waiting: "Nothing has happened since fluoro began to watch. The next event appears here by itself.",
        nouns: ("event", "events"),
        sort: None,
    },
    Face {
        view: View::Failures,
        digit: '7',
        title: "Failures",
        about: "what failed: attempts by errno, resets, retransmits, listeners that turned callers away",
        waiting: "Nothing has failed since fluoro began to watch.",
        nouns: ("failure", "failures"),
        sort: Some(Sort { column: "count", descending: true }),
    },
    Face {
        view: View::Probes,
        digit: '8',
        title: "Probes",
        about: "what is attached, by which hook, what it costs and what it lost",
        waiting: "No program has been loaded yet.",
        nouns: ("program", "programs"),
        sort: None,
    },
];

/// The face of a view.
pub fn face(view: View) -> &'static Face {
    let [first, ..] = &FACES;
    FACES.iter().find(|f| f.view == view).unwrap_or(first)
}

/// The view behind a digit.
pub fn by_digit(digit: char) -> Option<View> {
    FACES.iter().find(|face| face.digit == digit).map(|face| face.view)
}

/// The view `steps` to the right of this one, around the ends.
pub fn neighbour(view: View, steps: isize) -> View {
    let here = FACES.iter().position(|f| f.view == view).unwrap_or(0);
    let there = here.saturating_add_signed(FACES.len() as isize + steps) % FACES.len();
    FACES.get(there).map_or(view, |f| f.view)
}

/// The order in force: the reader's choice, else the view's own where that column exists.
pub fn order(view: View, chosen: Option<Sort>, infos: &[Info]) -> Option<Sort> {
    chosen.or(face(view).sort).filter(|sort| infos.iter().any(|info| info.id == sort.column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_has_one_face_and_a_digit_of_its_own() {
        for face in &FACES {
            assert_eq!(FACES.iter().filter(|f| f.view == face.view).count(), 1);
            assert_eq!(FACES.iter().filter(|f| f.digit == face.digit).count(), 1);
        }
    }

    #[test]
    fn neighbours_go_around_both_ends() {
        assert_eq!(neighbour(View::Overview, -1), View::Probes);
        assert_eq!(neighbour(View::Probes, 1), View::Overview);
        assert_eq!(neighbour(View::Flows, 1), View::Files);
    }
}
