//! The thread that reads keys. crossterm decodes them; whether there is something to read is asked first,
//! because crossterm 0.29 loops for ever on a terminal that has gone (read fails with EIO, or returns 0).

use std::os::fd::AsFd;
use std::time::Duration;

use crossterm::event::{self, Event};
use nix::poll::PollFlags;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::app::terminal::{TerminalError, Tty, wait};

/// How long the thread sleeps before it looks whether anybody still listens.
const GLANCE_MS: u16 = 1000;
/// Keys that may wait; a paste longer than this makes the thread wait, not the memory grow.
const WAITING: usize = 256;

/// Starts the thread. The channel closes when the terminal has gone.
pub fn read() -> Result<Receiver<Event>, TerminalError> {
    let input = Tty::input()?;
    let (send, receive) = channel(WAITING);
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || while wait_and_pass(input.as_fd(), &send).is_some() {})
        .map_err(|source| TerminalError::Io { operation: "start the thread that reads", source })?;
    Ok(receive)
}

/// `None` when it is over.
fn wait_and_pass(input: std::os::fd::BorrowedFd<'_>, send: &Sender<Event>) -> Option<()> {
    let up = wait(input, PollFlags::POLLIN, GLANCE_MS).ok()?;
    if send.is_closed() || up.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
        return None;
    }
    if up.contains(PollFlags::POLLIN) {
        while event::poll(Duration::ZERO).ok()? {
            send.blocking_send(event::read().ok()?).ok()?;
        }
    }
    Some(())
}
