//! Columns of datagrams.

use crate::columns::{Cell, Column, Info, Kind, Unit, Value};
use crate::families::flow::row::{Datagrams, FlowRow};

fn of(row: &FlowRow, read: impl Fn(Datagrams) -> Value<'static>) -> Value<'_> {
    row.datagrams.map_or(Value::Missing, read)
}

pub(super) fn columns() -> Vec<Column<FlowRow>> {
    vec![
        Column::new(
            Info::new(
                "rx_packets",
                Kind::Number,
                "Datagrams that a program took, in all; packets of what passes through",
            )
            .keys(&["rx_packets"])
            .json("flow.rx_packets")
            .unit(Unit::Count)
            .cell(Cell::right("RX PKT", 7, 9)),
            |r| r.wire.map_or_else(|| of(r, |d| Value::Uint(d.rx_packets)), |w| Value::Uint(w.rx_packets)),
        ),
        Column::new(
            Info::new(
                "tx_packets",
                Kind::Number,
                "Datagrams handed to an interface, in all; packets of what passes through",
            )
            .keys(&["tx_packets"])
            .json("flow.tx_packets")
            .unit(Unit::Count)
            .cell(Cell::right("TX PKT", 7, 9)),
            |r| r.wire.map_or_else(|| of(r, |d| Value::Uint(d.tx_packets)), |w| Value::Uint(w.tx_packets)),
        ),
        Column::new(
            Info::new("estimated", Kind::Word, "true: from whom they came is not known")
                .keys(&["estimated"])
                .json("flow.estimated"),
            |r| of(r, |d| if d.estimated { Value::Bool(true) } else { Value::Missing }),
        ),
        Column::new(
            Info::new("cast", Kind::Word, "Of datagrams: unicast, multicast or broadcast")
                .keys(&["cast"])
                .json("flow.cast"),
            |r| of(r, |d| Value::Word(d.cast.word())),
        ),
        Column::new(
            Info::new("protocol", Kind::Word, "quic, by the port and the first bytes")
                .keys(&["protocol"])
                .json("network.protocol.name"),
            |r| of(r, |d| if d.quic { Value::Word("quic") } else { Value::Missing }),
        ),
    ]
}
