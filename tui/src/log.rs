//! `--log FILE`: diagnostics beside the screen. Silent until a file is given.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

static FILE: OnceLock<Mutex<File>> = OnceLock::new();

/// Opens (or creates, readable by its owner alone) the file. Links are not followed: the directory may be shared.
pub fn open(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)?;
    let _ = FILE.set(Mutex::new(file));
    Ok(())
}

/// Writes one line. Control characters are neutralised: the log may be read in a terminal.
pub fn line(text: &str) {
    if let Some(file) = FILE.get() {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let text = crate::records::Shown::own(text);
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop the watching.
        let _ = writeln!(file, "{}.{:03} {}", since.as_secs(), since.subsec_millis(), text.as_str());
    }
}
