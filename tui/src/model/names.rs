//! Names of addresses, as answers that passed by told them. Nothing is ever looked up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::records::{BootTime, Outside};

/// Addresses whose names are kept; the ones told longest ago make room.
const ADDRESSES_MAX: usize = 16_384;

/// What an answer called an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedName {
    /// The name that was asked for.
    pub name: Outside,
    /// When the answer came.
    pub at: BootTime,
}

#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<IpAddr, Arc<ObservedName>>,
    /// In order of time.
    told: VecDeque<(IpAddr, BootTime)>,
    /// Told since this was asked last.
    fresh: HashSet<IpAddr>,
}

impl Names {
    pub fn get(&self, address: IpAddr) -> Option<&Arc<ObservedName>> {
        self.known.get(&address)
    }

    /// An answer has called the address so; a newer one counts.
    pub fn observe(&mut self, address: IpAddr, name: Outside, at: BootTime) {
        self.known.insert(address, Arc::new(ObservedName { name, at }));
        self.told.push_back((address, at));
        self.fresh.insert(address);
        while self.told.len() > ADDRESSES_MAX
            && let Some((address, at)) = self.told.pop_front()
        {
            // Told again since, it stays.
            if self.known.get(&address).is_some_and(|known| known.at == at) {
                self.known.remove(&address);
                self.fresh.remove(&address);
            }
        }
    }

    /// The addresses of which something new was told.
    pub fn take_fresh(&mut self) -> HashSet<IpAddr> {
        std::mem::take(&mut self.fresh)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_name_counts_and_the_oldest_address_makes_room() {
        let mut names = Names::default();
        let first = IpAddr::from([10, 0, 0, 1]);
        names.observe(first, "a".into(), BootTime(1));
        names.observe(first, "b".into(), BootTime(2));
        assert_eq!(names.get(first).unwrap().name, "b".into());
        for n in 0..ADDRESSES_MAX as u32 {
            names.observe(IpAddr::from((1 << 24 | n).to_be_bytes()), "x".into(), BootTime(3));
        }
        assert_eq!((names.get(first), names.known.len()), (None, ADDRESSES_MAX));
        assert_eq!(names.take_fresh().len(), ADDRESSES_MAX);
        assert!(names.take_fresh().is_empty());
    }
}
