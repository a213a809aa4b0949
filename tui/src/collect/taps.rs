//! The open taps of an attached family: rings, ledger and filter maps, taken out of the loaded object so that the
//! collector can go on draining while the loader detaches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use fluoro_shared::filter::{Config, Member, OUT_CGROUPS, SET_PIDS, SET_PORTS, SET_UIDS};
use fluoro_shared::ledger::Counts;
use fluoro_shared::process::ThreadUse;
use zerocopy::FromBytes;

use crate::collect::elsewhere::Elsewhere;
use crate::collect::iterator;
use crate::collect::machine;
use crate::collect::maps::{MapSize, Maps};
use crate::collect::ring::Ring;
use crate::collect::unpreempted::Unpreempted;
use crate::families::Family;
use crate::model::{Aggregates, Books, Ledger, MapFill, MapKind};

/// `Counts` as aya reads it from a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: integers without padding, as zerocopy's derives on the inner types prove.
unsafe impl aya::Pod for Plain<Counts> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Config> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Member> {}

/// Members that one of the four sets may have.
const LIMIT: usize = fluoro_shared::filter::MEMBERS_MAX as usize / 4;

/// Which tasks and ports the kernel side lets through. Each list is necessary for a match when it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelFilter {
    pub pids: Option<Vec<u32>>,
    pub uids: Option<Vec<u32>>,
    pub ports: Option<Vec<u16>>,
    /// Groups no process of which is wanted. As many as fit: what is not listed passes.
    pub excluded_cgroups: Vec<u64>,
    /// Leave out this process.
    pub own: Option<u32>,
    /// Nobody wants the stream.
    pub muted: bool,
    /// Protocols whose packets count, whosever they are: bits `PACKETS_*`.
    pub packets: u32,
}

/// One ring.
struct Outlet {
    ring: Ring,
    /// With the most bytes that were found waiting.
    fill: MapFill,
    /// Programs that are loaded later name the map by its descriptor, too.
    map: MapData,
}

/// The taps of one family.
pub struct Taps {
    pub family: Family,
    rings: Vec<Outlet>,
    ledger: PerCpuArray<MapData, Plain<Counts>>,
    filter: Array<MapData, Plain<Config>>,
    members: HashMap<MapData, Plain<Member>, u8>,
    /// What is counted.
    pub maps: Maps,
    /// Sockets in other network namespaces.
    pub elsewhere: Option<Elsewhere>,
    /// Members of the filter in force.
    told: Vec<Member>,
    /// What is read by an iterator, where there is one.
    pub iterator: Option<OwnedFd>,
    /// Bytes of all the family's maps.
    pub map_bytes: u64,
}

impl Taps {
    /// Takes the maps out of a loaded object.
    pub fn take(
        family: Family,
        bpf: &mut Ebpf,
        possible_cpus: usize,
        sizes: &[MapSize],
    ) -> Result<Self, aya::maps::MapError> {
        let maps = Maps::take(sizes, possible_cpus, bpf)?;
        let missing = |name: &str| aya::maps::MapError::InvalidName { name: name.to_owned() };
        let mut take = |name: &str| bpf.take_map(name).ok_or_else(|| missing(name));
        Ok(Self {
            family,
            rings: (0..machine::rings(possible_cpus))
                .map(|index| {
                    let name = format!("RING{index}");
                    let aya::maps::Map::RingBuf(map) = take(&name)? else { return Err(missing(&name)) };
                    let size = sizes.iter().find(|size| size.name == name).ok_or_else(|| missing(&name))?;
                    let ring = Ring::open(map.fd(), size.entries)
                        .map_err(|error| aya::maps::MapError::IoError(error.into()))?;
                    let fill = MapFill { used: Some(0), ..size.fill(MapKind::Ring) };
                    Ok(Outlet { ring, fill, map })
                })
                .collect::<Result<_, aya::maps::MapError>>()?,
            ledger: PerCpuArray::try_from(take("LEDGER")?)?,
            filter: Array::try_from(take("FILTER")?)?,
            members: HashMap::try_from(take("MEMBERS")?)?,
            told: Vec::new(),
            iterator: None,
            maps,
            elsewhere: None,
            map_bytes: sizes.iter().map(|size| u64::from(size.entries) * size.entry_bytes).sum(),
        })
    }

    /// Hands every waiting record to `sink`.
    pub fn drain(&mut self, mut sink: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        for Outlet { ring, fill, .. } in &mut self.rings {
            fill.used = fill.used.max(Some(ring.waiting()));
            records += ring.drain(&mut sink);
        }
        records
    }

    /// Become readable when a ring is fuller than it should be.
    pub fn bells(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|outlet| outlet.map.fd().as_fd())
    }

    /// How full the rings and the maps that are read are.
    pub fn fills(&self) -> Vec<MapFill> {
        self.rings.iter().map(|outlet| outlet.fill).chain(self.maps.fills()).collect()
    }

    /// What every thread uses; `None`: there is no iterator.
    pub fn threads(&self) -> io::Result<Option<Vec<ThreadUse>>> {
        let Some(link) = &self.iterator else { return Ok(None) };
        let mut bytes = Vec::with_capacity(64 << 10);
        iterator::read(link.as_fd(), &mut bytes)?;
        let threads = bytes.chunks_exact(size_of::<ThreadUse>());
        Ok(Some(threads.filter_map(|one| ThreadUse::read_from_bytes(one).ok()).collect()))
    }

    /// The books, over all CPUs.
    pub fn books(&self) -> Result<Books, aya::maps::MapError> {
        let _unpreempted = Unpreempted::begin();
        let mut ledger = Ledger::default();
        let mut supplements_lost = 0;
        for Plain(counts) in self.ledger.get(&0, 0)?.iter() {
            ledger = ledger.plus(&Ledger {
                seen: counts.seen,
                submitted: counts.submitted,
                muted: counts.muted,
                filtered: counts.filtered,
                lost: counts.lost,
                error: counts.error,
                missed: None,
                aggregates: Aggregates {
                    seen: counts.aggregate_seen,
                    counted: counts.counted,
                    filtered: counts.aggregate_filtered,
                    untracked: counts.untracked,
                },
            });
            supplements_lost += counts.supplements_lost;
        }
        Ok(Books { ledger, supplements_lost })
    }

    /// Tells the kernel side what to leave out. A set with more members than fit is left to user space.
    pub fn set_filter(&mut self, wanted: &KernelFilter) -> Result<(), aya::maps::MapError> {
        let _unpreempted = Unpreempted::begin();
        let mut config = Config {
            sets: 0,
            own_tgid: wanted.own.unwrap_or(0),
            muted: u32::from(wanted.muted),
            packets: wanted.packets,
        };
        let excluded: Vec<u64> = wanted.excluded_cgroups.iter().copied().take(LIMIT).collect();
        let sets: [(u32, Option<Vec<u64>>); 4] = [
            (SET_PIDS, widen(wanted.pids.as_deref())),
            (SET_UIDS, widen(wanted.uids.as_deref())),
            (SET_PORTS, widen(wanted.ports.as_deref())),
            (OUT_CGROUPS, (!excluded.is_empty()).then_some(excluded)),
        ];
        let before = std::mem::take(&mut self.told);
        for (set, values) in sets {
            let Some(values) = values.filter(|values| values.len() <= LIMIT) else { continue };
            for value in values {
                let member = Member { value, set, pad: 0 };
                self.members.insert(Plain(member), 1, 0)?;
                self.told.push(member);
            }
            config.sets |= set;
        }
        self.filter.set(0, Plain(config), 0)?;
        // Members of the filter before would let through what this one does not.
        for member in before.iter().filter(|member| !self.told.contains(member)) {
            self.members.remove(&Plain(*member))?;
        }
        Ok(())
    }
}

fn widen<T: Copy + Into<u64>>(values: Option<&[T]>) -> Option<Vec<u64>> {
    values.map(|values| values.iter().map(|&value| value.into()).collect())
}
