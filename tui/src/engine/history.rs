//! The moments that can be looked at again: a ring bounded by memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::picture::Picture;
use crate::engine::recent::place;
use crate::model::EventRow;

pub struct History {
    moments: VecDeque<Arc<Picture>>,
    bytes: usize,
    limit: usize,
}

impl History {
    pub const fn new(limit: usize) -> Self {
        Self { moments: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds the newest; the oldest go when there is no room. The newest always stays.
    pub fn push(&mut self, picture: Picture) {
        self.bytes += picture.bytes();
        self.moments.push_back(Arc::new(picture));
        while self.bytes > self.limit && self.moments.len() > 1 {
            self.bytes -= self.moments.pop_front().map_or(0, |picture| picture.bytes());
        }
    }

    pub fn newest(&self) -> Option<&Arc<Picture>> {
        self.moments.back()
    }

    pub fn oldest(&self) -> Option<&Arc<Picture>> {
        self.moments.front()
    }

    /// The moment with this number, or the one that is left nearest to it.
    pub fn at(&self, seq: u64) -> Option<&Arc<Picture>> {
        let first = self.oldest()?.seq;
        let index = usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX);
        self.moments.get(index.min(self.moments.len() - 1))
    }

    /// The moments up to this one, newest first.
    pub fn until(&self, seq: u64) -> impl Iterator<Item = &Arc<Picture>> {
        self.moments.iter().rev().skip_while(move |picture| picture.seq > seq)
    }

    /// The moments after this one.
    pub fn since(&self, seq: u64) -> impl Iterator<Item = &Arc<Picture>> {
        self.moments.iter().rev().take_while(move |picture| picture.seq > seq)
    }

    /// At most so many events that had come up to a moment, in the order in which they happened.
    pub fn events(&self, seq: u64, most: usize) -> Vec<Arc<EventRow>> {
        let mut events: Vec<_> =
            self.until(seq).flat_map(|picture| picture.events.iter().rev()).take(most).cloned().collect();
        // Of the last to be told some happened in an earlier tick.
        events.sort_by_key(|event| place(event.event()));
        events
    }
}
