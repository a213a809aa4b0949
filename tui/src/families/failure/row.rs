//! Failures of one kind, by one process, with one subject.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::columns;
use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::{Identity, Subject};
use crate::records::{ProcKey, WallTime};

#[derive(Debug, Clone, PartialEq)]
pub struct FailureRow {
    pub family: &'static str,
    pub kind: &'static str,
    pub error: Option<&'static str>,
    pub identity: Option<Arc<Identity>>,
    pub subject: Subject,
    /// In the interval.
    pub count: u64,
    /// Since fluoro started.
    pub total: u64,
    /// When it was seen last.
    pub last: WallTime,
    /// How long the last one took to fail, and the slowest.
    pub latency_ns: Option<u64>,
    pub max_latency_ns: Option<u64>,
    /// Stands for what found no room in the table.
    pub other: bool,
}

/// What makes failures one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub family: &'static str,
    pub kind: &'static str,
    pub error: Option<&'static str>,
    pub process: Option<ProcKey>,
    pub subject: Subject,
}

impl FailureRow {
    pub fn key(&self) -> Key {
        Key {
            family: self.family,
            kind: self.kind,
            error: self.error,
            process: self.identity.as_ref().map(|identity| identity.key),
            subject: self.subject.clone(),
        }
    }
}

impl HasIdentity for FailureRow {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }
}

impl Row for FailureRow {
    fn id(&self) -> RowId {
        // Fixed keys: the same row in every answer of a run.
        let mut hasher = std::hash::DefaultHasher::new();
        self.key().hash(&mut hasher);
        RowId(u64::MAX - 3, hasher.finish())
    }

    fn columns() -> &'static [Column<Self>] {
        columns::columns()
    }
}
