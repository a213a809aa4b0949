//! A connection as a table or an event line shows it.

pub mod group;
pub mod lost;

use std::net::SocketAddr;
use std::sync::Arc;

use super::columns;
use crate::columns::{Column, Row, RowId};
use crate::families::identity::HasIdentity;
use crate::model::{Identity, ObservedName};
use crate::records::flow::{Direction, End, Reset};
use crate::records::{BootTime, FlowId, NetnsId, Tid};

/// Laid out as declared: what every tick and table looks at comes first, so that of a crowd's rows little is fetched.
#[derive(Debug, Clone, PartialEq)]
#[repr(C)]
pub struct FlowRow {
    pub id: FlowId,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    /// In table rows, from the second look on.
    pub rates: Option<Rates>,
    pub identity: Option<Arc<Identity>>,
    /// Since it was established; 0 when that was not seen.
    pub duration_ns: u64,
    pub rtt_ns: u64,
    pub retransmits: u32,
    pub state: State,
    /// `None`: a listener.
    pub direction: Option<Direction>,
    pub attribution: Attribution,
    /// Older than this run.
    pub primed: bool,
    /// A duration of 0 is one: it has just begun, or this is the row of an event line.
    pub timed: bool,
    /// As an answer that passed by called it.
    pub peer_name: Option<PeerName>,
    /// What only the socket table tells.
    pub live: Live,
    pub netns: NetnsId,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub tid: Option<Tid>,
    /// Who moved data last.
    pub mover: Option<Arc<Identity>>,
    pub connect_ns: Option<u64>,
    /// From ESTABLISHED to when the program took the first byte.
    pub first_byte_ns: Option<u64>,
    /// Of a listener.
    pub queue: Option<Queue>,
    /// Of what is no connection.
    pub datagrams: Option<Datagrams>,
    pub end: Option<End>,
    /// Of a reset's event line.
    pub reset: Option<Reset>,
    /// errno of a failed attempt.
    pub error: Option<&'static str>,
    /// Counted by packets, with their headers: it passes through, or no program tells of it.
    pub wire: Option<Passing>,
    /// What the kernel threw away of it, as far as anybody counts that.
    pub lost: Option<lost::Lost>,
}

impl FlowRow {
    /// Of which no more is known than between whom it is, and what it does.
    pub fn between(id: FlowId, netns: NetnsId, local: SocketAddr, peer: SocketAddr, state: State) -> Self {
        Self {
            id,
            netns,
            local,
            peer,
            peer_name: None,
            state,
            direction: None,
            attribution: Attribution::Unknown,
            identity: None,
            tid: None,
            mover: None,
            tx_bytes: 0,
            rx_bytes: 0,
            rates: None,
            rtt_ns: 0,
            retransmits: 0,
            duration_ns: 0,
            connect_ns: None,
            first_byte_ns: None,
            live: Live::default(),
            queue: None,
            datagrams: None,
            end: None,
            reset: None,
            error: None,
            primed: false,
            wire: None,
            lost: None,
            timed: false,
        }
    }
}

/// What packets tell of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passing {
    /// `IPPROTO_*`
    pub protocol: u16,
    pub tx_packets: u64,
    pub rx_packets: u64,
}

/// What an answer called a peer, and how long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    pub observed: Arc<ObservedName>,
    pub age_ns: u64,
}

impl PeerName {
    pub fn new(observed: &Arc<ObservedName>, now: BootTime) -> Self {
        Self { observed: Arc::clone(observed), age_ns: now.since(observed.at) }
    }
}

/// Numbers of a connection that the kernel's socket table tells, where this kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Live {
    pub min_rtt_ns: Option<u64>,
    /// Segments that may be on their way.
    pub cwnd: Option<u32>,
    /// Segments that came out of order.
    pub out_of_order: Option<u32>,
    /// The kernel's newest estimate.
    pub delivery_bytes_per_s: Option<u64>,
}

/// What waits at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// Connections that nobody has accepted yet.
    pub waiting: u32,
    /// As many may.
    pub backlog: u32,
    /// Requests whose handshake is not over.
    pub half_open: u32,
    /// Attempts turned away so far.
    pub drops: Option<u32>,
}

/// What is known of datagrams between a socket and a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagrams {
    /// `IPPROTO_*`
    pub protocol: u8,
    pub tx_packets: u64,
    pub rx_packets: u64,
    /// From whom some came is not known: see docs/flow.md.
    pub estimated: bool,
    pub quic: bool,
    pub cast: Cast,
}

/// To how many a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cast {
    Unicast,
    Multicast,
    Broadcast,
}

impl Cast {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
        }
    }
}

impl Datagrams {
    /// Transport by the name in the registry of IANA, lower case.
    pub const fn transport(&self) -> &'static str {
        match self.protocol {
            1 => "icmp",
            58 => "ipv6-icmp",
            _ => "udp",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    pub tx_bytes_per_s: f64,
    pub rx_bytes_per_s: f64,
}

/// How sure the owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// Read inside the call that connected, accepted or listened.
    Exact,
    /// Who held the socket when it was looked for.
    Inferred,
    Unknown,
}

impl Attribution {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Inferred => "inferred",
            Self::Unknown => "unknown",
        }
    }
}

/// States of TCP, by the words of the OpenTelemetry registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    /// Of what passes through.
    Forwarded,
    /// Of what only packets tell of.
    Unknown,
}

impl State {
    /// By the number of include/net/tcp_states.h.
    pub const fn from_kernel(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => Self::Closed,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn_sent",
            Self::SynRecv => "syn_received",
            Self::FinWait1 => "fin_wait_1",
            Self::FinWait2 => "fin_wait_2",
            Self::TimeWait => "time_wait",
            Self::Closed => "closed",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
            Self::Forwarded => "forwarded",
            Self::Unknown => "unknown",
        }
    }

    /// The peer's FIN has been counted in `bytes_received`.
    pub const fn fin_received(self) -> bool {
        matches!(self, Self::CloseWait | Self::LastAck | Self::Closing | Self::TimeWait)
    }

    /// Our FIN has been acknowledged and counted in `bytes_acked`.
    pub const fn fin_acked(self) -> bool {
        matches!(self, Self::FinWait2 | Self::TimeWait)
    }
}

impl HasIdentity for FlowRow {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    fn tid(&self) -> Option<Tid> {
        self.tid
    }
}

impl Row for FlowRow {
    fn id(&self) -> RowId {
        RowId(u64::MAX - 2, self.id.0)
    }

    fn ended(&self) -> bool {
        self.state == State::Closed
    }

    fn columns() -> &'static [Column<Self>] {
        columns::columns()
    }
}
