//! What is known of the row whose details are open, beyond its columns.

use crate::columns::{Facts, RowId, Unit, Value};
use crate::families::syscall::model::pid_of;
use crate::fmt;
use crate::model::{Event, Identity, MoreFact};
use crate::records::Outside;

/// Lines of a trace that are shown.
const TRACE: usize = 40;

/// What the process called last.
pub fn syscall<'a>(row: RowId, events: impl Iterator<Item = &'a Event>) -> Vec<MoreFact> {
    let mut facts = vec![];
    let pid = u64::from(pid_of(row).0);
    let value = |event: &'a Event, id: &str| {
        let column = event.infos().iter().position(|info| info.id == id);
        column.map_or(Value::Missing, |column| event.value(column))
    };
    let mine = events.filter(|event| event.family == "syscall" && value(event, "pid") == Value::Uint(pid));
    let mine = mine.take(TRACE);
    for (at, event) in mine.enumerate() {
        let Value::Text(call) = value(event, "call") else { continue };
        let mut text = fmt::clock(event.wall).into_bytes();
        text.push(b' ');
        text.extend_from_slice(call.bytes());
        if let Value::Uint(ns) = value(event, "duration") {
            text.extend_from_slice(format!(" <{}>", fmt::value(&Value::Uint(ns), Unit::Nanos)).as_bytes());
        }
        let label = if at == 0 { "trace" } else { "" };
        facts.push(MoreFact { label, text: Outside::new(&text), help: "" });
    }
    facts
}

/// Where a process stands.
pub fn process(identity: &Identity, directory: Option<Outside>) -> Vec<MoreFact> {
    let directory = directory.filter(|_| !identity.ended);
    let fact = |text| MoreFact { label: "directory", text, help: "Its working directory (/proc/PID/cwd)" };
    directory.map(fact).into_iter().collect()
}
