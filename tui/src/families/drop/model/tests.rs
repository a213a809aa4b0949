#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::columns::Value;
use crate::model::{Owner, ProcFacts};
use crate::records::drop::Place;
use crate::records::{CgroupId, TaskFacts, Tid, Uid, WallTime};

const MILLI: u64 = 1_000_000;

/// A kernel with the reasons and functions given.
#[derive(Default)]
pub(super) struct Kernel {
    pub reasons: HashMap<u32, &'static str>,
    functions: HashMap<i64, &'static str>,
}

impl Lookup for Kernel {
    fn process(&mut self, _: Tgid) -> Option<ProcFacts> {
        None
    }
    fn cgroup(&mut self, _: CgroupId) -> Option<Outside> {
        None
    }
    fn owner(&mut self, _: &Outside) -> Owner {
        Owner::default()
    }
    fn user(&mut self, _: Uid) -> Option<Arc<str>> {
        None
    }
    fn wall(&self, at: BootTime) -> WallTime {
        WallTime(at.0)
    }
    fn drop_reason(&self, code: u32) -> Option<&str> {
        self.reasons.get(&code).copied()
    }
    fn function(&mut self, offset: i64) -> Option<&str> {
        self.functions.get(&offset).copied()
    }
}

#[derive(Default)]
struct Stage {
    model: DropModel,
    processes: Processes,
    kernel: Kernel,
    out: Vec<EventDraft>,
}

impl Stage {
    fn apply(&mut self, record: &Record) {
        self.model.apply(record, &mut self.processes, &mut self.kernel, &mut self.out);
    }

    fn flush(&mut self, now: u64) {
        self.model.flush(BootTime(now), &mut self.processes, &mut self.kernel, &mut self.out);
    }

    fn count(&mut self, drops: &[(DropKey, u64)]) -> (Vec<Failure>, Vec<u8>) {
        let frame = Frame { drops: drops.to_vec(), ..Frame::default() };
        self.model.count(&frame, BootTime(1), &self.processes, &mut self.kernel)
    }

    /// Reason and pid of each line.
    fn lines(&self) -> Vec<(String, Option<u64>)> {
        let value = |draft: &EventDraft, id: &str| {
            let column = draft.facts.infos().iter().position(|info| info.id == id).unwrap();
            match draft.facts.value(column) {
                Value::Word(word) => (word.to_owned(), None),
                Value::Uint(number) => (String::new(), Some(number)),
                _ => (String::new(), None),
            }
        };
        self.out.iter().map(|draft| (value(draft, "reason").0, value(draft, "pid").1)).collect()
    }
}

fn packet(seq: u64, why: Why, owner_may_follow: bool) -> Record {
    Record {
        at: BootTime(seq * MILLI),
        what: What::Packet { owner_may_follow },
        place: Place { cpu: 1, seq },
        owner: None,
        inode: None,
        why,
        netns: NetnsId(7),
        interface: Interface { index: 1, name: None },
        len: 60,
        received: true,
        ends: None,
        ethertype: 0x800,
        protocol: 17,
    }
}

fn owner(pid: u32) -> TaskFacts {
    TaskFacts {
        key: ProcKey { tgid: Tgid(pid), start: StartTime(1) },
        started: BootTime(10 * MILLI),
        tid: Tid(pid),
        parent: Tgid(1),
        uid: Uid(0),
        cgroup: CgroupId(0),
        comm: *b"reader\0\0\0\0\0\0\0\0\0\0",
    }
}

fn at(location: i64) -> Why {
    Why { location: Some(location), ..Why::default() }
}

#[test]
fn the_owner_that_is_told_after_the_packet_is_the_packets() {
    let mut stage = Stage::default();
    stage.kernel.functions.insert(5, "udp_queue_rcv_one_skb");
    let nobodys = ("udp_queue_rcv_one_skb".to_owned(), None);
    stage.apply(&packet(1, at(5), true));
    assert!(stage.out.is_empty());
    // It would have come before the next packet of this CPU.
    stage.apply(&packet(2, at(5), true));
    assert_eq!(stage.lines().last(), Some(&nobodys));
    let mut told = packet(3, Why { queue_full: true, ..Why::default() }, false);
    told.what = What::Owner { of: Place { cpu: 1, seq: 2 } };
    told.owner = Some(owner(42));
    stage.apply(&told);
    // One for a packet that was filtered, or whose record was lost, is nobody's.
    stage.apply(&Record { what: What::Owner { of: Place { cpu: 0, seq: 2 } }, ..told });
    assert_eq!(stage.lines().get(1..).unwrap(), [("SOCKET_RCVBUFF".to_owned(), Some(42))]);
    stage.apply(&packet(4, at(5), true));
    stage.flush(103 * MILLI);
    assert_eq!(stage.lines().len(), 2);
    stage.flush(104 * MILLI);
    assert_eq!(stage.lines().last(), Some(&nobodys));
}

#[test]
fn a_kernel_with_reasons_has_the_last_word() {
    let mut stage = Stage::default();
    stage.kernel.reasons.insert(3, "NO_SOCKET");
    stage.kernel.functions.insert(5, "nf_hook_slow");
    stage.apply(&packet(1, Why { reason: 3, bad_checksum: Some(17), ..at(5) }, false));
    stage.apply(&packet(2, Why { reason: 9 << 16, ..at(5) }, false));
    let words: Vec<String> = stage.lines().into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(words, ["NO_SOCKET", "reason 589824"]);
}

#[test]
fn a_kernel_without_reasons_is_read_by_location_and_marks() {
    let mut stage = Stage::default();
    stage.kernel.functions.extend([(5, "nf_hook_slow"), (6, "__udp4_lib_rcv")]);
    for (why, word) in [
        (at(5), "NETFILTER_DROP"),
        (at(6), "__udp4_lib_rcv"),
        (Why { bad_checksum: Some(17), ..at(6) }, "UDP_CSUM"),
        (at(7), "unknown"),
        (Why::default(), "unknown"),
    ] {
        stage.apply(&packet(1, why, false));
        assert_eq!(stage.lines().pop().unwrap().0, word);
    }
}

#[test]
fn counts_are_of_the_interval_and_never_run_backwards() {
    let key =
        DropKey { start_ns: 0, location: 0, tgid: 0, reason: 3, ifindex: 1, netns: 7, flags: 0, protocol: 0 };
    let mut stage = Stage::default();
    let of = |packets| [(key, packets)];
    let counted =
        |stage: &mut Stage, packets| stage.count(&of(packets)).0.iter().map(|f| f.count).sum::<u64>();
    assert_eq!(counted(&mut stage, 5), 5);
    assert_eq!(counted(&mut stage, 5), 0);
    // One has been moved to its owner.
    assert_eq!(counted(&mut stage, 4), 0);
    assert_eq!(counted(&mut stage, 7), 2);
}

#[test]
fn what_belongs_to_a_forgotten_process_goes_once_it_is_told() {
    let key = DropKey {
        start_ns: 10 * MILLI,
        location: 0,
        tgid: 42,
        reason: 3,
        ifindex: 1,
        netns: 7,
        flags: 0,
        protocol: 0,
    };
    let mut stage = Stage::default();
    let drops = [(key, 2)];
    let (failures, gone) = stage.count(&drops);
    assert_eq!((failures.len(), gone.len()), (1, 0));
    let (failures, gone) = stage.count(&drops);
    assert_eq!((failures.len(), gone.len()), (0, size_of::<DropKey>()));
}

#[test]
fn an_interface_keeps_the_name_that_any_packet_told() {
    let mut stage = Stage::default();
    let mut named = packet(1, Why::default(), false);
    named.interface.name = Some(Outside::from("eth0"));
    stage.apply(&named);
    let key =
        DropKey { start_ns: 0, location: 0, tgid: 0, reason: 0, ifindex: 1, netns: 7, flags: 0, protocol: 0 };
    let (failures, _) = stage.count(&[(key, 1)]);
    assert_eq!(failures[0].subject, Subject::Interface(Outside::from("eth0")));
}

#[test]
fn what_found_no_tcp_socket_over_the_loopback_is_the_echo_of_a_refused_connect() {
    let mut stage = Stage::default();
    stage.kernel.reasons.insert(3, "NO_SOCKET");
    let key =
        DropKey { start_ns: 0, location: 0, tgid: 0, reason: 3, ifindex: 1, netns: 7, flags: 0, protocol: 0 };
    let here = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    let conversation = |port, protocol| DropFlowKey {
        source_address: here,
        destination_address: here,
        location: 0,
        reason: 3,
        netns: 7,
        flags: 0,
        source_port: port,
        destination_port: 9,
        protocol,
    };
    // Packets in all, of TCP, of UDP: as read in an interval each.
    let mut read = |all, tcp, udp| {
        let flows = vec![(conversation(1, 6), tcp), (conversation(2, 17), udp)];
        let frame = Frame { drops: vec![(key, all)], flows };
        stage.model.count_flows(&frame, BootTime(1), &mut stage.kernel);
        let (failures, _) = stage.model.count(&frame, BootTime(1), &stage.processes, &mut stage.kernel);
        failures.iter().map(|failure| failure.count).sum::<u64>()
    };
    assert_eq!([read(50, 50, 0), read(100, 100, 0)], [0, 0]);
    assert_eq!([read(153, 149, 3), read(154, 151, 3)], [0, 2], "of datagrams nobody else tells");
    assert_eq!([read(154, 151, 3), read(154, 151, 3)], [1, 0], "none is told twice");
}

#[test]
fn what_came_from_elsewhere_and_found_nobody_is_told_at_once() {
    let mut stage = Stage::default();
    stage.kernel.reasons.insert(3, "NO_SOCKET");
    let key =
        DropKey { start_ns: 0, location: 0, tgid: 0, reason: 3, ifindex: 2, netns: 7, flags: 0, protocol: 0 };
    let (failures, _) = stage.count(&[(key, 4)]);
    assert_eq!(failures.iter().map(|failure| failure.count).collect::<Vec<_>>(), [4]);
}
