//! The rows of one moment, by view: what a question is answered from, now or later. Rows are shared with the moments
//! before where they are the same.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::columns::ahead::ahead;
use crate::columns::{Facts, Finder, Listing, Row, RowId, Sheet, Value};
use crate::engine::core::Core;
use crate::engine::list::{Ranks, arrange};
use crate::families::failure::row::FailureRow;
use crate::families::file::model::FileRow;
use crate::families::flow::model::{FlowRow, State};
use crate::families::process::model::ProcessRow;
use crate::families::syscall::model::SyscallRow;
use crate::filter::Filter;
use crate::model::{EventRow, Latency, Narrow, ProbeRow, Scope, Sort, Totals, View};
use crate::records::{BootTime, WallOffset};

/// Facts that outlive the question.
pub type SharedFacts = Arc<dyn Facts + Send + Sync>;

/// Is a row fluoro's own, and not to be shown?
pub type Hides<'a> = dyn Fn(&dyn Facts) -> bool + 'a;

/// What is asked of a table.
pub struct Ask<'a> {
    pub filter: Option<&'a Filter>,
    pub sort: Option<Sort>,
    pub narrow: &'a Narrow,
    pub hides: &'a Hides<'a>,
    /// Where rows stood before, so that the order does not flicker.
    pub ranks: &'a mut Ranks,
}

/// Rows of one kind.
pub trait Table: Send + Sync {
    fn len(&self) -> usize;
    fn id(&self, row: usize) -> Option<RowId>;
    fn facts(&self, row: usize) -> Option<&dyn Facts>;
    fn shared(&self, row: usize) -> Option<SharedFacts>;
    /// The finished table, and how many rows of fluoro's own it leaves out.
    fn answer(&self, ask: &mut Ask<'_>) -> (Arc<dyn Sheet>, usize);
    /// The table to be kept: rows that are still the same are those of the moment before, so much older now.
    fn kept(&self, before: Option<&dyn Table>, since: Duration) -> Box<dyn Table>;
    /// Memory that only this table holds.
    fn bytes(&self) -> usize;
    fn as_any(&self) -> &dyn Any;
}

/// A row of which a moment later nothing may have changed but its age.
pub trait Aging: Row + Clone + PartialEq {
    /// What grows by itself.
    fn age(&self) -> Option<u64> {
        None
    }

    /// The same at that age.
    fn at_age(&self, _age_ns: u64) -> Self {
        self.clone()
    }

    /// What changes most often has changed.
    fn has_moved(&self, _later: &Self) -> bool {
        false
    }

    fn aged(&self, by_ns: u64) -> Self {
        self.age().map_or_else(|| self.clone(), |age| self.at_age(age.saturating_add(by_ns)))
    }

    fn is_still(&self, later: &Self) -> bool {
        !self.has_moved(later)
            && match (self.age(), later.age()) {
                (Some(_), Some(now)) => self.at_age(now) == *later,
                _ => self == later,
            }
    }
}

impl Aging for FlowRow {
    fn age(&self) -> Option<u64> {
        Some(self.duration_ns).filter(|age| *age > 0 && self.state != State::Closed)
    }

    fn at_age(&self, duration_ns: u64) -> Self {
        Self { duration_ns, ..self.clone() }
    }

    fn has_moved(&self, later: &Self) -> bool {
        (self.rx_bytes, self.tx_bytes) != (later.rx_bytes, later.tx_bytes)
    }
}

impl Aging for ProcessRow {
    fn age(&self) -> Option<u64> {
        self.age_ns.filter(|_| !self.identity.ended)
    }

    fn at_age(&self, age_ns: u64) -> Self {
        Self { age_ns: Some(age_ns), ..self.clone() }
    }
}

impl Aging for FailureRow {}

impl Aging for FileRow {}

impl Aging for SyscallRow {}

impl Aging for ProbeRow {}

struct Rows<R> {
    rows: Vec<Arc<R>>,
    /// By how much each row is older at this moment than it says, ms; empty: by nothing.
    older_ms: Vec<u32>,
    /// Of them, those that no earlier moment has.
    new: usize,
}

impl<R: Aging> Rows<R> {
    const fn new(rows: Vec<Arc<R>>) -> Self {
        Self { new: rows.len(), rows, older_ms: Vec::new() }
    }

    /// The rows as they were at the moment.
    fn at_their_age(&self) -> Cow<'_, [Arc<R>]> {
        if self.older_ms.is_empty() {
            return Cow::Borrowed(&self.rows);
        }
        let rows = self.rows.iter().zip(&self.older_ms).map(|(row, &by_ms)| match by_ms {
            0 => Arc::clone(row),
            by_ms => Arc::new(row.aged(u64::from(by_ms) * 1_000_000)),
        });
        Cow::Owned(rows.collect())
    }
}

/// What a row refers to and may be the last to hold, roughly: a path, an identity.
const REFERRED: usize = 512;

/// A pointer, and what is allocated with what it points at.
const SHARED: usize = 3 * size_of::<usize>();

impl<R: Aging> Table for Rows<R> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> Option<RowId> {
        self.rows.get(row).map(|row| row.id())
    }

    fn facts(&self, row: usize) -> Option<&dyn Facts> {
        self.rows.get(row).map(|row| row.as_ref() as &dyn Facts)
    }

    fn shared(&self, row: usize) -> Option<SharedFacts> {
        self.rows.get(row).map(|row| Arc::clone(row) as SharedFacts)
    }

    fn answer(&self, ask: &mut Ask<'_>) -> (Arc<dyn Sheet>, usize) {
        let (sheet, hidden) = answer(&self.at_their_age(), ask, |row, filter| filter.matches(row, None));
        (Arc::new(sheet), hidden)
    }

    fn kept(&self, before: Option<&dyn Table>, since: Duration) -> Box<dyn Table> {
        let before = before.and_then(|before| before.as_any().downcast_ref::<Self>());
        let since_ms = since.as_millis() as u32;
        let mut by_id: Option<HashMap<RowId, usize>> = None;
        let mut kept = Self { rows: vec![], older_ms: vec![], new: 0 };
        kept.rows.reserve_exact(self.rows.len());
        kept.older_ms.reserve_exact(self.rows.len());
        let mut those_before = before.map(|before| ahead(before.rows.iter()));
        for (at, row) in ahead(self.rows.iter()).enumerate() {
            // Nearly always the same: it is on its way by now.
            those_before.as_mut().and_then(Iterator::next);
            let id = row.id();
            let old = before.and_then(|before| {
                // Models keep their rows in one order as long as none comes or goes.
                let is_there = before.rows.get(at).is_some_and(|old| old.id() == id);
                let at = if is_there {
                    at
                } else {
                    let ids = || before.rows.iter().enumerate().map(|(at, row)| (row.id(), at)).collect();
                    *by_id.get_or_insert_with(ids).get(&id)?
                };
                let older_ms = before.older_ms.get(at)?.saturating_add(since_ms);
                let is_same = |old: &&Arc<R>| Arc::ptr_eq(old, row) || old.is_still(row);
                Some((before.rows.get(at).filter(is_same)?, older_ms))
            });
            let (row, older_ms) = old.unwrap_or((row, 0));
            kept.new += usize::from(older_ms == 0);
            kept.rows.push(Arc::clone(row));
            kept.older_ms.push(older_ms);
        }
        Box::new(kept)
    }

    fn bytes(&self) -> usize {
        self.rows.len() * (size_of::<usize>() + size_of::<u32>())
            + self.new * (size_of::<R>() + SHARED + REFERRED)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The finished table of these rows, and how many of fluoro's own it leaves out.
pub fn answer<R: Row>(
    rows: &[Arc<R>],
    ask: &mut Ask<'_>,
    matches: impl Fn(&R, &Filter) -> bool,
) -> (Listing<R>, usize) {
    let Ask { filter, sort, narrow, hides, ranks } = ask;
    let mut hidden = 0;
    let mut total = 0;
    // Chosen and ranked in one go: see `ahead`.
    let chosen = ahead(rows.iter()).filter(|row| {
        if !narrow.admits(row.as_ref()) {
            return false;
        }
        if hides(row.as_ref()) {
            hidden += 1;
            return false;
        }
        total += 1;
        filter.is_none_or(|filter| matches(row, filter))
    });
    let rows = arrange(chosen.cloned(), *sort, ranks);
    (Listing { rows, total }, hidden)
}

/// The stream, which is filtered and narrowed by the facts behind its lines.
pub fn stream(events: &[Arc<EventRow>], ask: &Ask<'_>) -> (Arc<dyn Sheet>, usize) {
    let mut hidden = 0;
    let mut total = 0;
    let mut rows = Vec::new();
    for row in events.iter().rev() {
        if !ask.narrow.admits(row.facts()) {
            continue;
        }
        if (ask.hides)(row.facts()) {
            hidden += 1;
            continue;
        }
        total += 1;
        if ask.filter.is_none_or(|filter| filter.matches(row.facts(), Some(row.name()))) {
            rows.push(Arc::clone(row));
        }
    }
    (Arc::new(Listing { rows, total }), hidden)
}

/// Everything as it was at one tick.
pub struct Picture {
    /// Number of the tick.
    pub seq: u64,
    pub taken: BootTime,
    pub offset: WallOffset,
    pub interval: Duration,
    pub totals: Totals,
    pub tables: Vec<(View, Box<dyn Table>)>,
    /// New since the picture before, oldest first.
    pub events: Vec<Arc<EventRow>>,
    /// Durations of the interval, by the id of the process's row.
    pub latencies: Vec<(RowId, Latency)>,
}

/// An event with the row of its family, whose process may be known to nobody else any more, and a distribution, roughly.
const EVENT: usize = size_of::<EventRow>() + 1536;
const LATENCY: usize = 256;

fn rows<R: Aging>(rows: Vec<Arc<R>>) -> Box<dyn Table> {
    Box::new(Rows::new(rows))
}

impl Picture {
    /// Takes the rows of all models: a table a view, one line each.
    pub fn take(
        core: &Core,
        processes: Vec<Arc<ProcessRow>>,
        probes: &[ProbeRow],
        seq: u64,
        interval: Duration,
        totals: Totals,
        events: Vec<Arc<EventRow>>,
    ) -> Self {
        let tables = vec![
            (View::Flows, rows(core.flow_rows(false))),
            (View::Files, rows(core.file_rows(false))),
            (View::Syscalls, rows(core.syscall_rows(false))),
            (View::Failures, rows(core.failure_rows(false))),
            (View::Processes, rows(processes)),
            (View::Probes, rows(probes.iter().cloned().map(Arc::new).collect())),
        ];
        let latencies = core.latencies();
        let (taken, offset) = (core.now(), core.offset());
        Self { seq, taken, offset, interval, totals, tables, events, latencies }
    }

    /// The moment to be kept, after the one before it.
    pub fn kept(&self, before: Option<&Self>) -> Self {
        let since = before.map_or(0, |before| self.taken.since(before.taken));
        let tables = self.tables.iter().map(|(view, table)| {
            let old = before.and_then(|before| before.table(*view));
            (*view, table.kept(old, Duration::from_nanos(since)))
        });
        Self {
            tables: tables.collect(),
            events: self.events.clone(),
            latencies: self.latencies.clone(),
            ..*self
        }
    }

    /// Memory that only this moment holds.
    pub fn bytes(&self) -> usize {
        self.tables.iter().map(|(_, table)| table.bytes()).sum::<usize>()
            + self.events.len() * EVENT
            + self.latencies.len() * LATENCY
    }

    /// The rows of a view as they were at the moment.
    pub fn rows_of<R: Aging>(&self, view: View) -> Cow<'_, [Arc<R>]> {
        let table = self.table(view).and_then(|table| table.as_any().downcast_ref::<Rows<R>>());
        table.map_or(Cow::Borrowed(&[]), Rows::at_their_age)
    }

    pub fn table(&self, view: View) -> Option<&dyn Table> {
        self.tables.iter().find(|(of, _)| *of == view).map(|(_, table)| table.as_ref())
    }

    /// How many there are of all views.
    pub fn rows(&self) -> usize {
        self.tables.iter().map(|(_, table)| table.len()).sum()
    }

    /// Every row and event of the moment.
    pub fn each(&self, look: &mut dyn FnMut(&dyn Facts)) {
        for (_, table) in &self.tables {
            (0..table.len()).filter_map(|row| table.facts(row)).for_each(&mut *look);
        }
        self.events.iter().for_each(|event| look(event.facts()));
    }

    pub fn narrow(&self, scopes: &[Scope]) -> Narrow {
        Narrow::new(scopes, |look| self.each(look))
    }

    /// The header's figures of what is in scope. What fluoro costs and has lost is the machine's, whatever the scope.
    pub fn totals_of(&self, narrow: &Narrow) -> Totals {
        if narrow.is_everything() {
            return self.totals;
        }
        let (mut rx, mut tx, mut flows) = (0.0, 0.0, 0);
        if let Some(table) = self.table(View::Flows) {
            let places = Finder::new(["rx", "tx", "direction", "state"]);
            for facts in (0..table.len()).filter_map(|row| table.facts(row)).filter(|row| narrow.admits(*row))
            {
                let [received, sent, direction, state] = places
                    .of(facts.infos())
                    .map(|column| column.map_or(Value::Missing, |column| facts.value(column)));
                rx += received.number().unwrap_or(0.0);
                tx += sent.number().unwrap_or(0.0);
                let lives = state != Value::Word("closed");
                flows += u64::from(lives && direction != Value::Missing);
            }
        }
        let seconds = self.interval.as_secs_f64().max(0.001);
        let rate = |name: &str| {
            let events = self.events.iter().filter(|event| event.name() == name);
            events.filter(|event| narrow.admits(event.facts())).count() as f64 / seconds
        };
        Totals {
            rx_bytes_per_s: self.totals.rx_bytes_per_s.map(|_| rx),
            tx_bytes_per_s: self.totals.tx_bytes_per_s.map(|_| tx),
            flows: self.totals.flows.map(|_| flows),
            flow_opens_per_s: self.totals.flow_opens_per_s.map(|_| rate("flow.open")),
            execs_per_s: self.totals.execs_per_s.map(|_| rate("process.exec")),
            ..self.totals
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::columns::{Column, Info, Kind};

    #[derive(Clone, PartialEq)]
    struct Thing {
        id: u64,
        does: u64,
        age: u64,
    }

    impl Row for Thing {
        fn id(&self) -> RowId {
            RowId(0, self.id)
        }

        fn columns() -> &'static [Column<Self>] {
            static COLUMNS: [Column<Thing>; 1] =
                [Column::new(Info::new("age", Kind::Number, ""), |thing| Value::Uint(thing.age))];
            &COLUMNS
        }
    }

    impl Aging for Thing {
        fn age(&self) -> Option<u64> {
            Some(self.age)
        }

        fn at_age(&self, age: u64) -> Self {
            Self { age, ..self.clone() }
        }
    }

    const SECOND: u64 = 1_000_000_000;

    fn moment(at: u64, does: &[u64]) -> Rows<Thing> {
        let things = (0..).zip(does).map(|(id, &does)| Arc::new(Thing { id, does, age: at * SECOND }));
        Rows::new(things.collect())
    }

    #[test]
    fn what_only_grows_older_is_kept_once_and_is_as_old_as_it_was() {
        let first = moment(5, &[1, 1, 1]).kept(None, Duration::ZERO);
        let second = moment(6, &[1, 2, 1]).kept(Some(first.as_ref()), Duration::from_secs(1));
        let third = moment(7, &[1, 2]).kept(Some(second.as_ref()), Duration::from_secs(1));
        let of = |table: &dyn Table| {
            let rows = table.as_any().downcast_ref::<Rows<Thing>>().unwrap();
            let ages: Vec<u64> = rows.at_their_age().iter().map(|thing| thing.age / SECOND).collect();
            (rows.new, ages)
        };
        assert_eq!(of(first.as_ref()), (3, vec![5, 5, 5]));
        assert_eq!(of(second.as_ref()), (1, vec![6, 6, 6]));
        assert_eq!(of(third.as_ref()), (0, vec![7, 7]));
    }
}
