//! Rows to a finished table: filter, own rows out, order. Never in draw.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::columns::{Facts, Listing, Row, Value, infos};
use crate::filter::Filter;
use crate::model::Sort;

/// Builds the table, and says how many rows `hide`, asked with the row's pid, kept out of it.
pub fn list<R: Row>(
    rows: Vec<Arc<R>>,
    filter: Option<&Filter>,
    sort: Option<Sort>,
    hide: impl Fn(u32) -> bool,
) -> (Listing<R>, usize) {
    let pid = infos::<R>().iter().position(|info| info.id == "pid");
    let is_hidden = |row: &R| {
        pid.is_some_and(|column| matches!(Facts::value(row, column), Value::Uint(pid) if hide(pid as u32)))
    };
    let before = rows.len();
    let mut rows: Vec<Arc<R>> = rows.into_iter().filter(|row| !is_hidden(row)).collect();
    let own_hidden = before - rows.len();
    let total = rows.len();
    if let Some(filter) = filter {
        rows.retain(|row| filter.matches(row.as_ref(), None));
    }
    if let Some(sort) = sort
        && let Some(column) = infos::<R>().iter().position(|info| info.id == sort.column)
    {
        // Ties keep to identity, so that the order does not flicker.
        rows.sort_by(|a, b| {
            let order =
                compare(Facts::value(a.as_ref(), column), Facts::value(b.as_ref(), column), sort.descending);
            order.then_with(|| a.id().cmp(&b.id()))
        });
    }
    (Listing { rows, total }, own_hidden)
}

/// Missing values go last, whatever the direction.
fn compare(a: Value<'_>, b: Value<'_>, descending: bool) -> Ordering {
    let turn = |order: Ordering| if descending { order.reverse() } else { order };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => turn(a.total_cmp(&b)),
        (None, None) => match (text(&a), text(&b)) {
            (Some(a), Some(b)) => turn(a.cmp(b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => address(a, b, descending),
        },
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

fn address(a: Value<'_>, b: Value<'_>, descending: bool) -> Ordering {
    let order = match (a, b) {
        (Value::Socket(a), Value::Socket(b)) => a.cmp(&b),
        (Value::Ip(a), Value::Ip(b)) => a.cmp(&b),
        (Value::Missing, Value::Missing) => return Ordering::Equal,
        (Value::Missing, _) => return Ordering::Greater,
        (_, Value::Missing) => return Ordering::Less,
        _ => Ordering::Equal,
    };
    if descending { order.reverse() } else { order }
}

fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Uint(n) | Value::Id(n) => Some(n as f64),
        Value::Int(n) => Some(n as f64),
        Value::Real(n) => Some(n),
        Value::Bool(b) => Some(f64::from(u8::from(b))),
        Value::Time(at) => Some(at.0 as f64),
        _ => None,
    }
}

fn text<'a>(value: &'a Value<'_>) -> Option<&'a [u8]> {
    match value {
        Value::Text(text) | Value::Process(text, _) => Some(text.bytes()),
        Value::Word(word) => Some(word.as_bytes()),
        _ => None,
    }
}
