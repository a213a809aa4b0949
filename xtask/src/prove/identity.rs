//! Who a process is: parent, executable behind symlinks, creation time, user, cgroup with its unit or container, and
//! that two processes with the same pid are two.

pub mod cgroups;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::checks::Checks;
use super::event::Event;
use super::observer::{Keep, Observer};
use super::ports::FreePorts;
use super::{Place, witness};
use crate::workload::actor::Actor;
use cgroups::Cgroup;

/// A folder of one scenario, gone with it; everybody may read it.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Result<Self> {
        let path = PathBuf::from(format!("/tmp/fluoro-prove-{}-{name}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("chmod")?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A process that stands still while the kernel is asked about it, and what the kernel said.
struct Portrait {
    what: &'static str,
    actor: Actor,
    parent: u32,
    executable: String,
    created: Duration,
    uid: u32,
    cgroups: Vec<String>,
    unit: Option<&'static str>,
    container: Option<String>,
}

impl Portrait {
    fn take(place: &Place, what: &'static str, mut command: Command, uid: u32) -> Result<Self> {
        command.args(["workload", "sleep"]);
        let actor = Actor::run(command).with_context(|| what.to_owned())?;
        actor.hear(place.patience(10)).with_context(|| what.to_owned())?;
        let pid = actor.pid();
        let executable = fs::read_link(format!("/proc/{pid}/exe")).context("read /proc/PID/exe")?;
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("read /proc/PID/cgroup")?;
        let path = |line: &str| line.splitn(3, ':').nth(2).map(ToOwned::to_owned);
        Ok(Self {
            what,
            parent: std::process::id(),
            executable: executable.display().to_string(),
            created: witness::created(pid)?,
            uid,
            cgroups: cgroups.lines().filter_map(path).collect(),
            unit: None,
            container: None,
            actor,
        })
    }

    fn compare(&self, checks: &mut Checks, events: &[Event]) {
        let what = self.what;
        let pid = self.actor.pid();
        let named = |name: &str| {
            events.iter().filter(|event| event.pid == Some(pid) && event.name == name).collect::<Vec<_>>()
        };
        let (execs, exits) = (named("process.exec"), named("process.exit"));
        checks.equal(
            format!("{what}: exec and exit"),
            "1 and 1",
            &format!("{} and {}", execs.len(), exits.len()),
        );
        for event in execs.into_iter().chain(exits) {
            let what = format!("{what}, {}", event.name);
            let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            checks.equal(format!("{what}: parent"), self.parent, event.parent.unwrap_or(0));
            checks.equal(format!("{what}: executable"), self.executable.clone(), shown(&event.executable));
            let name =
                Path::new(&self.executable).file_name().map(|name| name.to_string_lossy().into_owned());
            checks.equal(format!("{what}: its name"), shown(&name), shown(&event.executable_name));
            checks.equal(format!("{what}: user"), self.uid, event.uid.unwrap_or(u32::MAX));
            let told = event.created.as_deref().and_then(witness::parse_time);
            let apart = told.map(|told| told.abs_diff(self.created));
            checks.that(
                format!("{what}: creation time"),
                "/proc/PID/stat, within 20 ms",
                apart.map_or_else(|| "none".to_owned(), |apart| format!("{apart:?} apart")),
                apart.is_some_and(|apart| apart <= Duration::from_millis(20)),
            );
            checks.that(
                format!("{what}: cgroup"),
                format!("one of {:?}", self.cgroups),
                shown(&event.cgroup),
                event.cgroup.as_ref().is_some_and(|told| self.cgroups.contains(told)),
            );
            if let Some(unit) = self.unit {
                checks.equal(format!("{what}: unit"), unit.to_owned(), shown(&event.unit));
            }
            if let Some(container) = &self.container {
                checks.equal(format!("{what}: container"), container.clone(), shown(&event.container));
                checks.equal(format!("{what}: runtime"), "docker".to_owned(), shown(&event.runtime));
            }
        }
    }
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    const SOMEBODY: u32 = 12_345;
    const UNIT: &str = "fluoro-prove.service";
    let container: String = format!("{:064x}", u128::from(std::process::id()) << 64 | 0xfeed_f00d);
    let scratch = Scratch::new("identity")?;
    let body = scratch.path.join("body");
    fs::copy(&place.xtask, &body).context("copy this program")?;
    fs::set_permissions(&body, fs::Permissions::from_mode(0o755)).context("chmod")?;
    let link = scratch.path.join("link");
    symlink(&body, &link).context("symlink")?;

    let watch = Observer::start(place, &["process", "flow"], &[], Keep::Events)?;
    let mut portraits = vec![Portrait::take(place, "behind a symlink", Command::new(&link), 0)?];
    let mut as_user = Command::new(&body);
    as_user.uid(SOMEBODY).gid(SOMEBODY);
    portraits.push(Portrait::take(place, "as another user", as_user, SOMEBODY)?);

    let service = Cgroup::make(&format!("system.slice/{UNIT}"))?;
    let scope = Cgroup::make(&format!("system.slice/docker-{container}.scope"))?;
    let port = FreePorts::from(24_100).take()?;
    match (&service, &scope) {
        (Some(service), Some(scope)) => {
            let mut inside = Command::new(&body);
            service.enter_on_start(&mut inside)?;
            let mut portrait = Portrait::take(place, "in a service", inside, 0)?;
            portrait.unit = Some(UNIT);
            portraits.push(portrait);
            let mut inside = Command::new(&body);
            scope.enter_on_start(&mut inside)?;
            let mut portrait = Portrait::take(place, "in a container", inside, 0)?;
            portrait.container = Some(container.clone());
            portraits.push(portrait);

            let mut inside = Command::new(&body);
            service.enter_on_start(&mut inside)?;
            inside.args(["workload", "exchange", "plain", "v4", "3", &port.to_string(), "here"]);
            Actor::run(inside)?.conclusion(place.patience(30))?;
        }
        _ => checks.note("no cgroup hierarchy is mounted: units and containers cannot be shown here"),
    }
    let shell = through_the_shell(place)?;
    let reused = reuse_a_pid(place, &scratch)?;
    for portrait in &mut portraits {
        portrait.actor.end(place.patience(10))?;
    }
    let observed = watch.finish()?;

    observed.check_books(checks, &["process", "flow"])?;
    for portrait in &portraits {
        portrait.compare(checks, &observed.events);
    }
    if service.is_some() {
        compare_flows(checks, &observed.events, port, UNIT, &body);
    }
    if let Some((pid, executable)) = shell {
        let told: Vec<String> = observed
            .events
            .iter()
            .filter(|event| event.name == "process.exec" && event.pid == Some(pid))
            .map(|event| event.executable.clone().unwrap_or_default())
            .collect();
        checks.equal("/bin/sh: executable".to_owned(), executable, told.join(", "));
    }
    match reused {
        Ok((pid, first, second)) => compare_reuse(checks, &observed.events, pid, &first, &second),
        Err(reason) => checks.note(format!("pid reuse not shown: {reason}")),
    }
    Ok(())
}

/// Events of three connections and their listener.
const FLOWS: u64 = 13;

/// The flow events of a process in the service say who that process is, too.
fn compare_flows(checks: &mut Checks, events: &[Event], port: u16, unit: &str, executable: &Path) {
    let of_port = |event: &&Event| {
        event.name.starts_with("flow.")
            && !event.is_trouble()
            && (event.local_port() == port || event.peer_port() == port)
    };
    let flows: Vec<&Event> = events.iter().filter(of_port).collect();
    checks.equal("flow events of a service: 4 a connection and a listen", FLOWS, flows.len() as u64);
    let wrong: Vec<String> = flows
        .iter()
        // Unknown owners are the matter of the scenario `flows`.
        .filter(|event| event.pid.is_some())
        .filter(|event| {
            let execed = events.iter().find(|exec| exec.name == "process.exec" && exec.pid == event.pid);
            event.unit.as_deref() != Some(unit)
                || event.executable.as_deref() != executable.to_str()
                || event.uid != Some(0)
                || execed.is_none_or(|exec| exec.created != event.created || exec.parent != event.parent)
        })
        .map(|event| {
            format!("{}: {:?} {:?} {:?}", event.brief(), event.unit, event.executable, event.created)
        })
        .collect();
    checks.none("flow events whose process differs from its own process.exec", &wrong);
}

/// Where there is a shell: its pid and what /bin/sh really is.
fn through_the_shell(place: &Place) -> Result<Option<(u32, String)>> {
    let shell = Path::new("/bin/sh");
    if place.guest.is_some() || !shell.exists() {
        return Ok(None);
    }
    let mut child = Command::new(shell).args(["-c", "exit 0"]).spawn().context("start /bin/sh")?;
    let pid = child.id();
    child.wait().context("wait for /bin/sh")?;
    Ok(Some((pid, fs::canonicalize(shell).context("canonicalize /bin/sh")?.display().to_string())))
}

type Reused = (u32, String, String);

/// Makes two processes have one pid, one after the other, by two executables; or says why not.
fn reuse_a_pid(place: &Place, scratch: &Scratch) -> Result<Result<Reused, String>> {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    const TRIES: u32 = 100;
    let (first, second) = (scratch.path.join("first"), scratch.path.join("second"));
    for path in [&first, &second] {
        fs::copy(&place.xtask, path).context("copy this program")?;
    }
    let run = |path: &Path, code: &str| -> Result<u32> {
        let mut child =
            Command::new(path).args(["workload", "exit", code]).spawn().context("start a copy")?;
        let pid = child.id();
        child.wait().context("wait")?;
        Ok(pid)
    };
    for _ in 0..TRIES {
        let pid = run(&first, "1")?;
        // Their creation times must differ at the precision of /proc.
        std::thread::sleep(Duration::from_millis(25));
        if let Err(error) = fs::write(LAST, (pid - 1).to_string()) {
            return Ok(Err(format!("{LAST}: {error}")));
        }
        if run(&second, "2")? == pid {
            return Ok(Ok((pid, first.display().to_string(), second.display().to_string())));
        }
    }
    Ok(Err(format!("others were faster {TRIES} times")))
}

fn compare_reuse(checks: &mut Checks, events: &[Event], pid: u32, first: &str, second: &str) {
    let of = |name: &str, executable: &str| -> Vec<&Event> {
        events
            .iter()
            .filter(|event| {
                event.name == name
                    && event.pid == Some(pid)
                    && event.executable.as_deref() == Some(executable)
            })
            .collect()
    };
    let mut created = Vec::new();
    for (which, executable, code) in [("first", first, 1), ("second", second, 2)] {
        let (execs, exits) = (of("process.exec", executable), of("process.exit", executable));
        checks.equal(
            format!("{which} with pid {pid}: exec and exit"),
            "1 and 1",
            &format!("{} and {}", execs.len(), exits.len()),
        );
        if let ([exec], [exit]) = (execs.as_slice(), exits.as_slice()) {
            checks.equal(format!("{which}: exit code"), code, exit.exit_code.unwrap_or(-1));
            checks.that(
                format!("{which}: creation time at exit"),
                format!("{:?}", exec.created),
                format!("{:?}", exit.created),
                exec.created == exit.created && exec.created.is_some(),
            );
            created.push(exec.created.clone());
        }
    }
    let told_apart = matches!(created.as_slice(), [one, other] if one != other);
    checks.that("the two have different creation times", true, format!("{created:?}"), told_apart);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_scratch_folder_goes_with_its_owner() {
        let scratch = Scratch::new("test").unwrap();
        let path = scratch.path.clone();
        assert!(path.is_dir());
        drop(scratch);
        assert!(!path.exists());
    }
}
