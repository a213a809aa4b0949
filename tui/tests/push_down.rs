//! What the kernel side leaves out for a filter is only what user space would refuse: the lines are the same with and
//! without, and so are the sums of the books.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use fluoro::collect::taps::KernelFilter;
use fluoro::engine::synthetic::{Clock, Described, Script, Shared};
use fluoro::engine::{Core, Sources};
use fluoro::families::Family;
use fluoro::filter::{Filter, Keys};
use fluoro::json;
use fluoro::model::ProcFacts;
use fluoro::records::{BootTime, Gid, Outside, ProcKey, StartTime, Tgid, Uid};
use fluoro_shared::drop::{self, DropRecord};
use fluoro_shared::flow::{self, FlowRecord};
use fluoro_shared::process::{self, ProcessRecord};
use fluoro_shared::record::{COMM_LEN, Header, Task};
use proptest::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

/// What programs do. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Deed {
    Fork {
        by: usize,
        group: Option<usize>,
    },
    Exec {
        by: usize,
        path: usize,
    },
    Exit {
        by: usize,
    },
    /// No record tells these two.
    Setuid {
        by: usize,
        uid: u32,
    },
    Move {
        by: usize,
        group: usize,
    },
    Connect {
        by: usize,
        peer: u16,
    },
    Fail {
        by: usize,
        peer: u16,
    },
    Listen {
        by: usize,
    },
    /// A connection comes; who accepts it, if anybody, is seen later.
    Come {
        local: u16,
    },
    Accept {
        by: usize,
        socket: usize,
    },
    Close {
        socket: usize,
    },
    /// A packet is dropped; whose it is, the kernel knows or not.
    Drop {
        by: Option<usize>,
        port: u16,
    },
    Wait {
        ms: u64,
    },
}

const PATHS: [&str; 3] = ["/bin/sh", "/usr/bin/nc", "/usr/sbin/nginx"];
const GROUPS: [&str; 3] = ["/system.slice/a.service", "/system.slice/b.service", "/user.slice"];

fn deed() -> impl Strategy<Value = Deed> {
    let by = || 0usize..8;
    prop_oneof![
        (by(), proptest::option::of(0usize..3)).prop_map(|(by, group)| Deed::Fork { by, group }),
        (by(), 0usize..3).prop_map(|(by, path)| Deed::Exec { by, path }),
        by().prop_map(|by| Deed::Exit { by }),
        (by(), 0u32..3).prop_map(|(by, uid)| Deed::Setuid { by, uid }),
        (by(), 0usize..3).prop_map(|(by, group)| Deed::Move { by, group }),
        (by(), 80u16..83).prop_map(|(by, peer)| Deed::Connect { by, peer }),
        (by(), 80u16..83).prop_map(|(by, peer)| Deed::Fail { by, peer }),
        by().prop_map(|by| Deed::Listen { by }),
        (80u16..83).prop_map(|local| Deed::Come { local }),
        (by(), 0usize..6).prop_map(|(by, socket)| Deed::Accept { by, socket }),
        (0usize..6).prop_map(|socket| Deed::Close { socket }),
        (proptest::option::of(by()), 80u16..83).prop_map(|(by, port)| Deed::Drop { by, port }),
        prop_oneof![Just(1u64), Just(50), Just(300), Just(20_000)].prop_map(|ms| Deed::Wait { ms }),
    ]
}

fn term() -> impl Strategy<Value = String> {
    prop_oneof![
        (10u32..14).prop_map(|pid| format!("pid:{pid}")),
        (10u32..14).prop_map(|pid| format!("pid:{pid},12")),
        (10u32..14).prop_map(|pid| format!("ppid:{pid}")),
        (0u32..3).prop_map(|uid| format!("user:{uid}")),
        Just("user:ada".to_owned()),
        (80u16..83).prop_map(|port| format!("port:{port}")),
        (80u16..83).prop_map(|port| format!("lport:{port}")),
        (0usize..3).prop_map(|group| format!("cgroup:{}", GROUPS[group])),
        Just("cgroup:/system.slice/*".to_owned()),
        Just("unit:a.service".to_owned()),
        (0usize..3).prop_map(|path| format!("exe:{}", PATHS[path])),
        Just("proc:nc".to_owned()),
        Just("direction:inbound".to_owned()),
        Just("event:flow.*".to_owned()),
        Just("reason:unknown".to_owned()),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    term().prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} {b}")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            1 => inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

/// A kernel in miniature: writes down the records that the deeds would make.
struct Kernel {
    now: u64,
    tasks: Vec<Task>,
    sockets: Vec<Socket>,
    made: u64,
    records: BTreeMap<Family, Vec<(BootTime, Vec<u8>)>>,
}

struct Socket {
    id: u64,
    owner: Task,
    ports: (u16, u16),
    direction: u8,
}

fn task(pid: u32, started: u64, parent: u32) -> Task {
    let mut comm = [0; COMM_LEN];
    comm[..2].copy_from_slice(b"sh");
    Task { start_ns: started, cgroup: 1, tgid: pid, tid: pid, parent_tgid: parent, uid: 0, comm }
}

impl Kernel {
    fn new() -> Self {
        let tasks = (10..13).map(|pid| task(pid, 1_000_000_000, 1)).collect();
        Self { now: 100_000_000_000, tasks, sockets: Vec::new(), made: 0, records: BTreeMap::new() }
    }

    fn header(&self, kind: u16) -> Header {
        Header { at_ns: self.now, seq: 1, cpu: 0, kind, flags: 0 }
    }

    fn process(&mut self, kind: u16, task: Task, path: &str) {
        let record =
            ProcessRecord { header: self.header(kind), task, wait_status: 0, gid: 0, args_len: 0, pad: 0 };
        let mut bytes = path.as_bytes().to_vec();
        bytes.extend_from_slice(record.as_bytes());
        self.records.entry(Family::Process).or_default().push((BootTime(self.now), bytes));
    }

    fn flow(&mut self, kind: u16, socket: &Socket) {
        let mut record = FlowRecord::new_zeroed();
        record.header = self.header(kind);
        record.owner = socket.owner;
        record.id = socket.id;
        (record.local_port, record.peer_port) = socket.ports;
        record.local_address = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
        record.peer_address = record.local_address;
        record.direction = socket.direction;
        self.records.entry(Family::Flow).or_default().push((BootTime(self.now), record.as_bytes().to_vec()));
    }

    fn socket(&mut self, owner: Task, ports: (u16, u16), direction: u8) -> Socket {
        self.made += 1;
        Socket { id: self.made, owner, ports, direction }
    }

    fn of(&self, by: usize) -> Option<usize> {
        (!self.tasks.is_empty()).then(|| by % self.tasks.len())
    }

    fn does(&mut self, deed: &Deed) -> Option<()> {
        self.now += 1_000_000;
        match *deed {
            Deed::Fork { by, group } => {
                let parent = self.tasks[self.of(by)?];
                // Few pids, so that they are used again.
                let pid = (10..16).find(|pid| self.tasks.iter().all(|task| task.tgid != *pid))?;
                let cgroup = group.map_or(parent.cgroup, |group| group as u64 + 1);
                let child = Task { cgroup, uid: parent.uid, ..task(pid, self.now, parent.tgid) };
                let child = Task { comm: parent.comm, ..child };
                self.tasks.push(child);
                self.process(process::KIND_FORK, child, "");
            }
            Deed::Exec { by, path } => {
                let of = self.of(by)?;
                let name = PATHS[path].rsplit('/').next()?.as_bytes();
                self.tasks[of].comm = [0; COMM_LEN];
                self.tasks[of].comm[..name.len()].copy_from_slice(name);
                self.process(process::KIND_EXEC, self.tasks[of], PATHS[path]);
            }
            Deed::Exit { by } => {
                let of = self.of(by)?;
                let task = self.tasks.remove(of);
                // Start times are told apart at 10 ms.
                self.now += 10_000_000;
                self.process(process::KIND_EXIT, task, "");
            }
            Deed::Setuid { by, uid } => {
                let of = self.of(by)?;
                self.tasks[of].uid = uid;
            }
            Deed::Move { by, group } => {
                let of = self.of(by)?;
                self.tasks[of].cgroup = group as u64 + 1;
            }
            Deed::Connect { by, peer } => {
                let socket = self.socket(self.tasks[self.of(by)?], (40_000, peer), flow::DIRECTION_OUTBOUND);
                self.flow(flow::KIND_OPEN, &socket);
                self.sockets.push(socket);
            }
            Deed::Fail { by, peer } => {
                let socket = self.socket(self.tasks[self.of(by)?], (40_000, peer), flow::DIRECTION_OUTBOUND);
                self.flow(flow::KIND_FAIL, &socket);
            }
            Deed::Listen { by } => {
                let socket = self.socket(self.tasks[self.of(by)?], (80, 0), flow::DIRECTION_NONE);
                self.flow(flow::KIND_LISTEN, &socket);
            }
            Deed::Come { local } => {
                let socket = self.socket(Task::NONE, (local, 50_000), flow::DIRECTION_INBOUND);
                self.flow(flow::KIND_OPEN, &socket);
                self.sockets.push(socket);
            }
            Deed::Accept { by, socket } => {
                let task = self.tasks[self.of(by)?];
                let mut socket = self.take(socket)?;
                if !socket.owner.is_known() {
                    socket.owner = task;
                    self.flow(flow::KIND_OWNER, &socket);
                }
                self.sockets.push(socket);
            }
            Deed::Close { socket } => {
                let socket = self.take(socket)?;
                self.flow(flow::KIND_CLOSE, &socket);
            }
            Deed::Drop { by, port } => {
                let mut record = DropRecord::new_zeroed();
                record.header = Header { flags: drop::FLAG_RECEIVED, ..self.header(drop::KIND_PACKET) };
                // As it was when it made the socket: when it was born.
                record.owner = match by {
                    Some(by) => Task { uid: 0, cgroup: 1, ..self.tasks[self.of(by)?] },
                    None => Task::NONE,
                };
                record.source_address = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
                record.destination_address = record.source_address;
                (record.source_port, record.destination_port, record.protocol) = (40_000, port, 17);
                let bytes = record.as_bytes().to_vec();
                self.records.entry(Family::Drop).or_default().push((BootTime(self.now), bytes));
            }
            Deed::Wait { ms } => self.now += ms * 1_000_000,
        }
        Some(())
    }

    fn take(&mut self, socket: usize) -> Option<Socket> {
        (!self.sockets.is_empty()).then(|| self.sockets.remove(socket % self.sockets.len()))
    }
}

fn machine(clock: &Clock) -> Described {
    let kernel = Kernel::new();
    let processes = kernel.tasks.iter().map(|task| ProcFacts {
        key: ProcKey { tgid: Tgid(task.tgid), start: StartTime::from_boot_ns(task.start_ns) },
        parent: Tgid(task.parent_tgid),
        comm: Outside::from_padded(&task.comm),
        executable: Some(Outside::from(PATHS[0])),
        uid: Uid(task.uid),
        gid: Gid(0),
        args: None,
        cgroup: Some(Outside::from(GROUPS[0])),
        owner: Described::owner_of(GROUPS[0].as_bytes()),
    });
    Described {
        clock: clock.clone(),
        processes: processes.collect(),
        groups: (1..).zip(GROUPS.map(|path| path.as_bytes().to_vec())).collect(),
        users: [(1, "ada".into()), (2, "bob".into())].into(),
        ..Described::default()
    }
}

/// The lines that `observe` prints, and for each family: seen, let through in the end, left out.
fn observe(kernel: &Kernel, filter: &Filter, push: bool) -> (Vec<String>, Vec<(u64, u64, u64)>) {
    let clock = Clock::default();
    clock.set(BootTime(99_000_000_000));
    let machine = machine(&clock);
    let pushed: Vec<KernelFilter> = Family::ALL
        .iter()
        .map(|&family| if push { machine.push_down(filter, family) } else { KernelFilter::default() })
        .collect();
    let mut core = Core::new(Shared::new(machine));
    let mut sources = Sources::default();
    for (&family, wanted) in Family::ALL.iter().zip(&pushed) {
        let records = kernel.records.get(&family).cloned().unwrap_or_default();
        sources.open(family, Box::new(Script::new(family, clock.clone(), records)));
        sources.set_filter(family, wanted).unwrap();
    }
    core.prime(true);
    let mut lines = Vec::new();
    let mut now = 100_000_000_000;
    while now < kernel.now + 1_000_000_000 {
        now += 5_000_000;
        clock.set(BootTime(now));
        core.drain(&mut sources);
        core.flush();
        if now >= kernel.now + 995_000_000 {
            core.finish();
        }
        for event in core.take_events() {
            if filter.matches(&event, Some(event.name)) {
                let mut line = Vec::new();
                json::event_line(&mut line, &event);
                lines.push(String::from_utf8(line).unwrap());
            } else {
                sources.refuse(Family::from_stem(event.family).unwrap(), event.is_ownerless());
            }
        }
        if now % 1_000_000_000 == 0 {
            core.tick(std::time::Duration::from_secs(1));
        }
    }
    let books = Family::ALL.iter().map(|&family| {
        let ledger = sources.ledger(family);
        assert!(ledger.balances(), "{ledger:?}");
        (ledger.seen, ledger.submitted, ledger.filtered)
    });
    (lines, books.collect())
}

fn parse(text: &str) -> Filter {
    let infos: Vec<_> = Family::ALL.iter().flat_map(|family| family.infos()).copied().collect();
    Filter::parse(text, &Keys::of(&infos)).unwrap_or_else(|error| panic!("{error}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn pushing_a_filter_into_the_kernel_changes_no_line_and_no_sum(
        deeds in proptest::collection::vec(deed(), 1..40),
        text in expression(),
    ) {
        let mut kernel = Kernel::new();
        for deed in &deeds {
            let _ = kernel.does(deed);
        }
        let filter = parse(&text);
        let (alone, alone_books) = observe(&kernel, &filter, false);
        let (pushed, pushed_books) = observe(&kernel, &filter, true);
        prop_assert_eq!(pushed, alone, "{}", text);
        prop_assert_eq!(pushed_books, alone_books, "{}", text);
    }
}

#[test]
fn the_kernel_does_leave_out_what_it_may() {
    let mut kernel = Kernel::new();
    for by in 0..3 {
        let _ = kernel.does(&Deed::Connect { by, peer: 80 });
    }
    let clock = Clock::default();
    let wanted = machine(&clock).push_down(&parse("pid:11"), Family::Flow);
    clock.set(BootTime(u64::MAX));
    let mut sources = Sources::default();
    let records = kernel.records[&Family::Flow].clone();
    sources.open(Family::Flow, Box::new(Script::new(Family::Flow, clock, records)));
    sources.set_filter(Family::Flow, &wanted).unwrap();
    assert_eq!(sources.drain(&mut fluoro::engine::Intake::default()), 1);
    let ledger = sources.ledger(Family::Flow);
    assert_eq!((ledger.seen, ledger.submitted, ledger.filtered), (3, 1, 2));
}
