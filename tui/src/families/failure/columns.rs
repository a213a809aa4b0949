//! The columns of the table of failures.

use std::sync::OnceLock;

use super::row::FailureRow;
use crate::columns::{Cell, Column, Info, Kind, Unit, Value};
use crate::families::identity;
use crate::model::Subject;

pub fn columns() -> &'static [Column<FailureRow>] {
    static COLUMNS: OnceLock<Vec<Column<FailureRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns: Vec<Column<FailureRow>> = vec![
            Column::new(
                Info::new("kind", Kind::Word, "What failed, as its family names it")
                    .keys(&["kind"])
                    .json("failure.kind")
                    .cell(Cell::left("FAILURE", 14, 0)),
                |r| Value::Word(r.kind),
            ),
            Column::new(
                Info::new("errno", Kind::Word, "Why")
                    .keys(&["errno", "reason"])
                    .json("error.type")
                    .cell(Cell::left("ERROR", 12, 0)),
                |r| r.error.map_or(Value::Missing, Value::Word),
            ),
        ];
        columns.extend(identity::columns::<FailureRow>());
        let own: Vec<Column<FailureRow>> = vec![
            Column::new(
                Info::new("family", Kind::Word, "The family that saw it").json("failure.family"),
                |r| if r.other { Value::Missing } else { Value::Word(r.family) },
            ),
            Column::new(
                Info::new("peer_address", Kind::Address, "Address of the other side")
                    .keys(&["net", "host"])
                    .json("network.peer.address"),
                |r| match &r.subject {
                    Subject::Peer(peer) => Value::Ip(peer.ip()),
                    Subject::Client { peer, .. } => Value::Ip(*peer),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("rport", Kind::Number, "Port that was called")
                    .keys(&["rport", "port"])
                    .json("network.peer.port"),
                |r| match &r.subject {
                    Subject::Peer(peer) => Value::Uint(u64::from(peer.port())),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("local_address", Kind::Address, "Address of this side, where it was called")
                    .keys(&["net", "host"])
                    .json("network.local.address"),
                |r| match &r.subject {
                    Subject::Client { local, .. } | Subject::Listener(local) => Value::Ip(local.ip()),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("lport", Kind::Number, "Port of this side, where it was called")
                    .keys(&["lport", "port"])
                    .json("network.local.port"),
                |r| match &r.subject {
                    Subject::Client { local, .. } | Subject::Listener(local) => {
                        Value::Uint(u64::from(local.port()))
                    }
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("path", Kind::Text, "Path").keys(&["path"]).json("file.path"),
                |r| match &r.subject {
                    Subject::Path(path) => Value::Text(path),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("interface", Kind::Text, "Interface")
                    .keys(&["interface"])
                    .json("network.interface.name"),
                |r| match &r.subject {
                    Subject::Interface(name) => Value::Text(name),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("subject", Kind::Text, "Peer, listener, path or interface")
                    .cell(Cell::left("WITH", 16, 0).growing()),
                |r| match &r.subject {
                    Subject::None => Value::Missing,
                    Subject::Peer(peer) => Value::Socket(*peer),
                    Subject::Client { peer, .. } => Value::Ip(*peer),
                    Subject::Listener(local) => Value::Socket(*local),
                    Subject::Path(path) => Value::Text(path),
                    Subject::Interface(name) => Value::Text(name),
                },
            ),
            Column::new(
                Info::new("count", Kind::Number, "How often in the interval")
                    .keys(&["count"])
                    .json("failure.count")
                    .unit(Unit::Count)
                    .cell(Cell::right("COUNT", 7, 0)),
                |r| Value::Uint(r.count),
            ),
            Column::new(
                Info::new("total", Kind::Number, "How often since fluoro started")
                    .keys(&["total"])
                    .json("failure.total")
                    .unit(Unit::Count)
                    .cell(Cell::right("TOTAL", 7, 1)),
                |r| Value::Uint(r.total),
            ),
            Column::new(
                Info::new("latency", Kind::Number, "How long the last one took to fail")
                    .keys(&["latency"])
                    .json("failure.latency_ns")
                    .unit(Unit::Nanos)
                    .cell(Cell::right("TOOK", 8, 2)),
                |r| r.latency_ns.map_or(Value::Missing, Value::Uint),
            ),
            Column::new(
                Info::new("max_latency", Kind::Number, "How long the slowest took to fail")
                    .keys(&["max_latency"])
                    .json("failure.max_latency_ns")
                    .unit(Unit::Nanos)
                    .cell(Cell::right("SLOWEST", 8, 4)),
                |r| r.max_latency_ns.map_or(Value::Missing, Value::Uint),
            ),
            Column::new(
                Info::new("last", Kind::Number, "When it happened last")
                    .json("failure.last_time")
                    .cell(Cell::left("LAST", 12, 3)),
                |r| Value::Time(r.last),
            ),
        ];
        columns.extend(own);
        columns
    })
}
