//! Rows as JSON lines, by the columns' dotted paths. Written straight into a buffer: `observe` prints hundreds of
//! thousands of lines a second.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::columns::{Faces, Facts, Info, Sheet, Value};
use crate::model::{Event, Ledger};
use crate::records::WallTime;

/// Version of the contract: keys are only ever added to it.
pub const SCHEMA: u32 = 1;

/// One event and its line end.
pub fn event_line(out: &mut Vec<u8>, event: &Event) {
    begin(out);
    out.extend_from_slice(b",\"time\":");
    time(out, event.wall);
    out.extend_from_slice(b",\"event_name\":");
    text(out, event.name);
    members(out, &plan(event.infos(), Faces::EventOnly), event.facts.as_ref(), true);
    out.extend_from_slice(b"}\n");
}

/// One table of `top` and its line end.
pub fn top_object(
    out: &mut Vec<u8>,
    at: WallTime,
    interval: Duration,
    totals: &[(&str, Option<f64>)],
    lost: u64,
    sheet: &dyn Sheet,
    max_rows: usize,
) {
    begin(out);
    out.extend_from_slice(b",\"time\":");
    time(out, at);
    put(out, format_args!(",\"interval_ns\":{},\"totals\":{{", interval.as_nanos()));
    let mut first = true;
    for (name, value) in totals {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            comma(out, &mut first);
            text(out, name);
            out.push(b':');
            real(out, value);
        }
    }
    put(out, format_args!("}},\"lost\":{lost},\"rows\":["));
    let plan = plan(sheet.infos(), Faces::TopOnly);
    let mut first = true;
    for row in (0..sheet.len().min(max_rows)).filter_map(|row| sheet.row(row)) {
        comma(out, &mut first);
        out.push(b'{');
        members(out, &plan, row, false);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n");
}

/// The ledger of each family: the last line of `observe --stats`.
pub fn stats_line(out: &mut Vec<u8>, ledgers: &[(&str, Ledger)]) {
    begin(out);
    out.extend_from_slice(b",\"event_name\":\"fluoro.stats\",\"families\":{");
    let mut first = true;
    for (family, ledger) in ledgers {
        comma(out, &mut first);
        text(out, family);
        let missed = ledger.missed.map_or_else(|| "null".to_owned(), |missed| missed.to_string());
        put(
            out,
            format_args!(
                ":{{\"seen\":{},\"submitted\":{},\"muted\":{},\"filtered\":{},\"lost\":{},\"error\":{},\"missed\":{missed}",
                ledger.seen, ledger.submitted, ledger.muted, ledger.filtered, ledger.lost, ledger.error
            ),
        );
        let aggregates = &ledger.aggregates;
        put(
            out,
            format_args!(
                ",\"aggregates\":{{\"seen\":{},\"counted\":{},\"filtered\":{},\"untracked\":{}}}}}",
                aggregates.seen, aggregates.counted, aggregates.filtered, aggregates.untracked
            ),
        );
    }
    out.extend_from_slice(b"}}\n");
}

/// The nesting of a row type's columns, worked out once.
enum Node {
    Leaf { name: &'static str, column: usize },
    Object { name: &'static str, members: Vec<Node> },
}

fn plan(infos: &'static [Info], face: Faces) -> Arc<Vec<Node>> {
    type Plans = RwLock<HashMap<(usize, bool), Arc<Vec<Node>>>>;
    static PLANS: OnceLock<Plans> = OnceLock::new();
    let plans = PLANS.get_or_init(RwLock::default);
    let key = (infos.as_ptr() as usize, face == Faces::EventOnly);
    if let Some(plan) = plans.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Arc::clone(plan);
    }
    let mut root = Vec::new();
    for (column, info) in infos.iter().enumerate() {
        if let Some(path) = info.json
            && (info.faces == Faces::All || info.faces == face)
        {
            insert(&mut root, path, column);
        }
    }
    let plan = Arc::new(root);
    plans.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&plan));
    plan
}

fn insert(members: &mut Vec<Node>, path: &'static str, column: usize) {
    let Some((head, rest)) = path.split_once('.') else {
        members.push(Node::Leaf { name: path, column });
        return;
    };
    let found = members.iter_mut().find_map(|node| match node {
        Node::Object { name, members } if *name == head => Some(members),
        _ => None,
    });
    if let Some(members) = found {
        insert(members, rest, column);
    } else {
        let mut inner = Vec::new();
        insert(&mut inner, rest, column);
        members.push(Node::Object { name: head, members: inner });
    }
}

/// Writes the members that have a value; an object none of whose members has one is absent. True: something was
/// written.
fn members(out: &mut Vec<u8>, plan: &[Node], row: &dyn Facts, after_others: bool) -> bool {
    let mut first = !after_others;
    for node in plan {
        let start = out.len();
        let was_first = first;
        comma(out, &mut first);
        let written = match node {
            Node::Leaf { name, column } => leaf(out, name, &row.value(*column)),
            Node::Object { name, members: inner } => {
                text(out, name);
                out.extend_from_slice(b":{");
                let any = members(out, inner, row, false);
                out.push(b'}');
                any
            }
        };
        if !written {
            out.truncate(start);
            first = was_first;
        }
    }
    after_others || !first
}

fn leaf(out: &mut Vec<u8>, name: &str, value: &Value<'_>) -> bool {
    let start = out.len();
    text(out, name);
    out.push(b':');
    match value {
        Value::Text(bytes) | Value::Process(bytes, _) => {
            let (lossy, raw) = bytes.json();
            text(out, &lossy);
            if let Some(raw) = raw {
                put(out, format_args!(",\"{name}_base64\":\"{}\"", BASE64.encode(raw)));
            }
        }
        Value::Args(args) => {
            let args = args.spaced();
            let (lossy, raw) = args.json();
            text(out, &lossy);
            if let Some(raw) = raw {
                put(out, format_args!(",\"{name}_base64\":\"{}\"", BASE64.encode(raw)));
            }
        }
        Value::List(items) => {
            out.push(b'[');
            let mut first = true;
            for item in items.bytes().split(|&byte| byte == 0).filter(|item| !item.is_empty()) {
                comma(out, &mut first);
                text(out, &String::from_utf8_lossy(item));
            }
            out.push(b']');
        }
        Value::Word(word) => text(out, word),
        Value::Uint(n) => integer(out, *n),
        Value::Int(n) => put(out, format_args!("{n}")),
        Value::Real(n) if n.is_finite() => real(out, *n),
        Value::Bool(yes) => put(out, format_args!("{yes}")),
        Value::Id(id) => put(out, format_args!("\"{id}\"")),
        Value::Ip(address) => put(out, format_args!("\"{address}\"")),
        Value::Counts(counts) => {
            out.push(b'{');
            let mut first = true;
            for (name, n) in *counts {
                comma(out, &mut first);
                text(out, name);
                out.push(b':');
                integer(out, *n);
            }
            out.push(b'}');
        }
        Value::Socket(address) => put(out, format_args!("\"{address}\"")),
        Value::Time(at) => time(out, *at),
        Value::Missing | Value::Real(_) => {
            out.truncate(start);
            return false;
        }
    }
    true
}

fn begin(out: &mut Vec<u8>) {
    put(out, format_args!("{{\"schema\":{SCHEMA}"));
}

fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}

fn put(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    // A vector takes everything.
    let _ = out.write_fmt(args);
}

fn integer(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Three decimals are more than any of these figures is good for.
fn real(out: &mut Vec<u8>, n: f64) {
    if n.fract() == 0.0 && n.abs() < 9e15 {
        put(out, format_args!("{}", n as i64));
    } else {
        put(out, format_args!("{n:.3}"));
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(plain..index).unwrap_or_default());
        if escape.is_empty() {
            put(out, format_args!("\\u{byte:04x}"));
        } else {
            out.extend_from_slice(escape);
        }
        plain = index + 1;
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
    out.push(b'"');
}

/// RFC 3339 with nanoseconds, UTC.
fn time(out: &mut Vec<u8>, at: WallTime) {
    // The type reaches to the year 9999, nanoseconds in 64 bits to 2554.
    let at = jiff::Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or_default();
    put(out, format_args!("\"{at:.9}\""));
}

#[cfg(test)]
mod tests;
