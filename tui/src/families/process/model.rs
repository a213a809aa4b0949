//! `process` records in, rows out. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::columns;
use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::{EventDraft, Identity, LINGER_NS, Lookup, ProcFacts, Processes, started};
use crate::records::process::{Exit, Record, What};
use crate::records::{BootTime, ProcKey, Tid};

/// A process as a table or an event line shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessRow {
    pub identity: Arc<Identity>,
    pub tid: Option<Tid>,
    pub exit: Option<Exit>,
    pub age_ns: Option<u64>,
    /// In table rows: the interval's.
    pub activity: Option<Activity>,
}

/// What a process did in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    pub forks: u64,
    pub execs: u64,
}

impl ProcessRow {
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

/// What is known of processes beside their identity.
#[derive(Default)]
pub struct ProcessModel {
    ends: HashMap<ProcKey, (BootTime, Exit)>,
    /// Of the interval that runs.
    counting: HashMap<ProcKey, Activity>,
    /// Of the interval before.
    counted: HashMap<ProcKey, Activity>,
    execs: u64,
    execs_per_s: Option<f64>,
}

impl ProcessModel {
    /// Takes in what exists already.
    pub fn prime(&mut self, facts: Vec<ProcFacts>, processes: &mut Processes, lookup: &mut dyn Lookup) {
        for facts in facts {
            processes.prime(facts, lookup);
        }
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
        let (name, exit) = match &record.what {
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
            What::Exit(exit) => {
                self.ends.insert(key, (record.at, *exit));
                ("process.exit", Some(*exit))
            }
        };
        let age_ns = exit.map(|_| record.at.since(record.task.started));
        let row = ProcessRow { identity, tid: Some(record.task.tid), exit, age_ns, activity: None };
        EventDraft { name, family: "process", at: record.at, facts: Arc::new(row) }
    }

    /// Ends an interval.
    pub fn tick(&mut self, now: BootTime, interval: Duration) {
        self.counted = std::mem::take(&mut self.counting);
        self.ends.retain(|_, (at, _)| now.since(*at) < LINGER_NS);
        let seconds = interval.as_secs_f64();
        self.execs_per_s = (seconds > 0.0).then(|| self.execs as f64 / seconds);
        self.execs = 0;
    }

    pub const fn execs_per_s(&self) -> Option<f64> {
        self.execs_per_s
    }

    /// Every process; those that have ended stay for a while, or with `of_interval` only in the interval that the
    /// last tick closed.
    pub fn rows(&self, processes: &Processes, now: BootTime, of_interval: bool) -> Vec<Arc<ProcessRow>> {
        processes
            .iter()
            .filter(|identity| !of_interval || processes.is_of_interval(identity))
            .map(|identity| {
                let end = self.ends.get(&identity.key);
                let until = end.map_or(now, |(at, _)| *at);
                Arc::new(ProcessRow {
                    identity: Arc::clone(identity),
                    tid: None,
                    exit: end.map(|(_, exit)| *exit),
                    age_ns: Some(until.since(started(identity.key))),
                    activity: Some(self.counted.get(&identity.key).copied().unwrap_or_default()),
                })
            })
            .collect()
    }
}
