//! Columns as values: one list a family drives table, JSON, filter keys, help and docs.
//! Knows rows and plain values; knows neither ratatui nor the kernel.

pub mod ahead;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::records::{Outside, WallTime};

/// What a column holds for one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Not known, or does not apply: `-` on the screen, absent in JSON, false in every comparison.
    Missing,
    /// Bytes from outside.
    Text(&'a Outside),
    /// fluoro's own vocabulary (states, event names, units of systemd after decoding).
    Word(&'a str),
    Uint(u64),
    Int(i64),
    Real(f64),
    Bool(bool),
    /// A 64-bit identity: a string in JSON.
    Id(u64),
    Ip(IpAddr),
    Socket(SocketAddr),
    Time(WallTime),
    /// Arguments, each with its NUL: separated by spaces wherever they are shown.
    Args(&'a Outside),
    /// Items, each with its NUL, of text that cannot drive a terminal: separated by spaces, an array in JSON.
    List(&'a Outside),
    /// Numbers by name, of fluoro's own vocabulary: an object in JSON.
    Counts(&'a [(&'static str, u64)]),
    /// A process as people name it: `nginx(4242)`.
    Process(&'a Outside, u32),
}

impl Value<'_> {
    /// As a number to order and to add by.
    pub const fn number(&self) -> Option<f64> {
        match self {
            Value::Uint(n) | Value::Id(n) => Some(*n as f64),
            Value::Int(n) => Some(*n as f64),
            Value::Real(n) => Some(*n),
            Value::Bool(b) => Some(if *b { 1.0 } else { 0.0 }),
            Value::Time(at) => Some(at.0 as f64),
            _ => None,
        }
    }
}

/// What a number counts: decides how it is shown and which filter suffixes it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Not a number, or a plain number such as a port or a pid.
    Plain,
    Count,
    Bytes,
    BytesPerSecond,
    PerSecond,
    Nanos,
    /// A fraction of 1, shown in percent.
    Share,
}

/// How a filter term compares with the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Substring, glob, regex; bare words look here too.
    Text,
    /// Exact words of fluoro's own vocabulary, or glob; bare words look here too.
    Word,
    Number,
    /// Address or CIDR.
    Address,
}

/// Where a column is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faces {
    /// Everywhere its `json` or `cell` says.
    All,
    /// Not in event lines: rates and interval figures.
    TopOnly,
    /// Not in `top`: facts of one moment.
    EventOnly,
}

/// Whether a value is what was measured, or the nearest that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimate {
    No,
    /// By its nature: a percentile read off buckets.
    Always,
    /// In rows whose column with this id holds this word.
    Where(&'static str, &'static str),
}

/// Stands before what is estimated.
pub const ESTIMATED: &str = "~";

/// Room and precedence in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub title: &'static str,
    /// Cells wanted; the table may give more to `grow`ing columns.
    pub width: u16,
    /// 0 is shown first and hidden last.
    pub priority: u8,
    pub grow: bool,
    pub right: bool,
}

impl Cell {
    pub const fn left(title: &'static str, width: u16, priority: u8) -> Self {
        Self { title, width, priority, grow: false, right: false }
    }

    pub const fn right(title: &'static str, width: u16, priority: u8) -> Self {
        Self { title, width, priority, grow: false, right: true }
    }

    #[must_use]
    pub const fn growing(mut self) -> Self {
        self.grow = true;
        self
    }
}

/// Everything about a column but how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The name in `--sort`, in the palette and in the config; unique in its family.
    pub id: &'static str,
    /// Filter keys that look here; several columns may share a key (`port`: local and remote).
    pub keys: &'static [&'static str],
    /// Dotted path in JSON lines.
    pub json: Option<&'static str>,
    pub cell: Option<Cell>,
    pub unit: Unit,
    pub kind: Kind,
    pub faces: Faces,
    pub estimate: Estimate,
    /// One line for help and docs: what it is, from which field or hook.
    pub help: &'static str,
}

impl Info {
    /// A column that is only a name so far; the builders below add where it shows.
    pub const fn new(id: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            id,
            keys: &[],
            json: None,
            cell: None,
            unit: Unit::Plain,
            kind,
            faces: Faces::All,
            estimate: Estimate::No,
            help,
        }
    }

    #[must_use]
    pub const fn keys(mut self, keys: &'static [&'static str]) -> Self {
        self.keys = keys;
        self
    }

    #[must_use]
    pub const fn json(mut self, path: &'static str) -> Self {
        self.json = Some(path);
        self
    }

    #[must_use]
    pub const fn cell(mut self, cell: Cell) -> Self {
        self.cell = Some(cell);
        self
    }

    #[must_use]
    pub const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    #[must_use]
    pub const fn faces(mut self, faces: Faces) -> Self {
        self.faces = faces;
        self
    }

    #[must_use]
    pub const fn estimated(mut self, estimate: Estimate) -> Self {
        self.estimate = estimate;
        self
    }

    /// The value of this column is estimated in this row.
    pub fn is_estimate(&self, facts: &dyn Facts) -> bool {
        match self.estimate {
            Estimate::No => false,
            Estimate::Always => true,
            Estimate::Where(id, word) => facts.named(id) == Value::Word(word),
        }
    }
}

/// A column of rows of type `R`.
pub struct Column<R: ?Sized + 'static> {
    pub info: Info,
    pub value: for<'a> fn(&'a R) -> Value<'a>,
}

impl<R: ?Sized> Column<R> {
    pub const fn new(info: Info, value: for<'a> fn(&'a R) -> Value<'a>) -> Self {
        Self { info, value }
    }
}

/// Identity of a row for selection: stays with the thing, not with its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub u64, pub u64);

/// One thing that can be listed.
pub trait Row: Send + Sync + 'static {
    fn id(&self) -> RowId;

    /// Has ended and is shown for a while yet.
    fn ended(&self) -> bool {
        false
    }

    /// All columns of this kind of row, in table order.
    fn columns() -> &'static [Column<Self>]
    where
        Self: Sized;
}

/// Column values by position, whatever the row: what filters, tables and JSON read.
pub trait Facts {
    fn infos(&self) -> &'static [Info];
    fn value(&self, column: usize) -> Value<'_>;

    /// The value of the column with this id; for single rows.
    fn named(&self, id: &str) -> Value<'_> {
        let column = self.infos().iter().position(|info| info.id == id);
        column.map_or(Value::Missing, |column| self.value(column))
    }
}

impl<R: Row> Facts for R {
    fn infos(&self) -> &'static [Info] {
        infos::<R>()
    }

    fn value(&self, column: usize) -> Value<'_> {
        R::columns().get(column).map_or(Value::Missing, |c| (c.value)(self))
    }
}

/// The infos of a row type, made once.
pub fn infos<R: Row>() -> &'static [Info] {
    use std::any::TypeId;
    use std::sync::{Mutex, PoisonError};

    type Made = Vec<(TypeId, &'static [Info])>;
    thread_local! {
        /// Asked of every row of a table: without a lock.
        static KNOWN: RefCell<Made> = const { RefCell::new(Vec::new()) };
    }
    static MADE: Mutex<Made> = Mutex::new(Vec::new());

    let id = TypeId::of::<R>();
    let find = |made: &Made| made.iter().find(|(of, _)| *of == id).map(|(_, infos)| *infos);
    if let Some(infos) = KNOWN.with_borrow(find) {
        return infos;
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let infos = find(&made).unwrap_or_else(|| {
        // Leaked once per row type, of which there is a fixed handful.
        let infos: &'static [Info] = R::columns().iter().map(|c| c.info).collect::<Vec<_>>().leak();
        made.push((id, infos));
        infos
    });
    KNOWN.with_borrow_mut(|known| known.push((id, infos)));
    infos
}

/// Where columns with these ids are, looked up once a kind of row.
pub struct Finder<const N: usize> {
    ids: [&'static str; N],
    found: RefCell<Vec<(usize, [Option<usize>; N])>>,
}

impl<const N: usize> Finder<N> {
    pub const fn new(ids: [&'static str; N]) -> Self {
        Self { ids, found: RefCell::new(Vec::new()) }
    }

    pub fn of(&self, infos: &'static [Info]) -> [Option<usize>; N] {
        let kind = infos.as_ptr() as usize;
        if let Some((_, found)) = self.found.borrow().iter().find(|(known, _)| *known == kind) {
            return *found;
        }
        let found = self.ids.map(|id| infos.iter().position(|info| info.id == id));
        self.found.borrow_mut().push((kind, found));
        found
    }
}

/// A finished table: rows chosen and ordered by the engine, cells read on demand by whoever draws or prints.
pub trait Sheet: Send + Sync {
    fn infos(&self) -> &'static [Info];
    /// Rows after filter and scope.
    fn len(&self) -> usize;
    /// Rows before.
    fn total(&self) -> usize;
    fn value(&self, row: usize, column: usize) -> Value<'_>;
    fn id(&self, row: usize) -> Option<RowId>;
    fn ended(&self, row: usize) -> bool;
    /// The row as facts, for details and JSON.
    fn row(&self, row: usize) -> Option<&dyn Facts>;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The one implementation of [`Sheet`].
pub struct Listing<R> {
    pub rows: Vec<Arc<R>>,
    pub total: usize,
}

impl<R: Row> Sheet for Listing<R> {
    fn infos(&self) -> &'static [Info] {
        infos::<R>()
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn total(&self) -> usize {
        self.total
    }

    fn value(&self, row: usize, column: usize) -> Value<'_> {
        self.rows.get(row).map_or(Value::Missing, |r| Facts::value(r.as_ref(), column))
    }

    fn id(&self, row: usize) -> Option<RowId> {
        self.rows.get(row).map(|r| r.id())
    }

    fn ended(&self, row: usize) -> bool {
        self.rows.get(row).is_some_and(|r| r.ended())
    }

    fn row(&self, row: usize) -> Option<&dyn Facts> {
        self.rows.get(row).map(|r| r.as_ref() as &dyn Facts)
    }
}
