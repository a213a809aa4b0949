//! The columns of `flow`.

pub mod group;
mod udp;

use std::sync::OnceLock;

use super::row::{FlowRow, Queue, State};
use crate::columns::{Cell, Column, Faces, Info, Kind, Unit, Value};
use crate::families::identity;
use crate::families::process::model::Gifted;
use crate::families::process::model::given::given;
use crate::filter::Filter;

fn applies(row: &FlowRow) -> bool {
    // Of a connection that nobody knew before it got into trouble no direction is known.
    row.direction.is_some() || (row.state != State::Listen && row.peer.port() != 0)
}

fn some(value: Option<u64>) -> Value<'static> {
    value.map_or(Value::Missing, Value::Uint)
}

fn queue(row: &FlowRow, read: impl Fn(Queue) -> Option<u32>) -> Value<'_> {
    some(row.queue.and_then(read).map(u64::from))
}

fn flow_number(row: &FlowRow, value: u64) -> Value<'_> {
    if applies(row) { Value::Uint(value) } else { Value::Missing }
}

/// What only TCP has.
fn connection_number(row: &FlowRow, value: u64) -> Value<'_> {
    if row.datagrams.is_some() || row.wire.is_some() { Value::Missing } else { flow_number(row, value) }
}

const IPPROTO_UDP: u16 = 17;

/// The filter may ask who a connection belongs to: by a key of the owner's, or by a word that any text may have.
pub fn ask_for_owner(filter: &Filter) -> bool {
    let mut keys = identity::columns::<FlowRow>().into_iter().flat_map(|column| column.info.keys);
    filter.has_words() || keys.any(|key| filter.names(key))
}

pub fn columns() -> &'static [Column<FlowRow>] {
    static COLUMNS: OnceLock<Vec<Column<FlowRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<FlowRow>();
        let own: Vec<Column<FlowRow>> = vec![
            Column::new(
                Info::new("transport", Kind::Word, "Transport protocol")
                    .keys(&["transport", "proto"])
                    .json("network.transport")
                    .cell(Cell::left("PROTO", 5, 7)),
                |r| {
                    Value::Word(match r.wire {
                        Some(passing) if passing.protocol == IPPROTO_UDP => "udp",
                        _ => r.datagrams.map_or("tcp", |datagrams| datagrams.transport()),
                    })
                },
            ),
            Column::new(
                Info::new("type", Kind::Word, "ipv4 or ipv6; IPv4-mapped addresses are IPv4")
                    .json("network.type"),
                |r| Value::Word(if r.peer.is_ipv4() && r.local.is_ipv4() { "ipv4" } else { "ipv6" }),
            ),
            Column::new(
                Info::new("netns", Kind::Number, "Inode of the network namespace (ext.)")
                    .keys(&["netns"])
                    .json("network.namespace.inode"),
                |r| if r.netns.0 == 0 { Value::Missing } else { Value::Uint(u64::from(r.netns.0)) },
            ),
            Column::new(
                Info::new(
                    "direction",
                    Kind::Word,
                    "outbound: this side connected, or sent first; inbound: it accepted; forwarded",
                )
                    .keys(&["direction"])
                    .json("flow.direction"),
                |r| r.direction.map_or(Value::Missing, |d| Value::Word(d.word())),
            ),
            Column::new(
                Info::new("dir", Kind::Word, "out: this side connected; in: it accepted; `listen` waits")
                    .cell(Cell::left("DIR", 6, 4)),
                |r| {
                    Value::Word(match r.direction.map(crate::records::flow::Direction::word) {
                        Some("outbound") => "out",
                        Some("forwarded") => "fwd",
                        Some(_) => "in",
                        None if applies(r) => "",
                        None => "listen",
                    })
                },
            ),
            Column::new(
                Info::new("local_address", Kind::Address, "Address of this side")
                    .keys(&["net", "host"])
                    .json("network.local.address"),
                |r| Value::Ip(r.local.ip()),
            ),
            Column::new(
                Info::new("lport", Kind::Number, "Port of this side")
                    .keys(&["lport", "port"])
                    .json("network.local.port"),
                |r| Value::Uint(u64::from(r.local.port())),
            ),
            Column::new(
                Info::new("local", Kind::Text, "Address and port of this side")
                    .cell(Cell::left("LOCAL", 21, 5).growing()),
                |r| Value::Socket(r.local),
            ),
            Column::new(
                Info::new("peer_address", Kind::Address, "Address of the other side")
                    .keys(&["net", "host"])
                    .json("network.peer.address"),
                |r| if applies(r) { Value::Ip(r.peer.ip()) } else { Value::Missing },
            ),
            Column::new(
                Info::new("rport", Kind::Number, "Port of the other side")
                    .keys(&["rport", "port"])
                    .json("network.peer.port"),
                |r| flow_number(r, u64::from(r.peer.port())),
            ),
            Column::new(
                Info::new("peer", Kind::Text, "Address and port of the other side")
                    .cell(Cell::left("PEER", 21, 0).growing()),
                |r| if applies(r) { Value::Socket(r.peer) } else { Value::Missing },
            ),
            Column::new(
                Info::new("peer_name", Kind::Text, "Name by which an answer of DNS called the other side")
                    .keys(&["host"])
                    .json("network.peer.name"),
                |r| r.peer_name.as_ref().map_or(Value::Missing, |name| Value::Text(&name.observed.name)),
            ),
            Column::new(
                Info::new("name_age", Kind::Number, "How long ago that answer came")
                    .keys(&["name_age"])
                    .json("network.peer.name_age_ns")
                    .unit(Unit::Nanos),
                |r| some(r.peer_name.as_ref().map(|name| name.age_ns)),
            ),
            Column::new(
                Info::new("state", Kind::Word, "State of the connection")
                    .keys(&["state"])
                    .json("network.connection.state")
                    .cell(Cell::left("STATE", 11, 4)),
                |r| match (r.datagrams, r.state) {
                    (None, State::Unknown) => Value::Missing,
                    (None, state) | (_, state @ State::Closed) => Value::Word(state.word()),
                    _ => Value::Missing,
                },
            ),
            Column::new(
                Info::new(
                    "rx",
                    Kind::Number,
                    "Application bytes received a second (tcp_info.bytes_received)",
                )
                .keys(&["rx"])
                .json("flow.rx_bytes_per_s")
                .unit(Unit::BytesPerSecond)
                .faces(Faces::TopOnly)
                .cell(Cell::right("RX/s", 8, 1)),
                |r| r.rates.map_or(Value::Missing, |rates| Value::Real(rates.rx_bytes_per_s)),
            ),
            Column::new(
                Info::new(
                    "tx",
                    Kind::Number,
                    "Application bytes sent and acknowledged a second (tcp_info.bytes_acked)",
                )
                .keys(&["tx"])
                .json("flow.tx_bytes_per_s")
                .unit(Unit::BytesPerSecond)
                .faces(Faces::TopOnly)
                .cell(Cell::right("TX/s", 8, 1)),
                |r| r.rates.map_or(Value::Missing, |rates| Value::Real(rates.tx_bytes_per_s)),
            ),
            Column::new(
                Info::new("rx_bytes", Kind::Number, "Application bytes received, in all")
                    .keys(&["rx_bytes"])
                    .json("flow.rx_bytes")
                    .unit(Unit::Bytes)
                    .cell(Cell::right("RX", 8, 7)),
                |r| flow_number(r, r.rx_bytes),
            ),
            Column::new(
                Info::new("tx_bytes", Kind::Number, "Application bytes sent and acknowledged, in all")
                    .keys(&["tx_bytes"])
                    .json("flow.tx_bytes")
                    .unit(Unit::Bytes)
                    .cell(Cell::right("TX", 8, 7)),
                |r| flow_number(r, r.tx_bytes),
            ),
            Column::new(
                Info::new("rtt", Kind::Number, "Smoothed round-trip time (tcp_sock.srtt_us / 8)")
                    .keys(&["rtt"])
                    .json("flow.rtt_ns")
                    .unit(Unit::Nanos)
                    .cell(Cell::right("RTT", 7, 2)),
                |r| connection_number(r, r.rtt_ns),
            ),
            Column::new(
                Info::new("retransmits", Kind::Number, "Segments sent again (tcp_sock.total_retrans)")
                    .keys(&["retransmits"])
                    .json("flow.retransmits")
                    .unit(Unit::Count)
                    .cell(Cell::right("RETR", 5, 6)),
                |r| connection_number(r, u64::from(r.retransmits)),
            ),
            Column::new(
                Info::new("connect", Kind::Number, "From the SYN to ESTABLISHED, or to failure")
                    .keys(&["connect"])
                    .json("flow.connect_ns")
                    .unit(Unit::Nanos)
                    .cell(Cell::right("CONNECT", 8, 8)),
                |r| r.connect_ns.map_or(Value::Missing, Value::Uint),
            ),
            Column::new(
                Info::new(
                    "first_byte",
                    Kind::Number,
                    "From ESTABLISHED to when the program took the first byte",
                )
                .keys(&["first_byte"])
                .json("flow.first_byte_ns")
                .unit(Unit::Nanos)
                .cell(Cell::right("FIRST", 7, 10)),
                |r| some(r.first_byte_ns),
            ),
            Column::new(
                Info::new("min_rtt", Kind::Number, "Least round-trip time of late (tcp_info.tcpi_min_rtt)")
                    .keys(&["min_rtt"])
                    .json("flow.min_rtt_ns")
                    .unit(Unit::Nanos)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("MIN RTT", 7, 11)),
                |r| some(r.live.min_rtt_ns),
            ),
            Column::new(
                Info::new("cwnd", Kind::Number, "Congestion window, in segments (tcp_info.tcpi_snd_cwnd)")
                    .keys(&["cwnd"])
                    .json("flow.congestion_window")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("CWND", 5, 12)),
                |r| some(r.live.cwnd.map(u64::from)),
            ),
            Column::new(
                Info::new(
                    "out_of_order",
                    Kind::Number,
                    "Segments that came out of order (tcp_info.tcpi_rcv_ooopack)",
                )
                .keys(&["out_of_order"])
                .json("flow.out_of_order")
                .unit(Unit::Count)
                .faces(Faces::TopOnly)
                .cell(Cell::right("OOO", 5, 12)),
                |r| some(r.live.out_of_order.map(u64::from)),
            ),
            Column::new(
                Info::new(
                    "delivery",
                    Kind::Number,
                    "The kernel's estimate of how fast data reaches the peer (tcp_info.tcpi_delivery_rate)",
                )
                .keys(&["delivery"])
                .json("flow.delivery_bytes_per_s")
                .unit(Unit::BytesPerSecond)
                .faces(Faces::TopOnly)
                .cell(Cell::right("DELIVERY", 8, 13)),
                |r| some(r.live.delivery_bytes_per_s),
            ),
            Column::new(
                Info::new("queue", Kind::Number, "Connections that wait at the listener to be accepted")
                    .keys(&["queue"])
                    .json("flow.listen.queue")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("QUEUE", 6, 9)),
                |r| queue(r, |q| Some(q.waiting)),
            ),
            Column::new(
                Info::new("backlog", Kind::Number, "Connections that may wait at the listener")
                    .keys(&["backlog"])
                    .json("flow.listen.backlog")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly),
                |r| queue(r, |q| Some(q.backlog)),
            ),
            Column::new(
                Info::new("half_open", Kind::Number, "Handshakes at the listener that are not over")
                    .keys(&["half_open"])
                    .json("flow.listen.half_open")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly),
                |r| queue(r, |q| Some(q.half_open)),
            ),
            Column::new(
                Info::new(
                    "drops",
                    Kind::Number,
                    "Attempts that the listener turned away, in all (sock.sk_drops)",
                )
                .keys(&["drops"])
                .json("flow.listen.drops")
                .unit(Unit::Count)
                .faces(Faces::TopOnly)
                .cell(Cell::right("DROPS", 6, 9)),
                |r| queue(r, |q| q.drops),
            ),
            Column::new(
                Info::new("age", Kind::Number, "Since the connection was established, where that was seen")
                    .keys(&["age", "duration"])
                    .json("flow.duration_ns")
                    .unit(Unit::Nanos)
                    .cell(Cell::right("AGE", 6, 3)),
                |r| {
                    if r.duration_ns == 0 && !r.timed {
                        Value::Missing
                    } else {
                        flow_number(r, r.duration_ns)
                    }
                },
            ),
            Column::new(
                Info::new("attribution", Kind::Word, "How the owner is known: exact, inferred or unknown")
                    .keys(&["attribution"])
                    .json("flow.attribution"),
                |r| Value::Word(r.attribution.word()),
            ),
            Column::new(
                Info::new("mover_pid", Kind::Number, "Process that moved data last")
                    .keys(&["mover_pid"])
                    .json("flow.last_data.pid"),
                |r| some(r.mover.as_ref().map(|mover| u64::from(mover.key.tgid.0))),
            ),
            Column::new(
                Info::new("mover", Kind::Text, "Name of the process that moved data last")
                    .keys(&["mover"])
                    .json("flow.last_data.comm"),
                |r| r.mover.as_ref().map_or(Value::Missing, |mover| Value::Text(&mover.comm)),
            ),
            Column::new(
                Info::new(
                    "end",
                    Kind::Word,
                    "How it ended: local or peer (whose FIN went first), reset_sent, reset_received, timeout; of \
                     datagrams socket, idle or observer",
                )
                .keys(&["end"])
                .json("flow.end")
                .cell(Cell::left("END", 14, 10)),
                |r| r.end.map_or(Value::Missing, |end| Value::Word(end.word())),
            ),
            Column::new(
                Info::new("reset", Kind::Word, "Of a reset: sent or received")
                    .keys(&["reset"])
                    .json("flow.reset")
                    .faces(Faces::EventOnly),
                |r| r.reset.map_or(Value::Missing, |reset| Value::Word(reset.word())),
            ),
            Column::new(
                Info::new("primed", Kind::Word, "The connection is older than this run of fluoro")
                    .json("flow.primed"),
                |r| if r.primed { Value::Bool(true) } else { Value::Missing },
            ),
            Column::new(
                Info::new(
                    "wire",
                    Kind::Word,
                    "Counted by packets: bytes are theirs, with every header",
                )
                .keys(&["wire"])
                .json("flow.wire")
                .faces(Faces::TopOnly),
                |r| if r.wire.is_some() { Value::Bool(true) } else { Value::Missing },
            ),
            Column::new(
                Info::new(
                    "verdict",
                    Kind::Word,
                    "dropped: the kernel threw packets of it away; forwarded: it passes through",
                )
                .keys(&["verdict"])
                .json("flow.verdict")
                .faces(Faces::TopOnly),
                |r| match (&r.lost, r.state) {
                    (Some(_), _) => Value::Word("dropped"),
                    (None, State::Forwarded) => Value::Word("forwarded"),
                    (None, _) => Value::Missing,
                },
            ),
            Column::new(
                Info::new("verdict_words", Kind::Word, "What became of its packets: forwarded, or dropped and why")
                    .cell(Cell::left("VERDICT", 22, 8)),
                |r| match (&r.lost, r.state) {
                    (Some(lost), _) => Value::Word(&lost.words),
                    (None, State::Forwarded) => Value::Word("forwarded"),
                    (None, _) => Value::Missing,
                },
            ),
            Column::new(
                Info::new("dropped", Kind::Number, "Packets of it that the kernel threw away, both ways, in all")
                    .keys(&["dropped"])
                    .json("flow.dropped.packets")
                    .unit(Unit::Count)
                    .faces(Faces::TopOnly)
                    .cell(Cell::right("DROP", 5, 8)),
                |r| some(r.lost.as_ref().map(|lost| lost.packets)),
            ),
            Column::new(
                Info::new("drop_reason", Kind::Word, "Why most of them: the kernel's enum skb_drop_reason")
                    .keys(&["reason"])
                    .json("flow.dropped.reason")
                    .faces(Faces::TopOnly),
                |r| r.lost.as_ref().map_or(Value::Missing, |lost| Value::Word(lost.reason)),
            ),
            Column::new(
                Info::new("id", Kind::Word, "Unique per socket: the kernel's cookie, or minted")
                    .json("flow.id"),
                |r| if r.id.0 == 0 { Value::Missing } else { Value::Id(r.id.0) },
            ),
            Column::new(
                Info::new("errno", Kind::Word, "Why an attempt failed").keys(&["errno"]).json("error.type"),
                |r| r.error.map_or(Value::Missing, Value::Word),
            ),
        ];
        columns.extend(own);
        columns.extend(udp::columns());
        columns
    })
}

/// What connections add to the rows of processes.
pub fn contributed<R: Gifted>() -> Vec<Column<R>> {
    vec![
        given!("flows", "Connections that it has", Count, "flow.group.flows", Cell::right("FLOWS", 6, 5)),
        given!(
            "rx",
            "Application bytes that its connections receive a second",
            BytesPerSecond,
            "flow.rx_bytes_per_s",
            Cell::right("RX/s", 7, 3)
        ),
        given!(
            "tx",
            "Application bytes that its connections send a second",
            BytesPerSecond,
            "flow.tx_bytes_per_s",
            Cell::right("TX/s", 7, 3)
        ),
        given!(
            "connections",
            "Connections of it that were established in the interval",
            Count,
            "flow.group.connections",
            Cell::right("CONN", 5, 7)
        ),
        given!(
            "connect_p99",
            "99 in 100 connections that it made in the interval were established within this time",
            Nanos,
            "flow.connect.p99_ns",
            Cell::right("CONNp99", 7, 7)
        ),
        given!(
            "retransmits",
            "Segments that its connections sent again in the interval",
            Count,
            "flow.retransmits",
            Cell::right("RETR", 5, 7)
        ),
    ]
}
