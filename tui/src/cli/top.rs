//! `fluoro top`: the tables in batch, one object an interval.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use super::observe::refusal;
use super::run::{self, CANNOT, FINE, Printed, Stage, USAGE, fail};
use super::{Common, Grouping, Output, Table, Top};
use crate::collect::taps::KernelFilter;
use crate::columns::{Info, Sheet, infos};
use crate::engine::{Attachment, Collector, Core, Depth, Signals, list, of_all};
use crate::families::dns::row::asked::AskedRow;
use crate::families::failure::row::FailureRow;
use crate::families::file::model::FileRow;
use crate::families::flow::model::FlowRow;
use crate::families::process::model::ProcessRow;
use crate::families::process::model::owner::{OwnerRow, group};
use crate::families::syscall::model::SyscallRow;
use crate::families::{Family, file, flow};
use crate::filter::{Filter, Keys};
use crate::json;
use crate::model::{Sort, View};

pub fn run(options: &Top, common: &Common) -> ExitCode {
    // No view of the console shows names.
    let (view, families, columns): (Option<View>, &[Family], &'static [Info]) = match options.table {
        Table::Dns => (None, &[Family::Dns], infos::<AskedRow>()),
        Table::Flows => (Some(View::Flows), &[Family::Flow], infos::<FlowRow>()),
        Table::Files => (Some(View::Files), &[Family::File], infos::<FileRow>()),
        Table::Syscalls => (Some(View::Syscalls), &[Family::Syscall], infos::<SyscallRow>()),
        Table::Processes => (Some(View::Processes), &[Family::Process], infos::<ProcessRow>()),
        Table::Failures => (Some(View::Failures), Family::FAILING, infos::<FailureRow>()),
    };
    let known = Keys::of(columns);
    let by = match options.by.map(|by| Together::of(options.table, by)).transpose() {
        Ok(by) => by,
        Err(allowed) => return fail(USAGE, allowed),
    };
    // What is sorted are the groups.
    let columns = match by {
        Some(Together::Flows(_)) => infos::<flow::row::group::GroupRow>(),
        Some(Together::Files(_)) => infos::<file::row::group::GroupRow>(),
        Some(Together::Owners) => infos::<OwnerRow>(),
        None => columns,
    };
    let filter = match options.filter.as_deref().map(|text| Filter::parse(text, &known)).transpose() {
        Ok(filter) => filter,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    let sort = match options.sort.as_deref().map(|text| parse_sort(text, columns)).transpose() {
        Ok(sort) => sort.or_else(|| view.map_or(MOST_ASKED, View::default_sort)),
        Err(error) => return fail(USAGE, &error),
    };
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => return fail(CANNOT, &format!("cannot receive signals: {error}")),
    };
    let Stage { ground, world, .. } = run::prepare(common);
    let mut collector = match Collector::start(Arc::clone(&ground), Core::new(world)) {
        Ok(collector) => collector,
        Err(error) => return fail(CANNOT, &format!("cannot start: {error}")),
    };
    let beside = beside(options.table, filter.as_ref(), sort);
    let own = KernelFilter { own: Some(std::process::id()), ..KernelFilter::default() };
    let mut wanted = vec![(Family::Process, KernelFilter::default())];
    // Of these only the counts are wanted, but for what fails without being counted by its errno.
    let counts = |family: Family| {
        let told = options.table == Table::Failures;
        matches!(family, Family::File | Family::Drop | Family::Dns | Family::Syscall) && !told
    };
    let wish = |family: Family| KernelFilter { muted: counts(family), ..own.clone() };
    let others = families.iter().chain(&beside).filter(|family| **family != Family::Process);
    wanted.extend(others.map(|&family| (family, wish(family))));
    // Peers have names and packets a verdict where those can be seen; without them the table is the same.
    if options.table == Table::Flows {
        wanted.extend(
            [Family::Dns, Family::Drop].map(|family| (family, KernelFilter { muted: true, ..own.clone() })),
        );
    }
    collector.core.processes.keeps_args = options.args;
    if options.table == Table::Dns {
        collector.core.dns.keep_table();
    }
    collector.attach_and_wait(&wanted);
    if let Some(message) = refusal(&collector, families) {
        // Sockets and packets can be counted without any hook of `flow`.
        let by_packets = options.table == Table::Flows
            && collector.is_attached(Family::Flow)
            && collector.attachment(Family::Dns) == Attachment::Attached { complete: true };
        if !by_packets {
            return fail(CANNOT, &message);
        }
        eprintln!("fluoro: only what the socket table and packets tell is listed: {message}");
    }
    let flows = collector.is_attached(Family::Flow);
    collector.prime(flows);
    let json =
        options.output.unwrap_or(if std::io::stdout().is_terminal() { Output::Table } else { Output::Json })
            == Output::Json;

    if let Err(error) = collector.listen(signals.descriptor()) {
        return fail(CANNOT, &format!("cannot wait for signals: {error}"));
    }
    let mut line = Vec::new();
    let mut printed = 0;
    let mut previous = Instant::now();
    collector.core.tick(std::time::Duration::ZERO);
    if options.table == Table::Processes {
        // What the first interval is compared with.
        collector.look_at(std::iter::empty(), Depth::Brief);
    }
    while options.count.is_none_or(|count| printed < count) {
        if wait_out(&mut collector, previous + options.interval) {
            break;
        }
        if flows {
            collector.sweep(false);
        }
        collector.count();
        collector.ask_programs();
        let interval = previous.elapsed();
        previous = Instant::now();
        collector.core.tick(interval);
        let sheet: Box<dyn Sheet> = match options.table {
            Table::Dns => Box::new(list(collector.core.dns.rows(), filter.as_ref(), sort, own_hidden).0),
            Table::Flows if let Some(Together::Flows(by)) = by => {
                let core = &collector.core;
                // What has ended and is not yet let go belongs to the totals of its group.
                let of_interval = filter.is_some();
                let listed = list(core.flow_rows(of_interval), filter.as_ref(), None, own_hidden).0;
                let groups = core.flow.groups(by, &listed.rows, filter.is_none());
                Box::new(list(groups, None, sort, |_| false).0)
            }
            Table::Flows => {
                Box::new(list(collector.core.flow_rows(true), filter.as_ref(), sort, own_hidden).0)
            }
            Table::Files if let Some(Together::Files(by)) = by => {
                let listed = list(collector.core.file_rows(true), filter.as_ref(), None, own_hidden).0;
                let groups = collector.core.file_groups(by, &listed.rows, false);
                Box::new(list(groups, None, sort, |_| false).0)
            }
            Table::Files => {
                Box::new(list(collector.core.file_rows(true), filter.as_ref(), sort, own_hidden).0)
            }
            Table::Failures => {
                Box::new(list(collector.core.failure_rows(true), filter.as_ref(), sort, own_hidden).0)
            }
            Table::Syscalls => {
                Box::new(list(collector.core.syscall_rows(true), filter.as_ref(), sort, own_hidden).0)
            }
            Table::Processes => {
                let mut rows = collector.core.process_rows(true);
                let of_all = of_all(filter.as_ref(), by.is_some(), sort.map(|sort| sort.column));
                if let Some(depth) = of_all {
                    collector.look_at(rows.iter_mut(), depth);
                }
                let mut listing = list(rows, filter.as_ref(), sort.filter(|_| by.is_none()), own_hidden).0;
                if by.is_some() {
                    Box::new(list(group(&listing.rows), None, sort, |_| false).0)
                } else {
                    if of_all != Some(Depth::Whole) {
                        let shown = options.rows.unwrap_or(usize::MAX);
                        collector.look_at(listing.rows.iter_mut().take(shown), Depth::Whole);
                    }
                    Box::new(listing)
                }
            }
        };
        let lost = families.iter().chain(&beside).map(|&family| collector.ledger(family).lost).sum();
        let core = &collector.core;
        let totals = view.map_or_else(|| core.dns_totals(), |view| core.totals(view));
        let time = collector.core.offset().wall(collector.core.now());
        line.clear();
        let rows = options.rows.unwrap_or(usize::MAX);
        if json {
            json::top_object(&mut line, time, interval, &totals, lost, sheet.as_ref(), rows);
        } else {
            crate::table::top(&mut line, time, lost, sheet.as_ref(), rows);
        }
        match run::print(&mut std::io::stdout().lock(), &line) {
            Ok(Printed::Yes) => {}
            Ok(Printed::ReaderGone) => break,
            Err(error) => return fail(CANNOT, &format!("cannot write the output: {error}")),
        }
        printed += 1;
    }
    collector.detach_all();
    let _ = std::io::stdout().flush();
    ExitCode::from(FINE)
}

/// The order in which names are listed.
const MOST_ASKED: Option<Sort> = Some(Sort { column: "queries", descending: true });

/// What rows are taken together by.
#[derive(Clone, Copy)]
enum Together {
    Flows(flow::row::group::By),
    Files(file::row::group::By),
    Owners,
}

impl Together {
    /// What the table can be taken together by, or what it could be.
    fn of(table: Table, by: Grouping) -> Result<Self, &'static str> {
        match table {
            Table::Flows => by.flows().map(Self::Flows).ok_or("top flows: --by process, owner, peer or port"),
            Table::Files => by.files().map(Self::Files).ok_or("top files: --by directory, process or mount"),
            Table::Processes if by == Grouping::Owner => Ok(Self::Owners),
            Table::Processes => Err("top processes: --by owner"),
            Table::Syscalls | Table::Failures | Table::Dns => {
                Err("--by is for top flows, files and processes")
            }
        }
    }
}

/// Families that are attached where they can be, because processes have columns of theirs; what is dear only where one
/// of these is asked for by name.
fn beside(table: Table, filter: Option<&Filter>, sort: Option<Sort>) -> Vec<Family> {
    let named = |info: &Info| {
        sort.is_some_and(|sort| sort.column == info.id)
            || filter.is_some_and(|filter| info.keys.iter().any(|key| filter.names(key)))
    };
    let wanted = |family: &&Family| {
        table == Table::Processes && family.contributes_to(|info| !family.on_demand() || named(info))
    };
    Family::ALL.iter().filter(wanted).copied().collect()
}

/// `top` hides only fluoro's own process.
fn own_hidden(pid: u32) -> bool {
    pid == std::process::id()
}

/// Drains until `deadline`; true when a signal ended the run.
fn wait_out(collector: &mut Collector, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let signalled = collector.wait(left);
        collector.drain();
        collector.core.flush();
        // The stream is not asked for; what the models drafted is of no use here.
        collector.core.take_events();
        if signalled {
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}

/// `COL` or `-COL`.
fn parse_sort(text: &str, columns: &'static [Info]) -> Result<Sort, String> {
    let (name, descending) = text.strip_prefix('-').map_or((text, true), |name| (name, false));
    columns.iter().find(|info| info.id == name || info.keys.contains(&name)).map_or_else(
        || {
            let names: Vec<_> = columns.iter().map(|info| info.id).collect();
            Err(format!("no column {name} to sort by; known: {}", names.join(", ")))
        },
        |info| Ok(Sort { column: info.id, descending }),
    )
}
