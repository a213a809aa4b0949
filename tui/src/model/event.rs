//! One line of the stream, whatever its family.

use std::sync::{Arc, OnceLock};

use crate::columns::{Cell, Column, Facts, Info, Kind, Row, RowId, Value};
use crate::records::{BootTime, Outside, WallTime};
use crate::wording;

/// An event: what happened, when, and the facts of its family's row at that moment.
#[derive(Clone)]
pub struct Event {
    /// Position in the stream of this run.
    pub seq: u64,
    /// `flow.open`, `process.exec`, ..
    pub name: &'static str,
    /// Stem of the family it belongs to.
    pub family: &'static str,
    pub at: BootTime,
    pub wall: WallTime,
    pub facts: Arc<dyn Facts + Send + Sync>,
}

impl Event {
    pub fn row_id(&self) -> RowId {
        RowId(u64::MAX, self.seq)
    }

    /// Nobody knows whose it is.
    pub fn is_ownerless(&self) -> bool {
        let pid = self.infos().iter().position(|info| info.id == "pid");
        pid.is_none_or(|column| matches!(Facts::value(self, column), Value::Missing))
    }
}

impl Facts for Event {
    fn infos(&self) -> &'static [Info] {
        self.facts.infos()
    }

    fn value(&self, column: usize) -> Value<'_> {
        self.facts.value(column)
    }
}

/// An event before it has its place in the stream.
#[derive(Clone)]
pub struct EventDraft {
    pub name: &'static str,
    pub family: &'static str,
    pub at: BootTime,
    pub facts: Arc<dyn Facts + Send + Sync>,
}

/// An event as a row of the view of that name: its time, name, process and one summary.
pub struct EventRow {
    event: Event,
    /// Made when somebody looks: most lines of a storm nobody sees.
    words: OnceLock<Words>,
}

struct Words {
    process: Option<(Outside, u32)>,
    summary: Outside,
}

impl EventRow {
    pub const fn name(&self) -> &'static str {
        self.event.name
    }

    pub const fn event(&self) -> &Event {
        &self.event
    }

    pub fn shared(&self) -> Arc<dyn Facts + Send + Sync> {
        Arc::clone(&self.event.facts)
    }

    /// The row of its family.
    pub fn facts(&self) -> &dyn Facts {
        self.event.facts.as_ref()
    }

    fn words(&self) -> &Words {
        self.words.get_or_init(|| Words::of(&self.event))
    }

    fn process(&self) -> Option<(&Outside, u32)> {
        self.words().process.as_ref().map(|(comm, pid)| (comm, *pid))
    }
}

impl From<Event> for EventRow {
    fn from(event: Event) -> Self {
        Self { event, words: OnceLock::new() }
    }
}

impl Words {
    fn of(event: &Event) -> Self {
        let infos = event.infos();
        let value = |id: &str| {
            infos.iter().position(|info| info.id == id).map_or(Value::Missing, |column| event.value(column))
        };
        let process = match value("process") {
            Value::Process(comm, pid) => Some((comm.clone(), pid)),
            _ => None,
        };
        let summary = Outside::new(wording::brief(event).as_bytes());
        Self { process, summary }
    }
}

impl Row for EventRow {
    fn id(&self) -> RowId {
        self.event.row_id()
    }

    fn columns() -> &'static [Column<Self>] {
        static COLUMNS: OnceLock<Vec<Column<EventRow>>> = OnceLock::new();
        COLUMNS.get_or_init(|| {
            vec![
                Column::new(
                    Info::new("time", Kind::Number, "When it happened, local time")
                        .cell(Cell::left("TIME", 12, 0)),
                    |r| Value::Time(r.event.wall),
                ),
                Column::new(
                    Info::new("event", Kind::Word, "Name of the event")
                        .keys(&["event"])
                        .cell(Cell::left("EVENT", 14, 0)),
                    |r| Value::Word(r.event.name),
                ),
                Column::new(
                    Info::new("process", Kind::Text, "Name and pid of the process")
                        .keys(&["proc"])
                        .cell(Cell::left("PROCESS", 20, 1)),
                    |r| r.process().map_or(Value::Missing, |(comm, pid)| Value::Process(comm, pid)),
                ),
                Column::new(Info::new("pid", Kind::Number, "Process id").keys(&["pid"]), |r| {
                    r.process().map_or(Value::Missing, |(_, pid)| Value::Uint(u64::from(pid)))
                }),
                Column::new(
                    Info::new("what", Kind::Text, "What tells it apart")
                        .cell(Cell::left("WHAT", 24, 0).growing()),
                    |r| Value::Text(&r.words().summary),
                ),
            ]
        })
    }
}
