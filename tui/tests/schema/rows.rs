//! Rows with every column filled.

use std::sync::Arc;

use fluoro::families::Family;
use fluoro::families::dns::row::asked::{AskedRow, Subject as Asked};
use fluoro::families::failure::row::FailureRow;
use fluoro::families::file::model::{FileRow, Total, Uses};
use fluoro::families::file::row::group as file_group;
use fluoro::families::flow::model::{Attribution, FlowRow, Live, Queue, Rates, State};
use fluoro::families::flow::row::lost::Lost;
use fluoro::families::flow::row::{Passing, PeerName};
use fluoro::families::process::model::{Activity, Gifts, ProcessRow, Usage};
use fluoro::families::syscall::model::{Call, Figures, SyscallRow, Traced};
use fluoro::model::{Container, Executable, Identity, ObservedName, Owner, Subject};
use fluoro::records::file::{FileId, FileKind};
use fluoro::records::flow::{Direction, End};
use fluoro::records::process::Exit;
use fluoro::records::syscall::Abi;
use fluoro::records::{
    BootTime, FlowId, Gid, NetnsId, Outside, ProcKey, StartTime, Tgid, Tid, Uid, WallTime,
};

/// Everything that can be known of a process.
pub fn identity() -> Arc<Identity> {
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
pub fn full_flow() -> FlowRow {
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
        timed: false,
    }
}

pub fn full_file() -> FileRow {
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
            total: Total { calls: 13, read_bytes: 14, write_bytes: 15 },
        }),
    }
}

/// A failure with every column filled that its subject has.
pub fn full_failure(subject: Subject) -> FailureRow {
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

pub fn full_process(exit: Option<Exit>) -> ProcessRow {
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

pub fn full_file_groups() -> Vec<file_group::GroupRow> {
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
pub fn full_syscalls() -> [SyscallRow; 2] {
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
        total: None,
        identity: identity(),
        tid: None,
        call,
        name: call.name(),
        figures: Some(figures),
        event: None,
    };
    [row.clone(), SyscallRow { tid: Some(Tid(7)), figures: None, event: Some(event), ..row }]
}

pub fn full_asked() -> AskedRow {
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
