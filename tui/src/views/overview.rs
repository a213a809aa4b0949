//! The overview drawn: panels in a grid, each with its first few and their last minute.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::columns::{ESTIMATED, Facts, Sheet, Unit, Value};
use crate::fmt;
use crate::model::{Measure, Overview, PANELS, Panel, PanelKind, Trace};
use crate::theme::{Role, style};
use crate::widgets::{Line, put, spark, spark_width, width, wrap};

/// From this width on panels stand side by side.
const TWO: u16 = 56;
/// Between panels side by side.
const BETWEEN: u16 = 3;
/// Left of a panel: the marker and a blank.
const MARGIN: u16 = 2;
/// Cells of a figure: `999 MB/s`.
const FIGURE: u16 = 9;
/// Cells that a name needs at least, beside the line of bars.
const NAME: u16 = 17;
/// A name needs no more than this.
const LONG_NAME: u16 = 34;

/// Where the panels stand.
pub struct Grid {
    pub panels: Vec<Rect>,
    /// Rows below the title of each.
    pub room: usize,
}

impl Grid {
    pub fn of(area: Rect) -> Self {
        let across: u16 = if area.width >= TWO { 2 } else { 1 };
        let down = (PANELS.len() as u16).div_ceil(across);
        let height = (area.height / down).max(2);
        // An empty line below each panel, where there is room for it.
        let room = height - 1 - u16::from(height >= 5);
        let wide = (area.width + BETWEEN).saturating_sub(1) / across - BETWEEN.min(area.width);
        let place = |at: u16| {
            let (x, y) = (area.x + at % across * (wide + BETWEEN), area.y + at / across * height);
            Rect { x, y, width: wide, height: 1 + room }.intersection(area)
        };
        let panels = (0..PANELS.len() as u16).map(place).filter(|panel| panel.height > 1).collect();
        Self { panels, room: usize::from(room) }
    }

    /// The row of the sheet that is drawn at this place.
    pub fn row_at(&self, overview: &Overview, x: u16, y: u16) -> Option<usize> {
        let mut first = 0;
        for (area, panel) in self.panels.iter().zip(&overview.panels) {
            let inside = (area.x..area.right()).contains(&x) && (area.y..area.bottom()).contains(&y);
            if inside {
                let row = usize::from(y.checked_sub(area.y + 1)?);
                return (row < panel.rows).then_some(first + row);
            }
            first += panel.rows;
        }
        None
    }
}

/// Draws every panel; `selected` is a row of the sheet.
pub fn overview(
    overview: &Overview,
    sheet: &dyn Sheet,
    selected: Option<usize>,
    area: Rect,
    cells: &mut Buffer,
) {
    let mut first = 0;
    for (place, panel) in Grid::of(area).panels.iter().zip(&overview.panels) {
        draw_panel(overview, panel, first, sheet, selected, *place, cells);
        first += panel.rows;
    }
}

fn draw_panel(
    overview: &Overview,
    panel: &Panel,
    first: usize,
    sheet: &dyn Sheet,
    selected: Option<usize>,
    area: Rect,
    cells: &mut Buffer,
) {
    let columns = Columns::of(panel.kind, area);
    let kind = panel.kind;
    let top = area.y;
    let title = Line::new().own(kind.title, Role::Strong);
    let _ = title.draw(Rect { x: area.x + MARGIN, width: columns.name, height: 1, y: top }, cells);
    let head = match kind.measure {
        Measure::Latency(_) => Some(format!("{ESTIMATED}p99")),
        _ => panel.total.filter(|_| panel.unmeasured.is_none()).map(|total| figure(kind, total)),
    };
    if let Some(head) = head {
        columns.draw_figure(&head, Role::Quiet, top, cells);
    }
    let quiet = if panel.hidden > 0 { "Nobody here matches the filter." } else { kind.quiet };
    if let (0, text) = (panel.rows, panel.unmeasured.as_deref().unwrap_or(quiet)) {
        let room = area.width.saturating_sub(MARGIN);
        for (y, text) in (top + 1..area.bottom()).zip(wrap(text, room)) {
            let _ = Line::new()
                .own(&text, Role::Quiet)
                .draw(Rect { x: area.x + MARGIN, y, width: room, height: 1 }, cells);
        }
        return;
    }
    let traces = overview.traces.get(first..first + panel.rows).unwrap_or_default();
    let highest = |trace: &Trace| trace.points.iter().copied().fold(0.0, f64::max);
    let most = traces.iter().map(highest).fold(0.0, f64::max);
    for (at, trace) in traces.iter().enumerate() {
        let y = top + 1 + at as u16;
        let row = first + at;
        let (Some(facts), true) = (sheet.row(row), y < area.bottom()) else { break };
        let front = selected == Some(row);
        let role = |role| if front { Role::Selected } else { role };
        if front {
            cells.set_style(Rect { y, height: 1, ..area }, style(Role::Selected));
            put(cells, area.x, y, "▸", 1, style(Role::Selected));
        }
        let name = fmt::fit(&subject(kind, facts), usize::from(columns.name));
        let bad = matches!(kind.measure, Measure::Count(..));
        put(cells, area.x + MARGIN, y, &name, columns.name, style(role(Role::Text)));
        // A minute of one's own is readable beside a giant's, and still seen to be small.
        let full = highest(trace).max(most / 20.0);
        let bars = spark(trace, columns.bars, full);
        put(
            cells,
            columns.bars_at,
            y,
            &bars,
            columns.bars,
            style(role(if bad { Role::Bad } else { Role::Here })),
        );
        let value = shown_value(kind, facts);
        columns.draw_figure(&value, role(Role::Text), y, cells);
    }
}

/// Where a panel has its parts.
struct Columns {
    name: u16,
    bars_at: u16,
    bars: u16,
    figure_end: u16,
}

impl Columns {
    fn of(kind: &PanelKind, area: Rect) -> Self {
        let room = area.width.saturating_sub(MARGIN);
        let least = if matches!(kind.measure, Measure::Count(..)) { LONG_NAME } else { NAME };
        let bars = spark_width(room.saturating_sub(least + FIGURE + 3));
        let left = room.saturating_sub(FIGURE + 1 + if bars > 0 { bars + 2 } else { 0 });
        let name = left.min(LONG_NAME);
        let bars_at = area.x + MARGIN + name + 2;
        let figure_end =
            if bars > 0 { bars_at + bars + 1 + FIGURE } else { area.x + MARGIN + name + 1 + FIGURE };
        Self { name, bars_at, bars, figure_end: figure_end.min(area.right()) }
    }

    fn draw_figure(&self, text: &str, role: Role, y: u16, cells: &mut Buffer) {
        let x = self.figure_end.saturating_sub(width(text));
        put(cells, x, y, text, width(text), style(role));
    }
}

/// Who, and for a failure why.
fn subject(kind: &PanelKind, facts: &dyn Facts) -> String {
    let named = |id| fmt::value(&facts.named(id), Unit::Plain);
    let process = match facts.named("process") {
        Value::Missing => "nobody known".to_owned(),
        _ => named("process"),
    };
    match kind.measure {
        Measure::Count(..) => format!("{} {process}", named("errno")),
        _ => process,
    }
}

fn shown_value(kind: &PanelKind, facts: &dyn Facts) -> String {
    let id = match kind.unit {
        Unit::BytesPerSecond => "rate",
        Unit::PerSecond => "starts",
        Unit::Count => "count",
        _ => "latency",
    };
    facts.named(id).number().map_or_else(|| "-".to_owned(), |value| figure(kind, value))
}

fn figure(kind: &PanelKind, value: f64) -> String {
    let value = if kind.unit == Unit::Count { Value::Uint(value as u64) } else { Value::Real(value) };
    let text = fmt::value(&value, kind.unit);
    let text = if matches!(kind.measure, Measure::Sum(_)) { format!("{text}/s") } else { text };
    fmt::fit(&text, usize::from(FIGURE))
}
