//! Short processes at full speed from two parents: every fork, exec and exit is seen or in the ledger, with the right
//! parent, executable and way to end.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::event::Event;
use super::observer::{Keep, Observer};
use crate::workload::actor::Actor;

const PROCESSES: u32 = 20_000;
const PARENTS: u32 = 2;

/// A child as its parent's wait4 knows it.
struct Child {
    pid: u32,
    parent: u32,
    executable: String,
    code: Option<i64>,
    signal: Option<i64>,
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let scratch = super::identity::Scratch::new("processes")?;
    let (started, canonical) = executables(place, &scratch.path)?;
    let each = place.scaled(PROCESSES / PARENTS, 50).to_string();
    let args: Vec<String> = ["spawner".to_owned(), each].into_iter().chain(started).collect();
    let mut parents = (0..PARENTS).map(|_| Actor::start(&place.xtask, &args)).collect::<Result<Vec<_>>>()?;

    let watch = Observer::start(place, &["process"], &[], Keep::Events)?;
    for parent in &mut parents {
        parent.tell("go")?;
    }
    let mut children = Vec::new();
    for parent in parents {
        let pid = parent.pid();
        let account = parent.conclusion(place.patience(100))?;
        let seconds = account.get("elapsed_ns").and_then(Value::as_u64).unwrap_or(0) as f64 / 1e9;
        let own = taken(&account, pid, &canonical)?;
        checks.note(format!("{} children of {pid} in {seconds:.2} s", own.len()));
        children.extend(own);
    }
    let observed = watch.finish()?;
    observed.check_books(checks, &["process"])?;
    let books = observed.books("process")?;
    let unaccounted = books.lost + books.error + books.missed.unwrap_or(0);
    let walked = paths_are_walked(place, checks)?;
    compare(checks, &children, &observed.events, unaccounted, walked);
    Ok(())
}

/// Whether the kernel side may read what a path is made of. Where it may not, doctor says so.
fn paths_are_walked(place: &Place, checks: &mut Checks) -> Result<bool> {
    let locked = fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|text| text.contains("[confidentiality]"));
    if locked {
        let doctor = Doctor::known(place)?;
        let told = doctor.program("process_exec").map(|exec| format!("{}: {}", exec.status, exec.reason));
        let told = told.unwrap_or_default();
        let good = told.starts_with("degraded: ")
            && ["executables", "/proc", "lockdown=integrity"].iter().all(|word| told.contains(word));
        checks.that("doctor on process_exec", "degraded, why, and the remedy", &told, good);
    }
    Ok(!locked)
}

/// What the parents start, and the executable that each has then: of a script that is its interpreter.
fn executables(place: &Place, scratch: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let canonical = |path: &Path| -> Result<String> {
        Ok(fs::canonicalize(path)
            .with_context(|| format!("canonicalize {}", path.display()))?
            .display()
            .to_string())
    };
    let mut started = vec!["self".to_owned()];
    let mut expected = vec![canonical(&place.xtask)?];
    let (truth, shell) = (PathBuf::from("/bin/true"), PathBuf::from("/bin/sh"));
    if truth.exists() {
        expected.push(canonical(&truth)?);
        started.push(truth.display().to_string());
    }
    if shell.exists() {
        let script = scratch.join("script");
        fs::write(&script, "#!/bin/sh\nexit 7\n").context("write a script")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).context("chmod a script")?;
        started.push(script.display().to_string());
        expected.push(canonical(&shell)?);
    }
    Ok((started, expected))
}

fn taken(account: &Value, parent: u32, executables: &[String]) -> Result<Vec<Child>> {
    let children = account.get("children").and_then(Value::as_array).context("no children")?;
    children
        .iter()
        .map(|child| {
            let field = |index: usize| child.get(index).and_then(Value::as_i64);
            let executable = usize::try_from(field(1)?).ok()?;
            Some(Child {
                pid: u32::try_from(field(0)?).ok()?,
                parent,
                executable: executables.get(executable)?.clone(),
                code: field(2),
                signal: field(3),
            })
        })
        .collect::<Option<_>>()
        .context("a child without pid or executable")
}

fn compare(checks: &mut Checks, children: &[Child], events: &[Event], unaccounted: u64, walked: bool) {
    let parents: Vec<u32> = children.iter().map(|child| child.parent).collect();
    let of: std::collections::HashSet<u32> = parents.into_iter().collect();
    // Events of one pid in the order of the lines: a pid that came round twice has its events twice.
    let mut by_pid: HashMap<(u32, &str), std::collections::VecDeque<&Event>> = HashMap::new();
    let pids: std::collections::HashSet<u32> = children.iter().map(|child| child.pid).collect();
    let mut extra = Vec::new();
    for event in events {
        let Some(pid) = event.pid else { continue };
        if pids.contains(&pid) {
            by_pid.entry((pid, event.name.as_str())).or_default().push_back(event);
        } else if event.parent.is_some_and(|parent| of.contains(&parent)) {
            extra.push(format!("{} of {pid}, a child that no parent had", event.name));
        }
    }

    let mut seen = HashMap::from([("process.fork", 0), ("process.exec", 0), ("process.exit", 0)]);
    let (mut missing, mut parent, mut executable, mut ending) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut told = 0;
    for child in children {
        for (name, count) in &mut seen {
            let Some(event) =
                by_pid.get_mut(&(child.pid, *name)).and_then(std::collections::VecDeque::pop_front)
            else {
                missing.push(format!("{name} of {}", child.pid));
                continue;
            };
            *count += 1;
            if event.parent != Some(child.parent) {
                parent.push(format!("{name} of {}: {:?}, not {}", child.pid, event.parent, child.parent));
            }
            if *name != "process.fork" {
                told += usize::from(event.executable.is_some());
            }
            // Read from /proc it may come too late, and is then not told; it is never another's.
            if *name != "process.fork"
                && event.executable.as_deref() != Some(&child.executable)
                && (walked || event.executable.is_some())
            {
                executable.push(format!(
                    "{name} of {}: {:?}, not {}",
                    child.pid, event.executable, child.executable
                ));
            }
            if *name == "process.exit" && !ended_as(event, child) {
                ending.push(format!(
                    "{}: code {:?} signal {:?}, not code {:?} signal {:?}",
                    child.pid, event.exit_code, event.exit_signal, child.code, child.signal
                ));
            }
        }
    }
    for (name, left) in by_pid.iter().filter(|(_, left)| !left.is_empty()) {
        extra.push(format!("{} more {} of {}", left.len(), name.1, name.0));
    }

    for name in ["process.fork", "process.exec", "process.exit"] {
        let observed = seen.get(name).copied().unwrap_or(0);
        checks.that(
            name,
            format!("{} (or in the ledger)", children.len()),
            observed,
            observed as u64 + unaccounted >= children.len() as u64,
        );
    }
    checks.that(
        "events that no line and no ledger entry stands for",
        0,
        (missing.len() as u64).saturating_sub(unaccounted),
        missing.len() as u64 <= unaccounted,
    );
    if !missing.is_empty() {
        checks.note(format!(
            "not shown: {} (ledger: {unaccounted}), such as {:?}",
            missing.len(),
            missing.first()
        ));
    }
    checks.none("events of children that were not", &extra);
    checks.none("wrong parent", &parent);
    checks.none("wrong executable", &executable);
    if !walked {
        checks.at_least("executables told although no path is walked", 1, told);
    }
    checks.none("wrong exit code or signal", &ending);
}

fn ended_as(event: &Event, child: &Child) -> bool {
    match child.signal {
        None => event.exit_code == child.code && event.exit_signal.is_none(),
        Some(number) => event.exit_signal.as_deref().is_some_and(|told| {
            let name = i32::try_from(number).ok().and_then(|n| nix::sys::signal::Signal::try_from(n).ok());
            told == number.to_string() || name.is_some_and(|name| told == name.as_str())
        }),
    }
}
