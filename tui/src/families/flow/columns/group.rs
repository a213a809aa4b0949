//! The columns of connections taken together.

use std::sync::OnceLock;

use crate::columns::{Cell, Column, Info, Kind, Unit, Value};
use crate::families::flow::row::group::{GroupKey, GroupRow, Quantiles};
use crate::families::identity;

macro_rules! quantile {
    ($id:literal, $json:literal, $help:literal, $field:ident, $read:ident $(, $cell:expr)?) => {
        Column::new(
            Info::new($id, Kind::Number, $help).json($json).unit(Unit::Nanos)$(.cell($cell))?,
            |r: &GroupRow| r.$field.map_or(Value::Missing, |q: Quantiles| Value::Uint(q.$read())),
        )
    };
}

pub fn columns() -> &'static [Column<GroupRow>] {
    static COLUMNS: OnceLock<Vec<Column<GroupRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<GroupRow>();
        // A cell of its own kind of group is filled, the others are empty: only that is shown.
        let own: Vec<Column<GroupRow>> = vec![
            Column::new(
                Info::new("group_owner", Kind::Text, "Container or systemd unit (`--by owner`)")
                    .json("flow.group.owner")
                    .cell(Cell::left("OF OWNER", 20, 0).growing()),
                |r| match &r.key {
                    GroupKey::Owner(Some(owner)) => Value::Text(owner),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("peer_address", Kind::Address, "Address of the other side (`--by peer`)")
                    .json("network.peer.address")
                    .cell(Cell::left("PEER", 15, 0).growing()),
                |r| match &r.key {
                    GroupKey::Peer(peer) => Value::Ip(*peer),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("port", Kind::Number, "Port that was called, here or there (`--by port`)")
                    .json("server.port")
                    .cell(Cell::right("PORT", 5, 0)),
                |r| match r.key {
                    GroupKey::Port(port) => Value::Uint(u64::from(port)),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new("untracked", Kind::Word, "Stands for what found no room")
                    .json("flow.group.untracked"),
                |r| if r.key == GroupKey::Untracked { Value::Bool(true) } else { Value::Missing },
            ),
            Column::new(
                Info::new("flows", Kind::Number, "Connections that are open")
                    .json("flow.group.flows")
                    .unit(Unit::Count)
                    .cell(Cell::right("FLOWS", 7, 0)),
                |r| Value::Uint(r.live),
            ),
            Column::new(
                Info::new("connections", Kind::Number, "Connections so far")
                    .json("flow.group.connections")
                    .unit(Unit::Count)
                    .cell(Cell::right("EVER", 7, 1)),
                |r| Value::Uint(r.sums.connections),
            ),
            Column::new(
                Info::new("rx", Kind::Number, "Application bytes received a second")
                    .json("flow.rx_bytes_per_s")
                    .unit(Unit::BytesPerSecond)
                    .cell(Cell::right("RX/s", 8, 0)),
                |r| Value::Real(r.rx_bytes_per_s),
            ),
            Column::new(
                Info::new("tx", Kind::Number, "Application bytes sent and acknowledged a second")
                    .json("flow.tx_bytes_per_s")
                    .unit(Unit::BytesPerSecond)
                    .cell(Cell::right("TX/s", 8, 0)),
                |r| Value::Real(r.tx_bytes_per_s),
            ),
            Column::new(
                Info::new("rx_bytes", Kind::Number, "Application bytes received, in all")
                    .json("flow.rx_bytes")
                    .unit(Unit::Bytes)
                    .cell(Cell::right("RX", 8, 2)),
                |r| Value::Uint(r.sums.rx_bytes),
            ),
            Column::new(
                Info::new("tx_bytes", Kind::Number, "Application bytes sent and acknowledged, in all")
                    .json("flow.tx_bytes")
                    .unit(Unit::Bytes)
                    .cell(Cell::right("TX", 8, 2)),
                |r| Value::Uint(r.sums.tx_bytes),
            ),
            Column::new(
                Info::new("retransmits", Kind::Number, "Segments sent again, in all")
                    .json("flow.retransmits")
                    .unit(Unit::Count)
                    .cell(Cell::right("RETR", 5, 2)),
                |r| Value::Uint(r.sums.retransmits),
            ),
            quantile!(
                "rtt",
                "flow.rtt.p50_ns",
                "Half of the connections have at most this round-trip time",
                rtt,
                p50_ns,
                Cell::right("RTT p50", 8, 2)
            ),
            quantile!("rtt_p90", "flow.rtt.p90_ns", "The same of nine in ten", rtt, p90_ns),
            quantile!(
                "rtt_p99",
                "flow.rtt.p99_ns",
                "The same of 99 in 100",
                rtt,
                p99_ns,
                Cell::right("p99", 8, 3)
            ),
            quantile!(
                "connect",
                "flow.connect.p50_ns",
                "Half of the connections were established within this time",
                connect,
                p50_ns,
                Cell::right("CONNECT p50", 11, 3)
            ),
            quantile!("connect_p90", "flow.connect.p90_ns", "The same of nine in ten", connect, p90_ns),
            quantile!(
                "connect_p99",
                "flow.connect.p99_ns",
                "The same of 99 in 100",
                connect,
                p99_ns,
                Cell::right("p99", 8, 4)
            ),
            quantile!(
                "first_byte",
                "flow.first_byte.p50_ns",
                "Half of the connections had their first byte within this time",
                first_byte,
                p50_ns,
                Cell::right("FIRST p50", 9, 4)
            ),
            quantile!(
                "first_byte_p90",
                "flow.first_byte.p90_ns",
                "The same of nine in ten",
                first_byte,
                p90_ns
            ),
            quantile!(
                "first_byte_p99",
                "flow.first_byte.p99_ns",
                "The same of 99 in 100",
                first_byte,
                p99_ns,
                Cell::right("p99", 8, 5)
            ),
        ];
        columns.extend(own);
        columns
    })
}
