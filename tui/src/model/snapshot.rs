//! What the engine publishes: one immutable picture, newest wins.

use std::sync::Arc;
use std::time::Duration;

use crate::columns::{RowId, Sheet};
use crate::model::{Detail, MapFill, Overview, ProbeRow, Query};
use crate::records::{BootTime, Outside, WallOffset};

/// One answer to one [`Query`], with the header's figures of the same moment.
#[derive(Clone)]
pub struct Snapshot {
    pub seq: u64,
    pub taken: BootTime,
    pub offset: WallOffset,
    /// Since the tick before: what rates divide by.
    pub interval: Duration,
    pub host: Arc<HostFacts>,
    pub totals: Totals,
    pub query: Query,
    pub sheet: Arc<dyn Sheet>,
    pub probes: Arc<Vec<ProbeRow>>,
    /// The panels whose rows the sheet has, of the view of that name.
    pub overview: Option<Arc<Overview>>,
    /// Of the query's subject.
    pub detail: Option<Arc<Detail>>,
    pub reach: Reach,
    pub coverage: Coverage,
    /// What a reader must know before trusting the table, most important first.
    pub notes: Arc<Vec<Note>>,
    /// What is known of the row whose details are open, beyond its columns.
    pub more: Option<Arc<More>>,
    /// Rows of fluoro's own hidden from this sheet.
    pub own_hidden: usize,
    /// Rows shown that have ended.
    pub ended: usize,
}

/// Where the moment shown lies among those that can be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Number of the moment shown.
    pub moment: u64,
    /// From the oldest moment to this one, and from this one to the newest.
    pub before: Duration,
    pub after: Duration,
}

/// Facts of one row that no column has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct More {
    pub row: RowId,
    pub facts: Vec<MoreFact>,
    /// Of a program: the maps of its family, the largest first.
    pub maps: Vec<Arc<MapFill>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreFact {
    pub label: &'static str,
    pub text: Outside,
    pub help: &'static str,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    pub name: String,
    pub kernel: String,
    pub cpus: usize,
}

/// The header line. `None`: not measured now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    pub rx_bytes_per_s: Option<f64>,
    pub tx_bytes_per_s: Option<f64>,
    pub flows: Option<u64>,
    pub flow_opens_per_s: Option<f64>,
    pub execs_per_s: Option<f64>,
    /// Lost since start, over all families.
    pub lost: u64,
    pub missed: Option<u64>,
    /// Share of one CPU that fluoro itself costs: its programs and its user space.
    pub cost_share: Option<f64>,
}

/// Is the view fed?
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Coverage {
    #[default]
    Attaching,
    Live,
    /// Fed, but not by first choices or not wholly; Probes says more.
    Degraded,
    /// Nothing feeds it: the sentence says why and what to do.
    Absent(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub severe: bool,
    pub text: String,
}
