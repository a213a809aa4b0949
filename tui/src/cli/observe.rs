//! `fluoro observe`: one line an event.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outlet::Outlet;
use super::run::{self, CANNOT, FINE, LOSS, Stage, USAGE, fail};
use super::{Common, Observe, Output};
use crate::collect::taps::KernelFilter;
use crate::engine::{Attachment, Collector, Core, Signals};
use crate::families::Family;
use crate::families::flow::columns;
use crate::filter::{Filter, Keys};
use crate::json;
use crate::model::{Event, Ledger};

/// How long a held opening may wait unseen, and how promptly a quiet stream is looked at.
const BEAT: Duration = Duration::from_millis(50);

/// Bytes of lines that are handed over together.
const BATCH: usize = 64 << 10;

/// How often the wall clock is looked at anew, and what has ended long ago forgotten.
const TICK: Duration = Duration::from_secs(1);

pub fn run(options: &Observe, common: &Common) -> ExitCode {
    let families = requested(&options.families);
    let filter = match options.filter.as_deref().map(|text| Filter::parse(text, &keys(&families))).transpose()
    {
        Ok(filter) => filter,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => return fail(CANNOT, &format!("cannot receive signals: {error}")),
    };
    let Stage { ground, world, .. } = run::prepare(common);
    let own = Some(std::process::id());
    // Identities come from `process`, asked for or not; unasked, nothing of it is left out. So do names of peers from `dns`
    // where the filter asks for a host.
    let named = families.contains(&Family::Flow) && filter.as_ref().is_some_and(|f| f.names("host"));
    let unasked = |family| family == Family::Process || (named && family == Family::Dns);
    let wanted: Vec<(Family, KernelFilter)> = Family::ALL
        .iter()
        .filter(|family| families.contains(family) || unasked(**family))
        .map(|&family| {
            let pushed = filter.as_ref().map(|filter| world.push_down(filter, family)).unwrap_or_default();
            let listed = families.contains(&family);
            (family, if listed { KernelFilter { own, ..pushed } } else { KernelFilter::default() })
        })
        .collect();
    let mut collector = match Collector::start(Arc::clone(&ground), Core::new(world)) {
        Ok(collector) => collector,
        Err(error) => return fail(CANNOT, &format!("cannot start: {error}")),
    };
    collector.core.processes.keeps_args = options.args;
    collector.core.flow.awaits_owners = filter.as_ref().is_some_and(columns::ask_for_owner);
    collector.attach_and_wait(&wanted);
    if let Some(message) = refusal(&collector, &families) {
        return fail(CANNOT, &message);
    }
    collector.prime(families.contains(&Family::Flow));
    let json =
        options.output.unwrap_or(if std::io::stdout().is_terminal() { Output::Table } else { Output::Json })
            == Output::Json;
    let names: Vec<&str> = families.iter().map(|family| family.stem()).collect();
    let _ = writeln!(std::io::stderr(), "fluoro: observing {}", names.join(", "));

    let mut stream = Stream {
        families: &families,
        filter,
        json,
        shown: 0,
        limit: options.count,
        line: Vec::new(),
        outlet: Outlet::open(),
        gone: false,
    };
    let outcome =
        collector.listen(signals.descriptor()).and_then(|()| stream.follow(&mut collector, options.duration));
    let ended = outcome.and_then(|()| stream.end(&mut collector, options.stats));
    if let Err(error) = ended {
        return fail(CANNOT, &format!("cannot write the output: {error}"));
    }
    let books = stream.books(&collector);
    if options.fail_on_loss && books.lost > 0 { ExitCode::from(LOSS) } else { ExitCode::from(FINE) }
}

/// The keys of all these families.
pub fn keys(families: &[Family]) -> Keys {
    let infos: Vec<_> = families.iter().flat_map(|family| family.infos()).copied().collect();
    Keys::of(&infos)
}

/// What was asked for, in the order of the families.
fn requested(asked: &[Family]) -> Vec<Family> {
    let wanted =
        |family: &Family| if asked.is_empty() { family.by_default() } else { asked.contains(family) };
    Family::ALL.iter().copied().filter(wanted).collect()
}

/// Why a requested family cannot be observed.
pub fn refusal(collector: &Collector, families: &[Family]) -> Option<String> {
    families.iter().find_map(|&family| match collector.attachment(family) {
        Attachment::Attached { complete: true } => None,
        Attachment::Failed(reason) => Some(reason),
        _ => {
            let reasons: Vec<String> = collector
                .programs()
                .filter(|state| state.family == family && state.standing.program.essential)
                .filter_map(|state| {
                    let reason = state.standing.status.reason()?;
                    state
                        .standing
                        .status
                        .hook()
                        .is_none()
                        .then(|| format!("{}: {reason}", state.standing.program.name))
                })
                .collect();
            Some(format!(
                "cannot observe {}: {}; `fluoro doctor` shows what this machine allows",
                family.stem(),
                reasons.join("; ")
            ))
        }
    })
}

struct Stream<'a> {
    families: &'a [Family],
    filter: Option<Filter>,
    json: bool,
    shown: u64,
    limit: Option<u64>,
    line: Vec<u8>,
    outlet: Outlet,
    gone: bool,
}

impl Stream<'_> {
    fn follow(&mut self, collector: &mut Collector, duration: Option<Duration>) -> std::io::Result<()> {
        let started = Instant::now();
        let mut ticked = started;
        let left = || duration.map_or(BEAT, |limit| limit.saturating_sub(started.elapsed()).min(BEAT));
        loop {
            let signalled = collector.wait(left());
            collector.drain();
            collector.core.flush();
            self.print_waiting(collector)?;
            if ticked.elapsed() >= TICK {
                if self.families.contains(&Family::Flow) {
                    collector.count_only(Family::Flow);
                }
                collector.refresh();
                collector.core.tick(ticked.elapsed());
                ticked = Instant::now();
            }
            if signalled
                || self.gone
                || self.full()
                || duration.is_some_and(|limit| started.elapsed() >= limit)
            {
                return Ok(());
            }
        }
    }

    /// Detaches, drains, releases what was held back, prints it and the books.
    fn end(&mut self, collector: &mut Collector, stats: bool) -> std::io::Result<()> {
        collector.ask_programs();
        collector.detach_all();
        if self.families.contains(&Family::Flow) {
            collector.count_only(Family::Flow);
        }
        collector.core.finish();
        self.print_waiting(collector)?;
        let ledgers: Vec<(&str, Ledger)> =
            self.families.iter().map(|&family| (family.stem(), collector.ledger(family))).collect();
        if stats && !self.gone {
            self.line.clear();
            json::stats_line(&mut self.line, &ledgers);
            self.outlet.put(&self.line)?;
        }
        self.outlet.close()?;
        let books = self.books(collector);
        // A reader that is gone has heard enough.
        let _ = writeln!(
            std::io::stderr(),
            "seen {}, shown {}, filtered {}, lost {}, missed {}",
            books.seen,
            self.shown,
            books.filtered,
            books.lost,
            books.missed.map_or_else(|| "unknown".to_owned(), |missed| missed.to_string())
        );
        Ok(())
    }

    fn books(&self, collector: &Collector) -> Ledger {
        self.families
            .iter()
            .map(|&family| collector.ledger(family))
            .fold(Ledger::default(), |sum, ledger| sum.plus(&ledger))
    }

    fn full(&self) -> bool {
        self.limit.is_some_and(|limit| self.shown >= limit)
    }

    /// Prints every event that waits and matches.
    fn print_waiting(&mut self, collector: &mut Collector) -> std::io::Result<()> {
        self.line.clear();
        for event in collector.core.take_events() {
            let Some(family) = Family::from_stem(event.family) else { continue };
            if !self.families.contains(&family) {
                continue;
            }
            if self.gone || self.full() || !self.matches(&event) {
                collector.refuse(family, event.is_ownerless());
                continue;
            }
            if self.json {
                json::event_line(&mut self.line, &event);
            } else {
                crate::table::event_line(&mut self.line, &event);
            }
            self.shown += 1;
            if self.line.len() >= BATCH {
                self.gone |= !self.outlet.put(&self.line)?;
                self.line.clear();
            }
        }
        self.gone |= !self.outlet.put(&self.line)?;
        Ok(())
    }

    fn matches(&self, event: &Event) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(event, Some(event.name)))
    }
}
