//! Ranks the subjects of each panel, from the rows and events that the other views show.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::columns::{Facts, Finder, RowId, Unit, Value};
use crate::engine::history::History;
use crate::engine::picture::{Hides, Picture, SharedFacts};
use crate::model::{
    Distribution, Measure, Narrow, Overview, OverviewRow, PANELS, Panel, PanelKind, Scope, TRACE, Trace, View,
};
use crate::views;

/// Subjects of a moment that are remembered a panel: what ranks lower is not missed in a list of the first few.
const SUBJECTS: usize = 256;
/// Rows that are looked at for one answer, beside those of the moment itself.
const CATCH_UP: usize = 300_000;
/// Ranked by the mean of so many ticks, so that the order does not flicker.
const RECENT: usize = 5;

/// One panel at one moment.
#[derive(Default)]
struct Tally {
    total: f64,
    subjects: Vec<Subject>,
}

struct Subject {
    id: RowId,
    value: f64,
    durations: Option<Distribution>,
    facts: SharedFacts,
}

/// What has been ranked already, of the scope in force.
#[derive(Default)]
pub struct Rankings {
    scopes: Vec<Scope>,
    own: bool,
    moments: BTreeMap<u64, Vec<Tally>>,
}

impl Rankings {
    /// The overview at a moment, with the minute before it; at most `room` rows a panel.
    pub fn overview(
        &mut self,
        history: &History,
        picture: &Picture,
        scopes: &[Scope],
        own: bool,
        hides: &Hides<'_>,
        room: usize,
    ) -> (Overview, Vec<OverviewRow>) {
        if self.scopes != scopes || self.own != own {
            *self = Self { scopes: scopes.to_vec(), own, moments: BTreeMap::new() };
        }
        let mut looked_at = 0;
        for moment in history.until(picture.seq).take(TRACE) {
            // A minute of a crowd takes longer to rank than anybody waits for a key: its traces begin later.
            looked_at += if self.moments.contains_key(&moment.seq) { 0 } else { moment.rows() };
            if looked_at > CATCH_UP && looked_at > moment.rows() {
                break;
            }
            self.moments.entry(moment.seq).or_insert_with(|| {
                let narrow = moment.narrow(scopes);
                PANELS.iter().map(|kind| tally(kind, moment, &narrow, hides)).collect()
            });
        }
        // A minute is kept even where the ring of moments is shorter than that.
        let newest = history.newest().map_or(0, |picture| picture.seq);
        let oldest =
            history.oldest().map_or(0, |picture| picture.seq).min(newest.saturating_sub(TRACE as u64));
        self.moments = self.moments.split_off(&oldest);

        let from = (picture.seq + 1).saturating_sub(TRACE as u64);
        let mut overview = Overview::default();
        let mut rows = vec![];
        for (panel, kind) in PANELS.iter().enumerate() {
            let window: Vec<(usize, &Tally)> = self
                .moments
                .range(from..=picture.seq)
                .filter_map(|(seq, tallies)| {
                    Some((TRACE.checked_sub((picture.seq - seq) as usize + 1)?, tallies.get(panel)?))
                })
                .collect();
            let ranked = rank(kind, &window);
            let mut total = vec![0.0; TRACE];
            for (at, tally) in &window {
                total.get_mut(*at).into_iter().for_each(|point| *point = tally.total);
            }
            overview.panels.push(Panel {
                kind,
                unmeasured: None,
                total: match kind.measure {
                    Measure::Sum(_) => total.last().copied(),
                    Measure::Count(..) => Some(total.iter().sum()),
                    Measure::Latency(_) => None,
                },
                trace: Trace { points: total, newest: picture.seq },
                hidden: 0,
                rows: ranked.len().min(room),
            });
            for (id, ranked) in ranked.into_iter().take(room) {
                overview.traces.push(Trace { points: ranked.points, newest: picture.seq });
                let (value, count, facts) = (ranked.value, ranked.count, ranked.facts);
                rows.push(OverviewRow { panel, id, value, count, facts });
            }
        }
        (overview, rows)
    }
}

struct Ranked {
    points: Vec<f64>,
    /// Shown.
    value: f64,
    /// Ranked by this, then by the minute's sum.
    rank: (f64, f64),
    count: Option<u64>,
    facts: SharedFacts,
    durations: Distribution,
}

/// The subjects of a window, first the one that does most.
fn rank(kind: &PanelKind, window: &[(usize, &Tally)]) -> Vec<(RowId, Ranked)> {
    let mut found: HashMap<RowId, Ranked> = HashMap::new();
    for &(at, tally) in window {
        for subject in &tally.subjects {
            let ranked = found.entry(subject.id).or_insert_with(|| Ranked {
                points: vec![0.0; TRACE],
                value: 0.0,
                rank: (0.0, 0.0),
                count: None,
                facts: Arc::clone(&subject.facts),
                durations: Distribution::default(),
            });
            if let Some(point) = ranked.points.get_mut(at) {
                *point = subject.value;
            }
            ranked.facts = Arc::clone(&subject.facts);
            subject.durations.iter().for_each(|durations| ranked.durations.merge(durations));
        }
    }
    for ranked in found.values_mut() {
        let sum: f64 = ranked.points.iter().sum();
        match kind.measure {
            Measure::Sum(_) => {
                ranked.value = ranked.points.last().copied().unwrap_or(0.0);
                ranked.rank = (ranked.points.iter().rev().take(RECENT).sum(), sum);
            }
            Measure::Count(..) => {
                ranked.value = sum;
                ranked.rank = (sum, 0.0);
            }
            Measure::Latency(_) => {
                let [p99] = ranked.durations.quantiles([0.99], None).unwrap_or_default();
                ranked.value = p99 as f64;
                ranked.count = Some(ranked.durations.count());
                ranked.rank = (p99 as f64, ranked.durations.count() as f64);
            }
        }
    }
    let mut ranked: Vec<_> = found.into_iter().collect();
    ranked.sort_by(|(a_id, a), (b_id, b)| {
        b.rank.0.total_cmp(&a.rank.0).then(b.rank.1.total_cmp(&a.rank.1)).then(a_id.cmp(b_id))
    });
    ranked
}

fn tally(kind: &PanelKind, picture: &Picture, narrow: &Narrow, hides: &Hides<'_>) -> Tally {
    let shows = |facts: &dyn Facts| narrow.admits(facts) && !hides(facts);
    let mut sums: HashMap<RowId, Subject> = HashMap::new();
    let mut add = |id: RowId, value: f64, facts: &dyn Fn() -> Option<SharedFacts>| {
        if let Some(subject) = sums.get_mut(&id) {
            subject.value += value;
        } else if let Some(facts) = facts() {
            sums.insert(id, Subject { id, value, durations: None, facts });
        }
    };
    match kind.measure {
        Measure::Sum(columns) => {
            let Some(table) = views::by_digit(kind.digit).and_then(|view| picture.table(view)) else {
                return Tally::default();
            };
            let places = Places::of(columns);
            let seconds = picture.interval.as_secs_f64().max(0.001);
            for row in 0..table.len() {
                let Some(facts) = table.facts(row).filter(|facts| shows(*facts)) else { continue };
                let value = places.sum(facts, seconds);
                if value > 0.0 {
                    add(places.process(facts), value, &|| table.shared(row));
                }
            }
        }
        Measure::Count(column, _) => {
            let Some(table) = views::by_digit(kind.digit).and_then(|view| picture.table(view)) else {
                return Tally::default();
            };
            let finder = Finder::new([column]);
            for row in 0..table.len() {
                let Some(facts) = table.facts(row).filter(|facts| shows(*facts)) else { continue };
                let [Some(place)] = finder.of(facts.infos()) else { continue };
                let value = facts.value(place).number().unwrap_or(0.0);
                if let Some(id) = table.id(row).filter(|_| value > 0.0) {
                    add(id, value, &|| table.shared(row));
                }
            }
        }
        Measure::Latency(what) => {
            let processes = picture.table(View::Processes);
            let of = |id: RowId| {
                let table = processes?;
                let row = (0..table.len()).find(|&row| table.id(row) == Some(id))?;
                table.facts(row).filter(|facts| shows(*facts))?;
                table.shared(row)
            };
            for (id, latency) in picture.latencies.iter().filter(|(_, latency)| latency.what == what) {
                let Some(facts) = of(*id) else { continue };
                let [most] = latency.durations.quantiles([0.99], None).unwrap_or_default();
                let durations = Some(latency.durations.clone());
                sums.insert(*id, Subject { id: *id, value: most as f64, durations, facts });
            }
        }
    }
    let mut subjects: Vec<Subject> = sums.into_values().collect();
    let total = subjects.iter().map(|subject| subject.value).sum();
    if subjects.len() > SUBJECTS {
        subjects.select_nth_unstable_by(SUBJECTS, |a, b| b.value.total_cmp(&a.value));
        subjects.truncate(SUBJECTS);
    }
    Tally { total, subjects }
}

/// Where a panel's figures and the process are in a kind of rows.
struct Places {
    columns: &'static [&'static str],
    process: Finder<2>,
    figures: Finder<4>,
}

impl Places {
    fn of(columns: &'static [&'static str]) -> Self {
        let mut ids = [""; 4];
        ids.iter_mut().zip(columns).for_each(|(id, column)| *id = column);
        Self { columns, process: Finder::new(["pid", "created"]), figures: Finder::new(ids) }
    }

    fn process(&self, facts: &dyn Facts) -> RowId {
        let [pid, created] = self.process.of(facts.infos()).map(|column| {
            match column.map_or(Value::Missing, |column| facts.value(column)) {
                Value::Uint(pid) => pid,
                // To the second: a start time is the same however the clock was set meanwhile.
                Value::Time(at) => at.0 / 1_000_000_000,
                _ => 0,
            }
        });
        RowId(pid, created)
    }

    /// What is counted by interval becomes a rate.
    fn sum(&self, facts: &dyn Facts, seconds: f64) -> f64 {
        let infos = facts.infos();
        let figures = self.figures.of(infos).into_iter().take(self.columns.len()).flatten();
        figures
            .map(|column| {
                let value = facts.value(column).number().unwrap_or(0.0);
                let is_rate = infos
                    .get(column)
                    .is_some_and(|info| matches!(info.unit, Unit::BytesPerSecond | Unit::PerSecond));
                if is_rate { value } else { value / seconds }
            })
            .sum()
    }
}
