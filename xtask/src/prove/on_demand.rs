//! The programs on every call of the machine are there while the view of calls is open, and not before or long after.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Place;
use super::checks::Checks;
use super::pty::Console;
use super::session::{Key, Session};
use super::witness::{self, BpfKind};

/// How long a family that no view needs stays attached.
const LINGER: Duration = Duration::from_secs(10);

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let mut session = Session::start(place, &[], 50, 200)?;
    let within = place.patience(20);
    session.console.wait_until("programs are attached", within, |c| !held(c, BpfKind::Program).is_empty())?;
    // What follows the first attachment, and the views that never attach it.
    for key in ['5', '6', '2'] {
        session.press(&[Key::Char(key)])?;
        thread::sleep(Duration::from_millis(700));
    }
    // On a busy machine families are attached one long after the other.
    let mut settled = Instant::now();
    let mut before = held(&session.console, BpfKind::Program);
    let begun = Instant::now();
    while settled.elapsed() < place.patience(2) && begun.elapsed() < place.patience(20) {
        thread::sleep(Duration::from_millis(100));
        let now = held(&session.console, BpfKind::Program);
        if now != before {
            (before, settled) = (now, Instant::now());
        }
    }
    let maps = held(&session.console, BpfKind::Map);
    let bare = getppid_ns();

    let new = |console: &Console, kind, before: &BTreeSet<u32>| -> BTreeSet<u32> {
        held(console, kind).difference(before).copied().collect()
    };
    let pressed = Instant::now();
    session.press(&Key::all("`4`")?)?;
    session.console.wait_until("two programs more", place.patience(5), |c| {
        new(c, BpfKind::Program, &before).len() >= 2
    })?;
    checks.at_most("seconds to attach", place.patience(3).as_secs_f64(), pressed.elapsed().as_secs_f64());
    let during = getppid_ns();
    // The table has what this program calls, and nobody else needs to have called anything.
    session.press(&Key::all("`/getppid` Enter")?)?;
    let caller = format!("({})", std::process::id());
    session.until("a table with this program's calls", place.patience(10), |text| {
        // Again with each picture: rows are of an interval.
        getppid();
        let is_counted = |line: &str| line.contains(&caller) && line.contains("getppid");
        text.contains("SYSCALL") && text.lines().any(is_counted)
    })?;
    // Other families may be let go meanwhile: these are the ones of calls.
    let (programs, maps) =
        (new(&session.console, BpfKind::Program, &before), new(&session.console, BpfKind::Map, &maps));
    checks.at_least("programs more while the view is open", 2, programs.len());
    let listed = witness::bpftool_ids(BpfKind::Program)?;

    let left = Instant::now();
    session.press(&Key::all("`2`")?)?;
    session.console.wait_until("the programs are gone", LINGER + place.patience(10), |c| {
        held(c, BpfKind::Program).is_disjoint(&programs)
    })?;
    let took = left.elapsed();
    checks.at_least(
        "seconds that it stays after the view was left",
        LINGER.as_secs_f64() - 1.0,
        took.as_secs_f64(),
    );
    checks.at_most("the same", (LINGER + place.patience(4)).as_secs_f64(), took.as_secs_f64());
    session
        .console
        .wait_until("the maps are gone", place.patience(5), |c| held(c, BpfKind::Map).is_disjoint(&maps))?;
    if let Some(during) = listed {
        checks.equal("bpftool prog list: there before", true, programs.is_subset(&during));
        // The kernel frees what is detached when nobody can be running it any more.
        session.console.wait_until(
            "bpftool lists them no more",
            place.patience(5),
            |_| matches!(witness::bpftool_ids(BpfKind::Program), Ok(Some(now)) if now.is_disjoint(&programs)),
        )?;
    }
    let after = getppid_ns();
    checks.note(format!("getppid: {bare} ns before, {during} ns while the view is open, {after} ns after"));
    by_hand(place, checks, &mut session)?;
    session.press(&Key::all("`q`")?)?;
    session.console.await_end(place.patience(10))?;
    Ok(())
}

/// From the view of programs: what no view asked for is attached, and what is attached is let go at once.
fn by_hand(place: &Place, checks: &mut Checks, session: &mut Session) -> Result<()> {
    let within = place.patience(10);
    let before = held(&session.console, BpfKind::Program);
    session.press(&Key::all("`8`")?)?;
    session.until("the programs", within, |text| text.contains("PROGRAM"))?;
    session.press(&Key::all("`/syscall_` Enter `j`")?)?;
    session.until("a detached program of calls, marked", within, |text| {
        text.lines().any(|line| line.contains('▸') && line.contains("syscall_") && line.contains("detached"))
    })?;
    session.press(&Key::all("`a`")?)?;
    session.until("calls attached by hand", within, |text| text.contains("syscall is attached by hand"))?;
    session
        .console
        .wait_until("two programs more", within, |c| held(c, BpfKind::Program).len() >= before.len() + 2)?;
    session.until("a live program of calls", within, |text| {
        text.lines().any(|line| line.contains('▸') && !line.contains("detached"))
    })?;
    let attached = held(&session.console, BpfKind::Program);
    let pressed = Instant::now();
    // Left to the views, then out of their hands.
    session.press(&Key::all("`aa`")?)?;
    session
        .console
        .wait_until("programs fewer", within, |c| held(c, BpfKind::Program).len() <= attached.len() - 2)?;
    let most = LINGER.as_secs_f64() / 2.0;
    checks.at_most(
        "seconds until a family is gone that was let go by hand",
        most,
        pressed.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn held(console: &Console, kind: BpfKind) -> BTreeSet<u32> {
    witness::bpf_ids_held(console.pid())
        .into_iter()
        .filter(|(held, _)| *held == kind)
        .map(|(_, id)| id)
        .collect()
}

pub fn getppid() {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// The least of several rounds.
fn getppid_ns() -> u128 {
    const CALLS: u32 = 50_000;
    let round = |_| {
        let begin = Instant::now();
        for _ in 0..CALLS {
            getppid();
        }
        begin.elapsed().as_nanos() / u128::from(CALLS)
    };
    (0..9).map(round).min().unwrap_or(0)
}
