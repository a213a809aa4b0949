//! The rows of one moment, by view: what a question is answered from, now or later. Rows are shared with the moments
//! before where they are the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::columns::{Facts, Finder, Listing, Row, RowId, Sheet, Value};
use crate::engine::core::Core;
use crate::engine::list::{Ranks, arrange};
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
    /// Memory that only this table holds.
    fn bytes(&self) -> usize;
}

struct Rows<R> {
    rows: Vec<Arc<R>>,
    /// Of them, those that no earlier moment has.
    new: usize,
}

/// A pointer, and what is allocated with what it points at.
const SHARED: usize = 3 * size_of::<usize>();

impl<R: Row> Table for Rows<R> {
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
        let (sheet, hidden) = answer(&self.rows, ask, |row, filter| filter.matches(row, None));
        (Arc::new(sheet), hidden)
    }

    fn bytes(&self) -> usize {
        self.rows.len() * size_of::<usize>() + self.new * (size_of::<R>() + SHARED)
    }
}

fn answer<R: Row>(
    rows: &[Arc<R>],
    ask: &mut Ask<'_>,
    matches: impl Fn(&R, &Filter) -> bool,
) -> (Listing<R>, usize) {
    let mut hidden = 0;
    let mut total = 0;
    let mut chosen = Vec::new();
    for row in rows {
        if !ask.narrow.admits(row.as_ref()) {
            continue;
        }
        if (ask.hides)(row.as_ref()) {
            hidden += 1;
            continue;
        }
        total += 1;
        if ask.filter.is_none_or(|filter| matches(row, filter)) {
            chosen.push(Arc::clone(row));
        }
    }
    (Listing { rows: arrange(chosen, ask.sort, ask.ranks), total }, hidden)
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
    pub bytes: usize,
}

/// Takes the same row from the moment before where nothing has changed.
fn rows<R: Row + PartialEq>(mut rows: Vec<Arc<R>>, before: Option<&[Arc<R>]>) -> Rows<R> {
    let known: HashMap<RowId, &Arc<R>> = before.into_iter().flatten().map(|row| (row.id(), row)).collect();
    let mut new = 0;
    for row in &mut rows {
        match known.get(&row.id()) {
            Some(old) if ***old == **row => *row = Arc::clone(old),
            _ => new += 1,
        }
    }
    Rows { rows, new }
}

impl Picture {
    /// Takes the rows of all models: a table a view, one line each.
    pub fn take(
        core: &Core,
        probes: &[ProbeRow],
        seq: u64,
        interval: Duration,
        totals: Totals,
        events: Vec<Arc<EventRow>>,
    ) -> Self {
        let table = |view, table: Box<dyn Table>| (view, table);
        let tables = vec![
            table(View::Flows, Box::new(rows(core.flow_rows(false), None))),
            table(View::Failures, Box::new(rows(core.failure_rows(false), None))),
            table(View::Processes, Box::new(rows(core.process_rows(false), None))),
            table(View::Probes, Box::new(rows(probes.iter().cloned().map(Arc::new).collect(), None))),
        ];
        let latencies = core.latencies();
        let bytes = tables.iter().map(|(_, table)| table.bytes()).sum::<usize>()
            + events.len() * (size_of::<EventRow>() + 256)
            + latencies.len() * 256;
        let (taken, offset) = (core.now(), core.offset());
        Self { seq, taken, offset, interval, totals, tables, events, latencies, bytes }
    }

    pub fn table(&self, view: View) -> Option<&dyn Table> {
        self.tables.iter().find(|(of, _)| *of == view).map(|(_, table)| table.as_ref())
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
