//! Records of datagrams.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fluoro_shared::flow::udp::{
    DatagramKey, DatagramRecord, FLAG_INBOUND, KIND_DATAGRAM_OPEN, KIND_SOCKET_CLOSED,
};
use zerocopy::FromBytes;

use super::{Direction, Record, What};
use crate::records::{BootTime, FlowId, Malformed, NetnsId, TaskFacts};

/// This side and the other of a flow.
pub fn ends(key: &DatagramKey) -> (SocketAddr, SocketAddr) {
    let end =
        |address: [u8; 16], port| SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port);
    (end(key.local_address, key.local_port), end(key.peer_address, key.peer_port))
}

pub const fn direction(flags: u32) -> Direction {
    if flags & FLAG_INBOUND == 0 { Direction::Outbound } else { Direction::Inbound }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, Malformed> {
    let raw = DatagramRecord::read_from_bytes(bytes).map_err(|_| Malformed::Size(bytes.len()))?;
    let what = match raw.header.kind {
        KIND_DATAGRAM_OPEN => What::FirstDatagram(raw.flow, raw.flags),
        KIND_SOCKET_CLOSED => What::SocketClosed(raw.flow.socket),
        kind => return Err(Malformed::Kind(kind)),
    };
    let (local, peer) = ends(&raw.flow);
    Ok(Record {
        at: BootTime(raw.header.at_ns),
        what,
        id: FlowId(raw.id),
        owner: TaskFacts::decode(&raw.owner),
        netns: NetnsId(raw.netns),
        local,
        peer,
        direction: Some(direction(raw.flags)),
        tx_bytes: 0,
        rx_bytes: 0,
        rtt_ns: 0,
        retransmits: 0,
        duration_ns: None,
        connect_ns: None,
        first_byte_ns: None,
        state: 0,
        end: None,
        counted: false,
        error: 0,
        untracked: false,
    })
}
