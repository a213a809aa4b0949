//! The live machine: over /proc, cgroupfs, sock_diag and the kernel's clocks.

mod holders;
mod sweeper;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::collect::taps::KernelFilter;
use crate::engine::machine::{Held, Machine, SocketPart, Used};
use crate::families::Family;
use crate::filter::Filter;
use crate::kernel::cgroup::{Hierarchy, Paths};
use crate::kernel::kallsyms::Symbols;
use crate::kernel::mounts;
use crate::kernel::owner;
use crate::kernel::proc::{Proc, Process, Scheduled};
use crate::kernel::sock_diag;
use crate::kernel::users::Users;
use crate::model::{Container, Lookup, Owner, ProcFacts};
use crate::records::{
    BootTime, CgroupId, Gid, NetnsId, Outside, ProcKey, StartTime, Tgid, Uid, WallOffset, WallTime,
};
use holders::Holders;
use sweeper::Sweeper;

pub struct World {
    proc: Proc,
    users: Users,
    hierarchy: Option<Hierarchy>,
    paths: Option<Paths>,
    scanned: Instant,
    scan_took: Duration,
    offset: WallOffset,
    own_netns: Option<u32>,
    /// A process in each network namespace, and when they were looked up.
    members: HashMap<u32, u32>,
    looked_up: Option<Instant>,
    drop_reasons: HashMap<u32, String>,
    /// Address of `_stext`, until functions are asked for; then they are read, once.
    text: Option<u64>,
    symbols: Option<Symbols>,
    holders: Holders,
    sweeper: Sweeper,
    /// Mount points by device, when they have been asked for since the last tick.
    mounts: Option<HashMap<u32, Vec<u8>>>,
}

/// Directories are read again for an unknown group, but that takes at most this share of the time.
const RESCAN_SHARE: u32 = 20;

impl World {
    pub fn live(root: &Path, hierarchy: Option<Hierarchy>) -> Self {
        let proc = Proc::new(root);
        Self {
            own_netns: proc.netns(std::process::id()),
            members: HashMap::new(),
            looked_up: None,
            proc,
            users: Users::new(root),
            paths: hierarchy.as_ref().map(Paths::new),
            hierarchy,
            scanned: Instant::now(),
            scan_took: Duration::ZERO,
            offset: wall_offset(),
            drop_reasons: HashMap::new(),
            text: None,
            symbols: None,
            holders: Holders::new(root),
            sweeper: Sweeper::new(root),
            mounts: None,
        }
    }

    /// With the kernel's own words: for its `enum skb_drop_reason`, and for what lies behind `_stext`.
    #[must_use]
    pub fn with_words(mut self, drop_reasons: HashMap<u32, String>, text: Option<u64>) -> Self {
        self.drop_reasons = drop_reasons;
        self.text = text;
        self
    }

    /// How cgroups are mounted and which hierarchy tells processes apart.
    pub fn describe_cgroups(&self) -> String {
        self.hierarchy.as_ref().map_or_else(|| "none mounted".to_owned(), Hierarchy::describe)
    }

    fn describe(&self, process: Process) -> ProcFacts {
        let path = |select: fn(&Hierarchy, &[u8]) -> Option<Vec<u8>>| {
            self.hierarchy.as_ref().and_then(|hierarchy| select(hierarchy, &process.cgroups))
        };
        let cgroup = path(|h, lines| h.path_in(lines).map(<[u8]>::to_vec));
        let unit = path(|h, lines| h.unit_path_in(lines).map(<[u8]>::to_vec));
        let mut owner = cgroup.as_deref().map(read_owner).unwrap_or_default();
        if owner.unit.is_none() && owner.container.is_none() {
            owner = unit.as_deref().map(read_owner).unwrap_or_default();
        }
        ProcFacts {
            key: ProcKey { tgid: Tgid(process.tgid), start: StartTime(process.start) },
            parent: Tgid(process.parent),
            comm: Outside::new(&process.comm),
            executable: process.executable.map(|path| Outside::new(&path)),
            uid: Uid(process.uid),
            gid: Gid(process.gid),
            args: (!process.args.is_empty()).then(|| Outside::new(&process.args)),
            cgroup: cgroup.map(|path| Outside::new(&path)),
            owner,
        }
    }

    /// A process in a network namespace.
    fn member(&mut self, netns: NetnsId) -> Option<u32> {
        /// Looked up again this often at most.
        const RELIST: Duration = Duration::from_secs(5);
        let is_in = |pid: &u32| self.proc.netns(*pid) == Some(netns.0);
        if !self.members.get(&netns.0).is_some_and(is_in) {
            if self.looked_up.is_some_and(|at| at.elapsed() < RELIST) {
                return None;
            }
            self.members = self.proc.namespaces();
            self.looked_up = Some(Instant::now());
        }
        self.members.get(&netns.0).copied()
    }

    /// The part of a filter that the kernel side can apply to a family.
    pub fn push_down(&self, filter: &Filter, family: Family) -> KernelFilter {
        let groups = self.paths.iter().flat_map(Paths::iter);
        kernel_filter(filter, family, |wanted| self.users.uids(wanted), groups)
    }
}

impl Machine for World {
    fn now(&self) -> BootTime {
        BootTime(clock(libc::CLOCK_BOOTTIME))
    }

    fn offset(&self) -> WallOffset {
        self.offset
    }

    fn refresh(&mut self) {
        self.offset = wall_offset();
        self.users.refresh();
        self.mounts = None;
    }

    fn processes(&self) -> Vec<ProcFacts> {
        self.proc
            .pids()
            .into_iter()
            .filter_map(|pid| self.proc.process(pid))
            .map(|p| self.describe(p))
            .collect()
    }

    fn pids(&self) -> Vec<u32> {
        self.proc.pids()
    }

    fn usage(&mut self, process: ProcKey) -> Option<Used> {
        let usage = self.proc.usage(process.tgid.0, process.start.0)?;
        Some(Used {
            cpu_ns: usage.cpu_ns,
            resident_bytes: usage.resident_pages * page_bytes(),
            threads: usage.threads,
        })
    }

    fn scheduled(&mut self, process: ProcKey, threads: u64) -> Option<Vec<Scheduled>> {
        self.proc.scheduled(process.tgid.0, threads)
    }

    fn page_bytes(&self) -> u64 {
        page_bytes()
    }

    fn held(&mut self, process: ProcKey) -> Held {
        Held {
            fds: self.proc.descriptors(process.tgid.0),
            working_directory: self.working_directory(process.tgid),
        }
    }

    fn working_directory(&self, process: Tgid) -> Option<Outside> {
        self.proc.working_directory(process.0).map(|path| Outside::new(&path))
    }

    fn ask_sockets(&mut self, holders: bool) {
        self.sweeper.ask(holders);
    }

    fn next_sockets(&mut self) -> Option<SocketPart> {
        self.sweeper.next()
    }

    fn datagram_sockets(&mut self, namespaces: &HashSet<NetnsId>) -> HashMap<NetnsId, HashMap<u64, u16>> {
        let mut found = HashMap::new();
        for &netns in namespaces {
            let listed = if Some(netns.0) == self.own_netns {
                sock_diag::datagrams()
            } else if let Some(pid) = self.member(netns) {
                sock_diag::datagrams_in(&self.proc.netns_file(pid))
            } else {
                continue;
            };
            match listed {
                Ok(sockets) => drop(found.insert(netns, sockets)),
                Err(error) => crate::log::line(&error.to_string()),
            }
        }
        found
    }
}

impl Lookup for World {
    fn process(&mut self, tgid: Tgid) -> Option<ProcFacts> {
        let process = self.proc.process(tgid.0)?;
        Some(self.describe(process))
    }

    fn cgroup(&mut self, id: CgroupId) -> Option<Outside> {
        let paths = self.paths.as_mut()?;
        if paths.get(id.0).is_none() && self.scanned.elapsed() > self.scan_took * RESCAN_SHARE {
            let began = Instant::now();
            paths.scan();
            self.scanned = Instant::now();
            self.scan_took = self.scanned.duration_since(began);
        }
        paths.get(id.0).map(Outside::new)
    }

    fn owner(&mut self, cgroup: &Outside) -> Owner {
        read_owner(cgroup.bytes())
    }

    fn user(&mut self, uid: Uid) -> Option<Arc<str>> {
        self.users.name(uid.0)
    }

    fn wall(&self, at: BootTime) -> WallTime {
        self.offset.wall(at)
    }

    fn drop_reason(&self, code: u32) -> Option<&str> {
        self.drop_reasons.get(&code).map(String::as_str)
    }

    fn function(&mut self, offset: i64) -> Option<&str> {
        let text = self.text?;
        let symbols = self.symbols.get_or_insert_with(|| Symbols::read(Path::new("/"), text));
        symbols.find(offset).map(|(name, _)| name)
    }

    fn mount(&mut self, device: u32) -> Option<Outside> {
        let proc = &self.proc;
        let mounts = self.mounts.get_or_insert_with(|| mounts::by_device(&proc.mountinfo()));
        mounts.get(&device).map(|point| Outside::new(point))
    }

    fn interface(&mut self, netns: NetnsId, index: u32) -> Option<Outside> {
        if self.own_netns != Some(netns.0) {
            return None;
        }
        let name = nix::net::if_::if_indextoname(index).ok()?;
        Some(Outside::new(name.as_bytes()))
    }

    fn socket_holder(&mut self, inode: u64) -> Option<ProcKey> {
        self.holders.of_inode(inode)
    }

    fn port_holder(&mut self, netns: NetnsId, port: u16, at: BootTime) -> Option<ProcKey> {
        self.holders.of_port(netns, port, at, self.now())
    }
}

/// The part of a filter that the kernel side can apply to a family, given the users by what is wanted of their names, and the
/// cgroups that are known.
pub(super) fn kernel_filter<'a>(
    filter: &Filter,
    family: Family,
    uids: impl Fn(&dyn Fn(&str) -> bool) -> Vec<u32>,
    groups: impl Iterator<Item = (u64, &'a [u8])>,
) -> KernelFilter {
    // Every line's identity comes from these records: what an ancestor ran, who it was before it changed its user.
    if family == Family::Process {
        return KernelFilter::default();
    }
    let pushed = filter.push_down(uids);
    KernelFilter {
        pids: pushed.pids,
        uids: pushed.uids,
        ports: pushed.ports,
        // Ids are never used twice: a group that is known not to match may be left out, one made later passes.
        excluded_cgroups: groups
            .filter(|(_, path)| filter.excludes_cgroup(&Outside::new(path)))
            .map(|(id, _)| id)
            .collect(),
        ..KernelFilter::default()
    }
}

pub(super) fn read_owner(path: &[u8]) -> Owner {
    let group = owner::read(path);
    Owner {
        unit: group.unit.map(|unit| Outside::new(&unit)),
        container: group.container.map(|(id, runtime)| Container { id: Outside::new(&id), runtime }),
        pod: group.pod.map(|pod| Outside::new(&pod)),
    }
}

fn clock(which: libc::clockid_t) -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::from_raw(which))
        .map_or_else(|_| Duration::ZERO, Duration::from);
    time.as_nanos() as u64
}

/// Both clocks read back to back.
fn wall_offset() -> WallOffset {
    let boot = clock(libc::CLOCK_BOOTTIME);
    let wall = clock(libc::CLOCK_REALTIME);
    WallOffset(wall.cast_signed().wrapping_sub(boot.cast_signed()))
}

fn page_bytes() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |bytes| bytes as u64)
}
