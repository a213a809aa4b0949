//! Rows to a finished table: filter, own rows out, order. Never in draw.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::columns::{Faces, Facts, Info, Listing, Row, RowId, Value, infos};
use crate::filter::Filter;
use crate::model::Sort;
use crate::records::Spread;

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
    (Listing { rows: arrange(rows, sort, &mut Ranks::default()), total }, own_hidden)
}

/// Where the rows of a table stood, so that it stays calm while values wobble: a row is ranked by the value with which
/// it came to its place, until its value has clearly become another one, or has been a little different for a while.
#[derive(Default)]
pub struct Ranks {
    column: &'static str,
    standing: HashMap<RowId, Standing, BuildHasherDefault<Spread>>,
    tick: u64,
}

#[derive(Clone, Copy)]
struct Standing {
    value: f64,
    since: u64,
    seen: u64,
}

/// A value is clearly another one when it differs by this share of the larger of the two.
const CLEAR: f64 = 0.25;
/// For so many ticks a row may stand by an old value.
const PATIENCE: u64 = 10;

impl Ranks {
    /// Begins a tick. What was not seen in the one before is forgotten.
    pub fn turn(&mut self) {
        self.tick += 1;
        let tick = self.tick;
        self.standing.retain(|_, standing| standing.seen + 1 >= tick);
    }

    fn order_by(&mut self, column: &'static str) {
        if self.column != column {
            self.column = column;
            self.standing.clear();
        }
    }

    fn calm(&mut self, id: RowId, value: f64) -> f64 {
        let tick = self.tick;
        // Most of a crowd does nothing: whoever did nothing before either is not remembered.
        let nothing = |n: f64| n.to_bits() == 0;
        if nothing(value) && self.standing.get(&id).is_none_or(|standing| nothing(standing.value)) {
            return value;
        }
        let fresh = Standing { value, since: tick, seen: tick };
        let standing = self.standing.entry(id).or_insert(fresh);
        let larger = standing.value.abs().max(value.abs());
        let moved = (standing.value - value).abs() > CLEAR * larger;
        if moved || tick >= standing.since + PATIENCE {
            *standing = fresh;
        }
        standing.seen = tick;
        standing.value
    }
}

/// Values of this column wobble from tick to tick.
fn wobbles(info: &Info) -> bool {
    info.faces == Faces::TopOnly || info.id == "rtt"
}

/// What a row is ordered by.
enum Key {
    Number(f64),
    Text(Vec<u8>),
    Address(std::net::SocketAddr),
    Missing,
}

/// Orders the rows. Of those that are alike what has ended stands behind what has not; then ties keep to identity, so
/// that the order does not flicker.
pub fn arrange<R: Row>(
    rows: impl IntoIterator<Item = Arc<R>>,
    sort: Option<Sort>,
    ranks: &mut Ranks,
) -> Vec<Arc<R>> {
    let rows = rows.into_iter();
    let column = |sort: &Sort| infos::<R>().iter().position(|info| info.id == sort.column);
    let Some((sort, column)) = sort.and_then(|sort| Some((sort, column(&sort)?))) else {
        return rows.collect();
    };
    let calm = infos::<R>().get(column).is_some_and(wobbles);
    ranks.order_by(if calm { sort.column } else { "" });
    // With all that is compared: a crowd's rows are too many to be looked into again and again.
    let mut keyed: Vec<(Key, (bool, RowId), Arc<R>)> = Vec::new();
    let mut numbered: Vec<(u64, (bool, RowId), Arc<R>)> = Vec::with_capacity(rows.size_hint().1.unwrap_or(0));
    for row in rows {
        let id = row.id();
        let tie = (row.ended(), id);
        match key(&Facts::value(row.as_ref(), column)) {
            Key::Number(n) => {
                let n = if calm { ranks.calm(id, n) } else { n };
                let rank = ordinal(n);
                numbered.push((if sort.descending { !rank } else { rank }, tie, row));
            }
            key => keyed.push((key, tie, row)),
        }
    }
    numbered.sort_unstable_by_key(|(rank, tie, _)| (*rank, *tie));
    keyed.sort_by(|(a, a_tie, _), (b, b_tie, _)| compare(a, b, sort.descending).then(a_tie.cmp(b_tie)));
    let numbered = numbered.into_iter().map(|(_, _, row)| row);
    numbered.chain(keyed.into_iter().map(|(_, _, row)| row)).collect()
}

/// Numbers in the order of `f64::total_cmp`.
const fn ordinal(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn key(value: &Value<'_>) -> Key {
    match value {
        Value::Text(text) | Value::Process(text, _) => Key::Text(text.bytes().to_vec()),
        Value::Word(word) => Key::Text(word.as_bytes().to_vec()),
        Value::Socket(address) => Key::Address(*address),
        Value::Ip(address) => Key::Address((*address, 0).into()),
        value => value.number().map_or(Key::Missing, Key::Number),
    }
}

/// Missing values go last, whatever the direction.
fn compare(a: &Key, b: &Key, descending: bool) -> Ordering {
    let turn = |order: Ordering| if descending { order.reverse() } else { order };
    match (a, b) {
        (Key::Text(a), Key::Text(b)) => turn(a.cmp(b)),
        (Key::Address(a), Key::Address(b)) => turn(a.cmp(b)),
        (a, b) => place(a).cmp(&place(b)),
    }
}

/// Kinds of values in a column that holds several.
const fn place(key: &Key) -> u8 {
    match key {
        Key::Number(_) => 0,
        Key::Text(_) => 1,
        Key::Address(_) => 2,
        Key::Missing => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rate(u64, f64);

    /// Those with these ids have ended, and nobody knows a number of them.
    const ENDED: [u64; 2] = [70, 90];

    impl Row for Rate {
        fn id(&self) -> RowId {
            RowId(0, self.0)
        }

        fn ended(&self) -> bool {
            ENDED.contains(&self.0)
        }

        fn columns() -> &'static [crate::columns::Column<Self>] {
            use crate::columns::{Column, Kind};
            static COLUMNS: [Column<Rate>; 1] =
                [Column::new(Info::new("rx", Kind::Number, "").faces(Faces::TopOnly), |rate| {
                    if rate.1.is_nan() { Value::Missing } else { Value::Real(rate.1) }
                })];
            &COLUMNS
        }
    }

    fn order(ranks: &mut Ranks, rates: &[f64]) -> Vec<u64> {
        ranks.turn();
        let rows = (0..).zip(rates).map(|(id, rate)| Arc::new(Rate(id, *rate)));
        let sort = Sort { column: "rx", descending: true };
        arrange(rows, Some(sort), ranks).iter().map(|row| row.0).collect()
    }

    #[test]
    fn rows_keep_their_places_while_values_wobble_and_change_them_when_values_do() {
        let mut ranks = Ranks::default();
        assert_eq!(order(&mut ranks, &[100.0, 95.0, 10.0]), [0, 1, 2]);
        assert_eq!(order(&mut ranks, &[95.0, 105.0, 11.0]), [0, 1, 2], "a wobble");
        assert_eq!(order(&mut ranks, &[95.0, 105.0, 400.0]), [2, 0, 1], "a change");
        for _ in 0..PATIENCE {
            order(&mut ranks, &[95.0, 105.0, 400.0]);
        }
        assert_eq!(order(&mut ranks, &[95.0, 105.0, 400.0]), [2, 1, 0], "a wobble that stays");
    }

    #[test]
    fn what_does_nothing_is_not_remembered() {
        let mut ranks = Ranks::default();
        assert_eq!(order(&mut ranks, &[0.0, 7.0, 0.0]), [1, 0, 2]);
        assert_eq!(ranks.standing.len(), 1);
        assert_eq!(order(&mut ranks, &[0.0, 0.0, 9.0]), [2, 0, 1]);
    }

    #[test]
    fn what_has_ended_stands_behind_what_lives_where_nothing_else_tells_them_apart() {
        let row = |id, rate| Arc::new(Rate(id, rate));
        let unknown = f64::NAN;
        let rows = vec![row(70, unknown), row(80, unknown), row(90, 5.0), row(95, 5.0), row(60, 0.0)];
        let sort = Sort { column: "rx", descending: true };
        let order: Vec<u64> =
            arrange(rows, Some(sort), &mut Ranks::default()).iter().map(|row| row.0).collect();
        assert_eq!(order, [95, 90, 60, 80, 70]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut ranks = Ranks::default();
        order(&mut ranks, &[1.0, 2.0, 3.0]);
        order(&mut ranks, &[1.0]);
        order(&mut ranks, &[1.0]);
        assert_eq!(ranks.standing.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn ordinals_order_as_the_numbers(a in proptest::num::f64::ANY, b in proptest::num::f64::ANY) {
            assert_eq!(ordinal(a).cmp(&ordinal(b)), a.total_cmp(&b));
        }
    }
}
