//! Every state that a reader can meet, at every size that is promised.

use std::fmt::Write as _;
use std::path::PathBuf;

use fluoro::app::keys_page;
use fluoro::model::{Coverage, View};
use fluoro::theme::{Palette, Theme};

use crate::console::{Console, looks, text};
use crate::rows::{self, Scene};

const SIZES: [(u16, u16); 4] = [(60, 15), (80, 24), (120, 40), (200, 50)];

fn compare(path: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("FLUORO_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == found,
        "{} differs; FLUORO_BLESS=1 accepts this:\n{found}\n--- it was:\n{wanted}",
        path.display()
    );
}

/// Draws a state at every size and compares text and looks with its page.
pub fn pages(name: &str, prepare: impl Fn(&mut Console)) {
    pages_of(name, View::Flows, prepare);
}

pub fn pages_of(name: &str, view: View, prepare: impl Fn(&mut Console)) {
    let mut page = String::new();
    for (columns, lines) in SIZES {
        let mut console = Console::showing(view, columns, lines);
        prepare(&mut console);
        let picture = console.picture();
        let found = text(&picture);
        assert_eq!(found.lines().count(), usize::from(lines));
        let _ = write!(page, "== {columns}x{lines}\n{found}-- looks\n{}", looks(&picture));
    }
    compare(&format!("tests/screens/pages/{name}.txt"), &page);
}

fn many() -> Scene {
    Scene::of((0..1204).map(rows::flow).collect(), 1204)
}

#[test]
fn before_the_first_snapshot() {
    pages("starting", |_| {});
}

#[test]
fn a_view_that_nothing_feeds_says_why_and_what_to_do() {
    pages("absent", |c| {
        let mut scene = Scene::of(Vec::<rows::Flow>::new(), 0);
        let reason = "flow_state: no alternative loads: CAP_BPF is missing. Run fluoro with sudo, or give it the \
                      capability: setcap cap_bpf,cap_perfmon,cap_net_admin+ep /usr/local/bin/fluoro.";
        scene.coverage = Coverage::Absent(reason.to_owned());
        c.answer(scene);
    });
}

#[test]
fn a_filter_that_does_not_parse_is_wrong_at_a_character() {
    pages("wrong", |c| {
        c.answer(many()).keys("/nginx prot:443");
    });
}

#[test]
fn details_of_a_row() {
    pages("details", |c| {
        c.answer(many()).keys("jj<Enter>");
    });
}

#[test]
fn details_of_a_degraded_program_give_the_whole_reason() {
    pages("probe", |c| {
        c.keys("8").answer(Scene::of(rows::probes(), 5)).keys("jj<Enter>");
    });
}

#[test]
fn details_of_a_process_with_how_long_things_took_it_and_what_it_did() {
    pages("histogram", |c| {
        c.answer(many()).keys("j<Enter>");
        let mut scene = many();
        scene.detail = Some(rows::detail());
        c.answer(scene);
    });
}

#[test]
fn scopes_are_chips_and_say_what_an_empty_table_lacks() {
    pages("scope", |c| {
        c.answer(many())
            .keys("jo")
            .answer(many())
            .keys("Ojj<Enter>")
            .answer(Scene::of(Vec::<rows::Flow>::new(), 0));
    });
}

#[test]
fn what_a_row_can_be_narrowed_to() {
    pages("menu", |c| {
        c.answer(many()).keys("jjOj");
    });
}

#[test]
fn columns_to_choose() {
    pages("columns", |c| {
        c.answer(many()).keys("Cjj ");
    });
}

#[test]
fn help() {
    pages("help", |c| {
        c.answer(many()).keys("?");
    });
}

#[test]
fn palette() {
    pages("palette", |c| {
        c.answer(many()).keys(":sort");
    });
}

#[test]
fn without_unicode_the_same_screen_is_plain_ascii() {
    let mut console = Console::new(80, 24);
    console.answer(Scene::of(rows::hostile(), 7)).keys("j");
    let picture =
        fluoro::app::draw(&console.state, Theme { color: false, unicode: false, palette: Palette::Dark });
    let found = text(&picture);
    assert!(found.is_ascii());
    compare("tests/screens/pages/ascii.txt", &found);
}

#[test]
fn the_page_of_keys_is_the_action_table() {
    compare("../docs/keys.md", &keys_page());
}

#[test]
fn no_character_that_could_drive_a_terminal_reaches_a_cell() {
    for (columns, lines) in SIZES {
        let mut console = Console::new(columns, lines);
        console
            .answer(Scene::of(rows::hostile(), 7))
            .keys("j<Enter>")
            .send(fluoro::app::Msg::Paste("\x1b[2J".to_owned()));
        let harmful = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{200d}';
        let picture = console.picture();
        assert!(picture.cells.content.iter().all(|cell| !cell.symbol().contains(harmful)));
    }
}

#[test]
fn any_size_of_terminal_is_drawn_without_a_panic() {
    for columns in (0..=40).step_by(3).chain([1, 2, 300]) {
        for lines in (0..=24).chain([90]) {
            for script in ["", "j<Enter>", "?", ":x", "/prot:1"] {
                let mut console = Console::new(columns, lines);
                console.answer(Scene::of((0..30).map(rows::flow).collect(), 30)).keys(script);
                let _ = console.picture();
            }
        }
    }
}
