//! What an attached family counts in the kernel: its maps by name, read as a whole.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use zerocopy::FromBytes;

use crate::collect::bpf::{self, Dump, EntrySize};
use crate::collect::unpreempted::Unpreempted;
use crate::model::{MapFill, MapKind};

/// How large a map is made where that depends on the machine; every other one is as the object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSize {
    pub name: &'static str,
    pub entries: u32,
    /// What one costs, for the budget.
    pub entry_bytes: u64,
    /// The collector reads it.
    pub counted: bool,
}

impl MapSize {
    /// The map, with nothing said of what is in use.
    pub const fn fill(&self, kind: MapKind) -> MapFill {
        let (entries, bytes) = (self.entries as u64, self.entries as u64 * self.entry_bytes);
        MapFill { name: self.name, kind, used: None, walked: false, room: entries, bytes }
    }

    /// Room in which records with paths are built: two a CPU, for a program that is preempted keeps one.
    pub const fn scratch(budget: &Budget) -> Self {
        Self {
            name: "SCRATCH",
            entries: 2,
            entry_bytes: 20_880 * budget.possible_cpus as u64,
            counted: false,
        }
    }
}

/// What families size their maps by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// All maps of all families.
    pub bytes: u64,
    pub possible_cpus: usize,
    /// One for each thread id, as far as the budget reaches: of a family that times calls.
    pub stamps: u32,
}

impl Budget {
    /// Entries that fit into this many sixteenths of the budget, at most `most`.
    pub fn entries(&self, sixteenths: u64, entry_bytes: u64, most: u32) -> u32 {
        (self.bytes / 16 * sixteenths / entry_bytes.max(1)).min(u64::from(most)) as u32
    }
}

/// What the kernel keeps for an element of a hash map beside key and value.
pub const ELEMENT: u64 = 48;

struct Held {
    map: MapData,
    size: EntrySize,
    /// With what the last reading found.
    fill: MapFill,
}

/// The maps that the collector reads.
#[derive(Default)]
pub struct Maps {
    by_name: BTreeMap<&'static str, Held>,
    dump: Dump,
}

impl Maps {
    /// Takes the counted ones of `sizes` out of a loaded object.
    pub fn take(sizes: &[MapSize], possible_cpus: usize, bpf: &mut Ebpf) -> Result<Self, MapError> {
        let mut by_name = BTreeMap::new();
        for size in sizes.iter().filter(|size| size.counted) {
            let name = size.name;
            let missing = || MapError::InvalidName { name: name.to_owned() };
            let every = Some(possible_cpus);
            let (map, kind, cpus) = match bpf.take_map(name).ok_or_else(missing)? {
                Map::HashMap(map) => (map, MapKind::Hash, None),
                Map::LruHashMap(map) => (map, MapKind::Lru, None),
                Map::Array(map) => (map, MapKind::Array, None),
                Map::PerCpuHashMap(map) => (map, MapKind::Hash, every),
                Map::PerCpuLruHashMap(map) => (map, MapKind::Lru, every),
                Map::PerCpuArray(map) => (map, MapKind::Array, every),
                _ => return Err(missing()),
            };
            let told = bpf::map_sizes(map.fd().as_fd()).map_err(MapError::IoError)?;
            // The kernel pads each CPU's value to 8 bytes.
            let value = cpus.map_or(told.value, |cpus| told.value.next_multiple_of(8) * cpus);
            let told = EntrySize { value, ..told };
            by_name.insert(name, Held { map, size: told, fill: size.fill(kind) });
        }
        Ok(Self { by_name, dump: Dump::default() })
    }

    /// How full each was when it was read last.
    pub fn fills(&self) -> impl Iterator<Item = MapFill> {
        self.by_name.values().map(|held| held.fill)
    }

    /// Entries that the map `name` has room for.
    pub fn entries(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, |held| held.fill.room as usize)
    }

    /// Every entry of the map `name`; of a per-CPU map `V` is one CPU's value, and `fold` adds them up.
    pub fn read<K: FromBytes, V: FromBytes>(
        &mut self,
        name: &str,
        fold: impl Fn(V, V) -> V,
    ) -> io::Result<Vec<(K, V)>> {
        let Some(held) = self.by_name.get_mut(name) else { return Ok(Vec::new()) };
        bpf::dump(held.fd(), held.size, &mut self.dump)?;
        if held.fill.kind != MapKind::Array {
            held.fill.used = Some((self.dump.keys.len() / held.size.key.max(1)) as u64);
        }
        let each = size_of::<V>().next_multiple_of(if held.size.value > size_of::<V>() { 8 } else { 1 });
        let keys = self.dump.keys.chunks_exact(held.size.key);
        let values = self.dump.values.chunks_exact(held.size.value);
        Ok(keys
            .zip(values)
            .filter_map(|(key, value)| {
                let key = K::read_from_bytes(key).ok()?;
                let value = value
                    .chunks_exact(each)
                    .filter_map(|value| V::read_from_prefix(value).ok())
                    .map(|(value, _)| value)
                    .reduce(&fold)?;
                Some((key, value))
            })
            .collect())
    }

    /// Sets one entry of the map `name`.
    pub fn write(&mut self, name: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
        let Some(held) = self.by_name.get(name) else { return Ok(()) };
        if (key.len(), value.len()) != (held.size.key, held.size.value) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        bpf::update(held.fd(), key, value)
    }

    /// Takes entries out of the map `name`; `keys` stand one behind the other.
    pub fn forget(&mut self, name: &str, keys: &[u8]) -> io::Result<()> {
        let Some(held) = self.by_name.get(name).filter(|_| !keys.is_empty()) else { return Ok(()) };
        let _unpreempted = Unpreempted::begin();
        keys.chunks_exact(held.size.key).try_for_each(|key| bpf::delete(held.fd(), key))
    }
}

impl Held {
    fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}
