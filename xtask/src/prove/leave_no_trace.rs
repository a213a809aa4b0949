//! Whatever way fluoro ends, nothing of it stays: no program, map or link in the kernel, no changed sysctl, no mount,
//! no pin, and a terminal as it was (but for kill -9, which lets nobody clean up).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::pty::Console;
use super::witness::{self, BpfKind};
use super::{Place, run};

/// The kernel frees BPF objects a while after their last user is gone.
const FREED_WITHIN: Duration = Duration::from_secs(10);
const EXITS_WITHIN: Duration = Duration::from_secs(1);

/// What of the machine must be the same afterwards.
struct Machine {
    objects: BTreeSet<(BpfKind, u32)>,
    sysctls: BTreeMap<String, String>,
    mounts: String,
    pins: BTreeSet<String>,
}

impl Machine {
    fn look() -> Result<Self> {
        let mut objects = BTreeSet::new();
        for kind in BpfKind::ALL {
            objects.extend(witness::bpf_ids(kind)?.into_iter().map(|id| (kind, id)));
        }
        let mut sysctls = BTreeMap::new();
        for root in ["kernel", "net/core", "vm"] {
            read_tree(&Path::new("/proc/sys").join(root), &mut sysctls);
        }
        let mut pins = BTreeMap::new();
        read_tree(Path::new("/sys/fs/bpf"), &mut pins);
        Ok(Self {
            objects,
            sysctls,
            mounts: fs::read_to_string("/proc/mounts").context("read /proc/mounts")?,
            pins: pins.into_keys().collect(),
        })
    }
}

/// Paths with their contents.
fn read_tree(folder: &Path, into: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => read_tree(&path, into),
            Ok(_) => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                into.insert(path.display().to_string(), text);
            }
            Err(_) => {}
        }
    }
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    // Emulated guests are slow, and these ways differ only in what the terminal does.
    let signals: &[Signal] = if place.guest.is_some() {
        checks.note("in a guest: without SIGHUP, SIGINT and ctrl-C");
        &[Signal::SIGKILL, Signal::SIGTERM]
    } else {
        &[Signal::SIGKILL, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]
    };
    for &signal in signals {
        let what = format!("observe, {signal}");
        traceless(checks, place, &what, |checks| observe_until(checks, place, &what, signal))?;
    }
    for &signal in signals {
        let what = format!("console, {signal}");
        traceless(checks, place, &what, |checks| {
            let mut console = attached_console(place)?;
            let held = witness::bpf_ids_held(console.pid());
            run::send(console.pid(), signal)?;
            let restored = signal != Signal::SIGKILL;
            console_ended(checks, place, &what, &mut console, restored, |code| {
                restored == (code == Some(0))
            })?;
            Ok(held)
        })?;
    }
    let keys = [("console, q", b"q".as_slice()), ("console, ctrl-C", b"\x03")];
    for (what, keys) in keys.into_iter().take(if place.guest.is_some() { 1 } else { 2 }) {
        traceless(checks, place, what, |checks| {
            let mut console = attached_console(place)?;
            let held = witness::bpf_ids_held(console.pid());
            console.press(keys)?;
            console_ended(checks, place, what, &mut console, true, |code| code == Some(0))?;
            Ok(held)
        })?;
    }
    traceless(checks, place, "console, panic", |checks| {
        // It ends by itself with its first picture: what it holds by then counts.
        let mut console = Console::start(place, &[], &[("FLUORO_TEST_PANIC", "1")], 50, 200)?;
        let mut held = BTreeSet::new();
        let deadline = Instant::now() + place.patience(20);
        while console.is_running()? && Instant::now() < deadline {
            held.extend(witness::bpf_ids_held(console.pid()));
            thread::sleep(Duration::from_millis(2));
        }
        console_ended(checks, place, "console, panic", &mut console, true, |code| code != Some(0))?;
        Ok(held)
    })?;
    traceless(checks, place, "console, terminal gone", |checks| {
        let mut console = attached_console(place)?;
        let held = witness::bpf_ids_held(console.pid());
        console.hang_up();
        let ended = console.await_end(place.patience(10))?;
        check_time(checks, place, "console, terminal gone", ended);
        Ok(held)
    })
}

/// Looks at the machine before and after; what was done says which objects were fluoro's.
fn traceless(
    checks: &mut Checks,
    place: &Place,
    what: &str,
    deed: impl FnOnce(&mut Checks) -> Result<BTreeSet<(BpfKind, u32)>>,
) -> Result<()> {
    let (early, before) = (Machine::look()?, Machine::look()?);
    let held = deed(checks).with_context(|| what.to_owned())?;
    if what.contains("panic") {
        checks.note(format!("{what}: it had {} BPF objects", held.len()));
    } else {
        checks.at_least(format!("{what}: BPF objects that it had"), 3, held.len());
    }

    let deadline = Instant::now() + place.patience(FREED_WITHIN.as_secs());
    let mut after = Machine::look()?;
    let left = |after: &Machine| -> BTreeSet<(BpfKind, u32)> {
        let new: BTreeSet<_> = after.objects.difference(&before.objects).copied().collect();
        let others: BTreeSet<_> = if new.is_empty() { BTreeSet::new() } else { held_by_others() };
        new.into_iter().filter(|object| held.contains(object) || !others.contains(object)).collect()
    };
    while !left(&after).is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
        after = Machine::look()?;
    }
    let named: Vec<String> = left(&after).iter().map(|(kind, id)| format!("{} {id}", kind.word())).collect();
    checks.none(format!("{what}: new programs, maps, links"), &named);

    for kind in BpfKind::ALL {
        if let Some(ids) = witness::bpftool_ids(kind)? {
            let listed = ids.iter().filter(|id| held.contains(&(kind, **id))).map(ToString::to_string);
            checks.none(
                format!("{what}: its own in bpftool {} list", kind.word()),
                &listed.collect::<Vec<_>>(),
            );
        }
    }

    // What differs by itself from one look to the next is no setting.
    let changed: Vec<String> = before
        .sysctls
        .iter()
        .filter(|(path, value)| early.sysctls.get(*path) == Some(value) && !moves_by_itself(path))
        .filter(|(path, value)| after.sysctls.get(*path) != Some(value))
        .map(|(path, value)| format!("{path}: {:?} before, {:?} after", value, after.sysctls.get(path)))
        .collect();
    checks.none(format!("{what}: changed sysctls"), &changed);
    checks.that(
        format!("{what}: /proc/mounts"),
        "as before",
        if before.mounts == after.mounts { "as before" } else { "changed" },
        before.mounts == after.mounts,
    );
    let pins: Vec<String> = after.pins.difference(&before.pins).cloned().collect();
    checks.none(format!("{what}: new pins"), &pins);
    Ok(())
}

fn moves_by_itself(path: &str) -> bool {
    ["/ns_last_pid", "/random/", "/pty/nr", "/sched_domain/"].iter().any(|part| path.contains(part))
}

/// Objects that other living processes of the machine hold: not ours to judge.
fn held_by_others() -> BTreeSet<(BpfKind, u32)> {
    witness::pids().into_iter().flat_map(witness::bpf_ids_held).collect()
}

fn observe_until(
    checks: &mut Checks,
    place: &Place,
    what: &str,
    signal: Signal,
) -> Result<BTreeSet<(BpfKind, u32)>> {
    let mut observer = Observer::start(place, &["process", "flow"], &[], Keep::Counts)?;
    let held = witness::bpf_ids_held(observer.pid());
    let ended = observer.end_by(signal)?;
    let (status, took) = ended.with_context(|| format!("fluoro did not end after {signal}"))?;
    let right = match signal {
        Signal::SIGKILL => status.signal() == Some(libc::SIGKILL),
        Signal::SIGINT => status.code() == Some(0),
        // Ended on purpose by somebody: an orderly end, or the signal's own.
        other => status.code() == Some(0) || status.signal() == Some(other as i32),
    };
    checks.that(
        format!("{what}: ending"),
        if signal == Signal::SIGINT { "0".to_owned() } else { "0 or the signal".to_owned() },
        run::ending(status.code(), status.signal()),
        right,
    );
    checks.at_most(format!("{what}: seconds to end"), place.patience(5).as_secs_f64(), took.as_secs_f64());
    Ok(held)
}

/// A console that has attached its programs and shows something.
fn attached_console(place: &Place) -> Result<Console> {
    let mut console = Console::start(place, &[], &[], 50, 200)?;
    let within = place.patience(20);
    console.wait_until("the alternate screen", within, |console| {
        console.with_screen(|screen| screen.bytes.windows(8).any(|eight| eight == b"\x1b[?1049h"))
    })?;
    console.wait_until("programs are attached", within, |c| {
        witness::bpf_ids_held(c.pid()).iter().any(|(kind, _)| *kind == BpfKind::Link)
    })?;
    // Let what follows the first attachment happen, too.
    thread::sleep(Duration::from_millis(300));
    Ok(console)
}

fn console_ended(
    checks: &mut Checks,
    place: &Place,
    what: &str,
    console: &mut Console,
    restored: bool,
    right: impl Fn(Option<i32>) -> bool,
) -> Result<()> {
    let ended = console.await_end(place.patience(20))?;
    check_time(checks, place, what, ended);
    if let Some((status, _)) = ended {
        checks.that(
            format!("{what}: exit code"),
            if right(Some(0)) { "0" } else { "not 0" },
            run::ending(status.code(), status.signal()),
            right(status.code()),
        );
    }
    if restored {
        checks.none(format!("{what}: terminal modes left behind"), &console.left_behind()?);
    }
    Ok(())
}

fn check_time(checks: &mut Checks, place: &Place, what: &str, ended: Option<(ExitStatus, Duration)>) {
    let limit = place.patience(EXITS_WITHIN.as_secs());
    let (observed, good) = match ended {
        Some((_, took)) => (format!("{took:.2?}"), took <= limit || what.contains("panic")),
        None => ("still there".to_owned(), false),
    };
    checks.that(format!("{what}: ends within"), format!("{limit:?}"), observed, good);
}
