//! The columns of `top dns`.

use std::sync::OnceLock;

use crate::columns::{Cell, Column, Estimate, Info, Kind, Unit, Value};
use crate::families::dns::row::asked::AskedRow;
use crate::families::identity;

fn quantile(row: &AskedRow, which: usize) -> Value<'static> {
    let found = row.quantiles_ns.and_then(|quantiles| quantiles.get(which).copied());
    found.map_or(Value::Missing, Value::Uint)
}

macro_rules! count {
    ($id:literal, $json:literal, $title:literal, $width:literal, $priority:literal, $field:ident, $help:literal) => {
        Column::new(
            Info::new($id, Kind::Number, $help)
                .keys(&[$id])
                .json($json)
                .unit(Unit::Count)
                .cell(Cell::right($title, $width, $priority)),
            |r: &AskedRow| Value::Uint(r.$field),
        )
    };
}

macro_rules! quantile {
    ($id:literal, $title:literal, $priority:literal, $which:literal, $help:literal) => {
        Column::new(
            Info::new($id, Kind::Number, $help)
                .keys(&[$id])
                .estimated(Estimate::Always)
                .json(concat!("duration.", $id, "_ns"))
                .unit(Unit::Nanos)
                .cell(Cell::right($title, 7, $priority)),
            |r: &AskedRow| quantile(r, $which),
        )
    };
}

pub fn columns() -> &'static [Column<AskedRow>] {
    static COLUMNS: OnceLock<Vec<Column<AskedRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<AskedRow>();
        columns.extend(subject());
        columns.extend(figures());
        columns
    })
}

/// What was asked.
fn subject() -> Vec<Column<AskedRow>> {
    vec![
        Column::new(
            Info::new("dir", Kind::Word, "transmit: asked here; receive: asked of this machine by another")
                .json("network.io.direction"),
            |r| Value::Word(if r.subject.received { "receive" } else { "transmit" }),
        ),
        Column::new(
            Info::new("name", Kind::Text, "Name that is asked for, what is not printable as \\DDD")
                .keys(&["name", "host"])
                .json("dns.question.name")
                .cell(Cell::left("NAME", 28, 0).growing()),
            |r| if r.subject.name.is_empty() { Value::Missing } else { Value::Text(&r.subject.name) },
        ),
        Column::new(
            Info::new("qtype", Kind::Word, "Type that is asked for, such as A, AAAA or TYPE65280")
                .keys(&["qtype"])
                .json("dns.question.type")
                .cell(Cell::left("TYPE", 6, 1)),
            |r| if r.subject.kind.is_empty() { Value::Missing } else { Value::Word(&r.subject.kind) },
        ),
        Column::new(
            Info::new("attribution", Kind::Word, "How the process is known: exact, inferred or unknown")
                .keys(&["attribution"])
                .json("dns.attribution"),
            |r| Value::Word(r.attribution.word()),
        ),
    ]
}

/// Of the interval.
fn figures() -> Vec<Column<AskedRow>> {
    vec![
        count!("queries", "dns.queries", "QUERIES", 7, 0, queries, "Questions of the interval"),
        count!("responses", "dns.responses", "ANSWERS", 7, 2, responses, "Answers of the interval"),
        count!(
            "errors",
            "dns.errors",
            "ERRORS",
            6,
            1,
            errors,
            "Of them, those that are not NOERROR, or malformed"
        ),
        count!(
            "waiting",
            "dns.waiting",
            "WAIT",
            5,
            1,
            waiting,
            "Questions that no answer has come to, for 30 s at most"
        ),
        Column::new(
            Info::new("rcode", Kind::Word, "Answers by their code: NOERROR, NXDOMAIN, SERVFAIL, ..")
                .keys(&["rcode"])
                .json("dns.response_codes")
                .cell(Cell::left("RCODE", 16, 2).growing()),
            |r| if r.codes.is_empty() { Value::Missing } else { Value::Counts(&r.codes) },
        ),
        quantile!("p50", "P50", 1, 0, "Half of the answers took at most this long (to a sixteenth)"),
        quantile!("p90", "P90", 4, 1, "Nine in ten answers took at most this long (to a sixteenth)"),
        quantile!("p99", "P99", 1, 2, "99 in 100 answers took at most this long (to a sixteenth)"),
        Column::new(
            Info::new("max", Kind::Number, "The longest that an answer took in the interval")
                .keys(&["max"])
                .json("duration.max_ns")
                .unit(Unit::Nanos)
                .cell(Cell::right("MAX", 7, 3)),
            |r| r.max_ns.map_or(Value::Missing, Value::Uint),
        ),
    ]
}
