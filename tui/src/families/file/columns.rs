//! The columns of `file`.

pub mod group;

use std::sync::OnceLock;

use super::row::{Call, FileRow, Used, Uses};
use crate::columns::{Cell, Column, Estimate, Faces, Info, Kind, Unit, Value};
use crate::families::identity;
use crate::families::process::model::Gifted;
use crate::families::process::model::given::given;

/// A fact of one call.
fn call<'a>(row: &'a FileRow, read: impl Fn(&'a Call) -> Option<Value<'a>>) -> Value<'a> {
    row.call.as_ref().and_then(read).unwrap_or(Value::Missing)
}

/// A figure of the interval.
fn uses(row: &impl Used, read: impl Fn(&Uses) -> Option<u64>) -> Value<'_> {
    row.uses().and_then(read).map_or(Value::Missing, Value::Uint)
}

fn flag(set: bool) -> Option<Value<'static>> {
    set.then_some(Value::Bool(true))
}

fn rate(row: &impl Used, read: impl Fn(&Uses) -> u64) -> Value<'_> {
    let of = |uses: &Uses| (uses.seconds > 0.0).then(|| read(uses) as f64 / uses.seconds);
    row.uses().and_then(of).map_or(Value::Missing, Value::Real)
}

pub fn columns() -> &'static [Column<FileRow>] {
    static COLUMNS: OnceLock<Vec<Column<FileRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<FileRow>();
        columns.extend(file_columns());
        columns.extend(call_columns());
        columns.extend(use_columns());
        columns
    })
}

/// Which file.
fn file_columns() -> Vec<Column<FileRow>> {
    vec![
        Column::new(
            Info::new("path", Kind::Text, "Path of the file, absolute as the process sees it; see path_kind")
                .keys(&["path"])
                .json("file.path")
                .cell(Cell::left("PATH", 26, 0).growing()),
            |r| r.path.as_ref().map_or(Value::Missing, Value::Text),
        ),
        Column::new(
            Info::new(
                "path_kind",
                Kind::Word,
                "resolved: by the kernel's dentries; joined: base directory and text as passed",
            )
            .keys(&["path_kind"])
            .json("file.path_kind")
            .faces(Faces::EventOnly),
            |r| {
                let word = |c: &Call| if c.resolved { "resolved" } else { "joined" };
                call(r, |c| r.path.is_some().then(|| Value::Word(word(c))))
            },
        ),
        Column::new(
            Info::new("path_truncated", Kind::Word, "The path is too deep or too long: its head is missing")
                .json("file.path_truncated")
                .faces(Faces::EventOnly),
            |r| call(r, |c| flag(c.truncated)),
        ),
        Column::new(
            Info::new("old_path", Kind::Text, "What a rename or a link began from")
                .keys(&["path"])
                .json("file.old_path")
                .faces(Faces::EventOnly),
            |r| call(r, |c| c.old_path.as_ref().map(Value::Text)),
        ),
        Column::new(
            Info::new("target", Kind::Text, "Text of a symbolic link")
                .keys(&["path"])
                .json("file.symbolic_link.target_path")
                .faces(Faces::EventOnly),
            |r| call(r, |c| c.target.as_ref().map(Value::Text)),
        ),
        Column::new(
            Info::new("kind", Kind::Word, "regular, directory, fifo, socket, character, block, anonymous")
                .keys(&["kind"])
                .json("file.kind")
                .cell(Cell::left("KIND", 9, 6)),
            |r| if r.is_file() { Value::Word(r.file.kind.word()) } else { Value::Missing },
        ),
        Column::new(
            Info::new("inode", Kind::Word, "Inode number").keys(&["inode"]).json("file.inode"),
            |r| if r.is_file() && r.file.inode != 0 { Value::Id(r.file.inode) } else { Value::Missing },
        ),
        Column::new(
            Info::new("device", Kind::Number, "Device of the file system (dev_t as the kernel keeps it)")
                .keys(&["device"])
                .json("file.device"),
            |r| if r.file.device != 0 { Value::Uint(u64::from(r.file.device)) } else { Value::Missing },
        ),
        Column::new(
            Info::new(
                "errno",
                Kind::Word,
                "Why the call failed; in tables, why opens that are counted here failed",
            )
            .keys(&["errno"])
            .json("error.type")
            .cell(Cell::left("ERROR", 8, 4)),
            |r| r.error.map_or(Value::Missing, Value::Word),
        ),
    ]
}

/// What one call was told and said.
fn call_columns() -> Vec<Column<FileRow>> {
    let fact = |info: Info, value| Column::new(info.faces(Faces::EventOnly), value);
    vec![
        fact(
            Info::new("flags", Kind::Word, "Flags of open, rename and link by name, as passed")
                .keys(&["flags"])
                .json("file.flags"),
            |r| call(r, |c| c.flags.as_deref().map(Value::Word)),
        ),
        fact(
            Info::new("mode", Kind::Word, "Mode that mkdir, mknod, chmod or a creating open was told, octal")
                .keys(&["mode"])
                .json("file.mode"),
            |r| call(r, |c| c.mode.as_deref().map(Value::Word)),
        ),
        fact(
            Info::new("size", Kind::Number, "Length that truncate was told, bytes")
                .keys(&["size"])
                .json("file.size"),
            |r| call(r, |c| c.size.map(Value::Uint)),
        ),
        fact(
            Info::new("owner_id", Kind::Number, "User that chown was told")
                .keys(&["owner_id"])
                .json("file.owner.id"),
            |r| call(r, |c| c.owner.map(|id| Value::Uint(u64::from(id)))),
        ),
        fact(
            Info::new("group_id", Kind::Number, "Group that chown was told")
                .keys(&["group_id"])
                .json("file.group.id"),
            |r| call(r, |c| c.group.map(|id| Value::Uint(u64::from(id)))),
        ),
        fact(
            Info::new(
                "result",
                Kind::Number,
                "What the call returned: a descriptor, 0, or the negative errno",
            )
            .keys(&["result"])
            .json("result.return"),
            |r| call(r, |c| Some(Value::Int(c.result))),
        ),
        fact(
            Info::new("made", Kind::Word, "The open made the file (FMODE_CREATED)")
                .keys(&["created"])
                .json("result.created"),
            |r| call(r, |c| flag(c.created)),
        ),
        fact(
            Info::new("took", Kind::Number, "From entering the kernel to leaving it")
                .keys(&["took"])
                .json("result.duration_ns")
                .unit(Unit::Nanos),
            |r| call(r, |c| c.duration_ns.map(Value::Uint)),
        ),
        fact(Info::new("uring", Kind::Word, "Asked for through io_uring").json("file.io_uring"), |r| {
            call(r, |c| flag(c.uring))
        }),
        fact(Info::new("compat", Kind::Word, "Asked for by the 32-bit ABI").json("file.compat"), |r| {
            call(r, |c| flag(c.compat))
        }),
    ]
}

/// What was done in an interval.
fn use_columns<R: Used + 'static>() -> Vec<Column<R>> {
    let figure = |info: Info, value| Column::new(info.faces(Faces::TopOnly), value);
    vec![
        figure(
            Info::new("opens", Kind::Number, "Opens in the interval, failed ones too")
                .keys(&["opens"])
                .json("opens")
                .unit(Unit::Count)
                .cell(Cell::right("OPENS", 6, 2)),
            |r| uses(r, |u| Some(u.opens)),
        ),
        figure(
            Info::new("reads", Kind::Number, "Calls that read or receive, failed ones too")
                .keys(&["reads"])
                .json("reads")
                .unit(Unit::Count)
                .cell(Cell::right("READS", 6, 2)),
            |r| uses(r, |u| Some(u.reads)),
        ),
        figure(
            Info::new("writes", Kind::Number, "Calls that write or send, failed ones too")
                .keys(&["writes"])
                .json("writes")
                .unit(Unit::Count)
                .cell(Cell::right("WRITES", 6, 2)),
            |r| uses(r, |u| Some(u.writes)),
        ),
        figure(
            Info::new("syncs", Kind::Number, "fsync and fdatasync").keys(&["syncs"]).json("syncs").unit(Unit::Count),
            |r| uses(r, |u| Some(u.syncs)),
        ),
        figure(
            Info::new("read_bytes", Kind::Number, "Bytes that reads returned in the interval")
                .keys(&["read_bytes"])
                .json("read_bytes")
                .unit(Unit::Bytes),
            |r| uses(r, |u| Some(u.read_bytes)),
        ),
        figure(
            Info::new("write_bytes", Kind::Number, "Bytes that writes took in the interval")
                .keys(&["write_bytes"])
                .json("write_bytes")
                .unit(Unit::Bytes),
            |r| uses(r, |u| Some(u.write_bytes)),
        ),
        figure(
            Info::new("rx", Kind::Number, "Bytes read a second")
                .keys(&["rx"])
                .unit(Unit::BytesPerSecond)
                .cell(Cell::right("READ/s", 8, 1)),
            |r| rate(r, |u| u.read_bytes),
        ),
        figure(
            Info::new("tx", Kind::Number, "Bytes written a second")
                .keys(&["tx"])
                .unit(Unit::BytesPerSecond)
                .cell(Cell::right("WRITE/s", 8, 1)),
            |r| rate(r, |u| u.write_bytes),
        ),
        figure(
            Info::new("errors", Kind::Number, "Of these calls, those that failed")
                .keys(&["errors"])
                .json("errors")
                .unit(Unit::Count)
                .cell(Cell::right("ERRS", 5, 3)),
            |r| uses(r, |u| Some(u.errors)),
        ),
        figure(
            Info::new("busy", Kind::Number, "Time in these calls")
                .keys(&["busy"])
                .json("duration.sum_ns")
                .unit(Unit::Nanos)
                .cell(Cell::right("TIME", 7, 0)),
            |r| uses(r, |u| Some(u.sum_ns)),
        ),
        figure(
            Info::new("p50", Kind::Number, "Half of the calls took at most this; buckets of 12.5%")
                .keys(&["p50"])
                .estimated(Estimate::Always)
                .json("duration.p50_ns")
                .unit(Unit::Nanos),
            |r| uses(r, |u| u.quantiles_ns.map(|[p50, ..]| p50)),
        ),
        figure(
            Info::new("p90", Kind::Number, "Nine of ten calls took at most this")
                .keys(&["p90"])
                .estimated(Estimate::Always)
                .json("duration.p90_ns")
                .unit(Unit::Nanos),
            |r| uses(r, |u| u.quantiles_ns.map(|[_, p90, _]| p90)),
        ),
        figure(
            Info::new("p99", Kind::Number, "99 of 100 calls took at most this")
                .keys(&["p99"])
                .estimated(Estimate::Always)
                .json("duration.p99_ns")
                .unit(Unit::Nanos)
                .cell(Cell::right("P99", 7, 4)),
            |r| uses(r, |u| u.quantiles_ns.map(|[.., p99]| p99)),
        ),
        figure(
            Info::new("max", Kind::Number, "The longest call: exact where it is the longest since attaching, else the upper end of its bucket")
                .keys(&["max"])
                .json("duration.max_ns")
                .unit(Unit::Nanos)
                .cell(Cell::right("MAX", 7, 5)),
            |r| uses(r, |u| u.max_ns),
        ),
        figure(
            Info::new("total", Kind::Number, "All these calls since the family was attached")
                .keys(&["total"])
                .unit(Unit::Count)
                .cell(Cell::right("TOTAL", 8, 6)),
            |r| uses(r, |u| Some(u.total.calls)),
        ),
        figure(
            Info::new("read_total", Kind::Number, "Bytes read since the family was attached")
                .keys(&["read_total"])
                .unit(Unit::Bytes)
                .cell(Cell::right("READ", 8, 6)),
            |r| uses(r, |u| Some(u.total.read_bytes)),
        ),
        figure(
            Info::new("write_total", Kind::Number, "Bytes written since the family was attached")
                .keys(&["write_total"])
                .unit(Unit::Bytes)
                .cell(Cell::right("WRITTEN", 8, 6)),
            |r| uses(r, |u| Some(u.total.write_bytes)),
        ),
    ]
}

/// What the use of files adds to the rows of processes.
pub fn contributed<R: Gifted>() -> Vec<Column<R>> {
    vec![
        given!(
            "opens_per_s",
            "Opens of files a second, failed ones too",
            PerSecond,
            "file.opens_per_s",
            Cell::right("OPEN/s", 6, 4)
        ),
        given!(
            "read_bytes_per_s",
            "Bytes a second that it reads: files, pipes, sockets",
            BytesPerSecond,
            "file.read_bytes_per_s",
            Cell::right("READ/s", 7, 4)
        ),
        given!(
            "write_bytes_per_s",
            "Bytes a second that it writes: files, pipes, sockets",
            BytesPerSecond,
            "file.write_bytes_per_s",
            Cell::right("WRIT/s", 7, 4)
        ),
        given!(
            "file_errors",
            "Opens, reads, writes and syncs of the interval that failed",
            Count,
            "file.errors",
            Cell::right("FERR", 5, 6)
        ),
        given!(
            "open_p99",
            "99 in 100 opens of the interval took at most this long",
            Nanos,
            "file.open.p99_ns",
            Cell::right("OPp99", 7, 7)
        ),
        given!(
            "read_p99",
            "99 in 100 reads of the interval took at most this long",
            Nanos,
            "file.read.p99_ns",
            Cell::right("RDp99", 7, 7)
        ),
        given!(
            "write_p99",
            "99 in 100 writes of the interval took at most this long",
            Nanos,
            "file.write.p99_ns",
            Cell::right("WRp99", 7, 7)
        ),
    ]
}
