//! The columns of `process`.

pub mod owner;

use std::sync::OnceLock;

use super::model::{ProcessRow, Usage};
use crate::columns::{Cell, Column, Faces, Info, Kind, Unit, Value};
use crate::families::{Family, identity};
use crate::records::process::Exit;

pub fn columns() -> &'static [Column<ProcessRow>] {
    static COLUMNS: OnceLock<Vec<Column<ProcessRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<ProcessRow>();
        let own: Vec<Column<ProcessRow>> = vec![
            Column::new(
                Info::new("state", Kind::Word, "running, or how it ended")
                    .keys(&["state"])
                    .cell(Cell::left("STATE", 10, 3)),
                |r| Value::Word(r.state()),
            ),
            Column::new(
                Info::new("parent", Kind::Number, "Process id of the parent")
                    .cell(Cell::right("PARENT", 8, 4)),
                |r| r.identity.parent.map_or(Value::Missing, |parent| Value::Uint(u64::from(parent.0))),
            ),
            Column::new(
                Info::new("path", Kind::Text, "Path of the executable")
                    .keys(&["path"])
                    .cell(Cell::left("EXECUTABLE", 24, 2).growing()),
                |r| r.identity.executable.as_ref().map_or(Value::Missing, |e| Value::Text(&e.path)),
            ),
            Column::new(
                Info::new("forks", Kind::Number, "Processes it made in the interval")
                    .keys(&["forks"])
                    .json("process.forks")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("FORKS", 6, 6)),
                |r| r.activity.map_or(Value::Missing, |a| Value::Uint(a.forks)),
            ),
            Column::new(
                Info::new("execs", Kind::Number, "Programs it started to run in the interval")
                    .keys(&["execs"])
                    .json("process.execs")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("EXECS", 6, 6)),
                |r| r.activity.map_or(Value::Missing, |a| Value::Uint(a.execs)),
            ),
            Column::new(
                Info::new("age", Kind::Number, "Since it started; of an ended process, how long it lived")
                    .keys(&["age", "duration"])
                    .json("process.duration_ns")
                    .unit(Unit::Nanos)
                    .cell(Cell::right("AGE", 7, 1)),
                |r| r.age_ns.map_or(Value::Missing, Value::Uint),
            ),
            Column::new(
                Info::new("cpu", Kind::Number, "Share of one CPU since the last look, all threads")
                    .keys(&["cpu"])
                    .json("process.cpu_share")
                    .unit(Unit::Share)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("CPU", 5, 1)),
                |r| used(r, |u| u.cpu_share.map(Value::Real)),
            ),
            Column::new(
                Info::new("resident", Kind::Number, "Memory that it has in RAM, as /proc/PID/stat counts it")
                    .keys(&["resident"])
                    .json("process.resident_bytes")
                    .unit(Unit::Bytes)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("MEM", 7, 1)),
                |r| used(r, |u| Some(Value::Uint(u.resident_bytes))),
            ),
            Column::new(
                Info::new("threads", Kind::Number, "Its threads")
                    .keys(&["threads"])
                    .json("process.threads")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("THR", 4, 5)),
                |r| used(r, |u| Some(Value::Uint(u.threads))),
            ),
            Column::new(
                Info::new("fds", Kind::Number, "File descriptors that it has open (/proc/PID/fd)")
                    .keys(&["fds"])
                    .json("process.fds")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("FDS", 5, 6)),
                |r| used(r, |u| u.fds.map(Value::Uint)),
            ),
            Column::new(
                Info::new("on_cpu", Kind::Number, "Time that its threads ran since the last look")
                    .keys(&["on_cpu"])
                    .json("process.on_cpu_ns")
                    .unit(Unit::Nanos)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("RAN", 7, 7)),
                |r| used(r, |u| u.on_cpu_ns.map(Value::Uint)),
            ),
            Column::new(
                Info::new(
                    "run_wait",
                    Kind::Number,
                    "Time that its threads waited for a CPU since the last look, from the same place",
                )
                .keys(&["run_wait"])
                .json("process.run_queue_wait_ns")
                .unit(Unit::Nanos)
                .faces(Faces::TopOnly)
                .cell(Cell::right("RUNQ", 7, 5)),
                |r| used(r, |u| u.run_wait_ns.map(Value::Uint)),
            ),
            Column::new(
                Info::new("working_directory", Kind::Text, "Where it stands (/proc/PID/cwd)")
                    .keys(&["cwd"])
                    .json("process.working_directory")
                    .faces(Faces::TopOnly),
                |r| used(r, |u| u.working_directory.as_ref().map(Value::Text)),
            ),
            Column::new(
                Info::new("gid", Kind::Number, "Real group id").keys(&["gid"]).json("process.real_group.id"),
                |r| r.identity.gid.map_or(Value::Missing, |gid| Value::Uint(u64::from(gid.0))),
            ),
            Column::new(
                Info::new("args", Kind::Text, "Its arguments, up to 512 bytes; in lines only with --args")
                    .keys(&["args"])
                    .json("process.command_line"),
                |r| r.identity.args.as_ref().map_or(Value::Missing, Value::Args),
            ),
            Column::new(
                Info::new("oom", Kind::Word, "true: the kernel ended it because it ran out of memory")
                    .keys(&["oom"])
                    .json("process.exit.oom_killed"),
                |r| if r.oom { Value::Bool(true) } else { Value::Missing },
            ),
            Column::new(
                Info::new("exit_code", Kind::Number, "Exit code of a process that was not killed")
                    .keys(&["exit"])
                    .json("process.exit.code"),
                |r| match r.exit {
                    Some(Exit::Code(code)) => Value::Uint(u64::from(code)),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("exit_signal", Kind::Number, "Signal that killed the process")
                    .keys(&["signal"])
                    .json("process.exit.signal"),
                |r| match r.exit {
                    Some(Exit::Signal(signal)) => Value::Uint(u64::from(signal)),
                    _ => Value::Missing,
                },
            ),
        ];
        columns.extend(own);
        columns.extend(Family::ALL.iter().flat_map(|family| family.contributes()));
        columns
    })
}

fn used<'a>(row: &'a ProcessRow, read: impl Fn(&'a Usage) -> Option<Value<'a>>) -> Value<'a> {
    row.usage.as_ref().and_then(read).unwrap_or(Value::Missing)
}
