//! `drop`: packets that the kernel threw away, and why.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{Header, Task};

pub const KIND_PACKET: u16 = 1;
/// Not an event: whose socket an earlier packet was for.
pub const KIND_OWNER: u16 = 2;

/// A record of `KIND_OWNER` may follow.
pub const FLAG_OWNER_MAY_FOLLOW: u16 = 1 << 0;
/// The kernel has computed the checksum and found it wrong.
pub const FLAG_BAD_CHECKSUM: u16 = 1 << 1;
/// The queue of the socket that it was for is full.
pub const FLAG_QUEUE_FULL: u16 = 1 << 2;
/// It came in; else this machine was sending it.
pub const FLAG_RECEIVED: u16 = 1 << 3;

pub const INTERFACE_LEN: usize = 16;

/// One packet, or the owner of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropRecord {
    pub header: Header,
    /// Of the socket that sent it or that it was for; `start_ns` 0 when not known.
    pub owner: Task,
    /// Inode of that socket; 0 when there is none.
    pub inode: u64,
    /// Where it was dropped: distance of the caller from the symbol `_stext`; 0 when not told.
    pub location: u64,
    /// Of `KIND_OWNER`: `header.seq` of the packet, on the same CPU.
    pub of_seq: u64,
    /// IPv6, or IPv4 as `::ffff:a.b.c.d`.
    pub source_address: [u8; 16],
    pub destination_address: [u8; 16],
    /// NUL-padded; empty when not known.
    pub interface: [u8; INTERFACE_LEN],
    /// Value of the kernel's `enum skb_drop_reason`; 0 where the kernel has none.
    pub reason: u32,
    pub ifindex: u32,
    pub netns: u32,
    /// From the network header on, or what is left of the packet.
    pub len: u32,
    pub source_port: u16,
    pub destination_port: u16,
    /// `ETH_P_*`
    pub ethertype: u16,
    /// `IPPROTO_*`; 255 where that is not known.
    pub protocol: u8,
    pub pad: u8,
}

const _: () = assert!(size_of::<DropRecord>() == 168);

/// Key of the map `DROPS`; its value is a count of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropKey {
    /// The owner; 0 when not known.
    pub start_ns: u64,
    /// As in the record, where the reason does not say it.
    pub location: u64,
    pub tgid: u32,
    pub reason: u32,
    pub ifindex: u32,
    pub netns: u32,
    /// The record's flags that tell reasons apart.
    pub flags: u32,
    /// As in the record, where the checksum was wrong.
    pub protocol: u32,
}

const _: () = assert!(size_of::<DropKey>() == 40);

/// Key of the map `DROPPED_FLOWS`; its value is a count of packets: those of TCP and UDP, by the conversation that they
/// are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropFlowKey {
    /// As in the record.
    pub source_address: [u8; 16],
    pub destination_address: [u8; 16],
    /// As in [`DropKey`].
    pub location: u64,
    pub reason: u32,
    pub netns: u32,
    /// As in [`DropKey`].
    pub flags: u32,
    pub source_port: u16,
    pub destination_port: u16,
    /// `IPPROTO_*`
    pub protocol: u64,
}

const _: () = assert!(size_of::<DropFlowKey>() == 64);

/// Who made a socket, keyed by its address (which never leaves).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropOwner {
    pub task: Task,
    /// Tells it from a later socket at the same address.
    pub inode: u64,
}

const _: () = assert!(size_of::<DropOwner>() == 56);
