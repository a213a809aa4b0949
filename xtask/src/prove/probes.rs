//! What fluoro says of its own measuring: how full each map is, beside how many connections there are; and a family that
//! could not be attached is attached when the reader asks again.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;

use super::Place;
use super::checks::Checks;
use super::session::{Key, Session};
use crate::workload::actor::Actor;

const PAIRS: u64 = 500;
/// Others open and close connections meanwhile.
const OTHERS: u64 = 100;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    fills(place, checks)?;
    tried_again(place, checks)
}

fn fills(place: &Place, checks: &mut Checks) -> Result<()> {
    let within = place.patience(20);
    let mut session = Session::start(place, &[], 60, 200)?;
    session.press(&Key::all("`8`")?)?;
    session.until("the program", within, |text| text.contains("flow_state"))?;
    session.press(&Key::all("`/program:flow_state` Enter")?)?;
    alone(&mut session, within)?;
    session.press(&Key::all("`j` Enter")?)?;
    let text = session.until("the maps of its family", within, |text| used(text, "FLOWS").is_some())?;
    for map in ["RING0", "HISTOGRAMS", "DATAGRAMS", "DATAGRAM_SOCKETS"] {
        checks.that(
            format!("{map} is listed with what it has room for"),
            "a number of a larger one",
            format!("{:?}", line(&text, map)),
            used(&text, map).is_some(),
        );
    }
    let before = used(&text, "FLOWS").context("no FLOWS")?;

    let mut crowd = Actor::start(&place.xtask, &["crowd", &PAIRS.to_string(), "0"])?;
    crowd.hear(within)?;
    let text = session.until("the crowd in the map of connections", within, |text| {
        used(text, "FLOWS").is_some_and(|now| now >= before + 2 * PAIRS)
    })?;
    let more = used(&text, "FLOWS").unwrap_or(0) - before;
    checks.at_least("connections more in their map", 2 * PAIRS, more);
    checks.at_most("the same, others' beside", 2 * PAIRS + OTHERS, more);
    crowd.end(within)?;
    session.until("the crowd gone from it", within, |text| {
        used(text, "FLOWS").is_some_and(|now| now <= before + OTHERS)
    })?;
    Ok(())
}

/// Waits until the filter has left one row: a key that comes earlier selects one of those that go.
fn alone(session: &mut Session, within: Duration) -> Result<()> {
    session.until("one row alone", within, |text| text.contains(" 1 of ")).map(drop)
}

/// The words of the line of a map, behind its name.
fn line(text: &str, map: &str) -> Option<Vec<String>> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != map);
        words.next()?;
        Some(words.map(str::to_owned).collect())
    })
}

/// Entries in use of a map: `~1,204` or `12`.
fn used(text: &str, map: &str) -> Option<u64> {
    line(text, map)?.first()?.trim_start_matches('~').replace(',', "").parse().ok()
}

/// A family for whose maps the process may have no descriptors fails; with descriptors it is attached by `a`.
fn tried_again(place: &Place, checks: &mut Checks) -> Result<()> {
    let within = place.patience(20);
    let log = std::env::temp_dir().join(format!("fluoro-probes-{}", std::process::id()));
    let path = log.to_str().context("a path of text")?;
    let mut session = Session::start(place, &["--log", path], 60, 200)?;
    session.press(&Key::all("`8`")?)?;
    session
        .until("what the view needs is attached", within, |text| state(text, "flow_state") == Some("live"))?;
    let pid = session.console.pid();
    let had = descriptors(pid, 64)?;
    session.press(&Key::all("`4`")?)?;
    session.until("that it failed", within, |text| text.contains("open files"))?;
    session.press(&Key::all("`8` `/program:syscall_enter` Enter")?)?;
    alone(&mut session, within)?;
    session.press(&Key::all("`j`")?)?;
    let text = session.until("the program that failed", within, |text| {
        state(text, "syscall_enter").is_some_and(|state| state != "live")
    })?;
    checks.equal("state of its programs", "failed", state(&text, "syscall_enter").unwrap_or("-"));
    descriptors(pid, had)?;
    session.press(&Key::all("`a`")?)?;
    session.until("that it is tried", within, |text| text.contains("tried again"))?;
    let attached = session.until("the program attached", within, |text| {
        state(text, "syscall_enter").is_some_and(|state| !matches!(state, "failed" | "attaching"))
    });
    let told = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    let text = attached.with_context(|| format!("its log:\n{told}"))?;
    checks.that(
        "state of its programs, asked for again with descriptors enough",
        "live or degraded",
        format!("{:?}", state(&text, "syscall_enter")),
        matches!(state(&text, "syscall_enter"), Some("live" | "degraded")),
    );
    Ok(())
}

/// The word behind a program's name in its row.
fn state<'a>(text: &'a str, program: &str) -> Option<&'a str> {
    // A filter by the name stands above the table.
    text.lines().filter(|line| !line.starts_with('┃')).find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != program);
        words.next()?;
        words.next()
    })
}

/// Sets how many descriptors another process may have; how many it could before.
fn descriptors(pid: u32, most: u64) -> Result<u64> {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let pid = pid.cast_signed();
    // SAFETY: prlimit writes one rlimit, which lives through the call.
    let read = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before) };
    Errno::result(read).context("prlimit")?;
    let limit = libc::rlimit { rlim_cur: most, ..before };
    // SAFETY: prlimit reads one rlimit, which lives through the call.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    Errno::result(set).context("prlimit")?;
    Ok(before.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::{state, used};

    #[test]
    fn figures_and_states_are_read_off_the_screen() {
        let text = "  flow_state  live  tp_btf x   0 │  FLOWS   ~1,204   91k  1.3%\n │  RING0  -  1.0M\n";
        assert_eq!(used(text, "FLOWS"), Some(1_204));
        assert_eq!(used(text, "RING0"), None);
        assert_eq!(state(text, "flow_state"), Some("live"));
    }
}
