//! Entries in use of the maps that the collector does not read: counted while somebody looks, on the loader's thread.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::Map;

use crate::collect::bpf;
use crate::collect::maps::MapSize;
use crate::model::{MapFill, MapKind};

/// The maps of `sizes` that are still in the loaded object: those that the collector reads tell their fill themselves.
pub fn walk(bpf: &Ebpf, sizes: &[MapSize]) -> Vec<MapFill> {
    let one = |size: &MapSize| {
        let (kind, map) = match bpf.map(size.name)? {
            Map::HashMap(map) | Map::PerCpuHashMap(map) => (MapKind::Hash, Some(map)),
            Map::LruHashMap(map) | Map::PerCpuLruHashMap(map) => (MapKind::Lru, Some(map)),
            _ => (MapKind::Array, None),
        };
        // Key by key and not in batches: while the kernel reads a batch it runs no program of a kprobe or a perf event on
        // that CPU.
        let used = map.and_then(|map| bpf::count_keys(map.fd().as_fd(), u64::from(size.entries)).ok());
        Some(MapFill { used, walked: used.is_some(), ..size.fill(kind) })
    };
    sizes.iter().filter_map(one).collect()
}
