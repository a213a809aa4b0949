//! Every view in every state that a reader can meet.

use std::time::Duration;

use fluoro::columns::Row;
use fluoro::model::{Coverage, Note, View};

use crate::console::Console;
use crate::pages::pages_of;
use crate::rows::{self, Scene};

/// What the engine has to show.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    None,
    One,
    Many,
    Huge,
    Hostile,
}

const VIEWS: [(&str, View); 8] = [
    ("overview", View::Overview),
    ("flows", View::Flows),
    ("files", View::Files),
    ("syscalls", View::Syscalls),
    ("processes", View::Processes),
    ("events", View::Events),
    ("failures", View::Failures),
    ("probes", View::Probes),
];

fn scene(view: View, which: Rows) -> Scene {
    let flows = match which {
        Rows::None => vec![],
        Rows::One => vec![rows::flow(1)],
        Rows::Many => (0..1204).map(rows::flow).collect(),
        Rows::Huge => rows::huge(),
        Rows::Hostile => rows::hostile(),
    };
    match view {
        View::Overview => rows::overview(&flows, 12),
        View::Processes => all(match which {
            Rows::Hostile => rows::hostile_processes(),
            Rows::Huge => vec![rows::huge_process()],
            _ => (0..flows.len() as u64).map(rows::process).collect(),
        }),
        View::Files => all(match which {
            Rows::Hostile => rows::hostile_files(),
            Rows::Huge => rows::huge_files(),
            _ => (0..flows.len() as u64).map(rows::file).collect(),
        }),
        View::Syscalls => all(match which {
            Rows::Hostile => rows::hostile_syscalls(),
            Rows::Huge => rows::huge_syscalls(),
            _ => (0..flows.len() as u64).map(rows::syscall).collect(),
        }),
        View::Events => all((0..).zip(flows).map(|(n, flow)| rows::event(n, flow)).collect()),
        View::Probes => {
            let mut probes = rows::probes();
            match which {
                Rows::None => probes.clear(),
                Rows::One => probes.truncate(1),
                Rows::Huge => probes.iter_mut().for_each(|probe| {
                    probe.runs = Some(u64::MAX);
                    probe.ns_per_run = Some(1e300);
                    probe.seen = Some(u64::MAX);
                    probe.lost = Some(u64::MAX);
                    probe.map_bytes = Some(u64::MAX);
                    probe.fill = Some(1.0);
                }),
                Rows::Many | Rows::Hostile => {}
            }
            all(probes)
        }
        View::Failures => all((0..).zip(flows).map(|(n, flow)| rows::failure(n, flow)).collect()),
        View::Flows => all(flows),
    }
}

fn all<R: Row>(rows: Vec<R>) -> Scene {
    let total = rows.len();
    Scene::of(rows, total)
}

fn each(state: &str, prepare: impl Fn(&mut Console, View)) {
    for (name, view) in VIEWS {
        pages_of(&format!("{name}-{state}"), view, |console| prepare(console, view));
    }
}

/// The engine answers this view, and again whenever it is asked for something else.
fn answer(console: &mut Console, mut make: impl FnMut() -> Scene) {
    let before = console.asked.len();
    console.answer(make());
    if console.asked.len() > before {
        console.answer(make());
    }
}

#[test]
fn nothing_yet() {
    each("empty", |c, view| answer(c, || scene(view, Rows::None)));
}

#[test]
fn one() {
    each("one", |c, view| answer(c, || scene(view, Rows::One)));
}

#[test]
fn many_and_one_is_marked() {
    each("many", |c, view| {
        answer(c, || scene(view, Rows::Many));
        c.keys("jjj");
    });
}

#[test]
fn numbers_as_large_as_they_can_be() {
    each("huge", |c, view| answer(c, || scene(view, Rows::Huge)));
}

#[test]
fn names_that_try_to_drive_the_terminal_or_are_wider_than_they_look() {
    each("hostile", |c, view| {
        answer(c, || scene(view, Rows::Hostile));
        c.keys("j");
    });
}

#[test]
fn losses_and_degraded_hooks_are_said_unasked() {
    each("degraded", |c, view| {
        answer(c, || {
            let mut scene = scene(view, Rows::Many);
            scene.coverage = Coverage::Degraded;
            scene.lost = 1_312;
            scene.own_hidden = 3;
            let note = |severe, text: &str| Note { severe, text: text.to_owned() };
            scene.notes = vec![
                note(true, "The ring buffer overflowed 1,312 times: rows may lack bytes. Filter, or see 8."),
                note(false, "Accepted connections are named at the end of accept()."),
            ];
            scene
        });
    });
}

#[test]
fn paused_says_when_and_how_far_one_can_go() {
    each("paused", |c, view| {
        answer(c, || scene(view, Rows::Many));
        c.keys(" ");
        let mut scene = scene(view, Rows::Many);
        scene.reach.before = Duration::from_secs(252);
        scene.reach.after = Duration::from_secs(14);
        c.answer(scene);
    });
}

#[test]
fn a_filter_that_matches_nothing_says_how_much_it_hides() {
    each("nothing", |c, view| {
        answer(c, || scene(view, Rows::Many));
        let filter = if view == View::Probes { "/state:nonsense<Enter>" } else { "/pid:9999<Enter>" };
        c.keys(filter);
        let mut nothing = scene(view, Rows::None);
        nothing
            .overview
            .iter_mut()
            .flat_map(|overview| &mut overview.panels)
            .for_each(|panel| panel.hidden = 4);
        if view != View::Overview {
            nothing = Scene::of(Vec::<rows::Flow>::new(), 1204);
        }
        c.answer(nothing);
    });
}

/// Processes by owner: the same states that depend on rows.
#[test]
fn owners_of_processes() {
    let states = [("one", Rows::One), ("many", Rows::Many), ("huge", Rows::Huge), ("hostile", Rows::Hostile)];
    for (state, which) in states {
        pages_of(&format!("owners-{state}"), View::Processes, |c| {
            let processes = || match which {
                Rows::Hostile => rows::hostile_processes(),
                Rows::Huge => vec![rows::huge_process()],
                Rows::One => vec![rows::process(1)],
                _ => (0..1204).map(rows::process).collect(),
            };
            c.answer(all(processes()));
            c.keys("b").answer(all(rows::owners(processes())));
            c.keys("j");
        });
    }
}

/// Details of a row of each view.
#[test]
fn details_of_each_kind_of_row() {
    for (name, view) in VIEWS {
        for (state, which) in [("many", Rows::Many), ("hostile", Rows::Hostile)] {
            pages_of(&format!("{name}-details-{state}"), view, |c| {
                answer(c, || scene(view, which));
                c.keys("j<Enter>");
                if view == View::Probes {
                    answer(c, || scene(view, which));
                }
            });
        }
    }
    pages_of("owners-details", View::Processes, |c| {
        let processes = || (0..1204).map(rows::process).collect::<Vec<_>>();
        c.answer(all(processes()));
        c.keys("b").answer(all(rows::owners(processes())));
        c.keys("j<Enter>");
    });
}
