//! What a face asks the engine for. Answered in the collector, never while drawing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::columns::RowId;
use crate::families::Family;
use crate::families::file::row::group::By;
use crate::filter::Filter;
use crate::model::Scope;

/// The views that exist so far, in the order of their digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum View {
    #[default]
    Overview,
    Flows,
    Files,
    Syscalls,
    Processes,
    Events,
    Failures,
    Probes,
}

impl View {
    /// Its rows come from this family.
    pub const fn shows(self, family: Family) -> bool {
        match (self, family) {
            (Self::Flows, Family::Flow)
            | (Self::Files, Family::File)
            | (Self::Syscalls, Family::Syscall)
            | (Self::Failures, Family::Flow | Family::File | Family::Drop)
            | (Self::Processes, Family::Process) => true,
            (Self::Events, family) => !family.on_demand(),
            (
                Self::Overview
                | Self::Flows
                | Self::Files
                | Self::Syscalls
                | Self::Processes
                | Self::Failures
                | Self::Probes,
                _,
            ) => false,
        }
    }

    /// More is known of its rows than columns say, and looked up for the one whose details are open.
    pub const fn has_more(self) -> bool {
        matches!(self, Self::Syscalls | Self::Processes | Self::Probes)
    }

    /// The family is attached while it is open: it shows it, or its rows or the header name what the family knows.
    pub const fn needs(self, family: Family) -> bool {
        match family {
            Family::Process | Family::Flow => true,
            Family::Syscall => matches!(self, Self::Syscalls),
            Family::Dns => matches!(self, Self::Flows | Self::Events),
            // Processes and Flows have columns of theirs.
            Family::Drop => {
                matches!(self, Self::Overview | Self::Flows | Self::Processes | Self::Events | Self::Failures)
            }
            Family::File => {
                matches!(self, Self::Overview | Self::Files | Self::Processes | Self::Events | Self::Failures)
            }
        }
    }
}

/// Order of a table: by the column with this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    pub column: &'static str,
    pub descending: bool,
}

/// One view's question.
#[derive(Clone, Default)]
pub struct Query {
    pub view: View,
    /// Echoed in the snapshot, so that a face knows which question an answer belongs to.
    pub serial: u64,
    pub filter: Option<Arc<Filter>>,
    pub sort: Option<Sort>,
    /// All of them apply, to every view and to the totals.
    pub scopes: Arc<[Scope]>,
    /// Whose details are wanted beside the table.
    pub subject: Option<Scope>,
    /// Rows that a panel of the overview has room for.
    pub room: usize,
    /// Answer from the state of when this was first set; counting goes on.
    pub paused: bool,
    /// While paused: the moment with this number instead, as far as it is still there.
    pub moment: Option<u64>,
    /// The row whose details are open.
    pub open: Option<RowId>,
    /// Processes as one row for each owner.
    pub by_owner: bool,
    /// The use of files taken together.
    pub files_by: Option<By>,
    /// First row in sight and how many there are: more of a process is looked up only for these.
    pub sight: (usize, usize),
    /// Show fluoro's own process and its session's traffic too.
    pub own: bool,
    /// Families that are attached or detached by hand, whatever the view needs.
    pub hand: BTreeMap<Family, bool>,
    /// A family that could not be attached and is to be tried again; the number says which time it was asked.
    pub again: Option<(Family, u64)>,
}

impl Query {
    /// The order in force.
    pub fn order(&self) -> Option<Sort> {
        self.sort.or_else(|| self.view.default_sort())
    }

    /// The family is to be attached: as the reader said, else if the view needs it.
    pub fn needs(&self, family: Family) -> bool {
        self.hand.get(&family).copied().unwrap_or_else(|| self.view.needs(family))
    }

    /// The reader has detached it.
    pub fn leaves_out(&self, family: Family) -> bool {
        self.hand.get(&family) == Some(&false)
    }
}

impl View {
    /// The order in which a view opens.
    pub const fn default_sort(self) -> Option<Sort> {
        match self {
            Self::Flows => Some(Sort { column: "rx", descending: true }),
            Self::Files => Some(Sort { column: "busy", descending: true }),
            Self::Syscalls => Some(Sort { column: "time", descending: true }),
            Self::Processes => Some(Sort { column: "cpu", descending: true }),
            Self::Failures => Some(Sort { column: "count", descending: true }),
            Self::Overview | Self::Events | Self::Probes => None,
        }
    }
}
