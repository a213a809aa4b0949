//! Standard output behind a thread: a reader that is slow for a while delays no draining of the rings.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::run::{self, Printed};

/// Pieces that may wait, each a batch of lines: 16 MiB at most.
const WAITING: usize = 256;
/// A reader that takes nothing for this long at the end has had its chance.
const PATIENCE: Duration = Duration::from_secs(3);

pub struct Outlet {
    pieces: Option<SyncSender<Vec<u8>>>,
    ended: Receiver<std::io::Result<Printed>>,
}

impl Outlet {
    pub fn open() -> Self {
        let (pieces, waiting) = sync_channel::<Vec<u8>>(WAITING);
        let (end, ended) = sync_channel(1);
        std::thread::spawn(move || {
            let _ = end.send(write(&waiting));
        });
        Self { pieces: Some(pieces), ended }
    }

    /// Hands over whole lines; waits only when very many wait already. False: the reader is gone.
    pub fn put(&mut self, lines: &[u8]) -> std::io::Result<bool> {
        let Some(pieces) = &self.pieces else { return Ok(false) };
        if lines.is_empty() || pieces.send(lines.to_vec()).is_ok() {
            return Ok(true);
        }
        self.pieces = None;
        self.ended.recv().unwrap_or(Ok(Printed::ReaderGone)).map(|_| false)
    }

    /// Waits until everything is written, as long as the reader reads.
    pub fn close(&mut self) -> std::io::Result<()> {
        if self.pieces.take().is_none() {
            return Ok(());
        }
        match self.ended.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome.map(|_| ()),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }
}

fn write(waiting: &Receiver<Vec<u8>>) -> std::io::Result<Printed> {
    for piece in waiting {
        if let Printed::ReaderGone = run::print(&mut std::io::stdout().lock(), &piece)? {
            return Ok(Printed::ReaderGone);
        }
    }
    Ok(Printed::Yes)
}
