//! What peers need to be measured beside fluoro: the file system of tracepoints, and to be told that it is over.

use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where they look up what they attach to. fluoro does without.
const AT: &str = "/sys/kernel/tracing";

/// Mounted for as long as this lives, where it is not mounted anyway.
pub struct Tracefs {
    mounted: bool,
}

impl Tracefs {
    pub fn mount() -> Self {
        let there = Path::new(AT).join("events").exists();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        Self { mounted: !there && mount(Some("tracefs"), AT, Some("tracefs"), flags, None::<&str>).is_ok() }
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if self.mounted {
            let _ = umount(AT);
        }
    }
}

/// Tells it to end, so that it says what it has gathered and lets go of what it watches; whoever does not is killed.
pub fn end(child: &mut Child) {
    const PATIENCE: Duration = Duration::from_secs(10);
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT);
    let told = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && told.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}
