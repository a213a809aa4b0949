//! What processes read and write, by every call there is: the sums of `top files` are what the programs know, of each file
//! and taken together by process and mount.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::top::{Top, rows};
use crate::workload::actor::Actor;

const PROCESSES: usize = 4;
const FIGURES: [&str; 7] = ["opens", "reads", "writes", "syncs", "read_bytes", "write_bytes", "errors"];

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let directory = std::env::temp_dir();
    let directory = directory.to_str().context("the name of the temporary directory is no text")?;
    let rounds = place.scaled(50, 5).to_string();
    let doctor = Doctor::known(place)?;
    let uring_unseen = doctor.unsupported("file_complete");
    let silent_unseen =
        doctor.program("file_silent").filter(|program| !program.alternative.starts_with("fexit"));
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
    // One table is enough in a guest.
    let mut together = Vec::new();
    for by in ["process", "mount"].into_iter().filter(|_| place.guest.is_none()) {
        let filter = format!("{filter} path:*fluoro-activity-*");
        let top = Top::start(place, "files", &["-f", &filter, "-d", "500ms", "--by", by])?;
        top.next()?;
        together.push((by, top));
    }
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
    top.until_quiet(|object| {
        let ours = rows(object).into_iter().filter(|row| {
            row.pointer("/file/path")
                .and_then(Value::as_str)
                .is_some_and(|path| path.contains("fluoro-activity-"))
        });
        let mut some = false;
        for row in ours {
            some = true;
            let number = |at: &str| row.pointer(at).and_then(Value::as_u64).unwrap_or(0);
            let path = row.pointer("/file/path").and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = (number("/process/pid"), path);
            add(sums.entry(key.clone()).or_default(), &figures(row));
            let max = longest.entry(key.clone()).or_default();
            *max = (*max).max(number("/duration/max_ns"));
            if let Some(error) = row.pointer("/error/type").and_then(Value::as_str) {
                errors.insert(key, error.to_owned());
            }
        }
        some
    })?;
    drop(top);
    let (mut files, mut wrong, mut waits) = (0, Vec::new(), Vec::new());
    let mount = mount_of(directory)?;
    // By process and by mount; of what was not found only the first path is known, and no mount.
    let mut due: HashMap<&str, BTreeMap<String, [u64; 7]>> = HashMap::new();
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
            let mut expected = figures(file);
            if let Some(program) = silent_unseen.filter(|_| file.get("silent").is_some()) {
                checks.note(format!("requests without completion are not counted here: {}", program.reason));
                // It was opened by a system call.
                expected = [1, 0, 0, 0, 0, 0, 0];
            }
            let counted = sums.get(&key).copied().unwrap_or_default();
            let of_mount = if key.1.ends_with("missing") { "" } else { mount.as_str() };
            for (by, group) in [("process", pid.to_string()), ("mount", of_mount.to_owned())] {
                add(due.entry(by).or_default().entry(group).or_default(), &expected);
            }
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
    for (by, top) in &together {
        let due = due.remove(by).unwrap_or_default();
        let told = sums_of(top)?;
        checks.equal(format!("by {by}: {FIGURES:?}"), format!("{due:?}"), format!("{told:?}"));
    }
    for mut actor in actors {
        actor.end(place.patience(20))?;
    }
    Ok(())
}

fn figures(value: &Value) -> [u64; 7] {
    FIGURES.map(|name| value.get(name).and_then(Value::as_u64).unwrap_or(0))
}

fn add(sum: &mut [u64; 7], one: &[u64; 7]) {
    sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
}

/// Of each process or mount, until nothing more comes.
fn sums_of(top: &Top) -> Result<BTreeMap<String, [u64; 7]>> {
    let mut sums: BTreeMap<String, [u64; 7]> = BTreeMap::new();
    top.until_quiet(|object| {
        let mut some = false;
        for row in rows(object) {
            let figures = figures(row);
            if figures != [0; 7] {
                some = true;
                let pid = row.pointer("/process/pid").and_then(Value::as_u64).map(|pid| pid.to_string());
                let mount = row.pointer("/system/filesystem/mountpoint").and_then(Value::as_str);
                let group = pid.or(mount.map(str::to_owned)).unwrap_or_default();
                add(sums.entry(group).or_default(), &figures);
            }
        }
        some
    })?;
    Ok(sums)
}

/// Where the whole file system that a directory is on is mounted, by the kernel's list.
fn mount_of(directory: &str) -> Result<String> {
    let device = std::fs::metadata(directory)?.dev();
    let device = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let list = std::fs::read_to_string("/proc/1/mountinfo").context("read /proc/1/mountinfo")?;
    let whole = list.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields.get(2) == Some(&device.as_str()) && fields.get(3) == Some(&"/"))
            .then(|| fields.get(4).copied())?
    });
    Ok(whole.min_by_key(|at| at.len()).context("no mount of the temporary directory")?.to_owned())
}
