//! The columns of processes grouped by owner.

use std::sync::OnceLock;

use crate::columns::{Cell, Column, Info, Kind, Unit, Value};
use crate::families::Family;
use crate::families::process::model::owner::OwnerRow;

fn number(value: Option<u64>) -> Value<'static> {
    value.map_or(Value::Missing, Value::Uint)
}

pub fn columns() -> &'static [Column<OwnerRow>] {
    static COLUMNS: OnceLock<Vec<Column<OwnerRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns: Vec<Column<OwnerRow>> = vec![
            Column::new(
                Info::new("owner", Kind::Text, "Container or systemd unit; - for processes in neither")
                    .cell(Cell::left("OWNER", 24, 0).growing()),
                |r| r.owner.label().map_or(Value::Missing, Value::Text),
            ),
            Column::new(
                Info::new("unit", Kind::Text, "systemd unit").keys(&["unit"]).json("systemd.unit"),
                |r| r.owner.unit.as_ref().map_or(Value::Missing, Value::Text),
            ),
            Column::new(
                Info::new("container", Kind::Text, "Container id or name")
                    .keys(&["container"])
                    .json("container.id"),
                |r| r.owner.container.as_ref().map_or(Value::Missing, |c| Value::Text(&c.id)),
            ),
            Column::new(
                Info::new("runtime", Kind::Word, "Container runtime").json("container.runtime.name"),
                |r| r.owner.container.as_ref().map_or(Value::Missing, |c| Value::Word(c.runtime)),
            ),
            Column::new(
                Info::new("pod", Kind::Text, "Uid of the Kubernetes pod").keys(&["pod"]).json("k8s.pod.uid"),
                |r| r.owner.pod.as_ref().map_or(Value::Missing, Value::Text),
            ),
            Column::new(
                Info::new("processes", Kind::Number, "Its processes that have not ended")
                    .json("processes")
                    .unit(Unit::Count)
                    .cell(Cell::right("PROCS", 6, 0)),
                |r| Value::Uint(r.processes),
            ),
            Column::new(
                Info::new("forks", Kind::Number, "Processes that they made in the interval")
                    .json("process.forks")
                    .unit(Unit::Count)
                    .cell(Cell::right("FORKS", 6, 3)),
                |r| Value::Uint(r.forks),
            ),
            Column::new(
                Info::new("execs", Kind::Number, "Programs that they started to run in the interval")
                    .json("process.execs")
                    .unit(Unit::Count)
                    .cell(Cell::right("EXECS", 6, 3)),
                |r| Value::Uint(r.execs),
            ),
            Column::new(
                Info::new("cpu", Kind::Number, "Share of one CPU, all together")
                    .json("process.cpu_share")
                    .unit(Unit::Share)
                    .cell(Cell::right("CPU", 5, 1)),
                |r| r.cpu_share.map_or(Value::Missing, Value::Real),
            ),
            Column::new(
                Info::new("resident", Kind::Number, "Memory in RAM; what they share is counted for each")
                    .json("process.resident_bytes")
                    .unit(Unit::Bytes)
                    .cell(Cell::right("MEM", 7, 1)),
                |r| number(r.resident_bytes),
            ),
            Column::new(
                Info::new("threads", Kind::Number, "Their threads")
                    .json("process.threads")
                    .unit(Unit::Count)
                    .cell(Cell::right("THR", 5, 4)),
                |r| number(r.threads),
            ),
        ];
        columns.extend(Family::ALL.iter().flat_map(|family| family.contributes()));
        columns
    })
}
