//! Calls of one kind by one process, as a table shows them; or one call, as an event line does.

use std::borrow::Cow;
use std::sync::Arc;

use super::{columns, decode};
use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::Identity;
use crate::records::syscall::Abi;
use crate::records::{Outside, ProcKey, Tgid, Tid};

#[derive(Debug, Clone, PartialEq)]
pub struct SyscallRow {
    pub identity: Arc<Identity>,
    pub tid: Option<Tid>,
    pub call: Call,
    pub name: Cow<'static, str>,
    /// In table rows.
    pub figures: Option<Figures>,
    /// In table rows: calls since the family was attached.
    pub total: Option<u64>,
    /// In event lines.
    pub event: Option<Traced>,
}

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub abi: Abi,
    pub number: u32,
}

impl Call {
    pub fn name(self) -> Cow<'static, str> {
        decode::name(self.abi, self.number)
    }
}

/// Of an interval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    pub calls: u64,
    pub errors: u64,
    /// By name, most frequent first.
    pub errnos: Vec<(&'static str, u64)>,
    pub sum_ns: u64,
    /// p50, p90, p99; `None`: no call was timed.
    pub quantiles_ns: Option<[u64; 3]>,
    pub max_ns: Option<u64>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    pub arguments: Option<Outside>,
    /// The first path among the arguments, as it was passed.
    pub path: Option<Outside>,
    pub result: Option<i64>,
    pub error: Option<&'static str>,
    pub duration_ns: Option<u64>,
    /// The whole call, as people write it.
    pub text: Outside,
}

/// Pids, and start times of 10 ms for a year and more, fit into 32 bits.
pub fn row_id(process: ProcKey, call: Call) -> RowId {
    let process = u64::from(process.tgid.0) << 32 | (process.start.0 & 0xffff_ffff);
    RowId(process, u64::from(call.number) << 2 | call.abi as u64)
}

/// The process of a row with this id.
pub const fn pid_of(row: RowId) -> Tgid {
    Tgid((row.0 >> 32) as u32)
}

impl HasIdentity for SyscallRow {
    fn identity(&self) -> Option<&Identity> {
        Some(&self.identity)
    }

    fn tid(&self) -> Option<Tid> {
        self.tid
    }
}

impl Row for SyscallRow {
    fn id(&self) -> RowId {
        row_id(self.identity.key, self.call)
    }

    fn ended(&self) -> bool {
        self.identity.ended
    }

    fn columns() -> &'static [Column<Self>] {
        columns::columns()
    }
}
