//! Every operation on files that there is, each exactly once, with its path, its result and whether it made the file.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::event::Event;
use super::observer::{Keep, Observer};
use crate::workload::actor::Actor;
use crate::workload::files::{BY_WORKER, SLOT};

/// One line as it must be.
#[derive(Debug, PartialEq)]
struct Line {
    event: String,
    path: Option<Vec<u8>>,
    old_path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    created: bool,
    result: i64,
    error: Option<String>,
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let directory = std::env::temp_dir();
    let directory = directory.to_str().context("the name of the temporary directory is no text")?;
    let rounds = place.scaled(20, 1).to_string();
    let mut actor = Actor::start(&place.xtask, &["files", directory, &rounds])?;
    actor.hear(place.patience(10))?;
    let pid = actor.pid();
    let filter = format!("pid:{pid} \"{directory}/fluoro-files-{pid}\"");
    let watch = Observer::start(place, &["file"], &["-f", &filter], Keep::Events)?;
    actor.tell("go")?;
    let told = actor.hear(place.patience(60))?;
    let doctor = Doctor::known(place)?;
    let resolves = doctor.unsupported("file_path");
    if let Some(why) = &resolves {
        checks.note(format!("paths are shown as passed here: {why}"));
    }
    // What it removes at last is not asked for.
    let silent = doctor.program("file_silent").map_or("", |program| program.alternative.as_str());
    let mut done = expected(&told, resolves.is_none(), silent)?;
    let all = told.get("done").and_then(Value::as_array).map_or(0, Vec::len);
    let unseen = all - done.len();
    if unseen != 0 {
        let why = doctor.program("file_silent").map_or("", |program| program.reason.as_str());
        checks.note(format!("{unseen} requests of io_uring without completion are not seen here: {why}"));
    }
    let by_uring = told.get("by_uring").and_then(Value::as_u64).unwrap_or(0) as usize - unseen;
    if let Some(why) = doctor.unsupported("file_complete") {
        checks.note(format!("{by_uring} operations through io_uring are not seen here: {why}"));
        done.truncate(done.len() - by_uring);
    } else {
        checks.note(format!("{by_uring} of the operations through io_uring"));
    }
    actor.rest(place.patience(20))?;
    let observed = watch.finish()?;
    observed.check_books(checks, &["file"])?;
    checks.equal("lost", 0, observed.books("file")?.lost);

    let alike = told.get("alike").and_then(Value::as_u64).unwrap_or(0);
    let errors = observed.books("file")?.error;
    // What nobody would see is counted where it is asked for.
    let silenced =
        told.get("without_completion").and_then(Value::as_u64).filter(|_| silent.is_empty()).unwrap_or(0);
    if errors == silenced {
        checks.equal("operations counted as errors", silenced, errors);
    } else {
        checks.note("of requests of io_uring that are alike this kernel does not tell which one is over");
        checks.equal("operations counted as errors", alike + silenced, errors);
        done.truncate(done.len() - alike as usize);
    }

    let lines: Vec<Line> = observed.events.iter().take(done.len()).map(Line::of).collect();
    checks.equal("operations shown", done.len(), lines.len());
    let mut wrong: Vec<String> = done
        .iter()
        .zip(&lines)
        .enumerate()
        .filter(|(_, (expected, shown))| expected != shown)
        .map(|(index, (expected, shown))| format!("{index}: {}, shown {}", expected.brief(), shown.brief()))
        .collect();
    wrong.truncate(20);
    checks.none("operations whose event, path, result or error is another", &wrong);
    let others: Vec<String> = observed
        .events
        .iter()
        .take(done.len())
        .filter(|event| {
            let into_slot =
                event.path.as_ref().is_some_and(|path| path.ends_with(SLOT)) && event.result == Some(0);
            let resolved =
                event.error.is_none() && !into_slot && (resolves.is_none() || event.name == "file.open");
            // Calls on descriptors are resolved either way.
            event.path_kind.as_deref() != Some(if resolved { "resolved" } else { "joined" })
                && (resolved || event.error.is_some())
        })
        .map(|event| format!("{} {:?} {:?}", event.name, event.path_kind, event.error))
        .collect();
    checks.none("operations whose path is of another kind", &others);
    let by_32_bits = told.get("by_32_bits").and_then(Value::as_u64).unwrap_or(0) as usize;
    if by_32_bits == 0 {
        checks.note("this kernel has no 32-bit ABI");
    }
    let shown = observed.events.iter().filter(|event| event.compat).count();
    checks.equal("operations by the 32-bit ABI", by_32_bits, shown);
    let untimed: Vec<String> = observed
        .events
        .iter()
        .filter(|event| event.duration_ns.is_none())
        .map(|event| event.name.clone())
        .collect();
    // Of a call whose entry was missed nobody knows how long it took; it is seen all the same.
    checks.few("operations without a duration", observed.books("file")?.missed.unwrap_or(0), &untimed);
    let mut names: Vec<&str> = done.iter().map(|line| line.event.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    checks.equal("kinds of events", 11, names.len());
    let failed = done.iter().filter(|line| line.error.is_some()).count();
    checks.at_least("of them failed", 20, failed);
    Ok(())
}

/// `resolved`: the paths are the kernel's own where a call succeeded. `silent`: by what requests of io_uring are
/// seen that do not complete.
fn expected(told: &Value, resolved: bool, silent: &str) -> Result<Vec<Line>> {
    let done = told.get("done").and_then(Value::as_array).context("nothing was done")?;
    let is_seen = |entry: &&Value| match entry.get("silent").and_then(Value::as_str) {
        Some(how) => silent.starts_with("fexit") || silent == "kprobe" && how == BY_WORKER,
        None => true,
    };
    done.iter()
        .filter(is_seen)
        .map(|entry| {
            let bytes = |key: &str| {
                entry.get(key).and_then(Value::as_str).map(|coded| BASE64.decode(coded)).transpose()
            };
            let result = entry.get("result").and_then(Value::as_i64).context("no result")?;
            let passed = (!resolved || result < 0) && entry.get("passed").is_some_and(Value::is_string);
            Ok(Line {
                event: entry.get("event").and_then(Value::as_str).context("no event")?.to_owned(),
                path: bytes(if passed { "passed" } else { "path" })?,
                old_path: bytes(if passed { "old_passed" } else { "old_path" })?,
                target: bytes("target")?,
                created: entry.get("created") == Some(&Value::Bool(true)),
                result,
                error: (result < 0).then(|| format!("{:?}", nix::errno::Errno::from_raw(-result as i32))),
            })
        })
        .collect()
}

impl Line {
    fn of(event: &Event) -> Self {
        Self {
            event: event.name.clone(),
            path: event.path.clone(),
            old_path: event.old_path.clone(),
            target: event.target.clone(),
            created: event.made,
            result: event.result.unwrap_or(i64::MIN),
            error: event.error.clone(),
        }
    }

    fn brief(&self) -> String {
        let shown = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map_or_else(
                || "-".to_owned(),
                |bytes| {
                    let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
                    let from = text.char_indices().rev().nth(60).map_or(0, |(at, _)| at);
                    text.get(from..).unwrap_or_default().to_owned()
                },
            )
        };
        format!(
            "{} {} old {} target {} = {}{}",
            self.event,
            shown(&self.path),
            shown(&self.old_path),
            shown(&self.target),
            self.result,
            if self.created { " created" } else { "" }
        )
    }
}
