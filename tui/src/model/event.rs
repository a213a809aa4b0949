//! One line of the stream, whatever its family.

use std::sync::Arc;

use crate::columns::{Facts, Info, RowId, Value};
use crate::records::{BootTime, WallTime};

/// An event: what happened, when, and the facts of its family's row at that moment.
#[derive(Clone)]
pub struct Event {
    /// Position in the stream of this run.
    pub seq: u64,
    /// `flow.open`, `process.exec`, ..
    pub name: &'static str,
    /// Stem of the family it belongs to.
    pub family: &'static str,
    pub at: BootTime,
    pub wall: WallTime,
    pub facts: Arc<dyn Facts + Send + Sync>,
}

impl Event {
    pub fn row_id(&self) -> RowId {
        RowId(u64::MAX, self.seq)
    }
}

impl Facts for Event {
    fn infos(&self) -> &'static [Info] {
        self.facts.infos()
    }

    fn value(&self, column: usize) -> Value<'_> {
        self.facts.value(column)
    }
}
