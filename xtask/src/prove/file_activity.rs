//! What processes read and write, by every call there is: the sums of `top files` are what the programs know.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::top::Top;
use crate::workload::actor::Actor;

const PROCESSES: usize = 4;
const FIGURES: &[&str] = &["opens", "reads", "writes", "syncs", "read_bytes", "write_bytes", "errors"];

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let directory = std::env::temp_dir();
    let directory = directory.to_str().context("the name of the temporary directory is no text")?;
    let rounds = place.scaled(50, 5).to_string();
    let uring_unseen = Doctor::ask(place, &[])?.unsupported("file_transfer");
    let mut actors = Vec::new();
    for _ in 0..PROCESSES {
        let actor = Actor::start(&place.xtask, &["activity", directory, &rounds])?;
        actor.hear(place.patience(10))?;
        actors.push(actor);
    }
    let pids: Vec<String> = actors.iter().map(|actor| actor.pid().to_string()).collect();
    let filter = format!("pid:{}", pids.join(","));
    let top = Top::start(place, "files", &["-f", &filter, "-d", "500ms"])?;
    top.next()?;
    for actor in &mut actors {
        actor.tell("go")?;
    }
    let mut told = Vec::new();
    for actor in &actors {
        told.push((actor.pid(), actor.hear(place.patience(60))?));
    }
    // All that was counted is in the intervals up to now and the next two.
    let mut sums: HashMap<(u64, String), [u64; 7]> = HashMap::new();
    let mut longest: HashMap<(u64, String), u64> = HashMap::new();
    let mut errors: HashMap<(u64, String), String> = HashMap::new();
    let mut quiet = 0;
    while quiet < 3 {
        let object = top.next()?;
        let rows = object.get("rows").and_then(Value::as_array).context("no rows")?;
        let ours = rows.iter().filter(|row| {
            row.pointer("/file/path")
                .and_then(Value::as_str)
                .is_some_and(|path| path.contains("fluoro-activity-"))
        });
        quiet += 1;
        for row in ours {
            quiet = 0;
            let number = |at: &str| row.pointer(at).and_then(Value::as_u64).unwrap_or(0);
            let path = row.pointer("/file/path").and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = (number("/process/pid"), path);
            let sum = sums.entry(key.clone()).or_default();
            for (sum, figure) in sum.iter_mut().zip(FIGURES) {
                *sum += number(&format!("/{figure}"));
            }
            let max = longest.entry(key.clone()).or_default();
            *max = (*max).max(number("/duration/max_ns"));
            if let Some(error) = row.pointer("/error/type").and_then(Value::as_str) {
                errors.insert(key, error.to_owned());
            }
        }
    }
    drop(top);
    let (mut files, mut wrong, mut waits) = (0, Vec::new(), Vec::new());
    for (pid, told) in &told {
        for file in told.get("files").and_then(Value::as_array).context("no files")? {
            let path = file.get("path").and_then(Value::as_str).context("no path")?.to_owned();
            let asked = file.get("uring") == Some(&Value::Bool(true));
            if asked && let Some(why) = &uring_unseen {
                checks.note(format!("reads and writes through io_uring are not counted here: {why}"));
                continue;
            }
            files += 1;
            let key = (u64::from(*pid), path);
            let expected: Vec<u64> =
                FIGURES.iter().map(|name| file.get(*name).and_then(Value::as_u64).unwrap_or(0)).collect();
            let counted = sums.get(&key).copied().unwrap_or_default().to_vec();
            if expected != counted {
                wrong.push(format!("{pid} {}: {FIGURES:?} are {expected:?}, counted {counted:?}", key.1));
            }
            if let Some(waited) = file.get("waited_ns").and_then(Value::as_u64) {
                let max = longest.get(&key).copied().unwrap_or(0);
                if max < waited / 10 * 9 || max > waited + waited / 8 + 50_000_000 {
                    waits.push(format!("{pid} waited {waited} ns, shown {max}"));
                }
            }
            if key.1.ends_with("missing") && errors.get(&key).map(String::as_str) != Some("ENOENT") {
                waits.push(format!("{pid} {}: error {:?}", key.1, errors.get(&key)));
            }
        }
    }
    checks.at_least("files used by 4 processes", 16, files);
    checks.none("files whose figures are others", &wrong);
    checks.none("longest reads of a FIFO or errors of failed opens that are others", &waits);
    for mut actor in actors {
        actor.end(place.patience(20))?;
    }
    Ok(())
}
