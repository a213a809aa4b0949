//! `dns`: packets that carry questions and answers about names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{Header, Task};

pub const KIND_PACKET: u16 = 1;

/// Over TCP; else over UDP.
pub const FLAG_TCP: u16 = 1 << 0;
/// This machine was sending it.
pub const FLAG_OUTGOING: u16 = 1 << 1;
/// No event: what it tells is taken, and nobody is to see it. The ledger has it in `filtered`.
pub const FLAG_FILTERED: u16 = 1 << 2;
/// The same, in `muted`.
pub const FLAG_MUTED: u16 = 1 << 3;

/// Ports of DNS, mDNS and LLMNR.
pub const PORTS: [u16; 3] = [53, 5353, 5355];

/// Bytes of a packet's payload that are told at most.
pub const PAYLOAD_MAX: usize = 4096;

/// One packet; `payload_len` bytes of its payload follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DnsRecord {
    pub header: Header,
    /// Who made the socket of the end that asks; `start_ns` 0 when not known.
    pub owner: Task,
    /// Inode of that socket; 0 when not known.
    pub inode: u64,
    /// IPv6, or IPv4 as `::ffff:a.b.c.d`.
    pub source_address: [u8; 16],
    pub destination_address: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    pub ifindex: u32,
    /// Of the first byte of the payload; 0 over UDP.
    pub sequence: u32,
    /// Bytes of the payload that follow the record.
    pub payload_len: u32,
    /// Bytes that the packet has.
    pub whole_len: u32,
    /// Where it was seen.
    pub netns: u32,
}

const _: () = assert!(size_of::<DnsRecord>() == 136);

/// One end of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DnsEnd {
    pub address: [u8; 16],
    pub port: u16,
    /// `IPPROTO_*`
    pub protocol: u16,
}

const _: () = assert!(size_of::<DnsEnd>() == 20);

/// What tells a packet from others, wherever it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DnsSight {
    pub source: DnsEnd,
    pub destination: DnsEnd,
    /// Sequence number of TCP, or id of the message.
    pub which: u32,
    pub len: u32,
}

const _: () = assert!(size_of::<DnsSight>() == 48);

/// Where it was seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DnsPlace {
    pub at_ns: u64,
    pub ifindex: u32,
    /// `PACKET_*`
    pub way: u32,
    pub netns: u32,
    pub pad: u32,
}

const _: () = assert!(size_of::<DnsPlace>() == 24);
