//! Other programs, run to their end.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Lines of a failed program's output that an error quotes.
const QUOTED: usize = 30;

/// Runs it; what it prints is shown only when it fails. Its standard output.
pub fn quietly(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {name}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let all: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
        let last = all.iter().skip(all.len().saturating_sub(QUOTED)).copied().collect::<Vec<_>>().join("\n");
        bail!("{name}: {}\n{last}", output.status);
    }
    Ok(stdout)
}

/// The program's name and its first words.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.take(5).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Where a program is, as a shell would find it; the system's own folders too, which a user's path may leave out.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
