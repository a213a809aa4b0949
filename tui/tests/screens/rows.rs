//! Rows and snapshots made up for looking at the console without a kernel.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fluoro::columns::{Cell, Column, Info, Kind, Listing, Row, RowId, Sheet, Unit, Value};
use fluoro::families::failure::row::FailureRow;
use fluoro::families::file::row::{FileRow, Total, Uses};
use fluoro::families::process::model::owner::{OwnerRow, group};
use fluoro::families::process::model::{Activity, ProcessRow};
use fluoro::families::syscall::row::{self as syscall, SyscallRow};
use fluoro::model::{
    Coverage, Detail, Distribution, Event, EventRow, Executable, HostFacts, Identity, Latency, Ledger,
    MapFill, MapKind, Measure, More, Note, Overview, OverviewRow, Owner, PANELS, Panel, ProbeRow, Query,
    Reach, Scope, Snapshot, Status, Subject, Totals, Trace, View,
};
use fluoro::records::file::{FileId, FileKind};
use fluoro::records::process::Exit;
use fluoro::records::syscall::Abi;
use fluoro::records::{BootTime, Outside, ProcKey, StartTime, Tgid, Uid, WallOffset, WallTime};
use fluoro_shared::histogram::bucket_of;

#[derive(Clone)]
pub struct Flow {
    pub id: u64,
    pub comm: Outside,
    pub pid: u32,
    pub owner: Option<Outside>,
    pub direction: &'static str,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub state: &'static str,
    pub rx: Option<f64>,
    pub tx: Option<f64>,
    pub rtt_ns: Option<u64>,
    pub retransmits: u64,
    pub age_ns: u64,
    pub ended: bool,
}

impl Row for Flow {
    fn id(&self) -> RowId {
        RowId(1, self.id)
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn columns() -> &'static [Column<Self>] {
        use std::sync::LazyLock;
        static COLUMNS: LazyLock<Vec<Column<Flow>>> = LazyLock::new(|| {
            vec![
                Column::new(
                    Info::new("process", Kind::Text, "The process that called connect() or accept()")
                        .keys(&["proc"])
                        .cell(Cell::left("PROCESS", 18, 0).growing()),
                    |r: &Flow| Value::Process(&r.comm, r.pid),
                ),
                Column::new(Info::new("pid", Kind::Number, "Process id").keys(&["pid"]), |r| {
                    Value::Uint(u64::from(r.pid))
                }),
                Column::new(Info::new("peer_address", Kind::Address, "Address of the other side"), |r| {
                    Value::Ip(r.peer.ip())
                }),
                Column::new(Info::new("lport", Kind::Number, "Port of this side"), |r| {
                    Value::Uint(u64::from(r.local.port()))
                }),
                Column::new(Info::new("rport", Kind::Number, "Port of the other side"), |r| {
                    Value::Uint(u64::from(r.peer.port()))
                }),
                Column::new(
                    Info::new("owner", Kind::Text, "Its systemd unit, or container")
                        .keys(&["unit"])
                        .cell(Cell::left("OWNER", 16, 5).growing()),
                    |r| r.owner.as_ref().map_or(Value::Missing, Value::Text),
                ),
                Column::new(
                    Info::new("direction", Kind::Word, "Who opened it: in, out, or a listener")
                        .keys(&["direction"])
                        .cell(Cell::left("DIR", 3, 4)),
                    |r| Value::Word(r.direction),
                ),
                Column::new(
                    Info::new("local", Kind::Address, "The address and port of this side")
                        .keys(&["net", "host", "port", "lport"])
                        .cell(Cell::left("LOCAL", 18, 2).growing()),
                    |r| Value::Socket(r.local),
                ),
                Column::new(
                    Info::new("peer", Kind::Address, "The address and port of the other side")
                        .keys(&["net", "host", "port", "rport"])
                        .cell(Cell::left("PEER", 21, 0).growing()),
                    |r| Value::Socket(r.peer),
                ),
                Column::new(
                    Info::new("state", Kind::Word, "As the kernel has it")
                        .keys(&["state"])
                        .cell(Cell::left("STATE", 6, 4)),
                    |r| Value::Word(r.state),
                ),
                Column::new(
                    Info::new("rx", Kind::Number, "Application bytes received a second")
                        .keys(&["rx"])
                        .unit(Unit::BytesPerSecond)
                        .cell(Cell::right("RX/s", 8, 1)),
                    |r| r.rx.map_or(Value::Missing, Value::Real),
                ),
                Column::new(
                    Info::new("tx", Kind::Number, "Application bytes sent a second")
                        .keys(&["tx"])
                        .unit(Unit::BytesPerSecond)
                        .cell(Cell::right("TX/s", 8, 1)),
                    |r| r.tx.map_or(Value::Missing, Value::Real),
                ),
                Column::new(
                    Info::new("rtt", Kind::Number, "Smoothed round trip time, from tcp_sock.srtt_us")
                        .keys(&["rtt"])
                        .unit(Unit::Nanos)
                        .cell(Cell::right("RTT", 6, 3)),
                    |r| r.rtt_ns.map_or(Value::Missing, Value::Uint),
                ),
                Column::new(
                    Info::new("retransmits", Kind::Number, "Segments sent again")
                        .keys(&["retransmits"])
                        .unit(Unit::Count)
                        .cell(Cell::right("RETR", 4, 5)),
                    |r| Value::Uint(r.retransmits),
                ),
                Column::new(
                    Info::new("age", Kind::Number, "Since it was established")
                        .keys(&["age"])
                        .unit(Unit::Nanos)
                        .cell(Cell::right("AGE", 6, 3)),
                    |r| Value::Uint(r.age_ns),
                ),
            ]
        });
        &COLUMNS
    }
}

const NAMES: [(&str, u32, &str); 6] = [
    ("nginx", 4242, "nginx.service"),
    ("postgres", 1187, "postgresql@16-main.service"),
    ("sshd", 901, "ssh.service"),
    ("curl", 70_113, "session-12.scope"),
    ("node", 5511, "4fa6e0f0c678"),
    ("systemd-resolve", 611, "systemd-resolved.service"),
];

/// The `n`th of an endless supply of plausible connections.
pub fn flow(n: u64) -> Flow {
    let (comm, pid, owner) = NAMES[n as usize % NAMES.len()];
    let inbound = n.is_multiple_of(2);
    let scramble = n.wrapping_mul(2_654_435_761) % 1_000_003;
    let peer = if n % 5 == 4 {
        format!("[2001:db8:4:{:x}::{:x}]:443", scramble % 65_536, n % 4096)
    } else {
        format!(
            "81.2.{}.{}:{}",
            scramble % 250,
            n % 250,
            if inbound { 30_000 + scramble % 30_000 } else { 443 }
        )
    };
    Flow {
        id: n,
        comm: comm.into(),
        pid,
        owner: Some(owner.into()),
        direction: if inbound { "in" } else { "out" },
        local: format!("10.0.0.5:{}", if inbound { 443 } else { 30_000 + scramble % 30_000 })
            .parse()
            .unwrap(),
        peer: peer.parse().unwrap(),
        state: if n % 11 == 7 { "CLOSED" } else { "ESTAB" },
        rx: Some((1_400_000 / (n + 1) * (1 + scramble % 3)) as f64),
        tx: (n % 7 != 3).then_some((scramble / (n + 1)) as f64),
        rtt_ns: Some(200_000 + scramble * 100),
        retransmits: if n % 9 == 2 { 3 } else { 0 },
        age_ns: (n + 1) * 13_000_000_000,
        ended: n % 11 == 7,
    }
}

/// Names that try to move the cursor, reverse the text, or be wider than they look.
pub fn hostile() -> Vec<Flow> {
    let names: [&[u8]; 7] = [
        b"\x1b[2J\x1b[H",
        b"\x1b]52;c;cm0=\x07",
        "日本語のプロセス名".as_bytes(),
        "e\u{301}\u{300}\u{302}zalgo".as_bytes(),
        "evil\u{202e}gpj.exe".as_bytes(),
        b"\xff\xfe\x00bytes",
        "👩\u{200d}👩\u{200d}👧 family".as_bytes(),
    ];
    (0..)
        .zip(names)
        .map(|(n, name)| Flow { comm: Outside::new(name), owner: Some(Outside::new(name)), ..flow(n) })
        .collect()
}

pub fn probes() -> Vec<ProbeRow> {
    let row = |index, family, program, status| ProbeRow {
        index,
        family,
        program,
        status,
        runs: Some(12_345 * (index + 1)),
        ns_per_run: Some(610.0),
        cpu_share: Some(0.0012),
        missed: Some(0),
        seen: Some(48_211),
        lost: Some(if index == 2 { 12 } else { 0 }),
        ledger: Some(Ledger { submitted: 48_199, ..Ledger::default() }),
        map_bytes: Some(4_194_304),
        fill: Some(0.012),
    };
    let none = |mut row: ProbeRow| {
        (row.runs, row.ns_per_run, row.cpu_share, row.missed) = (None, None, None, None);
        row
    };
    vec![
        row(0, "flow", "flow_state", Status::Live { hook: "tp_btf/inet_sock_set_state".to_owned() }),
        row(
            1,
            "flow",
            "flow_accept",
            Status::Degraded {
                hook: "tracepoint/syscalls/sys_exit_accept4".to_owned(),
                reason: "fentry security_sock_graft: BPF_PROG_LOAD refused with EPERM (trampolines are not allowed here); \
                         kprobe inet_csk_accept: CONFIG_KPROBES is off. Accepted connections are named at the end of \
                         accept(). Nothing needs to be done; a kernel with kprobes names them earlier."
                    .to_owned(),
            },
        ),
        row(2, "process", "process_exec", Status::Live { hook: "raw_tp/sched_process_exec".to_owned() }),
        none(row(
            3,
            "process",
            "process_exit",
            Status::Unsupported {
                reason: "no alternative loads: CAP_PERFMON is missing. Run it with sudo, or `setcap cap_bpf,cap_perfmon+ep`."
                    .to_owned(),
            },
        )),
        none(row(4, "flow", "flow_iter", Status::Detached)),
    ]
}

/// One of each kind, of which one is full.
fn maps() -> Vec<MapFill> {
    let map = |name, kind, used, room| MapFill { name, kind, used, walked: false, room, bytes: room * 184 };
    vec![
        MapFill { walked: true, ..map("FLOWS", MapKind::Hash, Some(48_211), 91_180) },
        map("DATAGRAMS", MapKind::Hash, Some(65_536), 65_536),
        map("DATAGRAM_SOCKETS", MapKind::Lru, Some(7), 32_768),
        MapFill { bytes: 1 << 20, ..map("RING0", MapKind::Ring, Some(12_345), 1 << 20) },
        map("STAMPS", MapKind::Array, None, 65_536),
    ]
}

pub struct Scene {
    pub sheet: Arc<dyn Sheet>,
    pub coverage: Coverage,
    pub notes: Vec<Note>,
    pub lost: u64,
    pub own_hidden: usize,
    pub flows: u64,
    pub overview: Option<Overview>,
    pub detail: Option<Detail>,
    pub reach: Reach,
}

impl Scene {
    pub fn of<R: Row>(rows: Vec<R>, total: usize) -> Self {
        let sheet = Listing { rows: rows.into_iter().map(Arc::new).collect(), total };
        let sheet = Arc::new(sheet);
        Self {
            flows: total as u64,
            sheet,
            coverage: Coverage::Live,
            notes: vec![],
            lost: 0,
            own_hidden: 0,
            overview: None,
            detail: None,
            reach: Reach::default(),
        }
    }

    pub fn answer(self, query: &Query) -> Arc<Snapshot> {
        let ended = (0..self.sheet.len()).filter(|&row| self.sheet.ended(row)).count();
        Arc::new(Snapshot {
            seq: query.serial,
            taken: BootTime(7_200_000_000_000),
            offset: WallOffset(1_795_423_902_000_000_000),
            interval: Duration::from_secs(1),
            host: Arc::new(HostFacts { name: "web-1".to_owned(), kernel: "6.12.9".to_owned(), cpus: 2 }),
            totals: Totals {
                rx_bytes_per_s: Some(150_300_000.0),
                tx_bytes_per_s: Some(14_800_000.0),
                flows: Some(self.flows),
                flow_opens_per_s: Some(38.0),
                execs_per_s: Some(12.0),
                lost: self.lost,
                missed: Some(0),
                cost_share: Some(0.004),
            },
            query: query.clone(),
            sheet: self.sheet,
            probes: Arc::new(probes()),
            overview: self.overview.map(Arc::new),
            detail: self.detail.map(Arc::new),
            reach: self.reach,
            coverage: self.coverage,
            notes: Arc::new(self.notes),
            more: query.open.filter(|_| query.view == View::Probes).map(|row| {
                Arc::new(More { row, facts: vec![], maps: maps().into_iter().map(Arc::new).collect() })
            }),
            own_hidden: self.own_hidden,
            ended,
        })
    }
}

/// The `n`th process.
pub fn process(n: u64) -> ProcessRow {
    let (comm, pid, owner) = NAMES[n as usize % NAMES.len()];
    named_process(n, comm.into(), pid + n as u32 / 6, Some(owner.into()))
}

fn named_process(n: u64, comm: Outside, pid: u32, unit: Option<Outside>) -> ProcessRow {
    let ended = n % 11 == 7;
    let path = [b"/usr/sbin/", comm.bytes()].concat();
    let key = ProcKey { tgid: Tgid(pid), start: StartTime(n) };
    let created = WallTime(1_795_431_000_000_000_000);
    let identity = Identity {
        comm,
        executable: Some(Executable::at(Outside::new(&path))),
        parent: Some(Tgid(1)),
        uid: Some(Uid(33)),
        user: Some("www-data".into()),
        owner: Owner { unit, ..Owner::default() },
        ended,
        ..Identity::bare(key, created)
    };
    ProcessRow {
        identity: Arc::new(identity),
        tid: None,
        usage: None,
        oom: false,
        given: fluoro::families::process::model::Given::default(),
        exit: ended.then_some(Exit::Code(1)),
        age_ns: Some((n + 1) * 13_000_000_000),
        activity: Some(Activity { forks: n % 5, execs: n % 3 }),
    }
}

/// A process's use of the `n`th file.
pub fn file(n: u64) -> FileRow {
    let paths: [&str; 5] = [
        "/var/lib/postgresql/16/main/base/16384/2619",
        "/var/log/nginx/access.log",
        "/etc/ssl/certs/ca-certificates.crt",
        "/srv/www/html/assets/a-file-with-quite-a-long-name-that-does-not-fit.js",
        "/proc/self/stat",
    ];
    let path = paths[n as usize % paths.len()];
    let uses = Uses {
        opens: 1 + n % 7,
        reads: 12_000 / (n + 1),
        writes: n % 90,
        syncs: n % 3,
        read_bytes: 48_000_000 / (n + 1),
        write_bytes: (n % 90) * 4096,
        errors: if n % 9 == 4 { 2 } else { 0 },
        sum_ns: 900_000_000 / (n + 1),
        quantiles_ns: (n % 6 != 5).then_some([8_000, 65_000, 1_900_000]),
        max_ns: (n % 6 != 5).then_some(31_000_000),
        seconds: 1.0,
        total: Total {
            calls: 700_000 / (n + 1),
            read_bytes: 2_900_000_000 / (n + 1),
            write_bytes: (n % 90) * 250_000,
        },
    };
    used_file(n, process(n).identity, Some(path.into()), uses)
}

fn used_file(n: u64, identity: Arc<Identity>, path: Option<Outside>, uses: Uses) -> FileRow {
    let missing = n % 8 == 6;
    let kind = if missing { FileKind::None } else { FileKind::Regular };
    FileRow {
        identity,
        path: path.filter(|_| !missing),
        file: FileId { device: 1, inode: n, kind },
        error: missing.then_some("ENOENT"),
        call: None,
        uses: Some(uses),
    }
}

/// Calls of the `n`th kind.
pub fn syscall(n: u64) -> SyscallRow {
    let figures = syscall::Figures {
        calls: 400_000 / (n + 1),
        errors: if n % 4 == 1 { 37 } else { 0 },
        errnos: if n % 4 == 1 { vec![("EAGAIN", 30), ("ENOENT", 7)] } else { vec![] },
        sum_ns: 870_000_000 / (n + 1),
        quantiles_ns: (n % 6 != 5).then_some([700, 12_000, 4_100_000]),
        max_ns: (n % 6 != 5).then_some(120_000_000),
    };
    made_call(n, process(n).identity, figures)
}

fn made_call(n: u64, identity: Arc<Identity>, figures: syscall::Figures) -> SyscallRow {
    const NUMBERS: [u32; 6] = [0, 1, 202, 232, 257, 435];
    let call = syscall::Call { abi: Abi::X86_64, number: NUMBERS[n as usize % NUMBERS.len()] };
    SyscallRow {
        identity,
        tid: None,
        call,
        name: call.name(),
        total: Some(figures.calls.saturating_mul(60)),
        figures: Some(figures),
        event: None,
    }
}

pub fn huge_files() -> Vec<FileRow> {
    let most = u64::MAX;
    let uses = Uses {
        opens: most,
        reads: most,
        writes: most,
        syncs: most,
        read_bytes: most,
        write_bytes: most,
        errors: most,
        sum_ns: most,
        quantiles_ns: Some([most; 3]),
        max_ns: Some(most),
        seconds: 1e-9,
        total: Total { calls: most, read_bytes: most, write_bytes: most },
    };
    let long = format!("/{}", "directory/".repeat(400));
    (0..3).map(|n| used_file(n, huge_process().identity, Some(long.as_str().into()), uses)).collect()
}

pub fn huge_syscalls() -> Vec<SyscallRow> {
    let most = u64::MAX;
    let figures = syscall::Figures {
        calls: most,
        errors: most,
        errnos: vec![("EAGAIN", most), ("EINPROGRESS", most)],
        sum_ns: most,
        quantiles_ns: Some([most; 3]),
        max_ns: Some(most),
    };
    (0..3).map(|n| made_call(n, huge_process().identity, figures.clone())).collect()
}

pub fn hostile_files() -> Vec<FileRow> {
    (0..)
        .zip(hostile_processes())
        .map(|(n, row)| {
            let path = row.identity.comm.clone();
            FileRow { path: Some(path), ..used_file(n, row.identity, None, file(n).uses.unwrap()) }
        })
        .collect()
}

pub fn hostile_syscalls() -> Vec<SyscallRow> {
    (0..)
        .zip(hostile_processes())
        .map(|(n, row)| made_call(n, row.identity, syscall(n).figures.unwrap()))
        .collect()
}

/// Processes by owner.
pub fn owners(processes: Vec<ProcessRow>) -> Vec<OwnerRow> {
    let processes: Vec<_> = processes.into_iter().map(Arc::new).collect();
    group(&processes).into_iter().map(Arc::unwrap_or_clone).collect()
}

pub fn hostile_processes() -> Vec<ProcessRow> {
    (0..).zip(hostile()).map(|(n, flow)| named_process(n, flow.comm, flow.pid, flow.owner)).collect()
}

/// Numbers as large as their types have them.
pub fn huge() -> Vec<Flow> {
    let most = |n| Flow {
        pid: u32::MAX,
        rx: Some(1e300),
        tx: Some(u64::MAX as f64),
        rtt_ns: Some(u64::MAX),
        retransmits: u64::MAX,
        age_ns: u64::MAX,
        peer: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
        ..flow(n)
    };
    (0..3).map(most).collect()
}

pub fn huge_process() -> ProcessRow {
    let activity = Some(Activity { forks: u64::MAX, execs: u64::MAX });
    ProcessRow {
        age_ns: Some(u64::MAX),
        activity,
        ..named_process(0, "x".repeat(15).as_str().into(), u32::MAX, None)
    }
}

pub fn event(n: u64, flow: Flow) -> EventRow {
    let name = ["flow.open", "flow.close", "flow.fail"][n as usize % 3];
    EventRow::from(Event {
        seq: n,
        name,
        family: "flow",
        at: BootTime(n),
        wall: WallTime(1_795_431_102_000_000_000 - n * 7_000_000),
        facts: Arc::new(flow),
    })
}

pub fn failure(n: u64, flow: Flow) -> FailureRow {
    let identity = Arc::clone(&named_process(n, flow.comm, flow.pid, flow.owner).identity);
    FailureRow {
        family: "flow",
        kind: ["connect", "reset_received", "retransmit"][n as usize % 3],
        error: n.is_multiple_of(3).then_some("ECONNREFUSED"),
        identity: Some(identity),
        subject: Subject::Peer(flow.peer),
        count: flow.retransmits.saturating_add(n % 4),
        total: flow.retransmits.saturating_add(7 * n),
        last: WallTime(1_795_431_102_000_000_000 - n * 7_000_000),
        latency_ns: flow.rtt_ns,
        max_latency_ns: flow.rtt_ns,
        other: false,
    }
}

/// Panels with these subjects each, as far as their families are there.
pub fn overview(subjects: &[Flow], room: usize) -> Scene {
    let mut overview = Overview::default();
    let mut rows = vec![];
    let points = |seed: u64, scale: f64| -> Vec<f64> {
        (0..60).map(|at| if (at + seed) % 7 < 5 { ((at * seed) % 13) as f64 * scale } else { 0.0 }).collect()
    };
    for (panel, kind) in PANELS.iter().enumerate() {
        let unmeasured = (kind.family == "syscall").then(|| "Press 4 to measure.".to_owned());
        let some = if unmeasured.is_some() { 0 } else { subjects.len().min(room) };
        let scale = if kind.unit == Unit::Nanos { 2_000_000.0 } else { 30_000.0 };
        overview.panels.push(Panel {
            kind,
            unmeasured,
            total: (!matches!(kind.measure, Measure::Latency(_))).then_some(3.0 * scale),
            trace: Trace { points: points(3, scale), newest: 100 },
            hidden: 0,
            rows: some,
        });
        for (n, subject) in (0..).zip(subjects.iter().take(some)) {
            let value = subject.rx.unwrap_or(0.0) / (panel + 1) as f64;
            overview.traces.push(Trace { points: points(n + 3, scale / (n + 1) as f64), newest: 100 });
            let id = RowId(n, n);
            rows.push(OverviewRow { panel, id, value, count: None, facts: Arc::new(subject.clone()) });
        }
    }
    let total = rows.len();
    Scene { overview: Some(overview), ..Scene::of(rows, total) }
}

/// Of the process of the first flow.
pub fn detail() -> Detail {
    let mut durations = Distribution::default();
    for ns in 1..=3000_u64 {
        durations.add(bucket_of(ns * ns * 10), 1 + 4000 / ns);
    }
    let rows: Vec<_> = (0..20).step_by(6).map(|n| Arc::new(flow(n))).collect();
    let events: Vec<_> = (0..30).step_by(6).map(|n| Arc::new(event(n, flow(n)))).collect();
    Detail {
        subject: Scope::offers(&flow(0)).remove(0),
        ancestry: vec![("nginx".into(), 4240), ("systemd".into(), 1)],
        charts: vec![Latency { what: "connect", durations }],
        lists: vec![
            (View::Flows, Arc::new(Listing { total: rows.len(), rows })),
            (View::Events, Arc::new(Listing { total: events.len(), rows: events })),
        ],
    }
}
