//! Records of the family `flow`.

pub mod udp;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fluoro_shared::flow::udp::{DatagramKey, DatagramRecord};
use fluoro_shared::flow::{
    DIRECTION_INBOUND, DIRECTION_OUTBOUND, FLAG_BARE, FLAG_SENT, FLAG_UNTRACKED, FlowRecord, KIND_CLOSE,
    KIND_DATA, KIND_FAIL, KIND_LISTEN, KIND_OPEN, KIND_OWNER, KIND_RESET, KIND_RETRANSMIT, end,
};
use zerocopy::FromBytes;

use super::{BootTime, FlowId, Malformed, NetnsId, TaskFacts};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: BootTime,
    pub what: What,
    pub id: FlowId,
    pub owner: Option<TaskFacts>,
    pub netns: NetnsId,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub direction: Option<Direction>,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    pub rtt_ns: u64,
    pub retransmits: u32,
    /// Since ESTABLISHED; `None` when that was not seen.
    pub duration_ns: Option<u64>,
    /// SYN_SENT to ESTABLISHED or failure; `None` when not an outbound attempt from its beginning.
    pub connect_ns: Option<u64>,
    /// ESTABLISHED to when the program took the first byte.
    pub first_byte_ns: Option<u64>,
    /// Of what is no transition: the state the socket is in, as in `include/net/tcp_states.h`.
    pub state: u8,
    /// Of a close: how it came.
    pub end: Option<End>,
    /// Bytes, round-trip time and retransmits are told.
    pub counted: bool,
    /// errno of a failure.
    pub error: i32,
    /// The kernel side had not seen the socket before.
    pub untracked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Open,
    Close,
    Fail,
    Listen,
    /// Who accepted a connection that was announced before. No event of its own.
    Owner,
    /// Who moves data now (the record's owner), and how long the first byte took. No event either.
    Data,
    /// A segment was sent again.
    Retransmit,
    Reset(Reset),
    /// The first datagram of a flow, with its `FLAG_*`.
    FirstDatagram(DatagramKey, u32),
    /// A socket of datagrams has been closed. No event of its own.
    SocketClosed(u64),
}

/// Who gave a connection up by a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reset {
    Sent,
    Received,
}

impl Reset {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This side's FIN went first.
    Local,
    /// The peer's FIN came first.
    Peer,
    Reset(Reset),
    /// What was sent was never answered.
    Timeout,
    /// Of datagrams: the socket was closed.
    Socket,
    /// Of datagrams: none for 30 seconds.
    Idle,
    /// Of datagrams: fluoro ended first.
    Observer,
}

impl End {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
            Self::Reset(Reset::Sent) => "reset_sent",
            Self::Reset(Reset::Received) => "reset_received",
            Self::Timeout => "timeout",
            Self::Socket => "socket",
            Self::Idle => "idle",
            Self::Observer => "observer",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Outbound,
    Inbound,
    /// It passes through: no socket of this namespace has part in it.
    Forwarded,
}

impl Direction {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Forwarded => "forwarded",
        }
    }
}

impl Record {
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() == size_of::<DatagramRecord>() {
            return udp::decode(bytes);
        }
        let raw = FlowRecord::read_from_bytes(bytes).map_err(|_| Malformed::Size(bytes.len()))?;
        let what = match raw.header.kind {
            KIND_OPEN => What::Open,
            KIND_CLOSE => What::Close,
            KIND_FAIL => What::Fail,
            KIND_LISTEN => What::Listen,
            KIND_OWNER => What::Owner,
            KIND_DATA => What::Data,
            KIND_RETRANSMIT => What::Retransmit,
            KIND_RESET if raw.header.flags & FLAG_SENT != 0 => What::Reset(Reset::Sent),
            KIND_RESET => What::Reset(Reset::Received),
            kind => return Err(Malformed::Kind(kind)),
        };
        let end = |address: [u8; 16], port| {
            SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
        };
        let known = |ns: u64| (ns != 0).then_some(ns);
        Ok(Self {
            at: BootTime(raw.header.at_ns),
            what,
            id: FlowId(raw.id),
            owner: TaskFacts::decode(&raw.owner),
            netns: NetnsId(raw.netns),
            local: end(raw.local_address, raw.local_port),
            peer: end(raw.peer_address, raw.peer_port),
            direction: match raw.direction {
                DIRECTION_OUTBOUND => Some(Direction::Outbound),
                DIRECTION_INBOUND => Some(Direction::Inbound),
                _ => None,
            },
            tx_bytes: raw.tx_bytes,
            rx_bytes: raw.rx_bytes,
            rtt_ns: u64::from(raw.srtt_us) * 1000,
            retransmits: raw.retransmits,
            duration_ns: known(raw.duration_ns),
            connect_ns: known(raw.connect_ns),
            first_byte_ns: known(u64::from(raw.error_or_first_byte_us) * 1000).filter(|_| what != What::Fail),
            state: raw.old_state,
            end: match raw.end {
                end::LOCAL => Some(End::Local),
                end::PEER => Some(End::Peer),
                end::RESET_SENT => Some(End::Reset(Reset::Sent)),
                end::RESET_RECEIVED => Some(End::Reset(Reset::Received)),
                end::TIMEOUT => Some(End::Timeout),
                _ => None,
            },
            counted: raw.header.flags & FLAG_BARE == 0,
            error: if what == What::Fail { raw.error_or_first_byte_us.cast_signed() } else { 0 },
            untracked: raw.header.flags & FLAG_UNTRACKED != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mut raw = FlowRecord::new_zeroed();
        raw.header.kind = KIND_OPEN;
        raw.peer_address = "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets();
        raw.peer_port = 443;
        let record = Record::decode(raw.as_bytes()).unwrap();
        assert_eq!(record.peer, "10.0.0.1:443".parse().unwrap());
        assert!(record.local.is_ipv6());
        assert_eq!((record.owner, record.direction), (None, None));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Record::decode(&[0; 10]), Err(Malformed::Size(10)));
        assert_eq!(Record::decode(FlowRecord::new_zeroed().as_bytes()), Err(Malformed::Kind(0)));
    }
}
