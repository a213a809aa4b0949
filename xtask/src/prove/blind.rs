//! Where a kernel runs no tracing program at all: sandboxes exist that leave out the context of their first process,
//! and with it whatever softirq happens to do there. Such transitions are in no program's `missed`; ftrace sees them.
//! A scenario that fails while there were some has shown nothing.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{UnlinkatFlags, unlinkat};

const INSTANCE: &str = "fluoro-prove";

/// Counts state changes of sockets in the context of process 1, by an ftrace instance of its own.
pub struct Blind {
    trace: File,
    instances: File,
}

impl Blind {
    /// Needs tracefs, which is mounted where nobody else sees it: in a mount namespace of a thread that then ends.
    pub fn watch() -> Result<Self> {
        std::thread::spawn(Self::open).join().map_err(|_| anyhow!("the thread that opens tracefs died"))?
    }

    fn open() -> Result<Self> {
        let none = None::<&str>;
        let at = Path::new("/sys/kernel/tracing");
        unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make mounts private")?;
        mount(Some("tracefs"), at, Some("tracefs"), MsFlags::empty(), none).context("mount tracefs")?;
        let instances = at.join("instances");
        let own = instances.join(INSTANCE);
        // One that a killed run has left.
        let _ = fs::remove_dir(&own);
        fs::create_dir(&own).context("create an ftrace instance")?;
        let blind = Self { trace: File::open(own.join("trace"))?, instances: File::open(instances)? };
        let tell = |file: &str, words: &str| {
            let mut file = File::options().append(true).open(own.join(file))?;
            file.write_all(words.as_bytes())
        };
        tell("options/event-fork", "1").context("event-fork")?;
        for thread in fs::read_dir("/proc/1/task").context("read /proc/1/task")? {
            tell("set_event_pid", &thread?.file_name().display().to_string()).context("set_event_pid")?;
        }
        tell("events/sock/inet_sock_set_state/enable", "1").context("enable the tracepoint")?;
        Ok(blind)
    }

    /// State changes so far.
    pub fn count(&mut self) -> Result<usize> {
        let mut text = String::new();
        self.trace.rewind()?;
        self.trace.read_to_string(&mut text).context("read the trace")?;
        Ok(text.lines().filter(|line| !line.starts_with('#')).count())
    }
}

impl Drop for Blind {
    fn drop(&mut self) {
        // It is busy while its trace is open.
        if let Ok(null) = File::open("/dev/null") {
            self.trace = null;
        }
        let _ = unlinkat(&self.instances, INSTANCE, UnlinkatFlags::RemoveDir);
    }
}
