//! The details of one row: every column that has a value, in the words of its own help.

use crate::columns::{Facts, Value};
use crate::fmt;
use crate::records::Shown;
use crate::views::signal;
use crate::widgets::Entry;

/// The facts of a row, whole: nothing is cut, whatever its length.
pub fn entries(facts: &dyn Facts) -> Vec<Entry> {
    let mut entries = vec![];
    for (column, info) in facts.infos().iter().enumerate() {
        let value = facts.value(column);
        if matches!(value, Value::Missing) {
            continue;
        }
        let shown = Shown::own(&fmt::value(&value, info.unit));
        entries.push(Entry { label: info.help, value: shown, role: signal(info, &value) });
    }
    entries
}
