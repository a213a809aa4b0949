//! What an event says beside its time, name and process: the same words in the console and in `observe`.

use crate::columns::{Facts, Value};
use crate::fmt;
use crate::model::Event;

/// What an event is about, in the order of its line: why it failed is cut off last.
const SUBJECT: &[&str] = &["errno", "reason", "name", "qtype", "rcode", "answers"];

/// What else tells it apart, with its label. Who made a process and of what belongs to the lines of processes.
const PARENTAGE: &[(&str, &str)] = &[("parent", "ppid"), ("exe", "exe")];
const ENDING: &[(&str, &str)] = &[("code", "exit_code"), ("signal", "exit_signal")];
const REST: &[(&str, &str)] = &[
    ("tx", "tx_bytes"),
    ("rx", "rx_bytes"),
    ("rtt", "rtt"),
    ("age", "age"),
    ("flags", "flags"),
    ("took", "took"),
    ("took", "duration"),
    ("owner", "owner"),
];

/// Why it failed, what it is about, then what tells it apart as `key=value`.
pub fn of(event: &Event) -> String {
    let parentage = if event.name.starts_with("process.") { PARENTAGE } else { &[] };
    say(event, &[parentage, ENDING, REST], false)
}

/// The same for a cell, whose text may be cut off: who was called comes first, and of what has a path there is no more
/// than how it ended, for a cell keeps the end of a path.
pub fn brief(event: &Event) -> String {
    say(event, if fact(event, "path").is_some() { &[ENDING] } else { &[ENDING, REST] }, true)
}

fn say(event: &Event, labelled: &[&[(&str, &str)]], callee_first: bool) -> String {
    let show = |id: &str| fact(event, id);
    if let Some(call) = show("call") {
        return show("duration").map_or_else(|| call.clone(), |took| format!("{call} <{took}>"));
    }
    let subject = SUBJECT.iter().filter_map(|id| show(id));
    let mut words: Vec<String> =
        subject.chain([ends(&show, callee_first), path(&show)].into_iter().flatten()).collect();
    for (label, id) in labelled.iter().copied().flatten() {
        if let Some(text) = show(id).filter(|text| text != "0" && text != "0 B" || *label == "code") {
            words.push(format!("{label}={}", text.replace(' ', "")));
        }
    }
    words.join(" ")
}

/// A column of the event as a cell shows it; `None`: it has none, or nothing in it.
pub fn fact(event: &Event, id: &str) -> Option<String> {
    let (column, info) = event.infos().iter().enumerate().find(|(_, info)| info.id == id)?;
    let value = event.value(column);
    (value != Value::Missing).then(|| fmt::value(&value, info.unit))
}

/// Both ends of a connection or packet, and which way it goes.
fn ends(show: &impl Fn(&str) -> Option<String>, callee_first: bool) -> Option<String> {
    let direction = show("direction").or_else(|| show("dir"));
    let inbound = matches!(direction.as_deref(), Some("inbound" | "in" | "receive"));
    match (show("local"), show("peer")) {
        (Some(local), Some(peer)) if inbound => Some(format!("{local} <- {peer}")),
        (Some(local), Some(peer)) if callee_first => Some(format!("-> {peer} from {local}")),
        (Some(local), Some(peer)) => Some(format!("{local} -> {peer}")),
        (one, other) => one.or(other),
    }
}

/// The path; from where a rename or a link came; where a symbolic link points to.
fn path(show: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let path = show("path")?;
    Some(match (show("old_path"), show("target")) {
        (Some(old), _) => format!("{old} -> {path}"),
        (None, Some(target)) => format!("{path} -> {target}"),
        (None, None) => path,
    })
}
