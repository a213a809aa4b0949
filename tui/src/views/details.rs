//! The details of one row: every column that has a value, whole, with what it means.

use crate::columns::{Facts, Value};
use crate::fmt;
use crate::model::Snapshot;
use crate::records::Shown;
use crate::theme::Role;
use crate::views::signal;
use crate::widgets::Entry;

/// What a reader who opens a row most likely came for stands first.
const FIRST: [&str; 2] = ["error", "reason"];

/// The facts of the row at `index`, and what else is known of it: nothing is cut, whatever its length.
pub fn entries(snapshot: &Snapshot, index: usize) -> Option<Vec<Entry>> {
    let mut entries = columns(snapshot.sheet.row(index)?);
    let id = snapshot.sheet.id(index);
    for fact in snapshot.more.iter().filter(|more| Some(more.row) == id).flat_map(|more| &more.facts) {
        let (label, help) = (fact.label, fact.help);
        entries.push(Entry { label, value: fact.text.shown(), role: Role::Text, help });
    }
    Some(entries)
}

fn columns(facts: &dyn Facts) -> Vec<Entry> {
    let mut entries = vec![];
    for (column, info) in facts.infos().iter().enumerate() {
        let value = facts.value(column);
        if matches!(value, Value::Missing) {
            continue;
        }
        let text = Shown::own(&fmt::value(&value, info.unit));
        entries.push(Entry { label: info.id, value: text, role: signal(info, &value), help: info.help });
    }
    entries.sort_by_key(|entry| !FIRST.contains(&entry.label));
    entries
}
