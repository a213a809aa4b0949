//! What a call into the kernel costs while the console stands beside it: before the view of calls was ever open, while it
//! is, after it was left, and with all gone that is attached to calls. In turns with nobody there.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Report;
use super::calls::getppid_ns;
use super::console::{COLUMNS, LINGER, ROWS};
use crate::prove::Place;
use crate::prove::session::{Key, Session};
use crate::prove::witness::{self, BpfKind};

const ROUNDS: usize = 5;

const LIMIT: Duration = Duration::from_mins(1);

/// Left, it costs what it did before, but for what two measurements of the same differ by.
const RATIO: f64 = 1.03;

pub fn play(place: &Place, report: &mut Report) -> Result<()> {
    let [mut nobody, mut before, mut open, mut left, mut alone] = [const { Vec::<f64>::new() }; 5];
    for _ in 0..ROUNDS {
        nobody.push(getppid_ns());
        let mut session = Session::start(place, &[], ROWS, COLUMNS)?;
        let pid = session.console.pid();
        session.console.wait_until("programs are attached", LIMIT, |_| !held(pid).is_empty())?;
        // What the overview needs is let go.
        session.press(&Key::all("`2`")?)?;
        let without = settled(pid);
        before.push(getppid_ns());
        session.press(&Key::all("`4`")?)?;
        let is_more = |held: &BTreeSet<u32>| held.difference(&without).count() >= 2;
        session.console.wait_until("the programs on every call", LIMIT, |_| is_more(&held(pid)))?;
        open.push(getppid_ns());
        let with = held(pid);
        session.press(&Key::all("`2`")?)?;
        let is_gone = |held: &BTreeSet<u32>| with.difference(&without).all(|program| !held.contains(program));
        session.console.wait_until("they are gone", LIMIT, |_| is_gone(&held(pid)))?;
        left.push(getppid_ns());
        // Where Flows itself needs hooks on system calls, it has them as long as the header tells of connections.
        session.press(&Key::all("`8`")?)?;
        let with = settled(pid);
        session.press(&Key::all("`/program:flow_state` Enter")?)?;
        session.until("one row alone", LIMIT, |text| text.contains(" 1 of "))?;
        session.press(&Key::all("`j` `a`")?)?;
        session.console.wait_until("flow is detached", LIMIT, |_| held(pid).len() < with.len())?;
        settled(pid);
        alone.push(getppid_ns());
        session.press(&Key::all("`q`")?)?;
        session.console.await_end(LIMIT)?;
    }
    for (who, what, series) in [
        ("nobody", "getppid", &nobody),
        ("fluoro", "getppid, view of calls never open", &before),
        ("fluoro", "getppid, view of calls open", &open),
        ("fluoro", "getppid, view of calls left", &left),
        ("fluoro", "getppid, left, flow detached by hand", &alone),
    ] {
        report.add(who, what, "ns", series, None);
    }
    for (what, one, other, budget) in [
        ("getppid, left, to never open", &left, &before, Some(RATIO)),
        ("getppid, left, to nobody", &left, &nobody, None),
        ("getppid, left, flow detached, to nobody", &alone, &nobody, Some(RATIO)),
    ] {
        let ratios: Vec<f64> = one.iter().zip(other).map(|(one, other)| one / other).collect();
        report.add("fluoro", what, "x", &ratios, budget);
    }
    Ok(())
}

/// The programs that it holds when it has not taken or let go of any for long enough.
fn settled(pid: u32) -> BTreeSet<u32> {
    let begun = Instant::now();
    let (mut last, mut since) = (held(pid), Instant::now());
    while since.elapsed() < LINGER && begun.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(100));
        let now = held(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

fn held(pid: u32) -> BTreeSet<u32> {
    let programs = witness::bpf_ids_held(pid).into_iter().filter(|(kind, _)| *kind == BpfKind::Program);
    programs.map(|(_, id)| id).collect()
}
