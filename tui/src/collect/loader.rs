//! A family's programs, loaded and attached: how each stands, what it has cost and missed.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, PerCpuArray};
use aya::programs::{ProgramError, SocketFilter};
use aya::util::KernelVersion;

use crate::collect::attach::{info_of, iterator_of, settle, try_one};
use crate::collect::bpf::{self, ProgramInfo};
use crate::collect::elsewhere;
use crate::collect::fill;
use crate::collect::ground::Ground;
use crate::collect::maps::MapSize;
use crate::collect::program::{Alternative, Hook, Program as Spec};
use crate::collect::taps::{KernelFilter, Taps};
use crate::collect::tools::{LoadError, Tools};
use crate::collect::unpreempted::Unpreempted;
use crate::families::Family;
use crate::model::{MapFill, Status};

/// How one alternative fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    pub alternative: &'static str,
    pub outcome: Result<Option<u32>, String>,
}

/// One program after all its alternatives have been considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub program: &'static Spec,
    pub status: Status,
    /// The alternative in use.
    pub alternative: Option<&'static Alternative>,
    pub trials: Vec<Trial>,
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Spec {}

impl PartialEq for Alternative {
    fn eq(&self, other: &Self) -> bool {
        self.entry == other.entry
    }
}

impl Eq for Alternative {}

/// A family's loaded object. Dropping it detaches and unloads everything.
pub struct Attached {
    pub family: Family,
    standings: Vec<Standing>,
    bpf: Ebpf,
    sizes: Vec<MapSize>,
    /// Sockets whose filters are among the programs: closed, they are detached.
    _sockets: Vec<OwnedFd>,
    /// The same of other network namespaces.
    elsewhere: Option<elsewhere::Guard>,
}

impl Attached {
    /// Loads `family` and attaches each of its programs by the first alternative that works. What `filter` leaves out is
    /// told first, so that nothing of it is counted.
    pub fn attach(
        family: Family,
        tools: &mut Tools<'_>,
        filter: &KernelFilter,
    ) -> Result<(Self, Taps), LoadError> {
        let ground = tools.ground;
        let (mut bpf, sizes) = tools.load(family)?;
        let maps = |source| LoadError::Maps { family: family.stem(), source };
        let mut taps = Taps::take(family, &mut bpf, ground.possible_cpus, &sizes).map_err(maps)?;
        taps.set_filter(filter).map_err(maps)?;
        let mut sockets = Vec::new();
        let mut settle = |program| settle(&mut bpf, program, tools, &mut sockets);
        let standings: Vec<Standing> = family.programs().iter().map(&mut settle).collect();
        taps.iterator = standings.iter().find_map(|standing| iterator_of(&bpf, standing.alternative?));
        let by_socket = |standing: &&Standing| {
            standing.alternative.is_some_and(|alternative| alternative.hook == Hook::PacketSocket)
        };
        let elsewhere =
            standings.iter().find(by_socket).and_then(|standing| standing.alternative).map(|filter| {
                let (elsewhere, guard) = look_elsewhere(&mut bpf, filter.entry, ground);
                elsewhere.refresh();
                taps.elsewhere = Some(elsewhere);
                guard
            });
        Ok((Self { family, standings, bpf, sizes, _sockets: sockets, elsewhere }, taps))
    }

    /// How each program stands now.
    pub fn standings(&self) -> Vec<Standing> {
        let mut standings = self.standings.clone();
        let unseen = self.elsewhere.as_ref().and_then(elsewhere::Guard::unseen);
        for standing in &mut standings {
            let by_socket = standing.alternative.is_some_and(|way| way.hook == Hook::PacketSocket);
            if let Some(unseen) = unseen.as_ref().filter(|_| by_socket) {
                standing.status.degrade(unseen);
            }
        }
        standings
    }

    /// Every essential program is attached.
    pub fn complete(&self) -> bool {
        self.standings.iter().all(|s| !s.program.essential || s.status.hook().is_some())
    }

    /// What the kernel says of each program in use, in the order of `standings`.
    pub fn info(&self) -> Vec<Option<ProgramInfo>> {
        let by_kprobe = |standing: &Standing| {
            standing.alternative.is_some_and(|alternative| alternative.hook.kind() == "kprobe")
        };
        let kprobes =
            if self.standings.iter().any(by_kprobe) { bpf::kprobe_misses() } else { HashMap::new() };
        let of = |alternative: &Alternative| {
            let mut info = info_of(&self.bpf, alternative.entry)?;
            // Before 6.7 the kernel counts no skipped run of a perf event's program (trace_call_bpf). A kprobe that is
            // hit inside another is skipped before any program is asked.
            let before = match alternative.hook {
                Hook::Kprobe(_) | Hook::Kprobes(_) => kprobes.get(&info.id).copied(),
                Hook::Tracepoint(_) => KernelVersion::current()
                    .is_ok_and(|version| version >= KernelVersion::new(6, 7, 0))
                    .then_some(0),
                _ => Some(0),
            };
            info.recursion_misses = info.recursion_misses.zip(before).map(|(missed, before)| missed + before);
            for other in alternative.others().filter_map(|entry| info_of(&self.bpf, entry)) {
                info.runs += other.runs;
                info.run_time_ns += other.run_time_ns;
                info.recursion_misses = info.recursion_misses.zip(other.recursion_misses).map(|(a, b)| a + b);
            }
            let spares: Vec<_> =
                alternative.spares.iter().filter_map(|spare| info_of(&self.bpf, spare)).collect();
            if !spares.is_empty() {
                info.run_time_ns += spares.iter().map(|spare| spare.run_time_ns).sum::<u64>();
                let recovered = self.recovered().unwrap_or(0);
                info.recursion_misses = info.recursion_misses.map(|missed| missed.saturating_sub(recovered));
            }
            Some(info)
        };
        self.standings.iter().map(|standing| of(standing.alternative?)).collect()
    }

    /// How full the maps are that the taps do not hold: counted now.
    pub fn fills(&self) -> Vec<MapFill> {
        fill::walk(&self.bpf, &self.sizes)
    }

    /// Skipped runs that the spares did.
    fn recovered(&self) -> Option<u64> {
        let _unpreempted = Unpreempted::begin();
        let map: PerCpuArray<_, u64> = self.bpf.map("RECOVERED")?.try_into().ok()?;
        Some(map.get(&0, 0).ok()?.iter().fold(0, |sum, &more| sum.wrapping_add(more)))
    }

    /// Runs that the kernel skipped and no spare did, over all programs in use; `None` where it does not say.
    pub fn missed(&self) -> Option<u64> {
        self.standings
            .iter()
            .zip(self.info())
            .filter(|(standing, _)| standing.alternative.is_some())
            .filter(|(standing, _)| !self.family.supplements().contains(&standing.program.name))
            .map(|(_, info)| info?.recursion_misses)
            .sum()
    }
}

/// What opens packet sockets in other network namespaces, where those are wanted, all with this filter.
fn look_elsewhere(bpf: &mut Ebpf, entry: &str, ground: &Ground) -> (elsewhere::Elsewhere, elsewhere::Guard) {
    let mut here = || {
        let Some(Map::ProgramArray(here)) = bpf.take_map("HERE") else {
            return Err("no map HERE of programs".to_owned());
        };
        let program: &SocketFilter = bpf
            .program(entry)
            .ok_or("not in the object")?
            .try_into()
            .map_err(|error: ProgramError| error.to_string())?;
        let program = program.fd().map_err(|error| error.to_string())?;
        let number = program.as_fd().as_raw_fd();
        bpf::update(here.fd().as_fd(), &0_u32.to_ne_bytes(), &number.to_ne_bytes())
            .map_err(|error| error.to_string())?;
        Ok(here)
    };
    elsewhere::Elsewhere::new(ground.all_netns.then(&mut here), ground.machine.netns)
}

/// Tries every alternative of every program on its own, attached and detached again: what `doctor --try-all` and the
/// kernel matrix show.
pub fn try_all(family: Family, tools: &mut Tools<'_>) -> Result<Vec<(&'static Spec, Vec<Trial>)>, LoadError> {
    let (mut bpf, _) = tools.load(family)?;
    Ok(family
        .programs()
        .iter()
        .map(|program| {
            let trials = program
                .alternatives
                .iter()
                .map(|alternative| Trial {
                    alternative: alternative.name,
                    outcome: try_one(&mut bpf, alternative, tools),
                })
                .collect();
            (program, trials)
        })
        .collect())
}
