//! The columns of `dns`.

pub mod asked;

use std::sync::OnceLock;

use super::row::DnsRow;
use crate::columns::{Cell, Column, Info, Kind, Unit, Value};
use crate::families::identity;
use crate::records::Outside;

fn list(items: &Outside) -> Value<'_> {
    if items.is_empty() { Value::Missing } else { Value::List(items) }
}

fn of_answer(row: &DnsRow, value: u64) -> Value<'static> {
    if row.message.response { Value::Uint(value) } else { Value::Missing }
}

fn marked(is_so: bool) -> Value<'static> {
    if is_so { Value::Bool(true) } else { Value::Missing }
}

pub fn columns() -> &'static [Column<DnsRow>] {
    static COLUMNS: OnceLock<Vec<Column<DnsRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<DnsRow>();
        columns.extend(message());
        columns.extend(network());
        columns
    })
}

/// What was said.
fn message() -> Vec<Column<DnsRow>> {
    vec![
        Column::new(
            Info::new("name", Kind::Text, "Name that is asked for, what is not printable as \\DDD")
                .keys(&["name", "host"])
                .json("dns.question.name")
                .cell(Cell::left("NAME", 28, 0).growing()),
            |r| r.message.question.as_ref().map_or(Value::Missing, |question| Value::Text(&question.name)),
        ),
        Column::new(
            Info::new("qtype", Kind::Word, "Type that is asked for, such as A, AAAA or TYPE65280")
                .keys(&["qtype"])
                .json("dns.question.type")
                .cell(Cell::left("TYPE", 6, 1)),
            |r| r.message.question.as_ref().map_or(Value::Missing, |question| Value::Word(&question.kind)),
        ),
        Column::new(
            Info::new("rcode", Kind::Word, "Of an answer: NOERROR, NXDOMAIN, SERVFAIL, ..")
                .keys(&["rcode"])
                .json("dns.response_code")
                .cell(Cell::left("RCODE", 9, 1)),
            |r| if r.message.response { Value::Word(&r.message.rcode) } else { Value::Missing },
        ),
        Column::new(
            Info::new("answers", Kind::Text, "Addresses that were answered")
                .keys(&["answer"])
                .json("dns.answers")
                .cell(Cell::left("ANSWERS", 24, 1).growing()),
            |r| list(&r.addresses),
        ),
        Column::new(
            Info::new("records", Kind::Text, "What else was answered: type and data, or how long that is")
                .keys(&["answer"])
                .json("dns.records"),
            |r| list(&r.records),
        ),
        Column::new(
            Info::new("answer_count", Kind::Number, "Answers, by the header")
                .keys(&["answer_count"])
                .json("dns.answer_count")
                .unit(Unit::Count),
            |r| of_answer(r, u64::from(r.message.answer_count)),
        ),
        Column::new(
            Info::new("duration", Kind::Number, "Of an answer: since the question was sent")
                .keys(&["duration"])
                .json("dns.duration_ns")
                .unit(Unit::Nanos)
                .cell(Cell::right("LATENCY", 8, 1)),
            |r| r.duration_ns.map_or(Value::Missing, Value::Uint),
        ),
        Column::new(Info::new("message_id", Kind::Number, "Id of the message").json("dns.id"), |r| {
            Value::Uint(u64::from(r.message.id))
        }),
        Column::new(
            Info::new("truncated", Kind::Word, "The server has more to say, over TCP").json("dns.truncated"),
            |r| marked(r.message.truncated),
        ),
        Column::new(
            Info::new(
                "malformed",
                Kind::Word,
                "It is not what the protocol says, or ended too early; the rest is what was understood before",
            )
            .json("dns.malformed"),
            |r| marked(r.message.malformed),
        ),
        Column::new(
            Info::new("protocol", Kind::Word, "dns, mdns or llmnr, by the port")
                .keys(&["protocol"])
                .json("dns.protocol"),
            |r| Value::Word(r.protocol()),
        ),
        Column::new(
            Info::new("attribution", Kind::Word, "How the process is known: exact, inferred or unknown")
                .keys(&["attribution"])
                .json("dns.attribution"),
            |r| Value::Word(r.attribution.word()),
        ),
    ]
}

/// Between whom.
fn network() -> Vec<Column<DnsRow>> {
    vec![
        Column::new(Info::new("transport", Kind::Word, "udp or tcp").json("network.transport"), |r| {
            Value::Word(if r.tcp { "tcp" } else { "udp" })
        }),
        Column::new(Info::new("type", Kind::Word, "ipv4 or ipv6").json("network.type"), |r| {
            Value::Word(if r.local.is_ipv4() { "ipv4" } else { "ipv6" })
        }),
        Column::new(
            Info::new("netns", Kind::Number, "Inode of the network namespace in which it was seen (ext.)")
                .keys(&["netns"])
                .json("network.namespace.inode"),
            |r| if r.netns.0 == 0 { Value::Missing } else { Value::Uint(u64::from(r.netns.0)) },
        ),
        Column::new(
            Info::new("dir", Kind::Word, "receive: this side got it; transmit: it sent it")
                .json("network.io.direction"),
            |r| Value::Word(if r.received { "receive" } else { "transmit" }),
        ),
        Column::new(
            Info::new("local_address", Kind::Address, "Address of this side; over the loopback, of who asks")
                .keys(&["net", "host"])
                .json("network.local.address"),
            |r| Value::Ip(r.local.ip()),
        ),
        Column::new(
            Info::new("lport", Kind::Number, "Port there")
                .keys(&["lport", "port"])
                .json("network.local.port"),
            |r| Value::Uint(u64::from(r.local.port())),
        ),
        Column::new(Info::new("local", Kind::Text, "Both").cell(Cell::left("LOCAL", 21, 7).growing()), |r| {
            Value::Socket(r.local)
        }),
        Column::new(
            Info::new("peer_address", Kind::Address, "Address of the other side")
                .keys(&["net", "host"])
                .json("network.peer.address"),
            |r| Value::Ip(r.peer.ip()),
        ),
        Column::new(
            Info::new("rport", Kind::Number, "Port there").keys(&["rport", "port"]).json("network.peer.port"),
            |r| Value::Uint(u64::from(r.peer.port())),
        ),
        Column::new(Info::new("peer", Kind::Text, "Both").cell(Cell::left("PEER", 21, 4).growing()), |r| {
            Value::Socket(r.peer)
        }),
    ]
}
