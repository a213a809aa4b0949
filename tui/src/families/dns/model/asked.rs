//! Who asked for what how often in an interval, how long answers took and what they said.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use fluoro_shared::histogram::bucket_of;

use super::Who;
use crate::families::dns::decode::Message;
use crate::families::dns::row::asked::{AskedRow, Subject};
use crate::families::flow::row::Attribution;
use crate::model::{Distribution, Identity};
use crate::records::Outside;

/// Subjects of one interval; what is beyond is counted as such.
const SUBJECTS_MAX: usize = 16_384;

/// What is asked in the interval that runs, and in the one that the last tick closed.
#[derive(Default)]
pub(super) struct Table {
    running: Interval,
    closed: Interval,
}

#[derive(Default)]
struct Interval {
    tallies: HashMap<Subject, Tally>,
    untracked: u64,
}

struct Tally {
    identity: Option<Arc<Identity>>,
    attribution: Attribution,
    queries: u64,
    responses: u64,
    errors: u64,
    codes: Vec<(&'static str, u64)>,
    durations: Distribution,
    max_ns: u64,
}

/// The figures above the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DnsTotals {
    pub queries: u64,
    pub responses: u64,
    pub errors: u64,
    pub untracked: u64,
}

/// What a message is about, on whose behalf.
pub(super) fn subject(message: &Message, who: &Who, received: bool) -> Subject {
    let process = who.identity.as_ref().map(|identity| identity.key);
    let (name, kind) = match &message.question {
        Some(question) => (super::lower(&question.name), question.kind.clone()),
        None => (Outside::default(), Cow::Borrowed("")),
    };
    Subject { process, received, name, kind }
}

impl Table {
    pub fn question(&mut self, subject: &Subject, who: &Who) {
        if let Some(tally) = self.running.tally(subject, who) {
            tally.queries += 1;
        }
    }

    pub fn answer(&mut self, subject: &Subject, who: &Who, message: &Message, duration_ns: Option<u64>) {
        let Some(tally) = self.running.tally(subject, who) else { return };
        tally.responses += 1;
        let code = match &message.rcode {
            Cow::Borrowed(word) => word,
            Cow::Owned(_) => "(other)",
        };
        tally.errors += u64::from(code != "NOERROR" || message.malformed);
        match tally.codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => tally.codes.push((code, 1)),
        }
        if let Some(ns) = duration_ns {
            tally.durations.add(bucket_of(ns), 1);
            tally.max_ns = tally.max_ns.max(ns);
        }
    }

    /// Ends an interval.
    pub fn tick(&mut self) {
        self.closed = std::mem::take(&mut self.running);
    }

    pub fn totals(&self) -> DnsTotals {
        let sum = |read: fn(&Tally) -> u64| self.closed.tallies.values().map(read).sum();
        DnsTotals {
            queries: sum(|tally| tally.queries),
            responses: sum(|tally| tally.responses),
            errors: sum(|tally| tally.errors),
            untracked: self.closed.untracked,
        }
    }

    /// What was asked or answered in the interval that the last tick closed, and what waits.
    pub fn rows<'a>(&self, waiting: impl Iterator<Item = (&'a Subject, &'a Who)>) -> Vec<Arc<AskedRow>> {
        let mut rows: HashMap<&Subject, AskedRow> =
            self.closed.tallies.iter().map(|(subject, tally)| (subject, tally.row(subject))).collect();
        for (subject, who) in waiting {
            rows.entry(subject).or_insert_with(|| Tally::new(who).row(subject)).waiting += 1;
        }
        rows.into_values().map(Arc::new).collect()
    }
}

impl Interval {
    fn tally(&mut self, subject: &Subject, who: &Who) -> Option<&mut Tally> {
        if !self.tallies.contains_key(subject) {
            if self.tallies.len() >= SUBJECTS_MAX {
                self.untracked += 1;
                return None;
            }
            self.tallies.insert(subject.clone(), Tally::new(who));
        }
        self.tallies.get_mut(subject)
    }
}

impl Tally {
    fn new(who: &Who) -> Self {
        Self {
            identity: who.identity.clone(),
            attribution: who.attribution,
            queries: 0,
            responses: 0,
            errors: 0,
            codes: Vec::new(),
            durations: Distribution::default(),
            max_ns: 0,
        }
    }

    fn row(&self, subject: &Subject) -> AskedRow {
        let mut codes = self.codes.clone();
        codes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        AskedRow {
            subject: subject.clone(),
            identity: self.identity.clone(),
            attribution: self.attribution,
            queries: self.queries,
            responses: self.responses,
            errors: self.errors,
            waiting: 0,
            codes,
            quantiles_ns: self.durations.quantiles([0.5, 0.9, 0.99], Some(self.max_ns)),
            max_ns: (self.durations.count() > 0).then_some(self.max_ns),
        }
    }
}
