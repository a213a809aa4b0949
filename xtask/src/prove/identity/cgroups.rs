//! A cgroup of one's own, of the same name in every hierarchy that identifies processes, gone when dropped.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

pub struct Cgroup {
    folders: Vec<PathBuf>,
    /// Made by us, the deepest last.
    made: Vec<PathBuf>,
}

/// Mount points of the hierarchies by which a tracer may tell processes apart: version 2, and of version 1 those that
/// take a process without further settings.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let identifying = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, at, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let v1 = |wanted: &str| kind == "cgroup" && options.split(',').any(|option| option == wanted);
        (kind == "cgroup2" || v1("pids") || v1("memory") || v1("name=systemd")).then(|| PathBuf::from(at))
    };
    Ok(mounts.lines().filter_map(identifying).collect())
}

impl Cgroup {
    /// `None` where no hierarchy is mounted.
    pub fn make(path: &str) -> Result<Option<Self>> {
        let mut cgroup = Self { folders: Vec::new(), made: Vec::new() };
        for root in hierarchies()? {
            let mut folder = root;
            for part in path.split('/') {
                folder.push(part);
                if !folder.exists() {
                    fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
                    cgroup.made.push(folder.clone());
                }
            }
            cgroup.folders.push(folder);
        }
        Ok((!cgroup.folders.is_empty()).then_some(cgroup))
    }

    /// The command will be in this cgroup before it executes its program.
    pub fn enter_on_start(&self, command: &mut Command) -> Result<()> {
        let files = self
            .folders
            .iter()
            .map(|folder| {
                let path = folder.join("cgroup.procs");
                File::options().write(true).open(&path).with_context(|| format!("open {}", path.display()))
            })
            .collect::<Result<Vec<File>>>()?;
        // SAFETY: write(2) is async-signal-safe and the files were opened by the parent.
        unsafe {
            command.pre_exec(move || files.iter().try_for_each(|mut file| file.write_all(b"0")));
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may still be counted in.
        for _ in 0..50 {
            self.made.retain(|folder| folder.exists());
            for folder in self.made.iter().rev() {
                let _ = fs::remove_dir(folder);
            }
            if !self.made.iter().any(|folder| folder.exists()) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
