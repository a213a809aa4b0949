//! A call on a file, or a process's use of a file, as an event line or a table shows it.

pub mod group;

use std::sync::Arc;

use super::columns;
use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::Identity;
use crate::records::file::{FileId, FileKind, Op};
use crate::records::{Outside, Tid};

#[derive(Debug, Clone, PartialEq)]
pub struct FileRow {
    pub identity: Arc<Identity>,
    pub path: Option<Outside>,
    /// No file: `kind` says so.
    pub file: FileId,
    /// errno of a failed call; of a row, of the failed opens that it counts.
    pub error: Option<&'static str>,
    pub call: Option<Call>,
    pub uses: Option<Uses>,
}

/// One call: of an event line.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub op: Op,
    pub tid: Tid,
    pub resolved: bool,
    pub truncated: bool,
    /// What a rename or link began from.
    pub old_path: Option<Outside>,
    /// Text of a symbolic link.
    pub target: Option<Outside>,
    pub flags: Option<String>,
    /// Octal.
    pub mode: Option<String>,
    /// Length that a file was cut or grown to.
    pub size: Option<u64>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
    pub result: i64,
    pub created: bool,
    pub duration_ns: Option<u64>,
    pub uring: bool,
    pub compat: bool,
}

/// What a process did with a file in one interval, but for the total.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Uses {
    pub opens: u64,
    pub reads: u64,
    pub writes: u64,
    pub syncs: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub errors: u64,
    /// Time in these calls.
    pub sum_ns: u64,
    /// Median, 90th and 99th hundredth.
    pub quantiles_ns: Option<[u64; 3]>,
    pub max_ns: Option<u64>,
    pub seconds: f64,
    pub total: Total,
}

/// What it did since the family was attached.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Total {
    pub calls: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
}

impl Uses {
    pub const fn calls(&self) -> u64 {
        self.opens + self.reads + self.writes + self.syncs
    }
}

/// A row that has figures of an interval.
pub trait Used {
    fn uses(&self) -> Option<&Uses>;
}

impl Used for FileRow {
    fn uses(&self) -> Option<&Uses> {
        self.uses.as_ref()
    }
}

impl FileRow {
    pub fn is_file(&self) -> bool {
        self.file.kind != FileKind::None
    }
}

impl HasIdentity for FileRow {
    fn identity(&self) -> Option<&Identity> {
        Some(&self.identity)
    }

    fn tid(&self) -> Option<Tid> {
        self.call.as_ref().map(|call| call.tid)
    }
}

impl Row for FileRow {
    fn id(&self) -> RowId {
        let FileId { device, inode, kind } = self.file;
        let process = self.identity.key;
        RowId(
            process.start.0 << 32 | u64::from(process.tgid.0),
            inode ^ u64::from(device) << 32 ^ (kind as u64) << 60,
        )
    }

    fn ended(&self) -> bool {
        self.identity.ended
    }

    fn columns() -> &'static [Column<Self>] {
        columns::columns()
    }
}
