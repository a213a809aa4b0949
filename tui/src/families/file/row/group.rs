//! The use of files taken together: of a directory, a process or a mount.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Used, Uses};
use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::Identity;
use crate::records::{Outside, ProcKey};

/// What the use of files is taken together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Directory,
    Process,
    Mount,
}

impl By {
    pub const ALL: [Self; 3] = [Self::Directory, Self::Process, Self::Mount];

    /// As the console says it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Directory => "by directory",
            Self::Process => "by process",
            Self::Mount => "by mount",
        }
    }

    /// One of them, and several.
    pub const fn nouns(self) -> (&'static str, &'static str) {
        match self {
            Self::Directory => ("directory", "directories"),
            Self::Process => ("process", "processes"),
            Self::Mount => ("mount", "mounts"),
        }
    }
}

/// Of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupKey {
    /// `None`: the path is not known.
    Directory(Option<Outside>),
    Process(ProcKey),
    /// Where it is mounted, else what it is; and its device.
    Mount(Outside, u32),
    /// Opens that led to no file.
    Failed,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    pub key: GroupKey,
    /// Of a process.
    pub identity: Option<Arc<Identity>>,
    /// Files of it that are known; of different processes the same one counts once for each.
    pub files: u64,
    pub uses: Uses,
}

impl Used for GroupRow {
    fn uses(&self) -> Option<&Uses> {
        Some(&self.uses)
    }
}

impl HasIdentity for GroupRow {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }
}

impl Row for GroupRow {
    fn id(&self) -> RowId {
        // Fixed keys: the same row in every answer of a run.
        let mut hasher = std::hash::DefaultHasher::new();
        self.key.hash(&mut hasher);
        RowId(u64::MAX - 5, hasher.finish())
    }

    fn columns() -> &'static [Column<Self>] {
        super::super::columns::group::columns()
    }
}
