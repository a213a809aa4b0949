//! What other families say of a process: numbers by the id of the column that they contribute. Who they are, and which
//! columns, is in [`crate::families::Family::contributes`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::columns::Value;
use crate::records::ProcKey;

/// Numbers of one process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Given {
    own: Vec<(&'static str, f64)>,
    /// What is measured: who has no number of it has done nothing of the kind.
    measured: Arc<[&'static str]>,
}

impl Given {
    /// `None`: not measured, or there was nothing to measure.
    pub fn number(&self, column: &str) -> Option<f64> {
        let found = self.own.iter().find(|(id, _)| *id == column).map(|(_, number)| *number);
        found.or_else(|| self.measured.contains(&column).then_some(0.0))
    }

    /// Every number there is.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let nothing = self.measured.iter().filter(|id| !self.own.iter().any(|(own, _)| own == *id));
        self.own.iter().copied().chain(nothing.map(|id| (*id, 0.0)))
    }
}

/// Numbers of all processes, while the families give them.
#[derive(Debug, Default)]
pub struct Gifts {
    of: HashMap<ProcKey, Vec<(&'static str, f64)>>,
    measured: Vec<&'static str>,
    shared: Option<Arc<[&'static str]>>,
}

impl Gifts {
    /// These are counted: 0 where nobody gives more.
    pub fn measure(&mut self, columns: &[&'static str]) {
        self.measured.extend_from_slice(columns);
        self.shared = None;
    }

    pub fn give(&mut self, process: ProcKey, numbers: impl IntoIterator<Item = (&'static str, f64)>) {
        self.of.entry(process).or_default().extend(numbers);
    }

    /// What has been given to a process; nobody else may have it.
    pub fn take(&mut self, process: ProcKey) -> Given {
        let measured = self.shared.get_or_insert_with(|| self.measured.as_slice().into());
        Given { own: self.of.remove(&process).unwrap_or_default(), measured: Arc::clone(measured) }
    }
}

/// A row to which other families give numbers.
pub trait Gifted: 'static {
    fn number(&self, column: &str) -> Option<f64>;

    fn given(&self, column: &str) -> Value<'static> {
        self.number(column).map_or(Value::Missing, Value::Real)
    }
}

/// A column of numbers that a family gives to processes: id, help, unit, JSON path, cell.
macro_rules! given {
    ($id:literal, $help:literal, $unit:ident, $json:literal, $cell:expr) => {
        $crate::columns::Column::new(
            $crate::columns::Info::new($id, $crate::columns::Kind::Number, $help)
                .keys(&[$id])
                .json($json)
                .unit($crate::columns::Unit::$unit)
                .faces($crate::columns::Faces::TopOnly)
                .estimated(if $id.ends_with("_p99") {
                    $crate::columns::Estimate::Always
                } else {
                    $crate::columns::Estimate::No
                })
                .cell($cell),
            |row| row.given($id),
        )
    };
}
pub(crate) use given;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{StartTime, Tgid};

    const fn process(pid: u32) -> ProcKey {
        ProcKey { tgid: Tgid(pid), start: StartTime(1) }
    }

    #[test]
    fn what_is_measured_is_0_of_who_did_nothing_and_what_is_not_is_missing() {
        let mut gifts = Gifts::default();
        gifts.measure(&["opens"]);
        gifts.give(process(1), [("opens", 3.0), ("open_p99", 7.0)]);
        let (busy, idle) = (gifts.take(process(1)), gifts.take(process(2)));
        assert_eq!((busy.number("opens"), busy.number("open_p99")), (Some(3.0), Some(7.0)));
        assert_eq!((idle.number("opens"), idle.number("open_p99")), (Some(0.0), None));
        assert_eq!(idle.number("syscalls"), None);
        assert_eq!(idle.iter().collect::<Vec<_>>(), [("opens", 0.0)]);
    }
}
