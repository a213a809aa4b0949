//! Datagrams: what a socket sends to one peer and receives from it is a flow.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{Header, Task};

/// Of a [`DatagramRecord`]: the first datagram of a flow.
pub const KIND_DATAGRAM_OPEN: u16 = 9;
/// Not an event: a socket that had flows has been closed; of `flow` only `socket` is filled in.
pub const KIND_SOCKET_CLOSED: u16 = 10;

/// Of a flow: the program that was in the call has been told.
pub const FLAG_ANNOUNCED: u32 = 1 << 0;
/// From whom some datagrams came is not known.
pub const FLAG_ESTIMATED: u32 = 1 << 1;
/// The first datagram was received.
pub const FLAG_INBOUND: u32 = 1 << 2;
/// The first datagram was one of QUIC: by a port of it and the first bytes.
pub const FLAG_QUIC: u32 = 1 << 3;
/// The first datagram came as a broadcast, or was sent as one over Ethernet.
pub const FLAG_BROADCAST: u32 = 1 << 4;

/// `IPPROTO_*`
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
}

/// One flow: key of the map `DATAGRAMS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DatagramKey {
    /// The socket: its cookie, or a minted id.
    pub socket: u64,
    /// IPv6, or IPv4 as `::ffff:a.b.c.d`. Unspecified: not known.
    pub local_address: [u8; 16],
    pub peer_address: [u8; 16],
    /// Of a ping socket: its identifier; the peer's is 0.
    pub local_port: u16,
    pub peer_port: u16,
    /// Of [`protocol`].
    pub protocol: u8,
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<DatagramKey>() == 48);

/// What the kernel side counts of a flow: value of the map `DATAGRAMS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DatagramCount {
    /// `flow.id`; 0 until the flow is announced.
    pub id: u64,
    /// The socket's cookie, where it had one when the flow was announced.
    pub cookie: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub rx_bytes: u64,
    /// When the first datagram came: `CLOCK_BOOTTIME`, ns.
    pub opened_ns: u64,
    pub netns: u32,
    /// `FLAG_*`
    pub flags: u32,
    /// Of an announced flow who sent or took its first datagram; else who used the socket last, if that is known.
    pub owner: Task,
}

const _: () = assert!(size_of::<DatagramCount>() == 112);

/// Datagrams of flows that found no room: value of the map `DATAGRAMS_OTHER`, of each CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DatagramOther {
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub rx_bytes: u64,
}

const _: () = assert!(size_of::<DatagramOther>() == 32);

impl DatagramOther {
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self {
            tx_packets: self.tx_packets + more.tx_packets,
            tx_bytes: self.tx_bytes + more.tx_bytes,
            rx_packets: self.rx_packets + more.rx_packets,
            rx_bytes: self.rx_bytes + more.rx_bytes,
        }
    }
}

/// What the kernel side remembers of a socket, keyed by its address (which never leaves).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DatagramSocket {
    pub owner: Task,
    /// Of its flows' keys.
    pub id: u64,
    /// As last seen: a socket with another one is another.
    pub cookie: u64,
    /// Not 0: one of its flows has the cookie for its id.
    pub named: u64,
}

const _: () = assert!(size_of::<DatagramSocket>() == 72);

/// A flow's first datagram, or the end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DatagramRecord {
    pub header: Header,
    pub owner: Task,
    pub flow: DatagramKey,
    /// `flow.id`
    pub id: u64,
    pub netns: u32,
    /// `FLAG_*` of the flow.
    pub flags: u32,
}

const _: () = assert!(size_of::<DatagramRecord>() == 136);
