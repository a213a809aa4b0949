//! `process` records in, rows out. Pure.

pub mod given;
pub mod owner;

use std::sync::Arc;
use std::time::Duration;

use super::columns;
use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::{EventDraft, Identity, LINGER_NS, Lookup, ProcFacts, Processes, started};
use crate::records::process::{Exit, Record, What};
use crate::records::{BootTime, Outside, ProcKey, Tid};
pub use given::{Gifted, Gifts, Given};

/// A process as a table or an event line shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessRow {
    pub identity: Arc<Identity>,
    pub tid: Option<Tid>,
    pub exit: Option<Exit>,
    pub age_ns: Option<u64>,
    /// The kernel ended it when it ran out of memory.
    pub oom: bool,
    /// In table rows: the interval's.
    pub activity: Option<Activity>,
    /// Of rows that somebody looks at.
    pub usage: Option<Usage>,
    /// What other families say of it, by the ids of the columns that they contribute.
    pub given: Given,
}

/// What a process uses now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Of one CPU, since the last look.
    pub cpu_share: Option<f64>,
    pub resident_bytes: u64,
    pub threads: u64,
    pub fds: Option<u64>,
    /// Of all threads, since the last look.
    pub on_cpu_ns: Option<u64>,
    pub run_wait_ns: Option<u64>,
    pub working_directory: Option<Outside>,
}

/// What a process did in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    pub forks: u64,
    pub execs: u64,
}

impl ProcessRow {
    /// A process of which nothing else is known.
    pub fn of(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            tid: None,
            exit: None,
            age_ns: None,
            oom: false,
            activity: None,
            usage: None,
            given: Given::default(),
        }
    }

    pub fn state(&self) -> &'static str {
        match (self.identity.ended, self.exit) {
            (false, _) => "running",
            (true, Some(Exit::Signal(_))) => "killed",
            (true, Some(Exit::Code(0))) => "exited",
            (true, Some(Exit::Code(_))) => "failed",
            (true, None) => "ended",
        }
    }
}

impl Gifted for ProcessRow {
    fn number(&self, column: &str) -> Option<f64> {
        self.given.number(column)
    }
}

impl HasIdentity for ProcessRow {
    fn identity(&self) -> Option<&Identity> {
        Some(&self.identity)
    }

    fn tid(&self) -> Option<Tid> {
        self.tid
    }
}

impl Row for ProcessRow {
    fn id(&self) -> RowId {
        RowId(u64::from(self.identity.key.tgid.0), self.identity.key.start.0)
    }

    fn ended(&self) -> bool {
        self.identity.ended
    }

    fn columns() -> &'static [Column<Self>] {
        columns::columns()
    }
}

/// When and how a process ended.
#[derive(Debug, Clone, Copy)]
struct End {
    at: BootTime,
    exit: Exit,
    oom: bool,
}

/// What is known of processes beside their identity.
#[derive(Default)]
pub struct ProcessModel {
    ends: foldhash::HashMap<ProcKey, End>,
    /// Of the interval that runs.
    counting: foldhash::HashMap<ProcKey, Activity>,
    /// Of the interval before.
    counted: foldhash::HashMap<ProcKey, Activity>,
    execs: u64,
    execs_per_s: Option<f64>,
}

impl ProcessModel {
    /// Takes in what exists already.
    pub fn prime(&mut self, facts: Vec<ProcFacts>, processes: &mut Processes, lookup: &mut dyn Lookup) {
        for facts in facts {
            processes.prime(facts, lookup);
        }
        processes.trace_lines();
    }

    /// One record, one event.
    pub fn apply(
        &mut self,
        record: &Record,
        processes: &mut Processes,
        lookup: &mut dyn Lookup,
    ) -> EventDraft {
        let identity = processes.apply(record, lookup);
        let key = identity.key;
        let (name, end) = match &record.what {
            What::Fork => {
                if let Some(parent) = processes.by_pid(record.task.parent) {
                    self.counting.entry(parent.key).or_default().forks += 1;
                }
                ("process.fork", None)
            }
            What::Exec { .. } => {
                self.execs += 1;
                self.counting.entry(key).or_default().execs += 1;
                ("process.exec", None)
            }
            What::Exit { exit, oom } => {
                let end = End { at: record.at, exit: *exit, oom: *oom };
                self.ends.insert(key, end);
                ("process.exit", Some(end))
            }
        };
        let row = ProcessRow {
            tid: Some(record.task.tid),
            exit: end.map(|end| end.exit),
            oom: end.is_some_and(|end| end.oom),
            age_ns: end.map(|_| record.at.since(record.task.started)),
            ..ProcessRow::of(identity)
        };
        EventDraft { name, family: "process", at: record.at, facts: Arc::new(row) }
    }

    /// Ends an interval.
    pub fn tick(&mut self, now: BootTime, interval: Duration) {
        self.counted = std::mem::take(&mut self.counting);
        self.ends.retain(|_, end| now.since(end.at) < LINGER_NS);
        let seconds = interval.as_secs_f64();
        self.execs_per_s = (seconds > 0.0).then(|| self.execs as f64 / seconds);
        self.execs = 0;
    }

    pub const fn execs_per_s(&self) -> Option<f64> {
        self.execs_per_s
    }

    /// Every process; those that have ended stay for a while, or with `of_interval` only in the interval that the
    /// last tick closed. `gifts` is what the other families say of them.
    pub fn rows(
        &self,
        processes: &Processes,
        now: BootTime,
        of_interval: bool,
        mut gifts: Gifts,
    ) -> Vec<Arc<ProcessRow>> {
        processes
            .iter()
            .filter(|identity| !of_interval || processes.is_of_interval(identity))
            .map(|identity| {
                let end = self.ends.get(&identity.key);
                Arc::new(ProcessRow {
                    exit: end.map(|end| end.exit),
                    oom: end.is_some_and(|end| end.oom),
                    age_ns: Some(end.map_or(now, |end| end.at).since(started(identity.key))),
                    activity: Some(self.counted.get(&identity.key).copied().unwrap_or_default()),
                    given: gifts.take(identity.key),
                    ..ProcessRow::of(Arc::clone(identity))
                })
            })
            .collect()
    }
}
