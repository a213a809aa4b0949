//! The columns of `drop`.

use std::net::SocketAddr;
use std::sync::OnceLock;

use super::row::DropRow;
use crate::columns::{Cell, Column, Info, Kind, Unit, Value};
use crate::families::identity;
use crate::families::process::model::Gifted;
use crate::families::process::model::given::given;

fn address(end: Option<SocketAddr>) -> Value<'static> {
    end.map_or(Value::Missing, |end| Value::Ip(end.ip()))
}

fn port(row: &DropRow, end: Option<SocketAddr>) -> Value<'static> {
    end.filter(|_| row.has_ports()).map_or(Value::Missing, |end| Value::Uint(u64::from(end.port())))
}

fn socket(row: &DropRow, end: Option<SocketAddr>) -> Value<'static> {
    if row.has_ports() { end.map_or(Value::Missing, Value::Socket) } else { address(end) }
}

fn local(row: &DropRow) -> Option<SocketAddr> {
    row.ends.map(|(local, _)| local)
}

fn peer(row: &DropRow) -> Option<SocketAddr> {
    row.ends.map(|(_, peer)| peer)
}

pub fn columns() -> &'static [Column<DropRow>] {
    static COLUMNS: OnceLock<Vec<Column<DropRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<DropRow>();
        let own: Vec<Column<DropRow>> = vec![
            Column::new(
                Info::new(
                    "reason",
                    Kind::Word,
                    "Why, by the kernel's enum skb_drop_reason; before 5.17 by where",
                )
                .keys(&["reason"])
                .json("drop.reason")
                .cell(Cell::left("REASON", 22, 0)),
                |r| Value::Word(r.reason),
            ),
            Column::new(
                Info::new("location", Kind::Word, "Function of the kernel in which it was dropped")
                    .keys(&["location"])
                    .json("drop.location")
                    .cell(Cell::left("WHERE", 22, 4)),
                |r| r.location.map_or(Value::Missing, Value::Word),
            ),
            Column::new(
                Info::new("dir", Kind::Word, "receive: it came in; transmit: this machine was sending it")
                    .json("network.io.direction")
                    .cell(Cell::left("DIR", 8, 5)),
                |r| Value::Word(if r.received { "receive" } else { "transmit" }),
            ),
            Column::new(
                Info::new("transport", Kind::Word, "Transport protocol")
                    .keys(&["transport", "proto"])
                    .json("network.transport"),
                |r| r.transport().map_or(Value::Missing, Value::Word),
            ),
            Column::new(Info::new("type", Kind::Word, "ipv4 or ipv6").json("network.type"), |r| {
                local(r)
                    .map_or(Value::Missing, |end| Value::Word(if end.is_ipv4() { "ipv4" } else { "ipv6" }))
            }),
            Column::new(
                Info::new("ethertype", Kind::Number, "Protocol in the frame, such as 2048 for IPv4")
                    .json("drop.ethertype"),
                |r| Value::Uint(u64::from(r.ethertype)),
            ),
            Column::new(
                Info::new("netns", Kind::Number, "Inode of the network namespace (ext.)")
                    .keys(&["netns"])
                    .json("network.namespace.inode"),
                |r| if r.netns.0 == 0 { Value::Missing } else { Value::Uint(u64::from(r.netns.0)) },
            ),
            Column::new(
                Info::new("interface", Kind::Text, "Interface that the packet was at")
                    .keys(&["interface"])
                    .json("network.interface.name")
                    .cell(Cell::left("INTERFACE", 10, 3)),
                |r| r.interface.name.as_ref().map_or(Value::Missing, Value::Text),
            ),
            Column::new(
                Info::new("ifindex", Kind::Number, "Its index in the namespace")
                    .json("network.interface.index"),
                |r| match r.interface.index {
                    0 => Value::Missing,
                    index => Value::Uint(u64::from(index)),
                },
            ),
            Column::new(
                Info::new(
                    "local_address",
                    Kind::Address,
                    "Destination of a packet received, source of one sent",
                )
                .keys(&["net", "host"])
                .json("network.local.address"),
                |r| address(local(r)),
            ),
            Column::new(
                Info::new("lport", Kind::Number, "Port there")
                    .keys(&["lport", "port"])
                    .json("network.local.port"),
                |r| port(r, local(r)),
            ),
            Column::new(
                Info::new("local", Kind::Text, "Both").cell(Cell::left("LOCAL", 21, 2).growing()),
                |r| socket(r, local(r)),
            ),
            Column::new(
                Info::new(
                    "peer_address",
                    Kind::Address,
                    "Source of a packet received, destination of one sent",
                )
                .keys(&["net", "host"])
                .json("network.peer.address"),
                |r| address(peer(r)),
            ),
            Column::new(
                Info::new("rport", Kind::Number, "Port there")
                    .keys(&["rport", "port"])
                    .json("network.peer.port"),
                |r| port(r, peer(r)),
            ),
            Column::new(
                Info::new("peer", Kind::Text, "Both").cell(Cell::left("PEER", 21, 1).growing()),
                |r| socket(r, peer(r)),
            ),
            Column::new(
                Info::new("length", Kind::Number, "From the network header on")
                    .keys(&["length"])
                    .json("drop.length_bytes")
                    .unit(Unit::Bytes)
                    .cell(Cell::right("LENGTH", 8, 6)),
                |r| Value::Uint(u64::from(r.len)),
            ),
            Column::new(
                Info::new("attribution", Kind::Word, "How the owner is known: exact, inferred or unknown")
                    .keys(&["attribution"])
                    .json("drop.attribution"),
                |r| Value::Word(r.attribution.word()),
            ),
        ];
        columns.extend(own);
        columns
    })
}

/// What drops add to the rows of processes.
pub fn contributed<R: Gifted>() -> Vec<Column<R>> {
    vec![given!(
        "drops",
        "Packets for it or from it that the kernel dropped in the interval",
        Count,
        "drop.packets",
        Cell::right("DROP", 5, 7)
    )]
}
