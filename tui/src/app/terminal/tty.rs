//! The file descriptor of the terminal: written without ever blocking, opened anew so that the flag for
//! that does not leak into the shell that shares the descriptor.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};

use crate::app::terminal::TerminalError;

/// A way to write to the terminal.
pub struct Tty(File);

/// How often a write that waits looks whether it shall give up.
const GLANCE_MS: u16 = 50;

impl Tty {
    /// The terminal of standard output.
    pub fn open() -> Result<Self, TerminalError> {
        let failed = |source| TerminalError::Io { operation: "open", source };
        if !io::stdout().is_terminal() {
            return Err(TerminalError::NotATerminal);
        }
        let anew = OpenOptions::new()
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC)
            .open("/proc/self/fd/1");
        match anew {
            Ok(file) => Ok(Self(file)),
            // After su the device may belong to somebody else: the inherited descriptor still writes.
            Err(_) => io::stdout().as_fd().try_clone_to_owned().map(|fd| Self(fd.into())).map_err(failed),
        }
    }

    /// The descriptor that keys come from, as crossterm chooses it.
    pub fn input() -> Result<OwnedFd, TerminalError> {
        let failed = |source| TerminalError::Io { operation: "open", source };
        if io::stdin().is_terminal() {
            return io::stdin().as_fd().try_clone_to_owned().map_err(failed);
        }
        File::open("/dev/tty").map(Into::into).map_err(failed)
    }

    /// Writes everything, waiting for a slow terminal until `abandon` is set.
    pub fn write(&mut self, mut bytes: &[u8], abandon: &AtomicBool) -> io::Result<()> {
        while !bytes.is_empty() {
            if abandon.load(Ordering::Acquire) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !self.ready()? {
                continue;
            }
            match self.0.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes if the terminal takes it at once.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.ready()? { self.0.write(bytes).map(drop) } else { Ok(()) }
    }

    /// Throws away what was written and not yet read, so that there is room for the end.
    pub fn discard(&self) {
        let _ = tcflush(self.0.as_fd(), FlushArg::TCOFLUSH);
    }

    fn ready(&self) -> io::Result<bool> {
        let events = wait(self.0.as_fd(), PollFlags::POLLOUT, GLANCE_MS)?;
        if events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL) {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        Ok(events.contains(PollFlags::POLLOUT))
    }
}

/// What is up with a descriptor within so many milliseconds; empty on a timeout or a signal.
pub fn wait(fd: BorrowedFd<'_>, events: PollFlags, timeout_ms: u16) -> io::Result<PollFlags> {
    let mut asked = [PollFd::new(fd, events)];
    match poll(&mut asked, PollTimeout::from(timeout_ms)) {
        Ok(_) => Ok(asked.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty())),
        Err(nix::errno::Errno::EINTR) => Ok(PollFlags::empty()),
        Err(errno) => Err(errno.into()),
    }
}

/// Columns and lines; what a terminal that does not know reports is read as 80x24.
pub fn size() -> (u16, u16) {
    match crossterm::terminal::window_size() {
        Ok(w) if w.columns > 0 && w.rows > 0 => (w.columns.min(1000), w.rows.min(500)),
        _ => (80, 24),
    }
}
