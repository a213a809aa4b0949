//! The modes that the console borrows from the terminal, and giving them back from anywhere: the end of
//! `run`, a panic, a signal.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::app::terminal::{TerminalError, Tty};

/// Alternate screen, hidden cursor, bracketed paste.
pub const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?2004h";
/// End of a synchronized update that may be open, colours, mouse, paste, cursor, the screen from before.
/// Cleared before it is left: tmux 3.3a mixes what stands on it into the shell's screen when the window has
/// grown meanwhile, and the Linux console has no other screen to go back to.
pub const LEAVE: &[u8] =
    b"\x1b[?2026l\x1b[0m\x1b[?1006l\x1b[?1000l\x1b[?2004l\x1b[H\x1b[J\x1b[?25h\x1b[?1049l";

/// OSC 52: text for the clipboard. In base 64, so that no byte of it can be a command.
pub fn clipboard(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    format!("\x1b]52;c;{text}\x07").into_bytes()
}

/// The line settings found at start, while they are not in force.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
/// The screen was given back in an emergency: nobody may draw on it any more.
static RESTORED: AtomicBool = AtomicBool::new(false);

pub fn restored() -> bool {
    RESTORED.load(Ordering::Acquire)
}

pub fn enter_raw() -> Result<(), TerminalError> {
    let refused =
        |errno: nix::Error| TerminalError::Io { operation: "change the modes of", source: errno.into() };
    let tty = Tty::input()?;
    let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    let found = tcgetattr(tty.as_fd()).map_err(refused)?;
    let mut raw = found.clone();
    cfmakeraw(&mut raw);
    tcsetattr(tty.as_fd(), SetArg::TCSANOW, &raw).map_err(refused)?;
    if saved.is_none() {
        *saved = Some(found);
    }
    Ok(())
}

/// Puts the line settings back. TCSANOW, because a terminal that reads nothing never drains.
pub fn leave_raw() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Some(saved), Ok(tty)) = (saved, Tty::input()) {
        let _ = tcsetattr(tty.as_fd(), SetArg::TCSANOW, &saved);
    }
}

/// Gives everything back at once and for good, from whichever thread: for a panic, whose message must
/// be readable.
pub fn restore_now() {
    let active = SAVED.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    if !active || RESTORED.swap(true, Ordering::AcqRel) {
        return;
    }
    if let Ok(mut tty) = Tty::open() {
        let _ = tty.write_now(LEAVE);
    }
    leave_raw();
}
