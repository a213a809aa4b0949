//! The columns of `syscall`.

use std::sync::OnceLock;

use super::row::{Figures, SyscallRow, Traced};
use crate::columns::{Cell, Column, Estimate, Faces, Info, Kind, Unit, Value};
use crate::families::identity;
use crate::families::process::model::Gifted;
use crate::families::process::model::given::given;
use crate::records::syscall::Abi;

fn figure(row: &SyscallRow, read: impl Fn(&Figures) -> Option<u64>) -> Value<'_> {
    row.figures.as_ref().and_then(read).map_or(Value::Missing, Value::Uint)
}

fn quantile(row: &SyscallRow, which: usize) -> Value<'_> {
    figure(row, |f| f.quantiles_ns.and_then(|quantiles| quantiles.get(which).copied()))
}

fn traced<'a>(row: &'a SyscallRow, read: impl Fn(&'a Traced) -> Option<Value<'a>>) -> Value<'a> {
    row.event.as_ref().and_then(read).unwrap_or(Value::Missing)
}

pub fn columns() -> &'static [Column<SyscallRow>] {
    static COLUMNS: OnceLock<Vec<Column<SyscallRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<SyscallRow>();
        let own: Vec<Column<SyscallRow>> = vec![
            Column::new(
                Info::new("syscall", Kind::Word, "Name of the call")
                    .keys(&["syscall"])
                    .json("syscall.name")
                    .cell(Cell::left("SYSCALL", 16, 0)),
                |r| Value::Word(&r.name),
            ),
            Column::new(
                Info::new("number", Kind::Number, "Number of the call in its table")
                    .keys(&["number"])
                    .json("syscall.number"),
                |r| Value::Uint(u64::from(r.call.number)),
            ),
            Column::new(
                Info::new("abi", Kind::Word, "Table of the number, where it is not the machine's own (ext.)")
                    .keys(&["abi"])
                    .json("syscall.abi")
                    .cell(Cell::left("ABI", 5, 7)),
                |r| if r.call.abi == Abi::X86_64 { Value::Missing } else { Value::Word(r.call.abi.word()) },
            ),
            Column::new(
                Info::new("calls", Kind::Number, "Calls that returned in the interval, or never do")
                    .keys(&["calls"])
                    .json("calls")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("CALLS", 8, 0)),
                |r| figure(r, |f| Some(f.calls)),
            ),
            Column::new(
                Info::new("total", Kind::Number, "Calls since the family was attached")
                    .keys(&["total"])
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("TOTAL", 8, 6)),
                |r| r.total.map_or(Value::Missing, Value::Uint),
            ),
            Column::new(
                Info::new("errors", Kind::Number, "Of them, those that failed")
                    .keys(&["errors"])
                    .json("errors")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("ERRORS", 7, 2)),
                |r| figure(r, |f| Some(f.errors)),
            ),
            Column::new(
                Info::new("time", Kind::Number, "Time from entry to return, all calls together")
                    .keys(&["time"])
                    .json("duration.sum_ns")
                    .unit(Unit::Nanos)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("TIME", 7, 0)),
                |r| figure(r, |f| Some(f.sum_ns)),
            ),
            Column::new(
                Info::new("p50", Kind::Number, "Half of the calls took at most this long (to a sixteenth)")
                    .keys(&["p50"])
                    .estimated(Estimate::Always)
                    .json("duration.p50_ns")
                    .unit(Unit::Nanos)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("P50", 7, 2)),
                |r| quantile(r, 0),
            ),
            Column::new(
                Info::new("p90", Kind::Number, "Nine in ten calls took at most this long (to a sixteenth)")
                    .keys(&["p90"])
                    .estimated(Estimate::Always)
                    .json("duration.p90_ns")
                    .unit(Unit::Nanos)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("P90", 7, 5)),
                |r| quantile(r, 1),
            ),
            Column::new(
                Info::new("p99", Kind::Number, "99 in 100 calls took at most this long (to a sixteenth)")
                    .keys(&["p99"])
                    .estimated(Estimate::Always)
                    .json("duration.p99_ns")
                    .unit(Unit::Nanos)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("P99", 7, 1)),
                |r| quantile(r, 2),
            ),
            Column::new(
                Info::new("max", Kind::Number, "The longest call of the interval")
                    .keys(&["max"])
                    .json("duration.max_ns")
                    .unit(Unit::Nanos)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("MAX", 7, 1)),
                |r| figure(r, |f| f.max_ns),
            ),
            Column::new(
                Info::new(
                    "errnos",
                    Kind::Word,
                    "Errors by name; eight kinds a call and process are told apart",
                )
                .keys(&["errno"])
                .json("errors_by_type")
                .faces(Faces::TopOnly)
                .cell(Cell::left("ERRNO", 16, 4).growing()),
                |r| match &r.figures {
                    Some(figures) if !figures.errnos.is_empty() => Value::Counts(&figures.errnos),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("arguments", Kind::Text, "Arguments of the call, decoded (ext.)")
                    .json("syscall.arguments")
                    .faces(Faces::EventOnly),
                |r| traced(r, |t| t.arguments.as_ref().map(Value::Text)),
            ),
            Column::new(
                Info::new("path", Kind::Text, "First path among the arguments, as it was passed (ext.)")
                    .keys(&["path"])
                    .json("syscall.path")
                    .faces(Faces::EventOnly),
                |r| traced(r, |t| t.path.as_ref().map(Value::Text)),
            ),
            Column::new(
                Info::new("return", Kind::Number, "What the call returned; exit and exit_group never do")
                    .keys(&["return"])
                    .json("result.return")
                    .faces(Faces::EventOnly),
                |r| traced(r, |t| t.result.map(Value::Int)),
            ),
            Column::new(
                Info::new(
                    "duration",
                    Kind::Number,
                    "From entry to return; absent where the entry was not seen",
                )
                .keys(&["duration"])
                .json("result.duration_ns")
                .unit(Unit::Nanos)
                .faces(Faces::EventOnly),
                |r| traced(r, |t| t.duration_ns.map(Value::Uint)),
            ),
            Column::new(
                Info::new("errno", Kind::Word, "Why the call failed")
                    .keys(&["errno"])
                    .json("error.type")
                    .faces(Faces::EventOnly),
                |r| traced(r, |t| t.error.map(Value::Word)),
            ),
            Column::new(Info::new("call", Kind::Text, "The whole call"), |r| {
                traced(r, |t| Some(Value::Text(&t.text)))
            }),
        ];
        columns.extend(own);
        columns
    })
}

/// What calls add to the rows of processes: press 4 to measure, for the view of processes does not attach them.
pub fn contributed<R: Gifted>() -> Vec<Column<R>> {
    vec![
        given!(
            "syscalls",
            "Calls into the kernel in the interval; press 4 to measure",
            Count,
            "syscall.calls",
            Cell::right("SYSC", 7, 4)
        ),
        given!(
            "syscall_errors",
            "Of them, those that failed; press 4 to measure",
            Count,
            "syscall.errors",
            Cell::right("SERR", 6, 6)
        ),
        given!(
            "syscall_p99",
            "99 in 100 of them took at most this long; press 4 to measure",
            Nanos,
            "syscall.duration.p99_ns",
            Cell::right("SP99", 7, 6)
        ),
    ]
}
