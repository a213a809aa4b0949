//! What one process asked of one name and type in an interval, as `top dns` shows it.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::columns::{Column, Row, RowId};
use crate::families::flow::row::Attribution;
use crate::families::identity::HasIdentity;
use crate::model::Identity;
use crate::records::{Outside, ProcKey};

/// What is told apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `None`: not known.
    pub process: Option<ProcKey>,
    /// Asked of this machine by another.
    pub received: bool,
    /// Empty: there is no question that could be read.
    pub name: Outside,
    pub kind: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AskedRow {
    pub subject: Subject,
    pub identity: Option<Arc<Identity>>,
    pub attribution: Attribution,
    pub queries: u64,
    pub responses: u64,
    /// Of them, those that are not `NOERROR`, or malformed.
    pub errors: u64,
    /// Questions that wait for their answer, asked in the interval or before.
    pub waiting: u64,
    /// Answers by their code, most frequent first.
    pub codes: Vec<(&'static str, u64)>,
    /// p50, p90, p99; `None`: of no answer the question was seen.
    pub quantiles_ns: Option<[u64; 3]>,
    pub max_ns: Option<u64>,
}

impl HasIdentity for AskedRow {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }
}

impl Row for AskedRow {
    fn id(&self) -> RowId {
        let mut hasher = DefaultHasher::new();
        self.subject.hash(&mut hasher);
        RowId(u64::MAX - (2 << 32), hasher.finish())
    }

    fn columns() -> &'static [Column<Self>] {
        super::super::columns::asked::columns()
    }
}
