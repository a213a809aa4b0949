//! The newest events in the order in which they happened, for the view of that name. They come in the order in which
//! they are told: families one after the other, and those that waited for an owner late.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{Event, EventRow};

/// A bounded run of events, the oldest first.
pub struct Recent {
    events: VecDeque<Arc<EventRow>>,
    most: usize,
    /// The newest that came before the last tick.
    ticked: u64,
    newest: u64,
}

impl Recent {
    pub const fn new(most: usize) -> Self {
        Self { events: VecDeque::new(), most, ticked: 0, newest: 0 }
    }

    /// Puts these where they belong. What happened before all that there is room for goes.
    pub fn add(&mut self, mut events: Vec<Event>) {
        let Some(last) = events.last() else { return };
        self.newest = last.seq;
        events.sort_by_key(place);
        // In a storm most of them are gone again before anybody sees them.
        events.drain(..events.len().saturating_sub(self.most));
        let Some(first) = events.first().map(place) else { return };
        let before = self.events.partition_point(|event| place(event.event()) <= first);
        let mut later = self.events.split_off(before).into_iter().peekable();
        for event in events {
            while let Some(known) = later.next_if(|known| place(known.event()) < place(&event)) {
                self.events.push_back(known);
            }
            self.events.push_back(Arc::new(EventRow::from(event)));
        }
        self.events.extend(later);
        let surplus = self.events.len().saturating_sub(self.most);
        self.events.drain(..surplus);
    }

    /// Of what came since this was last asked, what is left.
    pub fn tick(&mut self) -> Vec<Arc<EventRow>> {
        let ticked = std::mem::replace(&mut self.ticked, self.newest);
        self.iter().filter(|event| event.event().seq > ticked).cloned().collect()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<EventRow>> {
        self.events.iter()
    }
}

/// By time; what happened at once stands as it was told.
pub const fn place(event: &Event) -> (u64, u64) {
    (event.at.0, event.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{Facts, Info, Value};
    use crate::records::{BootTime, WallTime};

    struct Nothing;

    impl Facts for Nothing {
        fn infos(&self) -> &'static [Info] {
            &[]
        }

        fn value(&self, _: usize) -> Value<'_> {
            Value::Missing
        }
    }

    /// One of each time, told in this order.
    fn told(seq: &mut u64, times: &[u64]) -> Vec<Event> {
        let event = |&at| {
            *seq += 1;
            let facts = Arc::new(Nothing);
            Event { seq: *seq, name: "file.open", family: "file", at: BootTime(at), wall: WallTime(0), facts }
        };
        times.iter().map(event).collect()
    }

    fn times<'a>(events: impl IntoIterator<Item = &'a Arc<EventRow>>) -> Vec<u64> {
        events.into_iter().map(|event| event.event().at.0).collect()
    }

    #[test]
    fn what_is_told_late_stands_where_it_happened() {
        let (mut recent, mut seq) = (Recent::new(10), 0);
        recent.add(told(&mut seq, &[10, 30, 20]));
        recent.add(told(&mut seq, &[40, 15, 30]));
        assert_eq!(times(recent.iter()), [10, 15, 20, 30, 30, 40]);
        let same: Vec<u64> =
            recent.iter().map(|e| e.event()).filter(|e| e.at.0 == 30).map(|e| e.seq).collect();
        assert_eq!(same, [2, 6], "at the same moment as they were told");
    }

    #[test]
    fn what_happened_last_is_kept_whenever_it_was_told() {
        let (mut recent, mut seq) = (Recent::new(3), 0);
        recent.add(told(&mut seq, &[50, 10, 40, 20]));
        assert_eq!(times(recent.iter()), [20, 40, 50]);
        recent.add(told(&mut seq, &[5, 45]));
        assert_eq!(times(recent.iter()), [40, 45, 50]);
    }

    #[test]
    fn a_tick_has_what_came_since_the_last_one_and_nothing_twice() {
        let (mut recent, mut seq) = (Recent::new(4), 0);
        recent.add(told(&mut seq, &[10, 20]));
        assert_eq!(times(&recent.tick()), [10, 20]);
        recent.add(told(&mut seq, &[30, 15]));
        assert_eq!(times(&recent.tick()), [15, 30]);
        assert!(recent.tick().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn they_are_the_last_of_all_by_time(batches in proptest::collection::vec(
            proptest::collection::vec(0_u64..1000, 0..40), 0..12)
        ) {
            let (mut recent, mut seq) = (Recent::new(50), 0);
            let mut all: Vec<u64> = vec![];
            for batch in &batches {
                recent.add(told(&mut seq, batch));
                all.extend(batch);
            }
            all.sort_unstable();
            all.drain(..all.len().saturating_sub(50));
            assert_eq!(times(recent.iter()), all);
        }
    }
}
