//! The published JSON schema against what fluoro prints, and both against the column tables.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fluoro::columns::{Faces, Facts, Kind, Listing, Row, Unit, Value, infos};
use fluoro::engine::synthetic::{Clock, Script};
use fluoro::engine::{Core, Sources, World, list};
use fluoro::families::Family;
use fluoro::families::dns::row::asked::{AskedRow, Subject as Asked};
use fluoro::families::failure::row::FailureRow;
use fluoro::families::file::model::{FileRow, Uses};
use fluoro::families::file::row::group as file_group;
use fluoro::families::flow::model::{Attribution, FlowRow, Live, Queue, Rates, State};
use fluoro::families::flow::row::group::{By, GroupRow};
use fluoro::families::flow::row::lost::Lost;
use fluoro::families::flow::row::{Passing, PeerName};
use fluoro::families::process::model::owner::{OwnerRow, group};
use fluoro::families::process::model::{Activity, Gifts, ProcessRow, Usage};
use fluoro::families::syscall::model::{Call, Figures, SyscallRow, Traced};
use fluoro::model::{
    Aggregates, Container, Event, Executable, Identity, Ledger, ObservedName, Owner, Subject, View,
};
use fluoro::records::file::{FileId, FileKind};
use fluoro::records::flow::{Direction, End};
use fluoro::records::process::Exit;
use fluoro::records::syscall::Abi;
use fluoro::records::{
    BootTime, FlowId, Gid, NetnsId, Outside, ProcKey, StartTime, Tgid, Tid, Uid, WallTime,
};
use fluoro::{json, table};
use fluoro_shared::dns::{self, DnsRecord};
use fluoro_shared::drop::{DropRecord, FLAG_RECEIVED, KIND_PACKET};
use fluoro_shared::file::{
    FLAG_BARE, FLAG_COMPAT, FLAG_CREATED, FLAG_RESOLVED, FLAG_TRUNCATED, FLAG_URING, FileRecord, KIND_CHMOD,
    KIND_CHOWN, KIND_CREATE, KIND_LINK, KIND_MKDIR, KIND_OPEN as KIND_FILE_OPEN, KIND_OTHER_PATH,
    KIND_RENAME, KIND_RMDIR, KIND_SYMLINK, KIND_TRUNCATE, KIND_UNLINK,
};
use fluoro_shared::flow::{
    DIRECTION_INBOUND, DIRECTION_NONE, DIRECTION_OUTBOUND, FLAG_SENT, FLAG_UNTRACKED, FlowRecord, KIND_CLOSE,
    KIND_DATA, KIND_FAIL, KIND_LISTEN, KIND_OPEN, KIND_OWNER, KIND_RESET, KIND_RETRANSMIT, MINTED, end,
};
use fluoro_shared::process::{KIND_EXEC, KIND_EXIT, KIND_FORK, ProcessRecord};
use fluoro_shared::record::{Header, Task};
use fluoro_shared::syscall::{self, SyscallRecord};
use jsonschema::Validator;
use serde_json::{Value as Json, json};
use zerocopy::{FromZeros, IntoBytes};

const SCHEMA: &str = include_str!("../../assets/schema/fluoro.schema.json");
const PAGE: &str = include_str!("../../docs/json.md");

fn schema() -> Json {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

/// Every line is valid; a message names what is not.
fn assert_valid(bytes: &[u8]) -> Vec<Json> {
    let validator = validator();
    let lines: Vec<Json> =
        serde_json::Deserializer::from_slice(bytes).into_iter().map(Result::unwrap).collect();
    for line in &lines {
        let wrong: Vec<String> =
            validator.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{line}\n{}", wrong.join("\n"));
    }
    lines
}

/// A machine with one user and no process that /proc could show.
fn machine() -> (tempfile::TempDir, Core) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    let core = Core::new(World::live(root.path(), None));
    (root, core)
}

fn task(pid: u32, name: &[u8]) -> Task {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Task { start_ns: 1_000_000_000, tgid: pid, tid: pid, parent_tgid: 1, comm, ..Task::NONE }
}

fn process(kind: u16, at_ns: u64, wait_status: u32, path: &[u8]) -> Vec<u8> {
    let header = Header { at_ns, seq: 1, cpu: 0, kind, flags: 0 };
    let record = ProcessRecord { header, task: task(7, b"a\xffb"), wait_status, gid: 0, args_len: 0, pad: 0 };
    [path, record.as_bytes()].concat()
}

fn flow(kind: u16, at_ns: u64, id: u64, direction: u8, owner: Task) -> FlowRecord {
    let mut record = FlowRecord::new_zeroed();
    record.header = Header { at_ns, seq: 1, cpu: 0, kind, flags: 0 };
    record.owner = owner;
    record.id = id;
    record.netns = 4_026_531_833;
    record.local_address = "::ffff:127.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    record.peer_address = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    (record.local_port, record.peer_port) = (80, 50_000);
    record.direction = direction;
    record
}

fn packet(at_ns: u64, owner: Task) -> DropRecord {
    let mut record = DropRecord::new_zeroed();
    record.header = Header { at_ns, seq: at_ns, cpu: 0, kind: KIND_PACKET, flags: FLAG_RECEIVED };
    record.owner = owner;
    record.source_address = "::ffff:127.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    record.destination_address = record.source_address;
    (record.source_port, record.destination_port) = (50_000, 9);
    (record.protocol, record.ethertype) = (17, 0x800);
    record
}

/// A call on a file, with a base by dentries and a text as passed.
fn file(kind: u16, at_ns: u64, result: i64, flags: u16, base: &[u8], text: &[u8]) -> (BootTime, Vec<u8>) {
    let mut record = FileRecord::new_zeroed();
    record.header = Header { at_ns, seq: 1, cpu: 0, kind, flags };
    record.task = task(7, b"mv");
    (record.result, record.duration_ns, record.detail) = (result, 700, 0o100);
    (record.base_len, record.text_len) = (base.len() as u16, text.len() as u16);
    if flags & FLAG_RESOLVED != 0 {
        (record.inode, record.device, record.inode_mode) = (12, 8, 0o100_644);
    }
    let gap = vec![0; (8 - base.len() % 8) % 8];
    (BootTime(at_ns), [record.as_bytes(), &gap, base, text].concat())
}

fn all_file_events(now: u64) -> Vec<(BootTime, Vec<u8>)> {
    let joined = |kind, result| file(kind, now, result, 0, b"/srv", b"na\xffme");
    let mut records = vec![
        file(KIND_FILE_OPEN, now, 3, FLAG_RESOLVED | FLAG_CREATED, b"/srv/x", b""),
        joined(KIND_FILE_OPEN, -2),
        joined(KIND_OTHER_PATH, 0),
        joined(KIND_RENAME, 0),
        file(KIND_OTHER_PATH, now, 0, FLAG_BARE, b"", b"targ\xffet"),
        joined(KIND_SYMLINK, 0),
        file(KIND_TRUNCATE, now, 0, FLAG_RESOLVED | FLAG_TRUNCATED | FLAG_URING | FLAG_COMPAT, b"/d", b""),
    ];
    let others = [KIND_CREATE, KIND_MKDIR, KIND_RMDIR, KIND_UNLINK, KIND_LINK, KIND_CHMOD, KIND_CHOWN];
    records.extend(others.map(|kind| joined(kind, 0)));
    records
}

/// A question and its answer, with everything in it that can be.
fn dns_messages(now: u64, known: Task) -> Vec<(BootTime, Vec<u8>)> {
    let asked = b"\x01\xff\x07example\x00\x00\x01\x00\x01";
    let alias = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01a\xc0\x0e";
    let address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01";
    let question = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], asked].concat();
    let answer = [&[0, 7, 0x83, 0x80, 0, 1, 0, 9, 0, 0, 0, 0][..], asked, alias, address].concat();
    let record = |at_ns, flags, ports: (u16, u16), payload: &[u8]| {
        let mut record = DnsRecord::new_zeroed();
        record.header = Header { at_ns, seq: 1, cpu: 0, kind: dns::KIND_PACKET, flags };
        (record.source_address[15], record.destination_address[15]) = (1, 1);
        (record.source_port, record.destination_port) = ports;
        (record.owner, record.payload_len, record.whole_len) =
            (known, payload.len() as u32, payload.len() as u32);
        (BootTime(at_ns), [record.as_bytes(), payload].concat())
    };
    vec![record(now, dns::FLAG_OUTGOING, (4000, 53), &question), record(now + 1, 0, (53, 4000), &answer)]
}

/// One of each event, as records of the kernel side make them.
fn all_events(core: &mut Core) -> Vec<Event> {
    let (known, now) = (task(7, b"curl"), core.now().0);
    let (mut processes, mut flows) = (Vec::new(), Vec::new());
    for record in [
        process(KIND_FORK, now, 0, b""),
        process(KIND_EXEC, now + 1, 0, b"/usr/bin/\xfe"),
        process(KIND_EXIT, now + 10, 3 << 8, b""),
        process(KIND_EXIT, now + 11, 9, b""),
    ] {
        processes.push((BootTime(now), record));
    }
    let mut failed = flow(KIND_FAIL, now + 5, 3, DIRECTION_OUTBOUND, known);
    (failed.error_or_first_byte_us, failed.connect_ns) = (111, 4_000);
    let mut unseen = flow(KIND_CLOSE, now + 7, 5, 0, Task::NONE);
    unseen.header.flags = FLAG_UNTRACKED;
    let mut closed = flow(KIND_CLOSE, now + 6, 1, DIRECTION_OUTBOUND, known);
    (closed.tx_bytes, closed.rx_bytes, closed.srtt_us, closed.duration_ns) = (10, 20, 30, 40);
    // Of a socket that nobody knew.
    let mut reset = flow(KIND_RESET, now + 11, 0, 0, Task::NONE);
    reset.header.flags = FLAG_SENT;
    closed.end = end::RESET_RECEIVED;
    for record in [
        flow(KIND_LISTEN, now + 2, 2, DIRECTION_NONE, known),
        flow(KIND_OPEN, now + 3, 1, DIRECTION_OUTBOUND, known),
        flow(KIND_OPEN, now + 4, MINTED | 4, DIRECTION_INBOUND, Task::NONE),
        failed,
        closed,
        unseen,
        flow(KIND_OPEN, now + 8, 6, DIRECTION_INBOUND, Task::NONE),
        flow(KIND_OWNER, now + 9, 6, DIRECTION_INBOUND, known),
        flow(KIND_DATA, now + 9, 6, DIRECTION_INBOUND, known),
        flow(KIND_RETRANSMIT, now + 10, 6, DIRECTION_INBOUND, known),
        reset,
    ] {
        flows.push((BootTime(now), record.as_bytes().to_vec()));
    }
    let (mut full, mut other) = (packet(now + 1, known), packet(now + 2, Task::NONE));
    (full.ifindex, full.netns, full.len) = (1, 4_026_531_833, 60);
    full.interface[..3].copy_from_slice(b"eth");
    full.interface[3] = 0xff;
    (other.protocol, other.ethertype) = (255, 0x806);
    let drops = [full, other].map(|record| (BootTime(now), record.as_bytes().to_vec())).to_vec();
    let clock = Clock::default();
    clock.set(BootTime(now + 12));
    let mut sources = Sources::default();
    let mut call = SyscallRecord::new_zeroed();
    call.header = Header { at_ns: now + 9, seq: 1, cpu: 0, kind: syscall::KIND_EXIT, flags: 0 };
    (call.task, call.number, call.result) = (known, 257, -2);
    let calls = vec![(BootTime(now), call.as_bytes().to_vec())];
    let files = all_file_events(now + 12);
    let all = [
        (Family::Process, processes),
        (Family::Flow, flows),
        (Family::File, files),
        (Family::Drop, drops),
        (Family::Dns, dns_messages(now, known)),
        (Family::Syscall, calls),
    ];
    for (family, records) in all {
        sources.open(family, Box::new(Script::new(family, clock.clone(), records)));
    }
    core.drain(&mut sources);
    core.finish();
    core.take_events()
}

/// The same as lines.
fn all_lines(core: &mut Core) -> Vec<u8> {
    let mut out = Vec::new();
    for event in all_events(core) {
        json::event_line(&mut out, &event);
    }
    out
}

/// Everything that can be known of a process.
fn identity() -> Arc<Identity> {
    let key = ProcKey { tgid: Tgid(4242), start: StartTime(100) };
    Arc::new(Identity {
        comm: Outside::new(b"nginx\xff"),
        executable: Some(Executable::at(Outside::new(b"/usr/sbin/\xffnginx"))),
        parent: Some(Tgid(1)),
        uid: Some(Uid(33)),
        user: Some("www-data".into()),
        gid: Some(Gid(33)),
        args: Some(Outside::new(b"nginx\0-g\0\xff\0")),
        cgroup: Some(Outside::new(b"/system.slice/\xff")),
        owner: Owner {
            unit: Some(Outside::new(b"\xff.service")),
            container: Some(Container { id: Outside::new(b"web\xff"), runtime: "nspawn" }),
            pod: Some(Outside::from("2d3f8c1a-9a4e-4b6e-8f0a-1c2d3e4f5a6b")),
        },
        ..Identity::bare(key, WallTime(1_700_000_000_000_000_000))
    })
}

/// A connection with every column filled.
fn full_flow() -> FlowRow {
    FlowRow {
        id: FlowId(u64::MAX),
        netns: NetnsId(4_026_531_833),
        local: "10.0.0.5:443".parse().unwrap(),
        peer: "81.2.69.142:51844".parse().unwrap(),
        peer_name: Some(PeerName::new(
            &Arc::new(ObservedName { name: Outside::from("www.example"), at: BootTime(1) }),
            BootTime(2),
        )),
        state: State::Established,
        direction: Some(Direction::Inbound),
        attribution: Attribution::Inferred,
        identity: Some(identity()),
        tid: Some(Tid(4243)),
        tx_bytes: 1,
        rx_bytes: 2,
        rates: Some(Rates { tx_bytes_per_s: 1.5, rx_bytes_per_s: 0.0 }),
        rtt_ns: 3,
        retransmits: 4,
        duration_ns: 5,
        connect_ns: Some(6),
        first_byte_ns: Some(7),
        mover: Some(identity()),
        live: Live {
            min_rtt_ns: Some(8),
            cwnd: Some(9),
            out_of_order: Some(10),
            delivery_bytes_per_s: Some(11),
        },
        datagrams: None,
        queue: Some(Queue { waiting: 1, backlog: 2, half_open: 3, drops: Some(4) }),
        end: Some(End::Timeout),
        reset: None,
        error: None,
        primed: true,
        wire: Some(Passing { protocol: 17, tx_packets: 1, rx_packets: 2 }),
        lost: Some(Lost::new(3, "NETFILTER_DROP")),
        event: false,
    }
}

fn full_file() -> FileRow {
    FileRow {
        identity: identity(),
        path: Some(Outside::new(b"/var/log/\xff")),
        file: FileId { device: 8, inode: 7, kind: FileKind::Regular },
        error: None,
        call: None,
        uses: Some(Uses {
            opens: 1,
            reads: 2,
            writes: 3,
            syncs: 4,
            read_bytes: 5,
            write_bytes: 6,
            errors: 7,
            sum_ns: 8,
            quantiles_ns: Some([9, 10, 11]),
            max_ns: Some(12),
            seconds: 1.0,
        }),
    }
}

/// A failure with every column filled that its subject has.
fn full_failure(subject: Subject) -> FailureRow {
    FailureRow {
        family: "flow",
        kind: "connect",
        error: Some("ECONNREFUSED"),
        identity: Some(identity()),
        subject,
        count: 1,
        total: 2,
        last: WallTime(3),
        latency_ns: Some(4),
        max_latency_ns: Some(5),
        other: false,
    }
}

fn full_process(exit: Option<Exit>) -> ProcessRow {
    let activity = Some(Activity { forks: 1, execs: 2 });
    let usage = Usage {
        cpu_share: Some(0.5),
        resident_bytes: 4096,
        threads: 2,
        fds: Some(9),
        on_cpu_ns: Some(10),
        run_wait_ns: Some(11),
        working_directory: Some(Outside::new(b"/srv/\xff")),
    };
    let identity = identity();
    let mut gifts = Gifts::default();
    for family in Family::ALL {
        let columns = family.contributes::<ProcessRow>();
        gifts.give(identity.key, columns.iter().map(|column| (column.info.id, 12.0)));
    }
    ProcessRow {
        tid: Some(Tid(4242)),
        exit,
        oom: true,
        age_ns: Some(9),
        activity,
        usage: Some(usage),
        given: gifts.take(identity.key),
        ..ProcessRow::of(identity)
    }
}

fn full_file_groups() -> Vec<file_group::GroupRow> {
    use file_group::{By, GroupKey, GroupRow};
    let uses = full_file().uses.unwrap();
    let keys = By::ALL.map(|by| match by {
        By::Directory => GroupKey::Directory(Some(Outside::new(b"/srv/\xff"))),
        By::Process => GroupKey::Process(identity().key),
        By::Mount => GroupKey::Mount(Outside::new(b"/mnt/\xff"), 8 << 20 | 1),
    });
    let of = |key| GroupRow { key, identity: Some(identity()), files: 3, uses };
    keys.into_iter().chain([GroupKey::Directory(None), GroupKey::Failed]).map(of).collect()
}

/// Calls as a table shows them, and one as an event line does.
fn full_syscalls() -> [SyscallRow; 2] {
    let figures = Figures {
        calls: 5,
        errors: 3,
        errnos: vec![("EAGAIN", 2), ("EINTR", 1)],
        sum_ns: 900,
        quantiles_ns: Some([100, 200, 300]),
        max_ns: Some(400),
    };
    let event = Traced {
        arguments: Some(Outside::new(b"\"/tmp/\xff\"")),
        path: Some(Outside::new(b"/tmp/\xff")),
        result: Some(-2),
        error: Some("ENOENT"),
        duration_ns: Some(700),
        text: Outside::default(),
    };
    let call = Call { abi: Abi::I386, number: 5 };
    let row = SyscallRow {
        identity: identity(),
        tid: None,
        call,
        name: call.name(),
        figures: Some(figures),
        event: None,
    };
    [row.clone(), SyscallRow { tid: Some(Tid(7)), figures: None, event: Some(event), ..row }]
}

fn full_asked() -> AskedRow {
    AskedRow {
        subject: Asked {
            process: Some(identity().key),
            received: false,
            name: Outside::from("www.example"),
            kind: "AAAA".into(),
        },
        identity: Some(identity()),
        attribution: Attribution::Inferred,
        queries: 3,
        responses: 2,
        errors: 1,
        waiting: 1,
        codes: vec![("NOERROR", 1), ("NXDOMAIN", 1)],
        quantiles_ns: Some([100, 200, 300]),
        max_ns: Some(400),
    }
}

fn table<R: Row>(rows: Vec<R>, totals: &[(&str, Option<f64>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let sheet = Listing { total: rows.len(), rows: rows.into_iter().map(Arc::new).collect() };
    json::top_object(&mut out, WallTime(0), Duration::from_secs(1), totals, 0, &sheet, usize::MAX);
    out
}

#[test]
fn every_event_that_records_make_is_valid() {
    let (_root, mut core) = machine();
    let lines = assert_valid(&all_lines(&mut core));
    let names: BTreeSet<&str> = lines.iter().map(|line| line["event_name"].as_str().unwrap()).collect();
    let schema = schema();
    let listed = schema["then"]["properties"]["event_name"]["enum"].as_array().unwrap();
    let listed: BTreeSet<&str> =
        listed.iter().map(|name| name.as_str().unwrap()).filter(|name| *name != "fluoro.stats").collect();
    assert_eq!(names, listed, "each name in the schema is printed, and no other");
    for name in &names {
        assert!(PAGE.contains(&format!("`{name}`")), "docs/json.md does not name {name}");
    }
    let exec = lines.iter().find(|line| line["event_name"] == "process.exec").unwrap();
    assert_eq!(exec["process"]["executable"]["path_base64"], "L3Vzci9iaW4v/g==");
}

#[test]
fn a_line_of_text_says_what_the_event_is_about() {
    let (_root, mut core) = machine();
    let mut about = BTreeSet::new();
    for event in all_events(&mut core) {
        let mut line = Vec::new();
        table::event_line(&mut line, &event);
        let line = String::from_utf8(line).unwrap();
        for (column, info) in event.infos().iter().enumerate() {
            let value = event.value(column);
            if ["path", "old_path", "target", "reason", "name", "rcode", "local", "peer"].contains(&info.id)
                && value != Value::Missing
            {
                let text = fluoro::fmt::value(&value, info.unit);
                assert!(line.contains(&text), "{}: {} {text}: {line}", event.name, info.id);
                about.insert((event.family, info.id));
            }
        }
    }
    for known in
        [("file", "old_path"), ("file", "target"), ("drop", "reason"), ("dns", "name"), ("flow", "peer")]
    {
        assert!(about.contains(&known), "{known:?}");
    }
}

#[test]
fn every_table_that_the_models_make_is_valid() {
    let (_root, mut core) = machine();
    all_events(&mut core);
    core.tick(Duration::from_secs(1));
    let mut out = Vec::new();
    let second = Duration::from_secs(1);
    let flows = list(core.flow_rows(false), None, None, |_| false).0;
    json::top_object(&mut out, WallTime(0), second, &core.totals(View::Flows), 0, &flows, 100);
    let processes = list(core.process_rows(false), None, None, |_| false).0;
    json::top_object(&mut out, WallTime(0), second, &core.totals(View::Processes), 0, &processes, 100);
    let failures = list(core.failure_rows(true), None, None, |_| false).0;
    json::top_object(&mut out, WallTime(0), second, &core.totals(View::Failures), 0, &failures, 100);
    for by in By::ALL {
        let groups = list(core.flow.groups(by, &flows.rows, true), None, None, |_| false).0;
        json::top_object(&mut out, WallTime(0), second, &core.totals(View::Flows), 0, &groups, 100);
    }
    let files = core.file_rows(false);
    for by in file_group::By::ALL {
        let groups = list(core.file_groups(by, &files, false), None, None, |_| false).0;
        json::top_object(&mut out, WallTime(0), second, &core.totals(View::Files), 0, &groups, 100);
    }
    let lines = assert_valid(&out);
    let kinds: BTreeSet<&str> = lines[2]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["failure"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["connect", "reset_sent", "retransmit"]));
    let flows = lines[0]["rows"].as_array().unwrap();
    assert!(flows.iter().any(|row| row["flow"]["tx_bytes_per_s"] == 10));
    assert!(flows.iter().any(|row| row["network"]["connection"]["state"] == "listen"));
    assert_eq!(lines[1]["rows"][0]["process"]["execs"], 1);
}

#[test]
fn rows_with_every_column_filled_are_valid() {
    let mut out = table(vec![full_flow()], &[("flows", Some(1.0))]);
    out.extend(table(vec![full_process(Some(Exit::Code(1)))], &[("processes", Some(1.0))]));
    let (here, there) = ("10.0.0.5:443".parse().unwrap(), "81.2.69.142:51844".parse().unwrap());
    let failures = [
        Subject::Peer(there),
        Subject::Client { peer: there.ip(), local: here },
        Subject::Listener(here),
        Subject::Path(Outside::new(b"/etc/\xff")),
        Subject::None,
    ];
    out.extend(table(failures.map(full_failure).into(), &[("failures", Some(1.0))]));
    let event = Event {
        seq: 1,
        name: "process.exit",
        family: "process",
        at: BootTime(0),
        wall: WallTime(1),
        facts: Arc::new(full_process(Some(Exit::Signal(9)))),
    };
    json::event_line(&mut out, &event);
    let [calls, call] = full_syscalls();
    let totals = [("calls", Some(5.0)), ("errors", Some(3.0)), ("duration_ns", Some(900.0))];
    out.extend(table(vec![calls], &totals));
    let event = Event { name: "syscall.exit", family: "syscall", facts: Arc::new(call), ..event };
    json::event_line(&mut out, &event);
    let rates = ["opens_per_s", "read_bytes_per_s", "write_bytes_per_s", "errors_per_s"];
    out.extend(table(vec![full_file()], &rates.map(|name| (name, Some(1.5)))));
    out.extend(table(full_file_groups(), &rates.map(|name| (name, Some(1.5)))));
    let owners = group(&[Arc::new(full_process(None))]);
    let names = ["queries", "responses", "errors", "untracked"].map(|name| (name, Some(2.0)));
    let bare =
        AskedRow { identity: None, codes: Vec::new(), quantiles_ns: None, max_ns: None, ..full_asked() };
    out.extend(table(vec![owners[0].as_ref().clone()], &[("processes", Some(1.0))]));
    out.extend(table(vec![full_asked(), bare], &names));
    let lines = assert_valid(&out);
    assert_eq!(lines[9]["rows"][0]["dns"]["response_codes"], json!({ "NOERROR": 1, "NXDOMAIN": 1 }));
    assert_eq!(lines[1]["rows"][0]["file"]["opens_per_s"], 12);
    assert_eq!(lines[1]["rows"][0]["syscall"]["duration"]["p99_ns"], 12);
    assert_eq!(lines[8]["rows"][0]["drop"]["packets"], 12);
    assert_eq!(lines[7]["rows"][2]["system"]["filesystem"]["mountpoint_base64"], "L21udC//");
    assert_eq!(lines[4]["rows"][0]["errors_by_type"], json!({ "EAGAIN": 2, "EINTR": 1 }));
    assert_eq!(lines[5]["syscall"]["path_base64"], "L3RtcC//");
    assert_eq!(lines[3]["systemd"]["unit_base64"], "/y5zZXJ2aWNl");
    assert_eq!(lines[0]["rows"][0]["container"]["id_base64"], "d2Vi/w==");
}

#[test]
fn the_ledger_is_valid_and_balances_as_the_page_says() {
    let ledger = Ledger {
        seen: 10,
        submitted: 7,
        lost: 3,
        missed: Some(1),
        aggregates: Aggregates { seen: 1, counted: 1, ..Aggregates::default() },
        ..Ledger::default()
    };
    let mut out = Vec::new();
    json::stats_line(&mut out, &[("process", Ledger::default()), ("flow", ledger)]);
    let line = &assert_valid(&out)[0];
    for (key, value) in line["families"]["flow"].as_object().unwrap() {
        assert!(PAGE.contains(&format!("`{key}`")), "docs/json.md does not name {key} ({value})");
    }
}

#[test]
fn what_doctor_says_of_this_machine_is_valid() {
    for args in [&["--try-all"][..], &["--btf", "none"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_fluoro")).args(["doctor", "-o", "json"]).args(args).output();
        assert_eq!(assert_valid(&output.unwrap().stdout).len(), 1);
    }
}

#[test]
fn lines_that_break_the_contract_are_refused() {
    let (_root, mut core) = machine();
    let lines = assert_valid(&all_lines(&mut core));
    let one = |name: &str| lines.iter().find(|line| line["event_name"] == name).unwrap();
    let validator = validator();
    let mut stats = Vec::new();
    json::stats_line(&mut stats, &[("flow", Ledger::default())]);
    let stats: Json = serde_json::from_slice(&stats).unwrap();
    let table: Json = serde_json::from_slice(&table(vec![full_flow()], &[("flows", Some(1.0))])).unwrap();
    let wrong: [(&Json, &str, Json); 24] = [
        (one("drop.packet"), "/drop/reason", Json::Null),
        (one("drop.packet"), "/network/io/direction", json!("in")),
        (one("flow.open"), "/schema", json!(2)),
        (one("flow.open"), "/event_name", json!("flow.opened")),
        (one("flow.open"), "/time", json!("2026-01-01T00:00:00Z")),
        (one("flow.open"), "/flow/id", json!(4098)),
        (one("flow.open"), "/flow/id", Json::Null),
        (one("flow.open"), "/flow/rtt_ns", json!(-1)),
        (one("flow.open"), "/flow/direction", json!("out")),
        (one("flow.open"), "/flow/primed", json!(true)),
        (one("flow.open"), "/flow/rx_bytes_per_s", json!(1)),
        (one("flow.open"), "/network/peer", Json::Null),
        (one("flow.open"), "/network/local/port", json!(65_536)),
        (one("flow.open"), "/network/connection/state", json!("ESTAB")),
        (one("flow.fail"), "/error", Json::Null),
        (one("flow.listen"), "/network/peer", json!({ "address": "::", "port": 1 })),
        (one("process.exit"), "/process/exit", json!({ "code": 1, "signal": 9 })),
        (one("process.exit"), "/process/exit", Json::Null),
        (one("process.fork"), "/process/exit", json!({ "code": 0 })),
        (one("process.exec"), "/process/comm_base64", json!(7)),
        (&stats, "/families/flow/missed", json!("none")),
        (&stats, "/families/flow/aggregates", Json::Null),
        (&table, "/rows/0/flow/tx_bytes", Json::Null),
        (&table, "/totals/flows", Json::Null),
    ];
    for (line, at, value) in wrong {
        let mut line = line.clone();
        let (parent, key) = at.rsplit_once('/').unwrap();
        let parent = line.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            assert!(parent.remove(key).is_some(), "{at}");
        } else {
            parent.insert(key.to_owned(), value.clone());
        }
        assert!(!validator.is_valid(&line), "{at} = {value} was let through: {line}");
    }
}

#[test]
fn unknown_keys_are_let_through_because_keys_may_be_added() {
    let (_root, mut core) = machine();
    for mut line in assert_valid(&all_lines(&mut core)) {
        line["later"] = json!(1);
        line["process"]["later"] = json!({ "deeper": true });
        if line["process"]["pid"].is_null() {
            line.as_object_mut().unwrap().remove("process");
        }
        assert!(validator().is_valid(&line), "{line}");
    }
}

fn resolve<'a>(schema: &'a Json, node: &'a Json) -> &'a Json {
    match node["$ref"].as_str() {
        Some(reference) => resolve(schema, schema.pointer(reference.trim_start_matches('#')).unwrap()),
        None => node,
    }
}

/// The schema of the key at a dotted path below a definition, and its description.
fn find<'a>(schema: &'a Json, definition: &str, path: &str) -> Option<(&'a Json, &'a str)> {
    let mut node = &schema["$defs"][definition];
    for key in path.split('.') {
        node = resolve(schema, node)["properties"].get(key)?;
    }
    let description = node["description"].as_str().or_else(|| resolve(schema, node)["description"].as_str());
    Some((resolve(schema, node), description?))
}

#[test]
fn every_column_with_a_json_path_is_in_the_schema_and_on_the_page() {
    let schema = schema();
    let tables = Family::ALL
        .iter()
        .map(|family| {
            (family.infos(), Some(format!("{}_event", family.stem())), format!("{}_row", family.stem()))
        })
        .chain([
            (infos::<FailureRow>(), None, "failure_row".to_owned()),
            (infos::<GroupRow>(), None, "group_row".to_owned()),
            (infos::<AskedRow>(), None, "dns_row".to_owned()),
            (infos::<file_group::GroupRow>(), None, "file_group_row".to_owned()),
            (infos::<OwnerRow>(), None, "owner_row".to_owned()),
        ]);
    for (columns, event, row) in tables {
        for info in columns {
            let Some(path) = info.json else { continue };
            let mut places = Vec::new();
            if info.faces != Faces::TopOnly {
                places.extend(event.clone());
            }
            // Drops and messages have no table of their own.
            if info.faces != Faces::EventOnly && !["drop_row", "dns_row"].contains(&row.as_str()) {
                places.push(row.clone());
            }
            for place in places {
                let Some((node, _)) = find(&schema, &place, path) else {
                    panic!("{path} of {} has no entry with a description in {place}", info.id)
                };
                let kind = node["type"].as_str().unwrap_or("word");
                match (info.kind, info.unit) {
                    (Kind::Text, _) => {
                        let lists = ["dns.answers", "dns.records"];
                        assert_eq!(kind, if lists.contains(&path) { "array" } else { "string" }, "{path}");
                        let twin = format!("{path}_base64");
                        // Names of DNS are written in ASCII.
                        let names = ["dns.question.name", "network.peer.name"];
                        let words = [&["process.real_user.name"][..], &names, &lists].concat();
                        assert!(
                            words.contains(&path) || find(&schema, &place, &twin).is_some(),
                            "{twin} is not in {place}"
                        );
                    }
                    (Kind::Number, Unit::BytesPerSecond | Unit::PerSecond | Unit::Share) => {
                        assert_eq!(kind, "number", "{path}");
                    }
                    (Kind::Number, _) => {
                        assert_eq!(kind, if path.ends_with("time") { "string" } else { "integer" }, "{path}");
                    }
                    // Counts by name are an object.
                    (Kind::Word | Kind::Address, _) => {
                        assert!(["string", "word", "object"].contains(&kind), "{path}");
                    }
                }
            }
            let unit = match info.unit {
                Unit::Nanos => "_ns",
                Unit::Bytes => "_bytes",
                Unit::BytesPerSecond => "_bytes_per_s",
                _ => "",
            };
            assert!(path.ends_with(unit), "{path} does not name its unit");
            assert!(PAGE.contains(&format!("`{path}`")), "docs/json.md does not name {path}");
        }
    }
}

#[test]
fn the_schema_lists_no_key_of_rows_that_no_column_writes() {
    fn leaves(schema: &Json, node: &Json, path: &str, out: &mut Vec<String>) {
        match resolve(schema, node)["properties"].as_object() {
            None => out.push(path.to_owned()),
            Some(members) => {
                for (name, member) in members {
                    leaves(schema, member, &format!("{path}.{name}"), out);
                }
            }
        }
    }
    let schema = schema();
    let written: BTreeSet<&str> =
        Family::ALL.iter().flat_map(|family| family.infos()).filter_map(|info| info.json).collect();
    for root in [
        "process",
        "systemd",
        "container",
        "k8s",
        "network",
        "packet",
        "talk",
        "dns",
        "flow",
        "drop",
        "file",
        "error",
        "syscall",
        "result",
        "duration",
    ] {
        let mut found = Vec::new();
        leaves(&schema, &schema["$defs"][root], root, &mut found);
        for path in found {
            let path = path.replacen("packet.", "network.", 1).replacen("talk.", "network.", 1);
            let path = path.strip_suffix("_base64").unwrap_or(&path);
            assert!(written.contains(path), "{path} is in the schema, but no column writes it");
        }
    }
}
