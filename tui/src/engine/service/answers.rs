//! What the console answers to the standing question.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::standing::unmeasured;
use super::{Console, EVENTS_MAX, Held};
use crate::columns::{Facts, Listing, Row, RowId, Sheet, Value};
use crate::engine::details;
use crate::engine::list::{Ranks, arrange};
use crate::engine::own::Own;
use crate::engine::picture::{Ask, Hides, Picture, Table, answer, stream};
use crate::engine::usage::{Depth, of_all};
use crate::families::Family;
use crate::families::file::model::FileRow;
use crate::families::file::row::group::By;
use crate::families::process::model::ProcessRow;
use crate::families::process::model::owner::group;
use crate::model::{Detail, EventRow, Latency, More, Query, Reach, Scope, Snapshot, View};
use crate::records::{BootTime, Outside, ProcKey, StartTime, Tgid};

impl Console {
    /// Answers it from the picture that is asked of.
    pub(super) fn publish(&mut self) {
        self.seq += 1;
        let picture = Arc::clone(self.frozen.as_ref().unwrap_or(&self.picture));
        let query = self.query.clone();
        let narrow = picture.narrow(&query.scopes);
        let places = Own::places();
        let own = self.own;
        let hides = |facts: &dyn Facts| !query.own && own.hides(facts, &places);
        let mut ranks = self.ranks.remove(&query.view).unwrap_or_default();
        let filter = query.filter.as_deref();
        let mut ask = Ask { filter, sort: query.order(), narrow: &narrow, hides: &hides, ranks: &mut ranks };
        let mut overview = None;
        let (sheet, own_hidden) = match (query.view, picture.table(query.view)) {
            (View::Overview, _) => {
                let (mut panels, mut rows) = self.rankings.overview(
                    &self.history,
                    &picture,
                    &query.scopes,
                    query.own,
                    &hides,
                    query.room,
                );
                panels.keep(&mut rows, |row| ask.filter.is_none_or(|filter| filter.matches(row, None)));
                for panel in &mut panels.panels {
                    panel.unmeasured = unmeasured(panel.kind, &self.collector, &query);
                }
                overview = Some(Arc::new(panels));
                let rows: Vec<_> = rows.into_iter().map(Arc::new).collect();
                let total = rows.len();
                (Arc::new(Listing { rows, total }) as Arc<dyn Sheet>, 0)
            }
            (View::Files, _) if let Some(by) = query.files_by => self.files(&picture, by, &query, &mut ask),
            (View::Processes, _) => self.processes(&picture, &query, &mut ask),
            (_, Some(table)) => table.answer(&mut ask),
            (_, None) => {
                let events = self.events_until(&picture);
                stream(&events, &ask)
            }
        };
        self.ranks.insert(query.view, ranks);
        let detail = query.subject.as_ref().map(|subject| self.detail(subject, &picture, &hides));
        let ended = (0..sheet.len()).filter(|&row| sheet.ended(row)).count();
        let snapshot = Snapshot {
            seq: self.seq,
            taken: self.held_of(&picture).map_or(picture.taken, |held| held.at),
            offset: picture.offset,
            interval: picture.interval,
            host: Arc::clone(&self.host),
            totals: picture.totals_of(&narrow),
            query,
            sheet,
            probes: Arc::clone(&self.probes),
            overview,
            detail: detail.map(Arc::new),
            reach: self.reach(&picture),
            coverage: self.coverage(),
            notes: Arc::new(self.notes()),
            more: self.more(),
            own_hidden,
            ended,
        };
        self.service.publish(Arc::new(snapshot));
    }

    /// Processes, each or by owner, with what those in sight use.
    fn processes(&mut self, picture: &Picture, query: &Query, ask: &mut Ask<'_>) -> (Arc<dyn Sheet>, usize) {
        let mut rows = picture.rows_of::<ProcessRow>(View::Processes).into_owned();
        let sort = query.order();
        let live = self.frozen.is_none();
        let of_all = of_all(ask.filter, query.by_owner, sort.map(|sort| sort.column));
        if let Some(depth) = of_all.filter(|_| live) {
            self.collector.look_at(rows.iter_mut(), depth);
        }
        ask.sort = sort.filter(|_| !query.by_owner);
        let (mut listing, hidden) = answer(&rows, ask, |row, filter| filter.matches(row, None));
        if query.by_owner {
            let rows = arrange(group(&listing.rows), query.sort, ask.ranks);
            let total = rows.len();
            return (Arc::new(Listing { rows, total }), hidden);
        }
        if live && of_all != Some(Depth::Whole) {
            let (first, shown) = query.sight;
            self.collector.look_at(listing.rows.iter_mut().skip(first).take(shown), Depth::Whole);
        }
        (Arc::new(listing), hidden)
    }

    /// The use of files taken together.
    fn files(
        &mut self,
        picture: &Picture,
        by: By,
        query: &Query,
        ask: &mut Ask<'_>,
    ) -> (Arc<dyn Sheet>, usize) {
        let rows = picture.rows_of::<FileRow>(View::Files);
        ask.sort = None;
        let (listing, hidden) = answer(&rows, ask, |row, filter| filter.matches(row, None));
        let groups = self.collector.core.file_groups(by, &listing.rows, self.frozen.is_some());
        let rows = arrange(groups, query.order(), ask.ranks);
        let total = rows.len();
        (Arc::new(Listing { rows, total }), hidden)
    }

    fn reach(&self, picture: &Picture) -> Reach {
        let between = |from: Option<&Arc<Picture>>, to: BootTime| {
            from.map_or(Duration::ZERO, |from| Duration::from_nanos(to.since(from.taken)))
        };
        let newest = self.history.newest().map_or(picture.taken, |newest| newest.taken);
        let after = Duration::from_nanos(newest.since(picture.taken));
        Reach { moment: picture.seq, before: between(self.history.oldest(), picture.taken), after }
    }

    /// What was held with this moment.
    fn held_of(&self, picture: &Picture) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.moment == picture.seq)
    }

    /// The events that had come by then, oldest first.
    fn events_until(&self, picture: &Arc<Picture>) -> Vec<Arc<EventRow>> {
        match self.held_of(picture) {
            Some(held) => held.events.clone(),
            _ if self.frozen.is_some() => self.history.events(picture.seq, EVENTS_MAX),
            _ => self.events.iter().cloned().collect(),
        }
    }

    /// What else is known of a process, or of all that are the subject's.
    fn detail(&self, subject: &Scope, picture: &Arc<Picture>, hides: &Hides<'_>) -> Detail {
        let narrow = picture.narrow(std::slice::from_ref(subject));
        let rows_in = |processes: &dyn Table| -> Vec<usize> {
            let is_its = |&row: &usize| processes.facts(row).is_some_and(|facts| narrow.admits(facts));
            (0..processes.len()).filter(is_its).collect()
        };
        // Who has ended is in one picture only, and an event may be of another than the reader looks at: who made its
        // process stays true.
        let pictures = [picture, &self.picture].into_iter().chain(self.history.until(u64::MAX));
        let is_process = matches!(subject, Scope::Process { .. });
        let found = pictures
            .take(if is_process { usize::MAX } else { 1 })
            .filter_map(|picture| picture.table(View::Processes))
            .map(|processes| (processes, rows_in(processes)))
            .find(|(_, rows)| !rows.is_empty());
        let ids: HashSet<RowId> = found
            .iter()
            .flat_map(|(processes, rows)| rows.iter().filter_map(|&row| processes.id(row)))
            .collect();
        // Of whoever talks to a peer not everything is that peer's.
        let whole = matches!(subject, Scope::Process { .. } | Scope::Owner(_) | Scope::User { .. });
        let mut charts = if whole { self.collector.core.durations(&ids) } else { vec![] };
        for moment in self.history.since(picture.seq) {
            for (_, later) in moment.latencies.iter().filter(|(of, _)| ids.contains(of)) {
                let same = charts.iter_mut().filter(|chart| chart.what == later.what);
                same.for_each(|chart| chart.durations.remove(&later.durations));
            }
        }
        if let Some(durations) =
            self.opened_call().and_then(|call| self.collector.core.syscall.durations(call))
        {
            charts.insert(0, Latency { what: "call of this kind", durations: durations.clone() });
        }
        let one =
            found.filter(|_| is_process).and_then(|(processes, rows)| Some((processes, *rows.first()?)));
        let mut lists = vec![];
        for (view, table) in &picture.tables {
            let itself = *view == View::Processes && is_process;
            if itself || *view == View::Probes {
                continue;
            }
            let (sort, ranks) = (view.default_sort(), &mut Ranks::default());
            lists.push((
                *view,
                table.answer(&mut Ask { filter: None, sort, narrow: &narrow, hides, ranks }).0,
            ));
        }
        let ask = Ask { filter: None, sort: None, narrow: &narrow, hides, ranks: &mut Ranks::default() };
        lists.push((View::Events, stream(&self.events_until(picture), &ask).0));
        lists.retain(|(_, sheet)| !sheet.is_empty());
        Detail {
            subject: subject.clone(),
            ancestry: one.map_or_else(Vec::new, |(processes, row)| {
                let told = processes.id(row).and_then(|id| self.collector.core.line(id));
                told.unwrap_or_else(|| ancestry(processes, row))
            }),
            charts,
            lists,
        }
    }

    /// What is known of the open row beyond its columns.
    fn more(&self) -> Option<Arc<More>> {
        let row = self.query.open?;
        let (mut facts, mut maps) = (vec![], vec![]);
        match self.query.view {
            View::Syscalls => {
                let trace = self.events.iter().rev().map(|event| event.event());
                facts = details::syscall(row, trace);
            }
            View::Processes => {
                let key = ProcKey { tgid: Tgid(row.0 as u32), start: StartTime(row.1) };
                let identity = self.collector.core.processes.get(key)?;
                facts = details::process(identity, self.collector.core.working_directory(key.tgid));
            }
            View::Probes => {
                let family = self.probes.iter().find(|probe| probe.id() == row)?.family;
                maps = self.collector.fills(Family::from_stem(family)?).into_iter().map(Arc::new).collect();
            }
            _ => return None,
        }
        Some(Arc::new(More { row, facts, maps }))
    }
}

/// Parent, its parent, and so on.
fn ancestry(processes: &dyn Table, row: usize) -> Vec<(Outside, u64)> {
    let number = |row: usize, id: &str| match processes.facts(row).map(|facts| facts.named(id)) {
        Some(Value::Uint(n)) => Some(n),
        _ => None,
    };
    let by_pid: HashMap<u64, usize> =
        (0..processes.len()).filter_map(|row| Some((number(row, "pid")?, row))).collect();
    let mut found = vec![];
    let mut here = row;
    // A parent is never its own descendant, but a table of one moment may say so.
    while let Some(parent) = number(here, "ppid").filter(|&pid| pid != 0 && found.len() < 32) {
        let comm = by_pid.get(&parent).map(|&row| {
            here = row;
            match processes.facts(row).map(|facts| facts.named("process")) {
                Some(Value::Process(comm, _)) => comm.clone(),
                _ => Outside::default(),
            }
        });
        let known = comm.is_some();
        found.push((comm.unwrap_or_default(), parent));
        if !known {
            break;
        }
    }
    found
}
