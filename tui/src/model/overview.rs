//! The overview: who does most, by a handful of measures, with the last minute of each. Panels are a table.

use std::sync::{Arc, OnceLock};

use crate::columns::{Cell, Column, Facts, Info, Kind, Row, RowId, Unit, Value};

/// What a panel ranks by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The sum of these columns over the rows of a process, a second.
    Sum(&'static [&'static str]),
    /// How often, by this column, in the last minute: each row for itself, named by the first of the others that it has.
    Count(&'static str, [&'static str; 2]),
    /// The 99th percentile of these durations in the last minute.
    Latency(&'static str),
}

/// One panel.
#[derive(Debug, PartialEq, Eq)]
pub struct PanelKind {
    pub title: &'static str,
    /// Of the view that shows more of it. Rows of that view's table are what [`Measure::Sum`] sums.
    pub digit: char,
    /// Stem of the family that measures it.
    pub family: &'static str,
    pub measure: Measure,
    pub unit: Unit,
    /// Said while nothing happens.
    pub quiet: &'static str,
}

/// The panels in the order of their worth: the last go first where there is no room.
pub static PANELS: [PanelKind; 6] = [
    PanelKind {
        title: "Network",
        digit: '2',
        family: "flow",
        measure: Measure::Sum(&["rx", "tx"]),
        unit: Unit::BytesPerSecond,
        quiet: "Nobody sends or receives.",
    },
    PanelKind {
        title: "File I/O",
        digit: '3',
        family: "file",
        measure: Measure::Sum(&["read_bytes", "write_bytes"]),
        unit: Unit::BytesPerSecond,
        quiet: "Nobody reads or writes files.",
    },
    PanelKind {
        title: "Time in syscalls",
        digit: '4',
        family: "syscall",
        measure: Measure::Sum(&["time"]),
        unit: Unit::Nanos,
        quiet: "No call has returned.",
    },
    PanelKind {
        title: "Failures",
        digit: '7',
        family: "flow",
        measure: Measure::Count("count", ["errno", "kind"]),
        unit: Unit::Count,
        quiet: "Nothing has failed in the last minute.",
    },
    PanelKind {
        title: "Connect latency",
        digit: '2',
        family: "flow",
        measure: Measure::Latency("connect"),
        unit: Unit::Nanos,
        quiet: "Nobody has connected in the last minute.",
    },
    PanelKind {
        title: "New programs",
        digit: '5',
        family: "process",
        measure: Measure::Sum(&["forks", "execs"]),
        unit: Unit::PerSecond,
        quiet: "Nobody starts anything.",
    },
];

/// Points of a trace, one a tick.
pub const TRACE: usize = 60;

/// A panel with what it ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    pub kind: &'static PanelKind,
    /// Why it is not measured now, and what to do.
    pub unmeasured: Option<String>,
    /// Over all subjects: now, or of the last minute. `None` for a percentile, of which there is no sum.
    pub total: Option<f64>,
    pub trace: Trace,
    /// Of the first few, those that the filter leaves out.
    pub hidden: usize,
    /// Rows of it in the sheet, which has them panel after panel.
    pub rows: usize,
}

/// The last points of a figure, oldest first, and the number of the newest one since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    pub points: Vec<f64>,
    pub newest: u64,
}

/// All panels; their rows are the sheet's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overview {
    pub panels: Vec<Panel>,
    /// Of each row of the sheet.
    pub traces: Vec<Trace>,
}

impl Overview {
    /// Leaves out rows of the sheet.
    pub fn keep(&mut self, rows: &mut Vec<OverviewRow>, wanted: impl Fn(&OverviewRow) -> bool) {
        let keeps: Vec<bool> = rows.iter().map(wanted).collect();
        let mut kept = keeps.iter();
        rows.retain(|row| {
            let keep = kept.next().copied().unwrap_or(true);
            if !keep && let Some(panel) = self.panels.get_mut(row.panel) {
                panel.rows -= 1;
                panel.hidden += 1;
            }
            keep
        });
        let mut kept = keeps.iter();
        self.traces.retain(|_| kept.next().copied().unwrap_or(true));
    }
}

/// A subject of a panel.
pub struct OverviewRow {
    pub panel: usize,
    pub id: RowId,
    pub value: f64,
    /// How often, where the value is a percentile.
    pub count: Option<u64>,
    pub facts: Arc<dyn Facts + Send + Sync>,
}

impl OverviewRow {
    fn kind(&self) -> Option<&'static PanelKind> {
        PANELS.get(self.panel)
    }

    /// The value where this is the unit of the panel.
    fn valued(&self, unit: Unit) -> Value<'_> {
        if self.kind().is_some_and(|kind| kind.unit == unit) {
            Value::Real(self.value)
        } else {
            Value::Missing
        }
    }
}

impl Row for OverviewRow {
    fn id(&self) -> RowId {
        RowId(((self.panel as u64 + 1) << 56) ^ self.id.0, self.id.1)
    }

    fn columns() -> &'static [Column<Self>] {
        static COLUMNS: OnceLock<Vec<Column<OverviewRow>>> = OnceLock::new();
        COLUMNS.get_or_init(|| {
            let text = |id, help| Info::new(id, Kind::Text, help);
            vec![
                Column::new(
                    Info::new("panel", Kind::Word, "What it is ranked by").cell(Cell::left("PANEL", 16, 0)),
                    |r| r.kind().map_or(Value::Missing, |kind| Value::Word(kind.title)),
                ),
                Column::new(
                    text("process", "Name and pid of the process").cell(Cell::left("PROCESS", 20, 0)),
                    |r| r.facts.named("process"),
                ),
                Column::new(
                    Info::new("rate", Kind::Number, "Bytes a second").unit(Unit::BytesPerSecond),
                    |r| r.valued(Unit::BytesPerSecond),
                ),
                Column::new(
                    Info::new("starts", Kind::Number, "Forks and programs started a second")
                        .unit(Unit::PerSecond),
                    |r| r.valued(Unit::PerSecond),
                ),
                Column::new(
                    Info::new("latency", Kind::Number, "Time: a second's share, or the 99th percentile")
                        .unit(Unit::Nanos),
                    |r| r.valued(Unit::Nanos),
                ),
                Column::new(
                    Info::new("count", Kind::Number, "How often in the last minute").unit(Unit::Count),
                    |r| match r.count {
                        Some(count) => Value::Uint(count),
                        None if r.kind().is_some_and(|kind| kind.unit == Unit::Count) => {
                            Value::Uint(r.value as u64)
                        }
                        None => Value::Missing,
                    },
                ),
                Column::new(Info::new("errno", Kind::Word, "Why it failed").keys(&["errno"]), |r| {
                    match r.kind().map(|kind| kind.measure) {
                        Some(Measure::Count(_, [first, second])) => match r.facts.named(first) {
                            Value::Missing => r.facts.named(second),
                            value => value,
                        },
                        _ => Value::Missing,
                    }
                }),
                Column::new(Info::new("pid", Kind::Number, "Process id").keys(&["pid"]), |r| {
                    r.facts.named("pid")
                }),
                Column::new(text("comm", "Name of the process").keys(&["proc"]), |r| r.facts.named("comm")),
                Column::new(text("exe", "Path of the executable").keys(&["exe"]), |r| r.facts.named("exe")),
                Column::new(Info::new("created", Kind::Word, "When the process started"), |r| {
                    r.facts.named("created")
                }),
                Column::new(Info::new("uid", Kind::Number, "Real user id").keys(&["user", "uid"]), |r| {
                    r.facts.named("uid")
                }),
                Column::new(text("user", "Name of the real user").keys(&["user"]), |r| r.facts.named("user")),
                Column::new(text("owner", "Container or systemd unit"), |r| r.facts.named("owner")),
                Column::new(text("unit", "systemd unit").keys(&["unit"]), |r| r.facts.named("unit")),
                Column::new(text("container", "Container id or name").keys(&["container"]), |r| {
                    r.facts.named("container")
                }),
            ]
        })
    }
}
