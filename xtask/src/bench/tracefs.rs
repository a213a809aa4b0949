//! Where peers look up the tracepoints they attach to. fluoro does without.

use std::path::Path;

use nix::mount::{MsFlags, mount, umount};

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
