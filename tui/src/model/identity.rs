//! Who did it: a process with its owner group, shared by the rows of every family.

use std::sync::Arc;

use crate::records::{Outside, ProcKey, Tgid, Uid};

/// A process as every family names it. Replaced as a whole when a fact of it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub key: ProcKey,
    pub comm: Outside,
    /// Absolute path of the executable, as the process sees it.
    pub executable: Option<Outside>,
    pub parent: Option<Tgid>,
    pub uid: Option<Uid>,
    pub user: Option<Arc<str>>,
    /// Path of the cgroup that identifies the process.
    pub cgroup: Option<Outside>,
    pub owner: Owner,
    /// Has exited.
    pub ended: bool,
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

impl Identity {
    /// All that is known of a process is its key.
    pub fn bare(key: ProcKey) -> Self {
        Self {
            key,
            comm: Outside::default(),
            executable: None,
            parent: None,
            uid: None,
            user: None,
            cgroup: None,
            owner: Owner::default(),
            ended: false,
        }
    }
}

impl Owner {
    /// The name a table shows: the container, else the unit.
    pub fn label(&self) -> Option<&Outside> {
        self.container.as_ref().map(|c| &c.id).or(self.unit.as_ref())
    }
}
