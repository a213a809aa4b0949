//! Loading and attaching: for each program the alternatives are tried in order, by loading **and** attaching; the
//! first that works stays, the reasons of the others are kept. Never a panic, never a silent blank.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use aya::maps::{Array, Map, PerCpuArray};
use aya::programs::{
    BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint, SocketFilter,
    TracePoint,
};
use aya::util::KernelVersion;
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, VerifierLogLevel};
use fluoro_shared::offsets::{Machine, Offsets};
use zerocopy::IntoBytes as _;

use crate::collect::bpf::{self, ProgramInfo};
use crate::collect::elsewhere;
use crate::collect::iterator;
use crate::collect::maps::{Budget, MapSize};
use crate::collect::object::OBJECT;
use crate::collect::packets;
use crate::collect::program::{Alternative, Hook, Program as Spec};
use crate::collect::socket_group;
use crate::collect::taps::{KernelFilter, Taps};
use crate::collect::unpreempted::Unpreempted;
use crate::collect::{fill, machine};
use crate::families::Family;
use crate::kernel::btf::{self, Target};
use crate::model::{MapFill, Status};

/// What loading needs to know of the machine, gathered once.
pub struct Ground {
    pub offsets: Offsets,
    pub machine: Machine,
    /// File with the BTF of the running kernel; without it only hooks that need no kernel type remain.
    pub btf: Option<PathBuf>,
    /// What of it programs are attached to.
    pub targets: Vec<Target>,
    /// Why there is none.
    pub btf_reason: String,
    pub possible_cpus: usize,
    /// `--hook PROGRAM=ALTERNATIVE`.
    pub forced: HashMap<String, String>,
    /// Bytes that all maps of fluoro together may take.
    pub map_budget: u64,
    /// Packet sockets in other network namespaces, too.
    pub all_netns: bool,
    /// Tracepoints by perf event can be reached (tracefs is mounted for this process).
    pub tracefs: bool,
    /// What a refusal by this kernel most likely comes from, by kind of hook.
    pub refusals: Refusals,
    /// The kernel's words for the values of its `enum skb_drop_reason`.
    pub drop_reasons: HashMap<u32, String>,
    /// Address of `_stext`; `None` where addresses are hidden.
    pub text: Option<u64>,
}

/// Known causes for which a kind of hook is refused here, said instead of a bare errno.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    pub kprobe: Option<String>,
    pub trampoline: Option<String>,
    pub privilege: Option<String>,
    pub read_kernel: Option<String>,
}

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

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot load the {family} programs: {}{remedy}", told(source.as_ref()))]
    Object {
        family: &'static str,
        #[source]
        source: Box<aya::EbpfError>,
        remedy: String,
    },
    #[error("cannot open the maps of {family}: {source}")]
    Maps {
        family: &'static str,
        #[source]
        source: aya::maps::MapError,
    },
}

/// What went wrong, and why. Without the kernel's own words, which of types are all of ours.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let said = cause.to_string();
        let said = said.split(". Verifier output:").next().unwrap_or(&said);
        if text.is_empty() {
            said.clone_into(&mut text);
        } else if !text.contains(said) {
            text = format!("{text}: {said}");
        }
        let code = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code == Some(libc::EMFILE) {
            text.push_str("; allow more open files (ulimit -n)");
        }
    }
    text
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
            let mut info = info(&self.bpf, alternative.entry)?;
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
            for other in alternative.others().filter_map(|entry| self::info(&self.bpf, entry)) {
                info.runs += other.runs;
                info.run_time_ns += other.run_time_ns;
                info.recursion_misses = info.recursion_misses.zip(other.recursion_misses).map(|(a, b)| a + b);
            }
            let spares: Vec<_> =
                alternative.spares.iter().filter_map(|spare| self::info(&self.bpf, spare)).collect();
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

/// What takes time to make and is the same for every family.
pub struct Tools<'a> {
    ground: &'a Ground,
    object: EbpfLoader<'a>,
    /// What programs are attached to, as aya wants it: made when a hook asks first.
    types: Option<Result<AyaBtf, String>>,
}

impl<'a> Tools<'a> {
    pub fn new(ground: &'a Ground) -> Self {
        let mut object = EbpfLoader::new();
        // aya loads a refused program once more, with a log. The verifier writes its complaint at any level; at this
        // one no instructions, which took tens of seconds. (With none the second attempt fails for the log, whatever
        // the first failed for.)
        object.btf(None).verifier_log_level(VerifierLogLevel::STATS);
        object.override_global("OFFSETS", ground.offsets.as_bytes(), true).override_global(
            "MACHINE",
            ground.machine.as_bytes(),
            true,
        );
        Self { ground, object, types: None }
    }

    /// Lets go of the kernel's types, megabytes; false: it has none.
    pub fn forget_types(&mut self) -> bool {
        self.types.take().is_some()
    }

    fn types(&mut self) -> Result<&AyaBtf, String> {
        let ground = self.ground;
        self.types
            .get_or_insert_with(|| match &ground.btf {
                None => Err(ground.btf_reason.clone()),
                Some(_) => AyaBtf::parse(&btf::sparse(&ground.targets), aya::Endianness::default())
                    .map_err(|error| format!("the kernel's BTF cannot be read: {error}")),
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Creates the family's maps, those of other families at their smallest.
    fn load(&mut self, family: Family) -> Result<(Ebpf, Vec<MapSize>), LoadError> {
        let ground = self.ground;
        for MapSize { name, .. } in Family::ALL.iter().flat_map(|&other| sizes(other, ground)) {
            self.object.map_max_entries(name, 1);
        }
        let sizes = sizes(family, ground);
        for MapSize { name, entries, .. } in &sizes {
            self.object.map_max_entries(name, *entries);
        }
        let bpf = self.object.load(OBJECT).map_err(|source| LoadError::Object {
            family: family.stem(),
            source: Box::new(source),
            remedy: ground
                .refusals
                .privilege
                .as_ref()
                .map_or_else(String::new, |remedy| format!("; {remedy}")),
        })?;
        Ok((bpf, sizes))
    }
}

/// Entries of the maps whose size depends on the machine, and what an entry costs.
fn sizes(family: Family, ground: &Ground) -> Vec<MapSize> {
    const RING_NAMES: [&str; fluoro_shared::RINGS] =
        ["RING0", "RING1", "RING2", "RING3", "RING4", "RING5", "RING6", "RING7"];
    let rings = machine::rings(ground.possible_cpus);
    let ring = machine::ring_bytes(ground.possible_cpus, ground.map_budget);
    let budget = Budget {
        bytes: ground.map_budget,
        possible_cpus: ground.possible_cpus,
        stamps: ground.machine.stamp_mask + 1,
    };
    RING_NAMES
        .into_iter()
        .take(rings)
        .map(|name| MapSize { name, entries: ring, entry_bytes: 1, counted: false })
        .chain(family.maps(&budget))
        .collect()
}

/// The alternatives, best first on this kernel.
fn in_order(program: &'static Spec) -> Vec<&'static Alternative> {
    let mut alternatives: Vec<_> = program.alternatives.iter().collect();
    if is_preempted() {
        alternatives.sort_by_key(|alternative| !alternative.is_unpreempted());
    }
    alternatives
}

/// Whether this kernel preempts the programs of raw tracepoints.
fn is_preempted() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(7, 0, 0))
}

fn settle(
    bpf: &mut Ebpf,
    program: &'static Spec,
    tools: &mut Tools<'_>,
    sockets: &mut Vec<OwnedFd>,
) -> Standing {
    let ground = tools.ground;
    let forced = ground.forced.get(program.name);
    let mut trials = Vec::new();
    let alternatives = in_order(program);
    for &alternative in &alternatives {
        if forced.is_some_and(|name| name != alternative.name) {
            continue;
        }
        let outcome = try_one_and_keep(bpf, alternative, tools, sockets);
        let works = outcome.is_ok();
        trials.push(Trial { alternative: alternative.name, outcome });
        if works {
            let hook = alternative.hook.describe();
            let mut reasons: Vec<String> =
                trials.iter().filter_map(|t| t.outcome.as_ref().err()).cloned().collect();
            reasons.extend(alternative.blind.map(str::to_owned));
            let unread = ground.refusals.read_kernel.as_ref().zip(alternative.without_helper());
            reasons.extend(unread.map(|(why, what)| format!("{what}: {why}")));
            let status = match (forced, reasons.is_empty()) {
                (None, false) => Status::Degraded { hook, reason: reasons.join("; ") },
                (Some(_), _) if alternatives.first() != Some(&alternative) => {
                    reasons.insert(0, "forced by --hook".to_owned());
                    Status::Degraded { hook, reason: reasons.join("; ") }
                }
                _ => Status::Live { hook },
            };
            return Standing { program, status, alternative: Some(alternative), trials };
        }
    }
    let reasons: Vec<_> =
        trials.iter().filter_map(|t| t.outcome.as_ref().err()).map(String::as_str).collect();
    let reason = format!("{}: {}", program.without, reasons.join("; "));
    Standing { program, status: Status::Unsupported { reason }, alternative: None, trials }
}

fn try_one(bpf: &mut Ebpf, alternative: &Alternative, tools: &mut Tools<'_>) -> Result<Option<u32>, String> {
    let outcome = try_one_and_keep(bpf, alternative, tools, &mut Vec::new());
    unload(bpf, alternative.entries());
    outcome
}

fn try_one_and_keep(
    bpf: &mut Ebpf,
    alternative: &Alternative,
    tools: &mut Tools<'_>,
    sockets: &mut Vec<OwnedFd>,
) -> Result<Option<u32>, String> {
    load_and_attach(bpf, alternative.entry, alternative.hook, tools)
        .map(|socket| {
            sockets.extend(socket);
            spare(bpf, alternative, tools);
            info(bpf, alternative.entry).and_then(|info| info.verified_insns)
        })
        .map_err(|why| {
            // A half-attached alternative must not stay.
            unload(bpf, alternative.entries());
            format!("{}: {why}", alternative.hook.describe())
        })
}

/// Attaches an alternative's spares, after the program: the kernel runs them in the order of attaching. The program is
/// told first, so that it leaves a trace of what it did. Without spares what the kernel skips stays in `missed`.
fn spare(bpf: &mut Ebpf, alternative: &Alternative, tools: &mut Tools<'_>) {
    let tell = |bpf: &mut Ebpf, spared: u32| {
        let mut map: Array<_, u32> = bpf.map_mut("SPARED")?.try_into().ok()?;
        map.set(0, spared, 0).ok()
    };
    if alternative.spares.is_empty() || !is_skipped(alternative.hook) || tell(bpf, 1).is_none() {
        return;
    }
    let spares = needed(alternative.spares, is_preempted());
    let mut attached = spares.iter().map(|entry| load_and_attach(bpf, entry, alternative.hook, tools));
    if attached.any(|outcome| outcome.is_err()) {
        tell(bpf, 0);
        unload(bpf, alternative.spares.iter().copied());
    }
}

/// Before 7.0 only an interrupt comes between, which nothing but another would: one spare does what was skipped for it.
/// Each is verified anew, which takes as long as for the program. The last one also forgets what is over, so that it is
/// always there.
const fn needed<'a>(spares: &'a [&'static str], preempted: bool) -> &'a [&'static str] {
    match spares {
        [.., last] if !preempted => std::slice::from_ref(last),
        all => all,
    }
}

/// Whether this kernel skips runs on such a hook. No interrupt makes a system call: there only preemption skips, from 7.0
/// on, and a spare would cost every call of the machine. (The program of a function may be preempted on any kernel.)
fn is_skipped(hook: Hook) -> bool {
    match hook {
        Hook::BtfTracepoint("sys_exit") | Hook::RawTracepoint("sys_exit") => is_preempted(),
        _ => true,
    }
}

/// Closes links and the programs themselves; one that never loaded has nothing to give back.
fn unload(bpf: &mut Ebpf, entries: impl Iterator<Item = &'static str>) {
    for entry in entries {
        let _ = match bpf.program_mut(entry) {
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::KProbe(program)) => program.unload(),
            Some(Program::TracePoint(program)) => program.unload(),
            Some(Program::SocketFilter(program)) => program.unload(),
            Some(Program::CgroupSkb(program)) => program.unload(),
            Some(Program::Iter(program)) => program.unload(),
            _ => Ok(()),
        };
    }
}

fn info(bpf: &Ebpf, entry: &str) -> Option<ProgramInfo> {
    let fd = bpf.program(entry)?.fd().ok()?.try_clone().ok()?;
    bpf::program_info(fd.as_fd()).ok()
}

/// What the alternative's iterator is read by, if it is one.
fn iterator_of(bpf: &Ebpf, alternative: &Alternative) -> Option<OwnedFd> {
    let Hook::Iterator(_) = alternative.hook else { return None };
    let program = bpf.program(alternative.entry)?.fd().ok()?;
    iterator::link(program.as_fd())
        .inspect_err(|error| crate::log::line(&format!("{}: no link: {error}", alternative.entry)))
        .ok()
}

/// The socket that the program is attached to must be kept, where it is attached to one.
fn load_and_attach(
    bpf: &mut Ebpf,
    entry: &str,
    hook: Hook,
    tools: &mut Tools<'_>,
) -> Result<Option<OwnedFd>, String> {
    let ground = tools.ground;
    match hook {
        Hook::Fentries(entries) => {
            for (entry, function) in entries {
                load_and_attach(bpf, entry, Hook::Fentry(function), tools)?;
            }
            return Ok(None);
        }
        Hook::Kprobes(entries) => {
            for (entry, functions) in entries {
                load_and_attach(bpf, entry, Hook::Kprobe(functions), tools)?;
            }
            return Ok(None);
        }
        _ => {}
    }
    let explain = |error: &ProgramError| explain(error, hook, ground);
    if hook == Hook::PacketSocket {
        let program: &mut SocketFilter =
            bpf.program_mut(entry).ok_or("not in the object")?.try_into().map_err(|e| explain(&e))?;
        program.load().map_err(|e| explain(&e))?;
        let socket = packets::socket().map_err(|error| packets::explain(&error))?;
        program.attach(&socket).map_err(|e| explain(&e))?;
        packets::listen(&socket).map_err(|error| packets::explain(&error))?;
        return Ok(Some(socket));
    }
    if let Hook::SocketGroup { egress, ingress } = hook {
        socket_group::attach(bpf, egress, ingress, explain)?;
        return Ok(None);
    }
    if ground.btf.is_none() {
        return Err(ground.btf_reason.clone());
    }
    let direct = matches!(hook, Hook::BtfTracepoint(_) | Hook::Fentry(_) | Hook::Iterator(_));
    if !direct && let Some(reason) = &ground.refusals.read_kernel {
        return Err(reason.clone());
    }
    if let Some(reason) = machine::unfit(hook, &ground.machine) {
        return Err(reason.to_owned());
    }
    let program = bpf.program_mut(entry).ok_or("not in the object")?;
    match hook {
        Hook::BtfTracepoint(name) => {
            let program: &mut BtfTracePoint = program.try_into().map_err(|e| explain(&e))?;
            program.load(name, tools.types()?).map_err(|e| explain(&e))?;
            program.attach().map_err(|e| explain(&e))?;
        }
        Hook::Fentry(function) => {
            let program: &mut FEntry = program.try_into().map_err(|e| explain(&e))?;
            program.load(function, tools.types()?).map_err(|e| explain(&e))?;
            program.attach().map_err(|e| explain(&e))?;
        }
        Hook::Fexit(function) => {
            let program: &mut FExit = program.try_into().map_err(|e| explain(&e))?;
            program.load(function, tools.types()?).map_err(|e| explain(&e))?;
            program.attach().map_err(|e| explain(&e))?;
        }
        Hook::Iterator(of) => {
            let program: &mut Iter = program.try_into().map_err(|e| explain(&e))?;
            program.load(of, tools.types()?).map_err(|e| explain(&e))?;
            // Whoever reads makes a link of its own.
            program.attach().map_err(|e| explain(&e))?;
        }
        Hook::RawTracepoint(name) => {
            let program: &mut RawTracePoint = program.try_into().map_err(|e| explain(&e))?;
            program.load().map_err(|e| explain(&e))?;
            program.attach(name).map_err(|e| explain(&e))?;
        }
        Hook::Kprobe(functions) => {
            if let Some(reason) = &ground.refusals.kprobe {
                return Err(reason.clone());
            }
            let program: &mut KProbe = program.try_into().map_err(|e| explain(&e))?;
            program.load().map_err(|e| explain(&e))?;
            for function in functions {
                program.attach(function, 0).map_err(|e| format!("{function}: {}", explain(&e)))?;
            }
        }
        Hook::Tracepoint(events) => {
            if !ground.tracefs {
                return Err("tracefs cannot be mounted: run as root (CAP_SYS_ADMIN)".to_owned());
            }
            let program: &mut TracePoint = program.try_into().map_err(|e| explain(&e))?;
            program.load().map_err(|e| explain(&e))?;
            let mut refused = None;
            let mut attached = 0;
            for (category, name) in events {
                match program.attach(category, name) {
                    Ok(_) => attached += 1,
                    Err(error) => refused = Some(format!("{category}:{name}: {}", explain(&error))),
                }
            }
            if attached == 0 {
                return Err(refused.unwrap_or_else(|| "no tracepoint named".to_owned()));
            }
        }
        Hook::PacketSocket | Hook::SocketGroup { .. } | Hook::Fentries(_) | Hook::Kprobes(_) => {}
    }
    Ok(None)
}

/// One sentence a sysadmin can act on, instead of a stack of wrapped errors.
fn explain(error: &ProgramError, hook: Hook, ground: &Ground) -> String {
    let errno = errno(error);
    let refused = matches!(errno, Some(libc::EPERM | libc::EACCES));
    if refused && let Some(reason) = &ground.refusals.privilege {
        return reason.clone();
    }
    if refused
        && matches!(hook, Hook::Fentry(_) | Hook::Fexit(_))
        && let Some(reason) = &ground.refusals.trampoline
    {
        return reason.clone();
    }
    match (errno, error) {
        (Some(code), ProgramError::LoadError { verifier_log, .. }) => {
            let refused =
                format!("the kernel refused the program ({})", nix::errno::Errno::from_raw(code).desc());
            match complaint(&verifier_log.to_string()) {
                Some(why) => format!("{refused}: {why}"),
                None => refused,
            }
        }
        (Some(code), _) => {
            format!("the kernel refused to attach ({})", nix::errno::Errno::from_raw(code).desc())
        }
        (None, other) => other.to_string(),
    }
}

/// What the verifier ended with, without its statistics.
fn complaint(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["processed ", "verification time ", "stack depth ", "peak_states "];
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !STATISTICS.iter().any(|begin| line.starts_with(begin)))
}

fn errno(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(code) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return Some(code);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{complaint, needed};

    #[test]
    fn the_last_spare_is_always_there() {
        let spares = ["first", "second", "last"];
        assert_eq!(needed(&spares, true), spares);
        assert_eq!(needed(&spares, false), ["last"]);
        assert!(needed(&[], false).is_empty());
    }

    #[test]
    fn the_complaint_of_a_verifier_is_its_last_line_that_is_no_statistic() {
        let log = "func 'f' arg0 has btf_id 5\nunknown func bpf_x#158\nverification time 60 usec\nstack depth 0\n\
                   processed 9 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(complaint(log), Some("unknown func bpf_x#158"));
        assert_eq!(complaint("processed 9 insns\n"), None);
        assert_eq!(complaint(""), None);
    }
}
