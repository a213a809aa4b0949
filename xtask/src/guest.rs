//! xtask as the first process of a guest: makes the few things that programs expect of a machine, plays scenarios, says
//! on the console how they ended, and turns the machine off.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use serde_json::json;

use crate::bench;
use crate::prove::{self, Outcome, Place, Verdict};
use crate::report::{self, say};
use crate::screens;

/// Workloads are this much smaller in a guest than on the host: everything is emulated.
const DIVIDE: u32 = 40;

/// How often a guest says that it lives.
pub const BEAT: Duration = Duration::from_secs(15);

/// Never returns: when this process ends, the kernel panics.
pub fn main(words: &[String]) -> ! {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(BEAT);
            say(&json!({ "alive": true }));
        }
    });
    if let Err(error) = play(words) {
        say(&json!({ "failed": format!("{error:#}") }));
    }
    say(&json!({ "end": true }));
    // What was written must be out before the machine is off.
    std::thread::sleep(Duration::from_millis(200));
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    loop {
        std::thread::park();
    }
}

fn play(words: &[String]) -> Result<()> {
    furnish()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    say(&json!({ "ready": release }));
    let (mut names, mut hooks, mut played) = (Vec::new(), Vec::new(), 0);
    let mut words = words.iter().cloned();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--hook" => hooks.extend(words.next()),
            "--played" => played = words.next().and_then(|number| number.parse().ok()).unwrap_or(0),
            _ => names.push(word),
        }
    }
    let place = Place {
        fluoro: PathBuf::from("/fluoro"),
        xtask: PathBuf::from("/init"),
        divide: DIVIDE,
        hooks,
        guest: Some(release),
        played: Arc::new(AtomicUsize::new(played)),
    };
    if names == [screens::WORD] {
        return screens::take(&place, &mut |shot| say(&json!({ "shot": shot })));
    }
    if let Some((word, names)) = names.split_first().filter(|(word, _)| *word == bench::WORD) {
        let lines = bench::lines(names, &place)?;
        report::say_outcome(&Outcome::new(word, Verdict::Passed, lines));
        return Ok(());
    }
    if names.is_empty() || names.iter().any(|name| name == "hooks") {
        say(&json!({ "support": prove::support(&place)? }));
    }
    if names.is_empty() {
        prove::everything(&place, &mut report::say_outcome);
    } else {
        prove::run(&names, &place, &mut report::say_outcome);
    }
    Ok(())
}

/// Mounts, device nodes, the loopback.
fn furnish() -> Result<()> {
    let kernel = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (kind, at, flags) in [
        ("proc", "/proc", kernel),
        ("sysfs", "/sys", kernel),
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID),
        ("devpts", "/dev/pts", MsFlags::MS_NOSUID),
        ("tmpfs", "/tmp", MsFlags::MS_NOSUID),
        ("tmpfs", "/run", MsFlags::MS_NOSUID),
        ("cgroup2", "/sys/fs/cgroup", kernel),
        ("securityfs", "/sys/kernel/security", kernel),
    ] {
        fs::create_dir_all(at).with_context(|| format!("create {at}"))?;
        let mounted = mount(Some(kind), at, Some(kind), flags, None::<&str>);
        // A kernel without lockdown has no securityfs that would say so.
        if kind != "securityfs" {
            mounted.with_context(|| format!("mount {kind}"))?;
        }
    }
    let console =
        fs::File::options().read(true).write(true).open("/dev/console").context("open /dev/console")?;
    for descriptor in 0..3 {
        // SAFETY: both descriptors are open; dup2 touches no memory.
        nix::errno::Errno::result(unsafe { libc::dup2(console.as_raw_fd(), descriptor) }).context("dup2")?;
    }
    load_modules()?;
    let name = CString::new("web-1").context("host name")?;
    // SAFETY: the name is readable for the length given.
    nix::errno::Errno::result(unsafe { libc::sethostname(name.as_ptr(), 5) }).context("sethostname")?;
    crate::workload::namespace::loopback_up()
}

/// Modules that a machine would load when they are first asked for, in the order of their names.
fn load_modules() -> Result<()> {
    let Ok(entries) = fs::read_dir("/modules") else { return Ok(()) };
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for path in modules {
        let module = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
        nix::kmod::finit_module(&module, c"", nix::kmod::ModuleInitFlags::empty())
            .with_context(|| format!("load {}", path.display()))?;
    }
    Ok(())
}
