//! Processes of one owner as one row: a container, a systemd unit, or neither.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::columns;
use super::{Gifted, ProcessRow};
use crate::columns::{Column, Row, RowId};
use crate::model::Owner;

/// All that the processes of one owner come to.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerRow {
    pub owner: Owner,
    pub processes: u64,
    pub forks: u64,
    pub execs: u64,
    pub resident_bytes: Option<u64>,
    pub threads: Option<u64>,
    pub cpu_share: Option<f64>,
    given: HashMap<&'static str, f64>,
}

impl OwnerRow {
    fn of(owner: Owner) -> Self {
        Self {
            owner,
            processes: 0,
            forks: 0,
            execs: 0,
            resident_bytes: None,
            threads: None,
            cpu_share: None,
            given: HashMap::new(),
        }
    }

    fn add(&mut self, row: &ProcessRow) {
        self.processes += u64::from(!row.identity.ended);
        let activity = row.activity.unwrap_or_default();
        self.forks += activity.forks;
        self.execs += activity.execs;
        if let Some(usage) = &row.usage {
            *self.resident_bytes.get_or_insert(0) += usage.resident_bytes;
            *self.threads.get_or_insert(0) += usage.threads;
            if let Some(share) = usage.cpu_share {
                *self.cpu_share.get_or_insert(0.0) += share;
            }
        }
        // Of what cannot be added the greatest is told.
        for (id, number) in row.given.iter() {
            let sum = self.given.entry(id).or_default();
            *sum = if id.ends_with("_p99") { sum.max(number) } else { *sum + number };
        }
    }
}

impl Gifted for OwnerRow {
    fn number(&self, column: &str) -> Option<f64> {
        self.given.get(column).copied()
    }
}

/// One row for each owner, those of most processes first.
pub fn group(rows: &[Arc<ProcessRow>]) -> Vec<Arc<OwnerRow>> {
    let mut owners: HashMap<&[u8], OwnerRow> = HashMap::new();
    for row in rows {
        let owner = &row.identity.owner;
        let label = owner.label().map_or(&b""[..], |label| label.bytes());
        owners.entry(label).or_insert_with(|| OwnerRow::of(owner.clone())).add(row);
    }
    let mut rows: Vec<Arc<OwnerRow>> = owners.into_values().map(Arc::new).collect();
    rows.sort_by(|a, b| b.processes.cmp(&a.processes).then_with(|| a.id().cmp(&b.id())));
    rows
}

impl Row for OwnerRow {
    /// Labels are of no length: their hash (FNV-1a) stands for them.
    fn id(&self) -> RowId {
        let label = self.owner.label().map_or(&b""[..], |label| label.bytes());
        let hash = label.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        RowId(u64::MAX - 3, hash)
    }

    fn columns() -> &'static [Column<Self>] {
        columns::owner::columns()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::columns::Value;
    use crate::families::process::model::{Activity, Gifts, Usage};
    use crate::model::Identity;
    use crate::records::{Outside, ProcKey, StartTime, Tgid, WallTime};

    fn process(pid: u32, unit: Option<&str>, share: f64) -> Arc<ProcessRow> {
        let key = ProcKey { tgid: Tgid(pid), start: StartTime(1) };
        let owner = Owner { unit: unit.map(Outside::from), ..Owner::default() };
        let identity = Identity { owner, ..Identity::bare(key, WallTime(0)) };
        let mut gifts = Gifts::default();
        gifts.give(key, [("syscalls", 5.0), ("syscall_p99", f64::from(pid))]);
        Arc::new(ProcessRow {
            activity: Some(Activity { forks: 2, execs: 1 }),
            usage: Some(Usage {
                cpu_share: Some(share),
                resident_bytes: 100,
                threads: 3,
                ..Usage::default()
            }),
            given: gifts.take(key),
            ..ProcessRow::of(Arc::new(identity))
        })
    }

    #[test]
    fn processes_of_one_owner_are_one_row() {
        let rows =
            [process(1, Some("a.service"), 0.5), process(2, Some("a.service"), 0.25), process(3, None, 1.0)];
        let groups = group(&rows);
        let [first, second] = groups.as_slice() else { panic!("{groups:?}") };
        assert_eq!(first.owner.label().unwrap().bytes(), b"a.service");
        assert_eq!((first.processes, first.forks, first.execs), (2, 4, 2));
        assert_eq!((first.resident_bytes, first.threads), (Some(200), Some(6)));
        assert_eq!(
            (first.given("syscalls"), first.given("syscall_p99")),
            (Value::Real(10.0), Value::Real(2.0))
        );
        assert_eq!((second.owner.label(), second.processes), (None, 1));
    }
}
