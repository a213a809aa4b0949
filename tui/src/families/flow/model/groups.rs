//! Connections taken together, and the totals of those that are no longer kept: they never go backwards.

use std::sync::Arc;

use fluoro_shared::flow::{WHAT_CONNECT, WHAT_FIRST_BYTE, WHAT_RTT};
use fluoro_shared::histogram::bucket_of;
use foldhash::{HashMap, HashSet};

use super::{FlowModel, FlowRow};
use crate::families::flow::row::group::{By, GroupKey, GroupRow, Quantiles, Sums};
use crate::model::Distribution;
use crate::records::flow::Direction;

/// Groups of one kind whose past is kept; what is beyond is in the group of what found no room. From half of it on,
/// those that nobody is in any more are let go.
const GROUPS_MAX: usize = 10_000;

/// What has been let go, by each kind of group.
#[derive(Default)]
pub(super) struct Folded {
    kinds: [HashMap<GroupKey, Sums>; By::ALL.len()],
    /// How many groups of each were left when room was made last.
    left: [usize; By::ALL.len()],
}

impl Folded {
    pub(super) fn add(&mut self, row: &FlowRow) {
        if row.direction.is_none() {
            return;
        }
        for (kept, by) in self.kinds.iter_mut().zip(By::ALL) {
            let mut key = key_of(row, by);
            if kept.len() >= GROUPS_MAX && !kept.contains_key(&key) {
                key = GroupKey::Untracked;
            }
            kept.entry(key).or_default().add(row, by != By::Process);
        }
    }

    /// Where there is little room left, groups that have no connection any more go into what found no room: nobody sees
    /// them, and whoever comes next must be able to keep what it has had.
    pub(super) fn make_room<'a, I: Iterator<Item = &'a FlowRow>>(&mut self, rows: impl Fn() -> I) {
        for ((kept, left), by) in self.kinds.iter_mut().zip(&mut self.left).zip(By::ALL) {
            if kept.len() < (GROUPS_MAX / 2).max(*left + GROUPS_MAX / 10) {
                continue;
            }
            let seen: HashSet<GroupKey> = rows().map(|row| key_of(row, by)).collect();
            let mut gone = kept.remove(&GroupKey::Untracked).unwrap_or_default();
            kept.retain(|key, sums| {
                let stays = seen.contains(key);
                if !stays {
                    gone.merge(sums);
                }
                stays
            });
            if gone.connections > 0 {
                kept.insert(GroupKey::Untracked, gone);
            }
            *left = kept.len();
        }
    }

    fn of(&self, by: By) -> &HashMap<GroupKey, Sums> {
        let [process, owner, peer, port] = &self.kinds;
        match by {
            By::Process => process,
            By::Owner => owner,
            By::Peer => peer,
            By::Port => port,
        }
    }
}

impl Sums {
    fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.tx_bytes += other.tx_bytes;
        self.rx_bytes += other.rx_bytes;
        self.retransmits += other.retransmits;
        self.connect.merge(&other.connect);
        self.first_byte.merge(&other.first_byte);
        self.rtt.merge(&other.rtt);
    }

    /// A process's distributions are counted by the kernel side, all but the round-trip times of what is open.
    fn add(&mut self, row: &FlowRow, distributions: bool) {
        self.connections += 1;
        self.tx_bytes += row.tx_bytes;
        self.rx_bytes += row.rx_bytes;
        self.retransmits += u64::from(row.retransmits);
        if distributions {
            add(&mut self.connect, row.connect_ns);
            add(&mut self.first_byte, row.first_byte_ns);
            add(&mut self.rtt, Some(row.rtt_ns));
        }
    }
}

fn add(distribution: &mut Distribution, ns: Option<u64>) {
    if let Some(ns) = ns.filter(|ns| *ns > 0) {
        distribution.add(bucket_of(ns), 1);
    }
}

fn key_of(row: &FlowRow, by: By) -> GroupKey {
    match by {
        By::Process => GroupKey::Process(row.identity.as_ref().map(|identity| identity.key)),
        By::Owner => {
            GroupKey::Owner(row.identity.as_ref().and_then(|identity| identity.owner.label().cloned()))
        }
        By::Peer => GroupKey::Peer(row.peer.ip()),
        By::Port if row.direction == Some(Direction::Inbound) => GroupKey::Port(row.local.port()),
        By::Port => GroupKey::Port(row.peer.port()),
    }
}

impl FlowModel {
    /// These connections taken together; with `past` what is no longer kept of the same groups, too.
    pub fn groups(&self, by: By, rows: &[Arc<FlowRow>], past: bool) -> Vec<Arc<GroupRow>> {
        let mut groups: HashMap<GroupKey, GroupRow> = HashMap::default();
        for row in rows.iter().filter(|row| row.direction.is_some()) {
            let key = key_of(row, by);
            let group = groups.entry(key).or_insert_with_key(|key| self.begin(key, by, row, past));
            let open = row.state != super::State::Closed;
            group.live += u64::from(open);
            group.sums.add(row, by != By::Process);
            if by == By::Process && open {
                add(&mut group.sums.rtt, Some(row.rtt_ns));
            }
            if let Some(rates) = row.rates {
                group.tx_bytes_per_s += rates.tx_bytes_per_s;
                group.rx_bytes_per_s += rates.rx_bytes_per_s;
            }
        }
        if past {
            let mut sums = self.folded.of(by).get(&GroupKey::Untracked).cloned().unwrap_or_default();
            // Of these nobody knows whose they were.
            let other = self.datagrams.other();
            sums.tx_bytes += other.tx_bytes;
            sums.rx_bytes += other.rx_bytes;
            if sums.connections > 0 || other.tx_packets + other.rx_packets > 0 {
                groups.insert(GroupKey::Untracked, GroupRow { sums, ..empty(GroupKey::Untracked) });
            }
        }
        groups
            .into_values()
            .map(|group| {
                let of = Quantiles::of;
                let (connect, rtt) = (of(&group.sums.connect), of(&group.sums.rtt));
                Arc::new(GroupRow { first_byte: of(&group.sums.first_byte), connect, rtt, ..group })
            })
            .collect()
    }

    fn begin(&self, key: &GroupKey, by: By, row: &FlowRow, past: bool) -> GroupRow {
        let mut group = empty(key.clone());
        if past && let Some(sums) = self.folded.of(by).get(key) {
            group.sums = sums.clone();
        }
        if by == By::Process
            && let Some(identity) = &row.identity
        {
            let counted = |what| self.distribution(identity.key, what).cloned().unwrap_or_default();
            group.sums.connect = counted(WHAT_CONNECT);
            group.sums.first_byte = counted(WHAT_FIRST_BYTE);
            group.sums.rtt = counted(WHAT_RTT);
            group.identity = Some(Arc::clone(identity));
        }
        group
    }
}

fn empty(key: GroupKey) -> GroupRow {
    GroupRow {
        key,
        identity: None,
        live: 0,
        tx_bytes_per_s: 0.0,
        rx_bytes_per_s: 0.0,
        sums: Sums::default(),
        connect: None,
        rtt: None,
        first_byte: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use fluoro_shared::flow::udp::DatagramOther;

    use super::super::Frame;
    use super::*;
    use crate::records::BootTime;

    #[test]
    fn datagrams_that_found_no_room_are_of_nobody_and_outlive_the_program() {
        let mut model = FlowModel::default();
        let other = DatagramOther { tx_packets: 2, tx_bytes: 30, rx_packets: 1, rx_bytes: 7 };
        let frame = Frame { other_datagrams: other, ..Frame::default() };
        model.count(&frame);
        model.restart_datagrams(&mut Vec::new());
        model.count(&frame);
        model.tick(BootTime(1), Duration::from_secs(1));
        assert_eq!(model.totals().untracked_datagrams, 6);
        let groups = model.groups(By::Peer, &[], true);
        let [group] = groups.as_slice() else { panic!("{groups:?}") };
        assert_eq!(group.key, GroupKey::Untracked);
        assert_eq!((group.sums.tx_bytes, group.sums.rx_bytes), (60, 14));
        assert!(model.groups(By::Peer, &[], false).is_empty());
    }
}
