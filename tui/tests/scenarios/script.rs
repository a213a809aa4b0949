//! The words of a scenario file, and the records that they stand for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fluoro::engine::synthetic::Described;
use fluoro::families::Family;
use fluoro::families::flow::model::{Live, Queue, SocketFacts, State};
use fluoro::model::ProcFacts;
use fluoro::records::{BootTime, FlowId, Gid, NetnsId, Outside, ProcKey, StartTime, Tgid, Uid};
use fluoro_shared::flow::{self, FlowRecord};
use fluoro_shared::process::{self, ProcessRecord};
use fluoro_shared::record::{COMM_LEN, Header};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zerocopy::{FromZeros, IntoBytes};

pub type Tasks = HashMap<String, Task>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(default)]
    pub task: Tasks,
    #[serde(default)]
    pub group: Vec<Group>,
    #[serde(default)]
    pub user: Vec<User>,
    /// Rows of connections that are kept; unless told, as many as ever.
    pub room: Option<usize>,
    /// As under a filter that asks who did it.
    #[serde(default)]
    pub awaits_owners: bool,
    pub step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub id: u64,
    pub path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub uid: u32,
    pub name: String,
}

/// One moment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    #[serde(deserialize_with = "time")]
    pub at: BootTime,
    #[serde(default)]
    process: Vec<Process>,
    #[serde(default)]
    flow: Vec<Flow>,
    /// Processes that /proc shows from now on, by their tasks.
    pub running: Option<Vec<String>>,
    /// Sockets that the kernel's table holds from now on.
    pub sockets: Option<Vec<Socket>>,
    /// What the engine does when the records are in.
    #[serde(default)]
    pub then: Vec<String>,
    /// Every event that this step brings.
    #[serde(default)]
    pub events: Vec<Expected>,
    /// Rows as `top` asks for them: of what ended, only what did in the last interval.
    #[serde(default)]
    pub of_interval: bool,
    pub flows: Option<Vec<Expected>>,
    pub processes: Option<Vec<Expected>>,
    pub failures: Option<Vec<Expected>>,
    /// Connections taken together by process.
    pub by_process: Option<Vec<Expected>>,
    #[serde(default)]
    pub totals: HashMap<String, f64>,
    #[serde(default)]
    pub ledger: HashMap<String, HashMap<String, u64>>,
}

/// Part of a JSON line.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Expected(Value);

impl Expected {
    /// Dotted paths with their values.
    pub fn leaves(&self) -> Vec<(String, Value)> {
        fn walk(value: &Value, path: &str, leaves: &mut Vec<(String, Value)>) {
            if let Value::Object(members) = value {
                for (name, member) in members {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(member, &format!("{path}{dot}{name}"), leaves);
                }
            } else {
                leaves.push((path.to_owned(), value.clone()));
            }
        }
        let mut leaves = Vec::new();
        walk(&self.0, "", &mut leaves);
        leaves
    }
}

/// A task as a record names it and as /proc shows it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pid: u32,
    tid: Option<u32>,
    #[serde(deserialize_with = "time")]
    started: BootTime,
    #[serde(default)]
    comm: String,
    #[serde(default)]
    parent: u32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    cgroup: u64,
    /// Only /proc knows it.
    executable: Option<String>,
}

impl Task {
    fn key(&self) -> ProcKey {
        ProcKey { tgid: Tgid(self.pid), start: StartTime::from_boot_ns(self.started.0) }
    }

    fn raw(&self) -> fluoro_shared::record::Task {
        let mut comm = [0; COMM_LEN];
        comm[..self.comm.len()].copy_from_slice(self.comm.as_bytes());
        fluoro_shared::record::Task {
            start_ns: self.started.0,
            cgroup: self.cgroup,
            tgid: self.pid,
            tid: self.tid.unwrap_or(self.pid),
            parent_tgid: self.parent,
            uid: self.uid,
            comm,
        }
    }

    pub fn facts(&self, scenario: &Scenario) -> ProcFacts {
        let group = scenario.group.iter().find(|group| group.id == self.cgroup);
        ProcFacts {
            key: self.key(),
            parent: Tgid(self.parent),
            comm: Outside::from(self.comm.as_str()),
            executable: self.executable.as_deref().map(Outside::from),
            uid: Uid(self.uid),
            gid: Gid(0),
            args: None,
            cgroup: group.map(|group| Outside::from(group.path.as_str())),
            owner: group.map(|group| Described::owner_of(group.path.as_bytes())).unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    kind: String,
    #[serde(default)]
    task: String,
    #[serde(default, deserialize_with = "some_time")]
    at: Option<BootTime>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    status: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "words of a scenario file")]
pub struct Flow {
    kind: String,
    #[serde(default)]
    id: u64,
    #[serde(default, deserialize_with = "some_time")]
    at: Option<BootTime>,
    owner: Option<String>,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    direction: Option<String>,
    #[serde(default)]
    tx: u64,
    #[serde(default)]
    rx: u64,
    #[serde(default, deserialize_with = "some_time")]
    connect: Option<BootTime>,
    #[serde(default, deserialize_with = "some_time")]
    lasted: Option<BootTime>,
    #[serde(default)]
    rtt_us: u32,
    #[serde(default)]
    retransmits: u32,
    #[serde(default)]
    errno: u32,
    #[serde(default)]
    untracked: bool,
    #[serde(default)]
    minted: bool,
    #[serde(default, deserialize_with = "some_time")]
    first_byte: Option<BootTime>,
    /// As in `include/net/tcp_states.h`.
    #[serde(default)]
    state: u8,
    end: Option<String>,
    /// Of a reset: this side sent it.
    #[serde(default)]
    sent: bool,
    /// Bytes, round-trip time and retransmits are not told.
    #[serde(default)]
    bare: bool,
}

/// A record of one family or the other.
pub enum Record<'a> {
    Process(&'a Process),
    Flow(&'a Flow),
}

impl Step {
    pub fn records(&self, family: Family) -> impl Iterator<Item = Record<'_>> {
        let (processes, flows) = match family {
            Family::Process => (self.process.as_slice(), &[][..]),
            Family::Flow => (&[][..], self.flow.as_slice()),
            Family::File | Family::Dns | Family::Drop | Family::Syscall => (&[][..], &[][..]),
        };
        processes.iter().map(Record::Process).chain(flows.iter().map(Record::Flow))
    }
}

impl Record<'_> {
    /// As it comes out of a ring.
    pub fn bytes(&self, now: BootTime, tasks: &Tasks) -> Vec<u8> {
        match self {
            Self::Process(record) => record.bytes(now, tasks),
            Self::Flow(record) => record.bytes(now, tasks),
        }
    }
}

fn header(kind: u16, flags: u16, at: BootTime) -> Header {
    Header { at_ns: at.0, seq: 1, cpu: 0, kind, flags }
}

/// Of a kind that nobody knows.
const UNKNOWN: u16 = 999;

impl Process {
    fn bytes(&self, now: BootTime, tasks: &Tasks) -> Vec<u8> {
        let kind = match self.kind.as_str() {
            "fork" => process::KIND_FORK,
            "exec" => process::KIND_EXEC,
            "exit" => process::KIND_EXIT,
            "unknown" => UNKNOWN,
            "cut short" => return vec![0; 17],
            other => panic!("no process record is called {other:?}"),
        };
        let mut bytes = self.path.clone().into_bytes();
        let record = ProcessRecord {
            header: header(kind, 0, self.at.unwrap_or(now)),
            task: tasks[&self.task].raw(),
            wait_status: self.status,
            gid: 0,
            args_len: 0,
            pad: 0,
        };
        bytes.extend_from_slice(record.as_bytes());
        bytes
    }
}

impl Flow {
    fn bytes(&self, now: BootTime, tasks: &Tasks) -> Vec<u8> {
        let kind = match self.kind.as_str() {
            "open" => flow::KIND_OPEN,
            "close" => flow::KIND_CLOSE,
            "fail" => flow::KIND_FAIL,
            "listen" => flow::KIND_LISTEN,
            "owner" => flow::KIND_OWNER,
            "data" => flow::KIND_DATA,
            "retransmit" => flow::KIND_RETRANSMIT,
            "reset" => flow::KIND_RESET,
            "unknown" => UNKNOWN,
            "cut short" => return vec![0; 100],
            other => panic!("no flow record is called {other:?}"),
        };
        let mut raw = FlowRecord::new_zeroed();
        let flags = [
            (self.untracked, flow::FLAG_UNTRACKED),
            (self.sent, flow::FLAG_SENT),
            (self.bare, flow::FLAG_BARE),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
        raw.header = header(kind, flags, self.at.unwrap_or(now));
        if let Some(owner) = &self.owner {
            raw.owner = tasks[owner].raw();
        }
        raw.id = self.id | if self.minted { flow::MINTED } else { 0 };
        (raw.tx_bytes, raw.rx_bytes) = (self.tx, self.rx);
        raw.duration_ns = self.lasted.unwrap_or_default().0;
        raw.connect_ns = self.connect.unwrap_or_default().0;
        (raw.srtt_us, raw.retransmits) = (self.rtt_us, self.retransmits);
        raw.error_or_first_byte_us = self.first_byte.map_or(self.errno, |took| (took.0 / 1000) as u32);
        raw.old_state = self.state;
        raw.end = match self.end.as_deref() {
            None => flow::end::UNKNOWN,
            Some("local") => flow::end::LOCAL,
            Some("peer") => flow::end::PEER,
            Some("reset_sent") => flow::end::RESET_SENT,
            Some("reset_received") => flow::end::RESET_RECEIVED,
            Some("timeout") => flow::end::TIMEOUT,
            Some(other) => panic!("no end is called {other:?}"),
        };
        raw.netns = 1;
        (raw.local_address, raw.local_port) = end(self.local);
        (raw.peer_address, raw.peer_port) = end(self.peer);
        raw.direction = match self.direction.as_deref() {
            None if kind == flow::KIND_LISTEN => flow::DIRECTION_NONE,
            None => flow::DIRECTION_UNKNOWN,
            Some("out") => flow::DIRECTION_OUTBOUND,
            Some("in") => flow::DIRECTION_INBOUND,
            Some(other) => panic!("no direction is called {other:?}"),
        };
        raw.as_bytes().to_vec()
    }
}

/// Address and port as the kernel side writes them: IPv4 is mapped.
fn end(address: Option<SocketAddr>) -> ([u8; 16], u16) {
    let Some(address) = address else { return ([0; 16], 0) };
    let wide: Ipv6Addr = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    (wide.octets(), address.port())
}

/// A line of the kernel's socket table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    id: u64,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    /// As in `include/net/tcp_states.h`.
    state: u8,
    acked: Option<u64>,
    received: Option<u64>,
    rtt_us: Option<u64>,
    min_rtt_us: Option<u64>,
    cwnd: Option<u32>,
    /// Of a listener: waiting, backlog, drops.
    queue: Option<[u32; 3]>,
    holder: Option<String>,
}

impl Socket {
    pub fn facts(&self, tasks: &Tasks) -> SocketFacts {
        let nowhere = SocketAddr::new(self.local.ip(), 0);
        SocketFacts {
            id: FlowId(self.id),
            netns: NetnsId(1),
            local: self.local,
            peer: self.peer.unwrap_or(nowhere),
            state: State::from_kernel(self.state),
            bytes_acked: self.acked,
            bytes_received: self.received,
            rtt_ns: self.rtt_us.map(|us| us * 1000),
            retransmits: None,
            live: Live {
                min_rtt_ns: self.min_rtt_us.map(|us| us * 1000),
                cwnd: self.cwnd,
                ..Live::default()
            },
            queue: self.queue.map(|[waiting, backlog, drops]| Queue {
                waiting,
                backlog,
                half_open: 0,
                drops: Some(drops),
            }),
            holder: self.holder.as_ref().map(|name| tasks[name].key()),
        }
    }
}

/// `10s`, `200ms`, `1500us`, `7ns`.
fn read_time(text: &str) -> Option<BootTime> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: f64 = match &text[digits.len()..] {
        "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        _ => return None,
    };
    Some(BootTime((digits.parse::<f64>().ok()? * scale).round() as u64))
}

fn time<'de, D: Deserializer<'de>>(source: D) -> Result<BootTime, D::Error> {
    let text = String::deserialize(source)?;
    read_time(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no time")))
}

fn some_time<'de, D: Deserializer<'de>>(source: D) -> Result<Option<BootTime>, D::Error> {
    time(source).map(Some)
}
