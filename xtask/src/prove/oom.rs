//! A process that takes more memory than its group may have: the kernel ends it, and its exit says so; the exit of one
//! that is killed otherwise does not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::{Place, Skip, run};
use crate::workload::actor::Actor;

/// What the group may have, and what is taken.
const LIMIT_MIB: u64 = 32;
const TAKEN_MIB: u64 = 128;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let group = Group::make()?;
    let mut greedy = Actor::start(&place.xtask, &["devour", &TAKEN_MIB.to_string()])?;
    let mut other = Actor::start(&place.xtask, &["devour", "1"])?;
    for actor in [&greedy, &other] {
        actor.hear(place.patience(10))?;
        group.take(actor.pid())?;
    }
    let filter = format!("pid:{},{}", greedy.pid(), other.pid());
    let watch = Observer::start(place, &["process"], &["-f", &filter], Keep::Raw)?;
    other.tell("go")?;
    other.hear(place.patience(20))?;
    greedy.tell("go")?;
    let code = greedy.ending(place.patience(30))?;
    checks.equal("exit code of who took too much", "none", code.map_or("none", |_| "some"));
    run::send(other.pid(), Signal::SIGKILL)?;
    other.ending(place.patience(10))?;
    let observed = watch.finish()?;
    observed.check_books(checks, &["process"])?;

    checks.at_least("kills by the group's own account", 1, group.kills()?);
    for (who, pid, killed) in
        [("out of memory", greedy.pid(), Some(true)), ("killed otherwise", other.pid(), None)]
    {
        let exits: Vec<&Value> = observed
            .raw
            .iter()
            .filter(|line| line.get("event_name").and_then(Value::as_str) == Some("process.exit"))
            .filter(|line| line.pointer("/process/pid").and_then(Value::as_u64) == Some(u64::from(pid)))
            .collect();
        checks.equal(format!("{who}: exits"), 1, exits.len());
        let exit = exits.first().and_then(|line| line.pointer("/process/exit"));
        let told = exit.and_then(|exit| exit.get("oom_killed")).and_then(Value::as_bool);
        checks.equal(format!("{who}: oom_killed"), told_as(killed), told_as(told));
        let signal = exit.and_then(|exit| exit.get("signal")).and_then(Value::as_u64);
        checks.equal(format!("{who}: signal"), 9, signal.unwrap_or(0));
    }
    Ok(())
}

const fn told_as(flag: Option<bool>) -> &'static str {
    match flag {
        Some(true) => "true",
        Some(false) => "false",
        None => "absent",
    }
}

/// A memory cgroup with a limit, of either version; it goes when its processes have.
struct Group {
    path: PathBuf,
    unified: bool,
}

impl Group {
    fn make() -> Result<Self> {
        let name = format!("fluoro-oom-{}", std::process::id());
        let limit = (LIMIT_MIB << 20).to_string();
        let root = Path::new("/sys/fs/cgroup");
        let old = root.join("memory");
        let unified = root.join("cgroup.controllers").exists();
        if unified {
            // Where nobody has asked for it yet, groups have no memory controller.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        } else if !old.join("memory.limit_in_bytes").exists() {
            return Err(Skip("no memory controller below /sys/fs/cgroup".to_owned()).into());
        }
        let path = if unified { root.join(name) } else { old.join(name) };
        if let Err(error) = fs::create_dir(&path) {
            return Err(Skip(format!("cannot make {}: {error}", path.display())).into());
        }
        let group = Self { path, unified };
        // Without swap nothing can be put aside. A kernel that does not account swap has no such file.
        if unified {
            let _ = group.set("memory.swap.max", "0");
            group.set("memory.max", &limit)?;
        } else {
            group.set("memory.limit_in_bytes", &limit)?;
            let _ = group.set("memory.memsw.limit_in_bytes", &limit);
        }
        Ok(group)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))
    }

    fn take(&self, pid: u32) -> Result<()> {
        self.set("cgroup.procs", &pid.to_string())
    }

    /// Processes of the group that the kernel has ended for want of memory.
    fn kills(&self) -> Result<u64> {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.path.join(file)).with_context(|| format!("read {file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.with_context(|| format!("no oom_kill in {file}"))?.trim().parse().context("not a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
