//! The details of one row: every column that has a value, whole, with what it means.

use crate::columns::{Facts, Value};
use crate::fmt;
use crate::records::Shown;
use crate::views::signal;
use crate::widgets::Entry;

/// What a reader who opens a row most likely came for stands first.
const FIRST: [&str; 2] = ["error", "reason"];

/// The facts of a row: nothing is cut, whatever its length.
pub fn entries(facts: &dyn Facts) -> Vec<Entry> {
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
