//! Messages out of the segments of TCP, each behind its length. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::records::dns::{HEADER, Record};
use crate::records::{BootTime, NetnsId};

/// Directions of connections of which something is kept; the one that was quiet longest makes room.
const STREAMS_MAX: usize = 512;

/// Before the message: its length.
const PREFIX: usize = 2;

/// Who sends to whom; on which loopback.
type Ends = (Option<NetnsId>, SocketAddr, SocketAddr);

#[derive(Default)]
pub(super) struct Streams {
    by_ends: HashMap<Ends, Stream>,
}

#[derive(Default)]
struct Stream {
    /// Number of the byte that comes next.
    next: u32,
    /// The beginning of a message.
    held: Vec<u8>,
    last: BootTime,
}

impl Streams {
    /// The messages that end in this segment.
    pub(super) fn take(&mut self, record: &Record) -> Vec<Vec<u8>> {
        let Some(sequence) = record.sequence else { return Vec::new() };
        let ends = (record.of_loopback(), record.source, record.destination);
        self.make_room(ends);
        let stream =
            self.by_ends.entry(ends).or_insert_with(|| Stream { next: sequence, ..Stream::default() });
        stream.last = record.at;
        stream.take(sequence, &record.payload, record.whole)
    }

    fn make_room(&mut self, ends: Ends) {
        if self.by_ends.len() >= STREAMS_MAX
            && !self.by_ends.contains_key(&ends)
            && let Some(&oldest) =
                self.by_ends.iter().min_by_key(|(_, stream)| stream.last).map(|(ends, _)| ends)
        {
            self.by_ends.remove(&oldest);
        }
    }
}

impl Stream {
    fn take(&mut self, sequence: u32, payload: &[u8], whole: u32) -> Vec<Vec<u8>> {
        let ahead = sequence.wrapping_sub(self.next).cast_signed();
        let known = ahead.unsigned_abs() as usize;
        let missing = (whole as usize).saturating_sub(payload.len());
        let mut payload = payload;
        if ahead < 0 && u16::try_from(known).is_ok() {
            // Sent again, as far as it is known.
            if known >= whole as usize {
                return Vec::new();
            }
            payload = payload.get(known..).unwrap_or_default();
        } else if ahead != 0 {
            // Something is missing, or another connection has the same ends: a message begins here, or nothing is read.
            self.held.clear();
        }
        self.next = sequence.wrapping_add(whole);
        self.held.extend_from_slice(payload);
        let mut messages = Vec::new();
        while let Some(len) = self.length() {
            if len < HEADER {
                self.held.clear();
                return messages;
            }
            let end = PREFIX + len;
            if self.held.len() < end {
                break;
            }
            messages.extend(self.held.get(PREFIX..end).map(<[u8]>::to_vec));
            self.held.drain(..end);
        }
        if missing > 0 {
            // The rest of the segment is not told: of the message in it there is only the beginning.
            if self.length().is_some_and(|len| self.held.len() + missing >= PREFIX + len) {
                messages.extend(self.held.get(PREFIX..).map(<[u8]>::to_vec));
            }
            self.held.clear();
        }
        messages
    }

    fn length(&self) -> Option<usize> {
        let prefix = self.held.first_chunk::<PREFIX>()?;
        Some(usize::from(u16::from_be_bytes(*prefix)))
    }
}
