//! The terminal: its modes, and the one thread that writes to it. Takes whole pictures through a slot of
//! one and compares each with what was really written, so a picture that is skipped costs nothing and a
//! terminal that does not read delays nobody. Knows nothing of what the pictures show.

mod modes;
mod painter;
mod tty;

pub use modes::restore_now;
pub use painter::Painter;
pub use tty::{Tty, size, wait};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::sync::Notify;

use crate::app::screen::Picture;

/// Why the console cannot have, or keep, its terminal.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    #[error("standard output is not a terminal: use `fluoro observe` or `fluoro top` for output without one")]
    NotATerminal,
    #[error(
        "the terminal cannot move its cursor (TERM is {0}): use `fluoro observe` or `fluoro top`, or set TERM"
    )]
    Dumb(String),
    #[error("cannot {operation} the terminal: {source}")]
    Io { operation: &'static str, source: std::io::Error },
    #[error("the terminal has gone")]
    Gone,
    #[error("a thread of fluoro panicked; its message stands above")]
    Panicked,
}

/// What the thread shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Wish {
    #[default]
    Draw,
    /// Leave the alternate screen and wait.
    Rest,
    /// Leave it and end.
    End,
}

#[derive(Default)]
struct Slot {
    picture: Option<Picture>,
    /// Cells of a picture that is shown no more.
    spare: Option<Buffer>,
    wish: Wish,
    /// The wish that the thread has fulfilled.
    done: Wish,
    mouse: bool,
    /// Paint everything with the next picture.
    afresh: bool,
    /// Goes to the terminal after the picture, and draws nothing.
    aside: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
    /// Ends a write that the terminal does not take.
    abandon: AtomicBool,
    gone: Notify,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Slot) -> T) -> T {
        let result = change(&mut self.slot.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        result
    }
}

/// The console's end of the thread.
pub struct Terminal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A terminal that takes nothing for this long at the end is left as it is.
const PATIENCE: Duration = Duration::from_millis(300);

impl Terminal {
    /// Takes the terminal over: raw mode, alternate screen.
    pub fn open(mouse: bool) -> Result<Self, TerminalError> {
        let tty = Tty::open()?;
        modes::enter_raw()?;
        let shared = Arc::new(Shared::default());
        shared.with(|slot| slot.mouse = mouse);
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || write_pictures(&for_thread, tty))
            .map_err(|source| TerminalError::Io { operation: "start the thread that draws on", source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Replaces the picture that waits to be written.
    pub fn show(&self, picture: Picture, mouse: bool) {
        self.shared.with(|slot| {
            slot.picture = Some(picture);
            slot.mouse = mouse;
        });
    }

    /// Cells to draw on: those of an earlier picture where they fit, as it takes a while to be given so much memory.
    pub fn spare(&self, (width, height): (u16, u16)) -> Buffer {
        let area = Rect::new(0, 0, width, height);
        // Nobody waits for this change.
        let spare = self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner).spare.take();
        match spare.filter(|spare| spare.area == area) {
            Some(mut spare) => {
                spare.reset();
                spare
            }
            None => Buffer::empty(area),
        }
    }

    /// Hands text to the terminal's clipboard, if the terminal lets programs have one.
    pub fn copy(&self, text: &str) {
        self.aside(&modes::clipboard(text));
    }

    /// Says something that draws nothing.
    pub fn aside(&self, bytes: &[u8]) {
        self.shared.with(|slot| slot.aside.extend_from_slice(bytes));
    }

    /// The next picture is painted whole.
    pub fn afresh(&self) {
        self.shared.with(|slot| slot.afresh = true);
    }

    /// Completes when the terminal has gone.
    pub async fn gone(&self) {
        self.shared.gone.notified().await;
    }

    /// Gives the terminal back until [`Self::resume`].
    pub fn suspend(&self) {
        self.wish(Wish::Rest);
        modes::leave_raw();
    }

    pub fn resume(&self) -> Result<(), TerminalError> {
        modes::enter_raw()?;
        self.shared.abandon.store(false, Ordering::Release);
        self.shared.with(|slot| {
            slot.wish = Wish::Draw;
            slot.done = Wish::Draw;
            slot.afresh = true;
        });
        Ok(())
    }

    /// Asks, and waits a little; then makes the thread let go of a write that does not end.
    fn wish(&self, wish: Wish) {
        self.shared.with(|slot| slot.wish = wish);
        if !self.fulfilled(wish) {
            self.shared.abandon.store(true, Ordering::Release);
            let _ = self.fulfilled(wish);
        }
    }

    fn fulfilled(&self, wish: Wish) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut slot = self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
        while slot.done != wish {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            slot = self.shared.changed.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.wish(Wish::End);
        modes::leave_raw();
        // A thread that still hangs in a write ends with the process; waiting for it is what must not be.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

fn write_pictures(shared: &Shared, mut tty: Tty) {
    let mut painter = Painter::default();
    let mut entered = false;
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        let Job { wish, picture, mouse, afresh, aside } = next(shared);
        bytes.clear();
        if wish == Wish::Draw {
            if !entered {
                bytes.extend_from_slice(modes::ENTER);
            }
            entered = true;
            if afresh {
                painter.forget();
            }
            painter.mouse(mouse, &mut bytes);
            if let Some(picture) = picture {
                let spare = painter.paint(picture, &mut bytes);
                shared.with(|slot| slot.spare = Some(spare));
            }
            bytes.extend_from_slice(&aside);
        } else if entered {
            bytes.extend_from_slice(modes::LEAVE);
            entered = false;
            painter = Painter::default();
        }
        let written = if modes::restored() { Ok(()) } else { tty.write(&bytes, &shared.abandon) };
        if let Err(error) = written {
            // Half a picture was written: what the terminal shows is not known any more.
            painter.forget();
            if error.kind() == std::io::ErrorKind::TimedOut {
                tty.discard();
                if wish != Wish::Draw {
                    let _ = tty.write_now(modes::LEAVE);
                }
            } else {
                shared.gone.notify_one();
            }
        }
        if wish != Wish::Draw {
            shared.with(|slot| slot.done = wish);
        }
        if wish == Wish::End {
            return;
        }
    }
}

/// What the thread does next.
struct Job {
    wish: Wish,
    picture: Option<Picture>,
    mouse: bool,
    afresh: bool,
    aside: Vec<u8>,
}

/// Waits for something to do.
fn next(shared: &Shared) -> Job {
    let mut slot = shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let due = slot.wish != slot.done
            || (slot.wish == Wish::Draw && (slot.picture.is_some() || !slot.aside.is_empty()));
        if due {
            return Job {
                wish: slot.wish,
                picture: slot.picture.take(),
                mouse: slot.mouse,
                afresh: std::mem::take(&mut slot.afresh),
                aside: std::mem::take(&mut slot.aside),
            };
        }
        slot = shared.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
    }
}
