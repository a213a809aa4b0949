//! Who did it: a process with its owner group, shared by the rows of every family.

use std::sync::Arc;

use crate::records::{Gid, Outside, ProcKey, Tgid, Uid, WallTime};

/// A process as every family names it. Replaced as a whole when a fact of it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub key: ProcKey,
    pub comm: Outside,
    /// When it started.
    pub created: WallTime,
    pub executable: Option<Executable>,
    pub parent: Option<Tgid>,
    pub uid: Option<Uid>,
    pub user: Option<Arc<str>>,
    pub gid: Option<Gid>,
    /// Each argument with its NUL, as far as they are kept.
    pub args: Option<Outside>,
    /// Who made it, and who made that: kept when they are gone.
    pub line: Option<Arc<Ancestor>>,
    /// Path of the cgroup that identifies the process.
    pub cgroup: Option<Outside>,
    pub owner: Owner,
    /// Has exited.
    pub ended: bool,
}

/// A process in somebody's line of descent, as it was when the next one was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    pub key: ProcKey,
    pub comm: Outside,
    pub above: Option<Arc<Self>>,
}

/// The file a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// Absolute, as the process sees it.
    pub path: Outside,
    /// Its last component.
    pub name: Outside,
}

impl Executable {
    pub fn at(path: Outside) -> Self {
        let name = Outside::new(path.bytes().rsplit(|&b| b == b'/').next().unwrap_or_default());
        Self { path, name }
    }
}

/// The group a process belongs to, read off its cgroup path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    pub unit: Option<Outside>,
    pub container: Option<Container>,
    pub pod: Option<Outside>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: Outside,
    pub runtime: &'static str,
}

/// Generations kept of a line.
const GENERATIONS: usize = 16;

impl Identity {
    /// The line that a child of this process has.
    pub fn begets(&self) -> Arc<Ancestor> {
        let above = self.line.clone().filter(|line| line.generations() < GENERATIONS);
        Arc::new(Ancestor { key: self.key, comm: self.comm.clone(), above })
    }

    /// All that is known of a process is its key.
    pub fn bare(key: ProcKey, created: WallTime) -> Self {
        Self {
            key,
            comm: Outside::default(),
            created,
            executable: None,
            parent: None,
            uid: None,
            user: None,
            gid: None,
            args: None,
            line: None,
            cgroup: None,
            owner: Owner::default(),
            ended: false,
        }
    }
}

impl Ancestor {
    /// From the parent upward.
    pub fn iter(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |ancestor| ancestor.above.as_deref())
    }

    fn generations(&self) -> usize {
        self.iter().count()
    }
}

impl Owner {
    /// The name a table shows: the container, else the unit.
    pub fn label(&self) -> Option<&Outside> {
        self.container.as_ref().map(|c| &c.id).or(self.unit.as_ref())
    }
}
