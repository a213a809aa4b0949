//! `cargo xtask screens`: the pictures of README and docs/workflows.md, taken off the screen of a run in a guest, where
//! programs with the names of a server do what a server does. Nothing of the machine that it runs on is in them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::prove::Place;
use crate::prove::session::{Key, Session};
use crate::prove::workflows::{self, COLUMNS, Load, PAGE, ROWS};
use crate::shot::{Shot, moving, still};
use crate::{tree, vm};

/// What a guest is told to take them.
pub const WORD: &str = "screens";

/// Views by their keys, what stands on them, and on no view before, when there is something to see, and how the pictures
/// are called.
const VIEWS: &[(&str, &[&str], &str)] = &[
    ("`1`", &["Network", "backup("], "overview"),
    ("`2`", &["all flows", "127.0.0.1:"], "flows"),
    ("`3`", &["all files", "stock.pipe"], "files"),
    ("`4`", &["all calls", "futex"], "syscalls"),
    ("`5`", &["all processes", "shop("], "processes"),
    ("`6`", &["all events", "flow.fail"], "events"),
    ("`7`", &["all failures", "ECONNREFUSED"], "failures"),
    ("`8`", &["all programs", "flow_state"], "probes"),
    ("`5` `/shop` Enter `j` Enter", &["/ shop", "connect "], "details"),
];

/// Keys of the moving picture, a screen after each.
const TOUR: &[&str] = &["", "", "`j`", "`o`", "`2`", "Enter", "Esc", "`3`", "`6`", "", "`1`", "Esc"];
const TOUR_SECONDS: f64 = 1.6;

pub fn main(_: &[String]) -> Result<()> {
    let (shots, problem) = vm::shots(WORD)?;
    let folder = tree::root().join("assets/screens");
    fs::create_dir_all(&folder).context("create assets/screens")?;
    let tour: Vec<Shot> = shots.iter().filter(|shot| shot.name == "tour").cloned().collect();
    ensure!(tour.len() == TOUR.len(), "{} of {} screens of the tour came", tour.len(), TOUR.len());
    write(&folder.join("tour.svg"), &moving(&tour, TOUR_SECONDS))?;
    for (_, _, name) in VIEWS {
        let shot = shots.iter().find(|shot| shot.name == *name).with_context(|| format!("no {name} came"))?;
        write(&folder.join(format!("{name}.svg")), &still(shot))?;
    }
    write(&tree::root().join("docs/workflows.md"), &workflows::with_screens(PAGE, &shots))?;
    // What came before it is written all the same.
    problem.map_or(Ok(()), |problem| bail!("{problem}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// In the guest: all of them.
pub fn take(place: &Place, tell: &mut dyn FnMut(Shot)) -> Result<()> {
    let load = Load::start(place)?;
    let within = place.patience(20);
    // Pictures of a standing console: what the last minute was is drawn, too.
    let pause = || std::thread::sleep(Duration::from_secs(3));
    let mut session = Session::start(place, &[], ROWS, COLUMNS)?;
    session.until("the overview", within, |text| text.contains("backup("))?;
    for _ in 0..5 {
        pause();
    }
    for keys in TOUR {
        session.press(&Key::all(keys)?)?;
        std::thread::sleep(Duration::from_millis(2500));
        tell(session.shot("tour"));
    }
    for (keys, has, name) in VIEWS {
        session.press(&Key::all(keys)?)?;
        session.until(name, within, |text| has.iter().all(|words| text.contains(words)))?;
        pause();
        tell(session.shot(name));
    }
    drop(session);
    workflows::answer(place, &load, None, tell)
}
