//! A made-up machine and made-up records, for tests, examples and measurements: everything behind [`Source`] and
//! [`Machine`] runs without root and without a kernel. The clock goes as it is set, backwards too.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapError;
use fluoro_shared::dns::DnsRecord;
use fluoro_shared::drop::{self, DropRecord};
use fluoro_shared::file::{FileRecord, KIND_NAME, KIND_OTHER_PATH};
use fluoro_shared::flow::udp::DatagramRecord;
use fluoro_shared::flow::{FlowRecord, is_event};
use fluoro_shared::process::ProcessRecord;
use fluoro_shared::record::Task;
use fluoro_shared::syscall::SyscallRecord;
use zerocopy::FromBytes;

use crate::collect::taps::KernelFilter;
use crate::engine::intake::Inlet;
use crate::engine::machine::{Machine, SocketPart};
use crate::engine::source::{Frame, Source};
use crate::engine::world::{kernel_filter, read_owner};
use crate::families::Family;
use crate::families::flow::model::SocketFacts;
use crate::filter::Filter;
use crate::model::{Books, Ledger, Lookup, Owner, ProcFacts};
use crate::records::{BootTime, CgroupId, Outside, Tgid, Uid, WallOffset, WallTime};

/// A clock that stands until it is set. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn set(&self, now: BootTime) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    pub fn now(&self) -> BootTime {
        BootTime(self.0.load(Ordering::Relaxed))
    }
}

/// A list of records, each with the time at which it reaches its ring.
pub struct Script {
    family: Family,
    clock: Clock,
    waiting: VecDeque<(BootTime, Vec<u8>)>,
    frames: VecDeque<(BootTime, Frame)>,
    counted: Option<Frame>,
    filter: KernelFilter,
    ledger: Ledger,
}

impl Script {
    /// `records` in the order in which they arrive.
    pub fn new(family: Family, clock: Clock, records: impl IntoIterator<Item = (BootTime, Vec<u8>)>) -> Self {
        let waiting = records.into_iter().collect();
        Self {
            family,
            clock,
            waiting,
            frames: VecDeque::new(),
            counted: None,
            filter: KernelFilter::default(),
            ledger: Ledger::default(),
        }
    }

    /// What the maps hold from each of these moments on.
    #[must_use]
    pub fn counting(mut self, frames: impl IntoIterator<Item = (BootTime, Frame)>) -> Self {
        self.frames = frames.into_iter().collect();
        self
    }

    /// Keeps the books as the kernel side does. True: the record reaches user space.
    fn submits(&mut self, bytes: &[u8]) -> bool {
        let Subject { is_event, passes } = judge(self.family, bytes, &self.filter);
        self.ledger.seen += u64::from(is_event);
        let count = match (passes, self.filter.muted) {
            (false, _) => &mut self.ledger.filtered,
            (true, true) => &mut self.ledger.muted,
            (true, false) => &mut self.ledger.submitted,
        };
        *count += u64::from(is_event);
        // Who owns an opening that was let through must be told in any case.
        (passes && !self.filter.muted) || (!passes && !is_event)
    }
}

impl Source for Script {
    fn drain(&mut self, inlet: &mut Inlet<'_>) -> usize {
        let now = self.clock.now();
        let mut records = 0;
        while self.waiting.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, bytes)) = self.waiting.pop_front()
        {
            if self.submits(&bytes) {
                inlet.take(&bytes);
                records += 1;
            }
        }
        records
    }

    fn books(&self) -> Result<Books, MapError> {
        Ok(Books { ledger: self.ledger, ..Books::default() })
    }

    fn set_filter(&mut self, wanted: &KernelFilter) -> Result<(), MapError> {
        self.filter = wanted.clone();
        Ok(())
    }

    fn frame(&mut self) -> io::Result<Option<Frame>> {
        let now = self.clock.now();
        while self.frames.front().is_some_and(|(at, _)| *at <= now) {
            self.counted = self.frames.pop_front().map(|(_, frame)| frame);
        }
        Ok(self.counted.clone())
    }

    fn map_bytes(&self) -> u64 {
        0
    }
}

struct Subject {
    is_event: bool,
    passes: bool,
}

/// What `probes-ebpf/src/filter.rs` says of a record. What is no record is an event that passes.
fn judge(family: Family, bytes: &[u8], filter: &KernelFilter) -> Subject {
    let (task, ports, is_event) = match family {
        Family::Process => match ProcessRecord::read_from_suffix(bytes) {
            Ok((_, record)) => (record.task, None, true),
            Err(_) => (Task::NONE, None, true),
        },
        Family::Syscall => match SyscallRecord::read_from_prefix(bytes) {
            Ok((record, _)) => (record.task, None, true),
            Err(_) => (Task::NONE, None, true),
        },
        Family::File => match FileRecord::read_from_prefix(bytes) {
            Ok((record, _)) => {
                (record.task, None, !matches!(record.header.kind, KIND_OTHER_PATH | KIND_NAME))
            }
            Err(_) => (Task::NONE, None, true),
        },
        Family::Dns => match DnsRecord::read_from_prefix(bytes) {
            Ok((record, _)) => (record.owner, Some([record.source_port, record.destination_port]), true),
            Err(_) => (Task::NONE, None, true),
        },
        Family::Drop => match DropRecord::read_from_bytes(bytes) {
            Ok(record) => {
                let ports = Some([record.source_port, record.destination_port]);
                (record.owner, ports, record.header.kind != drop::KIND_OWNER)
            }
            Err(_) => (Task::NONE, None, true),
        },
        Family::Flow => match FlowRecord::read_from_bytes(bytes) {
            Ok(record) => {
                let ports = Some([record.local_port, record.peer_port]);
                (record.owner, ports, is_event(record.header.kind))
            }
            Err(_) => match DatagramRecord::read_from_bytes(bytes) {
                Ok(record) => {
                    let ports = Some([record.flow.local_port, record.flow.peer_port]);
                    (record.owner, ports, is_event(record.header.kind))
                }
                Err(_) => (Task::NONE, None, true),
            },
        },
    };
    let listed = |list: &Option<Vec<u32>>, value| list.as_ref().is_none_or(|list| list.contains(&value));
    let task_passes = !task.is_known()
        || (filter.own != Some(task.tgid)
            && listed(&filter.pids, task.tgid)
            && listed(&filter.uids, task.uid)
            && !filter.excluded_cgroups.contains(&task.cgroup));
    let ports_pass = match (ports, &filter.ports) {
        (Some(ports), Some(wanted)) => ports.iter().any(|port| wanted.contains(port)),
        _ => true,
    };
    Subject { is_event, passes: task_passes && ports_pass }
}

/// A machine as it is described.
#[derive(Default)]
pub struct Described {
    pub clock: Clock,
    pub offset: WallOffset,
    pub processes: Vec<ProcFacts>,
    /// `None`: the table cannot be read.
    pub sockets: Option<Vec<SocketFacts>>,
    /// What is left of a reading of the table.
    pub reading: VecDeque<SocketPart>,
    pub groups: HashMap<u64, Vec<u8>>,
    pub users: HashMap<u32, Arc<str>>,
}

impl Described {
    /// The owner that a cgroup path names, as on a live machine.
    pub fn owner_of(cgroup: &[u8]) -> Owner {
        read_owner(cgroup)
    }

    /// The part of a filter that the kernel side can apply to a family.
    pub fn push_down(&self, filter: &Filter, family: Family) -> KernelFilter {
        let uids = |wanted: &dyn Fn(&str) -> bool| {
            self.users.iter().filter(|(_, name)| wanted(name)).map(|(&uid, _)| uid).collect()
        };
        kernel_filter(filter, family, uids, self.groups.iter().map(|(&id, path)| (id, path.as_slice())))
    }
}

/// A machine that its owner goes on describing while a model asks it.
#[derive(Clone, Default)]
pub struct Shared(Arc<std::sync::Mutex<Described>>);

impl Shared {
    pub fn new(machine: Described) -> Self {
        Self(Arc::new(std::sync::Mutex::new(machine)))
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Described) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Machine for Shared {
    fn now(&self) -> BootTime {
        self.with(|m| m.clock.now())
    }

    fn offset(&self) -> WallOffset {
        self.with(|m| m.offset)
    }

    fn refresh(&mut self) {}

    fn processes(&self) -> Vec<ProcFacts> {
        self.with(|m| m.processes.clone())
    }

    fn pids(&self) -> Vec<u32> {
        self.with(|m| m.processes.iter().map(|process| process.key.tgid.0).collect())
    }

    fn ask_sockets(&mut self, holders: bool) {
        self.with(|m| {
            let mut sockets = m.sockets.clone();
            if !holders {
                sockets.iter_mut().flatten().for_each(|socket| socket.holder = None);
            }
            let whole = sockets.is_some();
            m.reading =
                sockets.map(SocketPart::Some).into_iter().chain([SocketPart::End { whole }]).collect();
        });
    }

    fn next_sockets(&mut self) -> Option<SocketPart> {
        self.with(|m| m.reading.pop_front())
    }
}

impl Lookup for Shared {
    fn process(&mut self, tgid: Tgid) -> Option<ProcFacts> {
        self.with(|m| m.processes.iter().find(|process| process.key.tgid == tgid).cloned())
    }

    fn cgroup(&mut self, id: CgroupId) -> Option<Outside> {
        self.with(|m| m.groups.get(&id.0).map(|path| Outside::new(path)))
    }

    fn owner(&mut self, cgroup: &Outside) -> Owner {
        read_owner(cgroup.bytes())
    }

    fn user(&mut self, uid: Uid) -> Option<Arc<str>> {
        self.with(|m| m.users.get(&uid.0).cloned())
    }

    fn wall(&self, at: BootTime) -> WallTime {
        self.with(|m| m.offset.wall(at))
    }
}
