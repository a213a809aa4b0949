//! The details of one row: where it comes from, every column that has a value, whole, how long things took it, and
//! what it does in the other views.

use crate::columns::{ESTIMATED, Facts, Listing, Sheet, Unit, Value};
use crate::fmt;
use crate::model::{Detail, Latency, More};
use crate::records::Shown;
use crate::theme::Role;
use crate::views::{face, grouped, signal};
use crate::widgets::{Card, Entry, Line, Table, width, wrap};

/// What a reader who opens a row most likely came for stands first.
const FIRST: [&str; 2] = ["error", "reason"];

/// What another entry of the card says already.
const SAID: [&str; 9] =
    ["pid", "comm", "exe_name", "dir", "local_address", "lport", "peer_address", "rport", "parent"];

/// What every row of one process has alike.
const ALIKE: [&str; 3] = ["process", "user", "owner"];

/// Rows of another view that are shown.
const LISTED: usize = 8;

/// Everything, as lines of this width.
pub fn details(facts: &dyn Facts, more: Option<&More>, detail: Option<&Detail>, room: u16) -> Vec<Line> {
    let mut lines = vec![];
    if let Some(detail) = detail.filter(|detail| !detail.ancestry.is_empty()) {
        lines.extend(ancestry(detail, room));
    }
    let charts =
        || detail.iter().flat_map(|detail| &detail.charts).filter(|chart| chart.durations.count() > 0);
    let glance = glance(charts(), room);
    if !glance.is_empty() {
        lines.extend(glance);
        lines.push(Line::new());
    }
    let entries = entries(facts);
    lines.extend(Card { entries: &entries }.lines(room));
    let maps = more.map(|more| more.maps.clone()).filter(|maps| !maps.is_empty());
    let more = more.iter().flat_map(|more| &more.facts);
    let more: Vec<Entry> =
        more.map(|fact| Entry { label: fact.label, value: fact.text.shown(), role: Role::Text }).collect();
    for chart in charts() {
        lines.push(Line::new());
        lines.extend(histogram(chart, room));
    }
    // A trace is long: it stands below what is read at a glance.
    if !more.is_empty() {
        lines.push(Line::new());
        lines.extend(Card { entries: &more }.list(room));
    }
    if let Some(maps) = maps {
        lines.push(Line::new());
        let count = format!("  {} of the family", grouped(maps.len() as u64));
        lines.push(Line::new().own("Maps", Role::Title).own(&count, Role::Quiet));
        let sheet = Listing { total: maps.len(), rows: maps };
        lines.extend(listed(&sheet, room, usize::MAX));
    }
    let Some(detail) = detail else { return lines };
    for (view, sheet) in &detail.lists {
        lines.push(Line::new());
        let face = face(*view);
        let count = grouped(sheet.len() as u64);
        lines.push(
            Line::new()
                .own(face.title, Role::Title)
                .own(&format!("  {count} of {}", detail.subject.label()), Role::Quiet),
        );
        lines.extend(listed(sheet.as_ref(), room, LISTED));
    }
    lines
}

/// The facts of a row: nothing is cut, whatever its length.
fn entries(facts: &dyn Facts) -> Vec<Entry> {
    let mut entries = vec![];
    let mut first = 0;
    for (column, info) in facts.infos().iter().enumerate() {
        let value = facts.value(column);
        if matches!(value, Value::Missing) || SAID.contains(&info.id) {
            continue;
        }
        let mark = if info.is_estimate(facts) { ESTIMATED } else { "" };
        let text = match value {
            // There is room for every digit.
            Value::Uint(n) if info.unit == Unit::Count => grouped(n),
            value => fmt::value(&value, info.unit),
        };
        let text = Shown::own(&format!("{mark}{text}"));
        let entry = Entry { label: info.id, value: text, role: signal(info, &value) };
        // A count of errors is a figure among others.
        if FIRST.contains(&info.id) && !matches!(value, Value::Uint(_)) {
            entries.insert(first, entry);
            first += 1;
        } else {
            entries.push(entry);
        }
    }
    entries
}

/// `systemd(1) › sshd(901) › bash(4000)`, the oldest first.
fn ancestry(detail: &Detail, room: u16) -> Vec<Line> {
    let one = |(comm, pid): &(crate::records::Outside, u64)| {
        if comm.is_empty() { pid.to_string() } else { format!("{}({pid})", comm.shown().as_str()) }
    };
    let mut names: Vec<String> = detail.ancestry.iter().rev().map(one).collect();
    names.push(detail.subject.label());
    let mut texts = wrap(&names.join(" › "), room).into_iter();
    let first = texts.next().map(|text| Line::new().own(&text, Role::Strong));
    let rest = texts.map(|text| Line::new().own(&text, Role::Strong));
    first.into_iter().chain(rest).chain([Line::new()]).collect()
}

/// How long things took in a line each: what a short pane has room for.
fn glance<'a>(charts: impl Iterator<Item = &'a Latency> + Clone, room: u16) -> Vec<Line> {
    let label = charts.clone().map(|chart| width(chart.what)).max().unwrap_or(0).min(room / 3);
    let line = |chart: &Latency| {
        let what = fmt::fit(chart.what, usize::from(label));
        let gap = label.saturating_sub(width(&what)) + 2;
        let line = Line::new().own(&what, Role::Strong).gap(usize::from(gap));
        let figures = figures(chart);
        let count = Line::new().own(&grouped(chart.durations.count()), Role::Quiet);
        let gap = FIGURES.saturating_sub(figures.width()).max(1);
        let counted = line.width() + figures.width() + gap + count.width() <= room;
        let line = line.and(figures);
        if counted { line.gap(usize::from(gap)).and(count) } else { line }
    };
    charts.map(line).collect()
}

/// Cells of four figures with what stands between them.
const FIGURES: u16 = 52;

/// `p50 ~83 us`, and so on: read off buckets, the longest as the upper end of its own.
fn figures(chart: &Latency) -> Line {
    let most = chart.durations.bars().last().map_or(0, |(_, high, _)| high);
    let [p50, p90, p99] = chart.durations.quantiles([0.5, 0.9, 0.99], Some(most)).unwrap_or_default();
    [("p50", p50), ("p90", p90), ("p99", p99), ("max", most)].into_iter().fold(
        Line::new(),
        |line, (label, ns)| {
            let text = format!("{ESTIMATED}{}", fmt::value(&Value::Uint(ns), Unit::Nanos));
            let label = if line.is_empty() { label.to_owned() } else { format!(" {label}") };
            // Nothing behind the last one: it may stand at the edge.
            let pad = usize::from(9_u16.saturating_sub(width(&text)));
            let line = line.own(&format!("{label} "), Role::Quiet).own(&text, Role::Text);
            if label.ends_with("max") { line } else { line.gap(pad.saturating_sub(1)) }
        },
    )
}

/// Bars of powers of two, each as long as the logarithm of its count, so that one in a million is seen.
fn histogram(chart: &Latency, room: u16) -> Vec<Line> {
    let count = chart.durations.count();
    let mut head = Line::new()
        .own(&format!("How long each {} took", chart.what), Role::Title)
        .own(&format!("  {}", grouped(count)), Role::Quiet);
    let mut lines = vec![];
    let figures = figures(chart);
    if head.width() + 3 + figures.width() <= room {
        head = head.gap(3).and(figures);
        lines.push(head);
    } else {
        lines.extend([head, figures]);
    }
    let bars = octaves(chart);
    let largest = bars.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let counts = grouped(largest).len();
    let ns = |ns: u64| fmt::value(&Value::Uint(ns), Unit::Nanos);
    let length = usize::from(room.min(76)).saturating_sub(9 + 2 + counts + 1);
    for (low, count) in bars {
        let part = (count as f64 + 1.0).ln() / (largest as f64 + 1.0).ln();
        let filled = (part * length as f64).round() as usize;
        let bar = "▇".repeat(if count > 0 { filled.max(1) } else { 0 });
        let pad = length.saturating_sub(usize::from(width(&bar)));
        lines.push(
            Line::new()
                .own(&format!("{:>9}  ", ns(low)), Role::Quiet)
                .own(&bar, Role::Here)
                .gap(pad + 1)
                .own(&format!("{:>counts$}", grouped(count)), Role::Text),
        );
    }
    lines
}

/// Counts by the power of two at which the duration lies, with empty ones between.
fn octaves(chart: &Latency) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = vec![];
    for (low, _, count) in chart.durations.bars() {
        let octave = low.max(1).ilog2();
        let start = 1_u64 << octave;
        while let Some(&(last, _)) = found.last()
            && last < start
        {
            found.push((last << 1, 0));
        }
        if found.is_empty() {
            found.push((start, 0));
        }
        if let Some((_, sum)) = found.last_mut() {
            *sum += count;
        }
    }
    found
}

/// The first rows of a table, without a marker.
fn listed(sheet: &dyn Sheet, room: u16, most: usize) -> Vec<Line> {
    let infos = sheet.infos().iter().filter(|info| info.cell.is_some() && !ALIKE.contains(&info.id));
    let columns: Vec<String> = infos.map(|info| info.id.to_owned()).collect();
    let columns = Some(columns.as_slice());
    let table = Table { sheet, sort: None, selected: None, offset: 0, columns, names: true, signal: &signal };
    let mut lines: Vec<Line> = table.lines(room, most);
    let more = sheet.len().saturating_sub(most);
    if more > 0 {
        lines.push(Line::new().own(&format!("and {} more: press o", grouped(more as u64)), Role::Quiet));
    }
    lines
}
