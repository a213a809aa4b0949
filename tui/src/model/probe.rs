//! What is attached, by which hook, at what cost: the rows of the Probes view and of `doctor`.

use std::sync::OnceLock;

use crate::columns::{Cell, Column, Info, Kind, Row, RowId, Unit, Value};
use crate::model::Ledger;

/// How a program stands. The reasons are whole sentences with the remedy in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Not asked for.
    Detached,
    /// Asked for a moment ago.
    Attaching,
    /// By its first choice.
    Live { hook: String },
    /// By a later choice; `reason` says why not by an earlier one.
    Degraded { hook: String, reason: String },
    /// By none.
    Unsupported { reason: String },
    /// Its family could not be loaded at all: nothing of it was tried.
    Failed { reason: String },
}

impl Status {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::Attaching => "attaching",
            Self::Live { .. } => "live",
            Self::Degraded { .. } => "degraded",
            Self::Unsupported { .. } => "unsupported",
            Self::Failed { .. } => "failed",
        }
    }

    /// Something is not seen that is to be.
    pub fn degrade(&mut self, because: &str) {
        *self = match std::mem::replace(self, Self::Detached) {
            Self::Live { hook } => Self::Degraded { hook, reason: because.to_owned() },
            Self::Degraded { hook, reason } => {
                Self::Degraded { hook, reason: format!("{reason}; {because}") }
            }
            other => other,
        };
    }

    pub fn hook(&self) -> Option<&str> {
        match self {
            Self::Live { hook } | Self::Degraded { hook, .. } => Some(hook),
            Self::Detached | Self::Attaching | Self::Unsupported { .. } | Self::Failed { .. } => None,
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Degraded { reason, .. } | Self::Unsupported { reason } | Self::Failed { reason } => {
                Some(reason)
            }
            Self::Detached | Self::Attaching | Self::Live { .. } => None,
        }
    }
}

/// One program.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRow {
    pub index: u64,
    pub family: &'static str,
    pub program: &'static str,
    pub status: Status,
    /// Runs since attach; `None` while run-time statistics are off.
    pub runs: Option<u64>,
    /// In-program time a run (BPF run-time statistics; about 60 ns is their own floor).
    pub ns_per_run: Option<f64>,
    /// Share of one CPU spent in the program while statistics were sampled.
    pub cpu_share: Option<f64>,
    pub missed: Option<u64>,
    /// The family's ledger, on each of its programs' rows.
    pub seen: Option<u64>,
    pub lost: Option<u64>,
    /// The rest of it: where each of `seen` went.
    pub ledger: Option<Ledger>,
    /// Bytes of the family's maps.
    pub map_bytes: Option<u64>,
    /// How full the fullest of them is that has no room for more when it is full; `None` while nobody looks.
    pub fill: Option<f64>,
}

fn opt_uint(v: Option<u64>) -> Value<'static> {
    v.map_or(Value::Missing, Value::Uint)
}

fn opt_real(v: Option<f64>) -> Value<'static> {
    v.map_or(Value::Missing, Value::Real)
}

fn opt_word(v: Option<&str>) -> Value<'_> {
    v.map_or(Value::Missing, Value::Word)
}

/// Where events went: a column without a place of its own.
macro_rules! booked {
    ($id:literal, $help:literal, $read:expr) => {
        Column::new(Info::new($id, Kind::Number, $help).unit(Unit::Count), |r: &ProbeRow| {
            let read: fn(&Ledger) -> u64 = $read;
            opt_uint(r.ledger.as_ref().map(read))
        })
    };
}

impl Row for ProbeRow {
    fn id(&self) -> RowId {
        RowId(u64::MAX - 1, self.index)
    }

    fn columns() -> &'static [Column<Self>] {
        static COLUMNS: OnceLock<Vec<Column<ProbeRow>>> = OnceLock::new();
        COLUMNS.get_or_init(|| {
            vec![
                Column::new(
                    Info::new("family", Kind::Word, "The family that the program serves")
                        .keys(&["family"])
                        .json("family")
                        .cell(Cell::left("FAMILY", 8, 4)),
                    |r| Value::Word(r.family),
                ),
                Column::new(
                    Info::new("program", Kind::Word, "Name of the program, as --hook takes it")
                        .keys(&["program"])
                        .json("program")
                        .cell(Cell::left("PROGRAM", 19, 0)),
                    |r| Value::Word(r.program),
                ),
                Column::new(
                    Info::new(
                        "state",
                        Kind::Word,
                        "live, degraded (by a later choice), unsupported, failed (its family could not be loaded), attaching, detached",
                    )
                    .keys(&["state"])
                    .json("state")
                    .cell(Cell::left("STATE", 11, 0)),
                    |r| Value::Word(r.status.word()),
                ),
                Column::new(
                    Info::new("hook", Kind::Word, "The alternative in use")
                        .json("hook")
                        .cell(Cell::left("HOOK", 22, 1).growing()),
                    |r| opt_word(r.status.hook()),
                ),
                Column::new(
                    Info::new("runs", Kind::Number, "Runs since attach (BPF run-time statistics)")
                        .keys(&["runs"])
                        .json("runs")
                        .unit(Unit::Count)
                        .cell(Cell::right("RUNS", 8, 3)),
                    |r| opt_uint(r.runs),
                ),
                Column::new(
                    Info::new(
                        "ns",
                        Kind::Number,
                        "In-program time a run; about 60 ns of it is the measurement",
                    )
                    .keys(&["ns"])
                    .json("ns_per_run")
                    .unit(Unit::Nanos)
                    .cell(Cell::right("TIME/RUN", 8, 3)),
                    |r| opt_real(r.ns_per_run),
                ),
                Column::new(
                    Info::new("cpu", Kind::Number, "Share of one CPU spent inside the program")
                        .keys(&["cpu"])
                        .json("cpu_share")
                        .unit(Unit::Share)
                        .cell(Cell::right("CPU", 6, 2)),
                    |r| opt_real(r.cpu_share),
                ),
                Column::new(
                    Info::new("missed", Kind::Number, "Runs the kernel skipped; - where it does not say")
                        .keys(&["missed"])
                        .json("missed")
                        .unit(Unit::Count)
                        .cell(Cell::right("MISSED", 7, 2)),
                    |r| opt_uint(r.missed),
                ),
                Column::new(
                    Info::new("seen", Kind::Number, "Events of the family since attach")
                        .json("seen")
                        .unit(Unit::Count)
                        .cell(Cell::right("SEEN", 8, 3)),
                    |r| opt_uint(r.seen),
                ),
                Column::new(
                    Info::new("lost", Kind::Number, "Events of the family lost on the way here")
                        .keys(&["lost"])
                        .json("lost")
                        .unit(Unit::Count)
                        .cell(Cell::right("LOST", 7, 1)),
                    |r| opt_uint(r.lost),
                ),
                booked!("submitted", "Events of the family handed over and shown", |ledger| ledger.submitted),
                booked!("muted", "Events that nobody wanted just then", |ledger| ledger.muted),
                booked!("filtered", "Events that a filter left out", |ledger| ledger.filtered),
                booked!("error", "Events that could not be told or read", |ledger| ledger.error),
                Column::new(
                    Info::new("maps", Kind::Number, "Memory of the family's maps")
                        .json("map_bytes")
                        .unit(Unit::Bytes)
                        .cell(Cell::right("MAPS", 8, 4)),
                    |r| opt_uint(r.map_bytes),
                ),
                Column::new(
                    Info::new("fill", Kind::Number, "How full the family's fullest map is that can be full")
                        .keys(&["fill"])
                        .unit(Unit::Share)
                        .cell(Cell::right("FULL", 6, 4)),
                    |r| opt_real(r.fill),
                ),
                Column::new(
                    Info::new("reason", Kind::Word, "Why not by an earlier choice, and the remedy")
                        .json("reason")
                        .cell(Cell::left("REASON", 20, 5).growing()),
                    |r| opt_word(r.status.reason()),
                ),
            ]
        })
    }
}
