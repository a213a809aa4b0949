//! Records that make every event there is.

use std::mem::offset_of;

use fluoro::engine::synthetic::{Clock, Script};
use fluoro::engine::{Core, Sources, World};
use fluoro::families::Family;
use fluoro::json;
use fluoro::model::Event;
use fluoro::records::BootTime;
use fluoro_shared::dns::{self, DnsRecord};
use fluoro_shared::drop::{DropRecord, FLAG_RECEIVED, KIND_PACKET};
use fluoro_shared::file::{
    FLAG_BARE, FLAG_COMPAT, FLAG_CREATED, FLAG_RESOLVED, FLAG_TRUNCATED, FileRecord, KIND_CHMOD, KIND_CHOWN,
    KIND_CREATE, KIND_LINK, KIND_MKDIR, KIND_OPEN as KIND_FILE_OPEN, KIND_OTHER_PATH, KIND_RENAME,
    KIND_RMDIR, KIND_SYMLINK, KIND_TRUNCATE, KIND_UNLINK,
};
use fluoro_shared::flow::{
    DIRECTION_INBOUND, DIRECTION_NONE, DIRECTION_OUTBOUND, FLAG_SENT, FLAG_UNTRACKED, FlowRecord, KIND_CLOSE,
    KIND_DATA, KIND_FAIL, KIND_LISTEN, KIND_OPEN, KIND_OWNER, KIND_RESET, KIND_RETRANSMIT, MINTED, end,
};
use fluoro_shared::process::{KIND_EXEC, KIND_EXIT, KIND_FORK, ProcessRecord};
use fluoro_shared::record::{Header, Task};
use fluoro_shared::syscall::{self, SyscallRecord};
use zerocopy::{FromZeros, IntoBytes};

pub fn machine() -> (tempfile::TempDir, Core) {
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

pub fn process(kind: u16, at_ns: u64, wait_status: u32, path: &[u8]) -> Vec<u8> {
    let header = Header { at_ns, seq: 1, cpu: 0, kind, flags: 0 };
    let record = ProcessRecord { header, task: task(7, b"a\xffb"), wait_status, gid: 0, args_len: 0, pad: 0 };
    [path, record.as_bytes()].concat()
}

pub fn flow(kind: u16, at_ns: u64, id: u64, direction: u8, owner: Task) -> FlowRecord {
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

pub fn packet(at_ns: u64, owner: Task) -> DropRecord {
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
pub fn file(kind: u16, at_ns: u64, result: i64, flags: u16, base: &[u8], text: &[u8]) -> (BootTime, Vec<u8>) {
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
    let mut by_request =
        file(KIND_TRUNCATE, now, 0, FLAG_RESOLVED | FLAG_TRUNCATED | FLAG_COMPAT, b"/d", b"");
    by_request.1[offset_of!(FileRecord, request)] = 1;
    let mut records = vec![
        file(KIND_FILE_OPEN, now, 3, FLAG_RESOLVED | FLAG_CREATED, b"/srv/x", b""),
        joined(KIND_FILE_OPEN, -2),
        joined(KIND_OTHER_PATH, 0),
        joined(KIND_RENAME, 0),
        file(KIND_OTHER_PATH, now, 0, FLAG_BARE, b"", b"targ\xffet"),
        joined(KIND_SYMLINK, 0),
        by_request,
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
pub fn all_events(core: &mut Core) -> Vec<Event> {
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
pub fn all_lines(core: &mut Core) -> Vec<u8> {
    let mut out = Vec::new();
    for event in all_events(core) {
        json::event_line(&mut out, &event);
    }
    out
}
