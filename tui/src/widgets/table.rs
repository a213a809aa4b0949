//! The table: any [`Sheet`], drawn by its columns' own words about width and precedence. Draws only the
//! rows on the screen, so its cost does not depend on how many there are.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::columns::{Cell, ESTIMATED, Estimate, Facts, Info, Kind, Sheet, Unit, Value};
use crate::fmt;
use crate::model::Sort;
use crate::records::Shown;
use crate::theme::{Role, style};
use crate::widgets::{Line, put, width};

/// Cells left of the first column: the marker and a space.
const MARGIN: u16 = 2;
/// Cells right of the last.
const EDGE: u16 = 1;
const GAP: u16 = 2;

/// A column with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Position in the sheet's infos.
    pub column: usize,
    pub x: u16,
    pub width: u16,
    pub cell: Cell,
}

/// Which columns a table of this width shows, and where. Depends on nothing else, so the layout stays
/// when rows come and go.
/// `chosen` are the reader's columns in the reader's order, by id; without them each column that has a place.
pub fn fit(infos: &[Info], chosen: Option<&[String]>, room: u16) -> Vec<Placed> {
    let room = room.saturating_sub(MARGIN + EDGE);
    let all = || (0..infos.len()).filter(|&column| infos.get(column).is_some_and(|info| info.cell.is_some()));
    let columns: Vec<usize> = chosen.map_or_else(
        || all().collect(),
        |ids| ids.iter().filter_map(|id| infos.iter().position(|info| info.id == id)).collect(),
    );
    let mut shown: Vec<Placed> = columns
        .into_iter()
        .filter_map(|column| {
            let cell = cell_of(infos.get(column)?);
            let heading = infos.get(column).map_or(0, |info| width(&heading(info)));
            Some(Placed { column, x: 0, width: cell.width.max(heading), cell })
        })
        .collect();
    let taken = |shown: &[Placed]| {
        let cells: u16 = shown.iter().map(|p| p.width).sum();
        cells + GAP * (shown.len() as u16).saturating_sub(1)
    };
    // The least important goes first; of equals, the one furthest right.
    while shown.len() > 1 && taken(&shown) > room {
        let last = shown.iter().enumerate().max_by_key(|(at, p)| (p.cell.priority, *at)).map(|(at, _)| at);
        last.map(|at| shown.remove(at));
    }
    if let [only] = shown.as_mut_slice() {
        only.width = only.width.min(room);
    }
    let mut spare = room.saturating_sub(taken(&shown));
    let mut growing = shown.iter().filter(|p| p.cell.grow).count() as u16;
    let mut x = MARGIN;
    for placed in &mut shown {
        if placed.cell.grow {
            let part = spare / growing.max(1);
            placed.width += part;
            spare -= part;
            growing -= 1;
        }
        placed.x = x;
        x += placed.width + GAP;
    }
    shown
}

/// Room and precedence of a column; one that has no place of its own gets one from its unit when it is chosen.
pub fn cell_of(info: &Info) -> Cell {
    info.cell.unwrap_or_else(|| match (info.kind, info.unit) {
        (Kind::Number, Unit::Plain | Unit::Count | Unit::Share) => Cell::right(info.id, 8, 5),
        (Kind::Number, _) => Cell::right(info.id, 9, 5),
        _ => Cell::left(info.id, 16, 5),
    })
}

/// The column whose heading is drawn at `x` of the table.
pub fn head_at(placed: &[Placed], x: u16) -> Option<usize> {
    placed.iter().find(|p| (p.x.saturating_sub(1)..=p.x + p.width).contains(&x)).map(|p| p.column)
}

/// The name of a column for people.
pub fn title_of(info: &Info) -> &'static str {
    info.cell.map_or(info.id, |cell| cell.title)
}

/// What stands above a column.
fn heading(info: &Info) -> String {
    let mark = if info.estimate == Estimate::Always { ESTIMATED } else { "" };
    format!("{mark}{}", cell_of(info).title)
}

/// What stands in a row. Where a whole column is estimated its heading says so.
fn cell_text(info: &Info, facts: &dyn Facts, value: &Value<'_>) -> String {
    let here = matches!(info.estimate, Estimate::Where(..)) && info.is_estimate(facts);
    format!("{}{}", if here { ESTIMATED } else { "" }, fmt::value(value, info.unit))
}

/// One table on one screen.
pub struct Table<'a> {
    pub sheet: &'a dyn Sheet,
    pub sort: Option<Sort>,
    /// Row under the marker.
    pub selected: Option<usize>,
    /// First row on the screen.
    pub offset: usize,
    /// The reader's columns, if the reader has chosen.
    pub columns: Option<&'a [String]>,
    /// Peers by the names that were observed, where they have one.
    pub names: bool,
    /// What a value says beside itself.
    pub signal: &'a dyn Fn(&Info, &Value<'_>) -> Role,
}

impl Table<'_> {
    /// The line of headings.
    pub fn draw_heads(&self, area: Rect, picture: &mut Buffer) {
        let infos = self.sheet.infos();
        for placed in fit(infos, self.columns, area.width) {
            let sorted =
                self.sort.filter(|sort| infos.get(placed.column).is_some_and(|info| info.id == sort.column));
            let Some(place) = cell_area(area, &placed, 0) else { continue };
            let title = infos.get(placed.column).map_or_else(String::new, heading);
            let title = fmt::fit(&title, usize::from(place.width));
            let role = if sorted.is_some() { Role::Strong } else { Role::Quiet };
            let start = if placed.cell.right { place.right() - width(&title) } else { place.x };
            let end = put(picture, start, place.y, &title, place.width, style(role));
            if let Some(sort) = sorted {
                // The mark stands in the gap beside the heading: sorting moves no text.
                let mark = if sort.descending { "▾" } else { "▴" };
                let at = if placed.cell.right { start.saturating_sub(1) } else { end };
                if at < area.right() {
                    put(picture, at, place.y, mark, 1, style(Role::Here));
                }
            }
        }
    }

    /// The rows, as many as `area` has lines.
    pub fn draw_rows(&self, area: Rect, picture: &mut Buffer) {
        let placed = fit(self.sheet.infos(), self.columns, area.width);
        for line in 0..area.height {
            let row = self.offset + usize::from(line);
            let Some(facts) = self.sheet.row(row) else { break };
            self.draw_row(row, facts, &placed, Rect { y: area.y + line, height: 1, ..area }, picture);
        }
    }

    /// Headings and the first rows as lines of this width, to stand among others.
    pub fn lines(&self, room: u16, rows: usize) -> Vec<Line> {
        // The margin of a table is that of what it stands in.
        let placed = fit(self.sheet.infos(), self.columns, room + MARGIN + EDGE);
        let line = |cell: &dyn Fn(&Placed) -> Option<(String, Role)>| {
            let mut line = Line::new();
            for placed in &placed {
                let Some((text, role)) = cell(placed) else { continue };
                let text = fmt::fit_path(&text, usize::from(placed.width));
                let gap = usize::from((placed.x - MARGIN).saturating_sub(line.width()));
                let pad = usize::from(placed.width.saturating_sub(width(&text)));
                line = if placed.cell.right { line.gap(gap + pad) } else { line.gap(gap) }.own(&text, role);
            }
            line
        };
        let heads = line(&|placed| Some((heading(self.sheet.infos().get(placed.column)?), Role::Quiet)));
        let rows = (0..self.sheet.len().min(rows)).filter_map(|row| Some((row, self.sheet.row(row)?)));
        let rows = rows.map(|(row, facts)| {
            line(&|one| {
                let info = self.sheet.infos().get(one.column)?;
                let value = self.value(facts, one.column, &placed);
                let role = self.role(info, &value, false, self.sheet.ended(row));
                Some((self.text(facts, info, &value), role))
            })
        });
        std::iter::once(heads).chain(rows).collect()
    }

    /// What stands in this column: of a listener, which has no peer, where it listens, unless that has a column of its
    /// own.
    fn value<'f>(&self, facts: &'f dyn Facts, column: usize, among: &[Placed]) -> Value<'f> {
        let is = |column: usize, id| self.sheet.infos().get(column).is_some_and(|info| info.id == id);
        if is(column, "peer") && listens(facts) && !among.iter().any(|placed| is(placed.column, "local")) {
            return facts.named("local");
        }
        facts.value(column)
    }

    /// A value as it is shown: a peer by its name and how old that is.
    fn text(&self, facts: &dyn Facts, info: &Info, value: &Value<'_>) -> String {
        if let Value::Socket(at) = value
            && info.id == "peer"
            && listens(facts)
        {
            return format!("listens at {at}");
        }
        if self.names
            && info.id == "peer"
            && let (Value::Socket(at), Value::Text(name)) = (value, facts.named("peer_name"))
        {
            let age = fmt::value(&facts.named("name_age"), Unit::Nanos);
            return format!("{}:{} ({age})", name.shown().as_str(), at.port());
        }
        cell_text(info, facts, value)
    }

    fn role(&self, info: &Info, value: &Value<'_>, selected: bool, ended: bool) -> Role {
        match (value, ended) {
            _ if selected => Role::Selected,
            (_, true) => Role::Ended,
            (Value::Missing, _) => Role::Quiet,
            (value, false) => (self.signal)(info, value),
        }
    }

    fn draw_row(&self, row: usize, facts: &dyn Facts, placed: &[Placed], area: Rect, picture: &mut Buffer) {
        let selected = self.selected == Some(row);
        let ended = self.sheet.ended(row);
        if selected {
            picture.set_style(area, style(Role::Selected));
            put(picture, area.x, area.y, "▸", 1, style(Role::Selected));
        }
        for column in placed {
            let Some(info) = self.sheet.infos().get(column.column) else { continue };
            let value = self.value(facts, column.column, placed);
            let role = self.role(info, &value, selected, ended);
            let Some(place) = cell_area(area, column, 0) else { continue };
            let text = Shown::own(&self.text(facts, info, &value)).into_string();
            let text = fmt::fit_path(&text, usize::from(place.width));
            let x = if column.cell.right { place.right().saturating_sub(width(&text)) } else { place.x };
            put(picture, x, place.y, &text, place.width, style(role));
        }
    }
}

fn listens(facts: &dyn Facts) -> bool {
    facts.named("state") == Value::Word("listen")
}

fn cell_area(area: Rect, placed: &Placed, line: u16) -> Option<Rect> {
    let place = Rect { x: area.x + placed.x, y: area.y + line, width: placed.width, height: 1 };
    let place = place.intersection(area);
    (!place.is_empty()).then_some(place)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]
    use super::*;
    use crate::columns::Kind;

    const fn column(id: &'static str, cell: Cell) -> Info {
        Info::new(id, Kind::Text, "").cell(cell)
    }

    const INFOS: [Info; 4] = [
        column("process", Cell::left("PROCESS", 10, 0)),
        column("owner", Cell::left("OWNER", 10, 2).growing()),
        column("rx", Cell::right("RX/s", 8, 1)),
        column("tx", Cell::right("TX/s", 8, 1)),
    ];

    fn ids(room: u16) -> Vec<&'static str> {
        fit(&INFOS, None, room).iter().map(|p| INFOS[p.column].id).collect()
    }

    #[test]
    fn columns_hide_by_priority_and_of_equals_the_rightmost_first() {
        assert_eq!(ids(45), ["process", "owner", "rx", "tx"]);
        assert_eq!(ids(44), ["process", "rx", "tx"]);
        assert_eq!(ids(32), ["process", "rx"]);
        assert_eq!(ids(20), ["process"]);
        assert_eq!(fit(&INFOS, None, 7)[0].width, 4, "the last column shrinks rather than leave");
    }

    #[test]
    fn spare_room_goes_to_growing_columns_and_nothing_overlaps() {
        let placed = fit(&INFOS, None, 80);
        assert_eq!(placed[1].width, 10 + 80 - 45);
        assert!(placed.windows(2).all(|p| p[0].x + p[0].width + GAP == p[1].x));
        assert_eq!(placed[3].x + placed[3].width, 79);
    }

    #[test]
    fn a_heading_answers_for_its_own_cells() {
        let placed = fit(&INFOS, None, 45);
        assert_eq!(head_at(&placed, 3), Some(0));
        assert_eq!(head_at(&placed, 43), Some(3));
    }

    struct Owned(&'static str);

    impl crate::columns::Row for Owned {
        fn id(&self) -> crate::columns::RowId {
            crate::columns::RowId(0, 0)
        }

        fn columns() -> &'static [crate::columns::Column<Self>] {
            use crate::columns::Column;
            static COLUMNS: [Column<Owned>; 3] = [
                Column::new(
                    Info::new("process", Kind::Word, "")
                        .estimated(Estimate::Where("attribution", "inferred"))
                        .cell(Cell::left("PROCESS", 8, 0)),
                    |_| Value::Word("nginx"),
                ),
                Column::new(Info::new("attribution", Kind::Word, ""), |row| Value::Word(row.0)),
                Column::new(
                    Info::new("p99", Kind::Number, "")
                        .estimated(Estimate::Always)
                        .cell(Cell::right("P99", 4, 0)),
                    |_| Value::Uint(7),
                ),
            ];
            &COLUMNS
        }
    }

    #[test]
    fn what_is_estimated_says_so_in_its_row_or_above_its_column() {
        let rows = ["exact", "inferred"].map(|word| std::sync::Arc::new(Owned(word)));
        let sheet = crate::columns::Listing { rows: rows.into(), total: 2 };
        assert_eq!(drawn(&sheet, 20), ["PROCESS   ~P99", "nginx        7", "~nginx       7"]);
    }

    #[test]
    fn where_a_listener_listens_is_seen_at_any_width() {
        use crate::families::flow::model::{FlowRow, State};
        use crate::records::{FlowId, NetnsId};
        let [here, nobody] =
            ["0.0.0.0:8080", "0.0.0.0:0"].map(|at| std::net::SocketAddr::V4(at.parse().unwrap()));
        let row = FlowRow::between(FlowId(1), NetnsId(1), here, nobody, State::Listen);
        let sheet = crate::columns::Listing { rows: vec![std::sync::Arc::new(row)], total: 1 };
        let row = |width| drawn(&sheet, width).swap_remove(1);
        assert!(row(80).contains(" listens at 0.0.0.0:8080 "), "{}", row(80));
        assert!(row(200).contains(" 0.0.0.0:8080 ") && !row(200).contains("listens"), "{}", row(200));
    }

    /// Headings and rows, without the blanks around them.
    fn drawn(sheet: &dyn Sheet, width: u16) -> Vec<String> {
        let plain = |_: &Info, _: &Value<'_>| Role::Text;
        let table = Table {
            sheet,
            sort: None,
            selected: None,
            offset: 0,
            columns: None,
            names: false,
            signal: &plain,
        };
        let rows = sheet.len() as u16;
        let mut picture = Buffer::empty(Rect::new(0, 0, width, 1 + rows));
        table.draw_heads(Rect::new(0, 0, width, 1), &mut picture);
        table.draw_rows(Rect::new(0, 1, width, rows), &mut picture);
        let lines = picture.content.chunks(usize::from(width));
        lines
            .map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim().to_owned())
            .collect()
    }
}
