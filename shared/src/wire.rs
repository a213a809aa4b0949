//! `wire`: packets that pass through a network namespace and belong to no socket of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dns::DnsEnd;

/// Key of the map `WIRES`: both directions of a conversation. The end whose bytes come first is `low`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireKey {
    pub low: DnsEnd,
    pub high: DnsEnd,
}

const _: () = assert!(size_of::<WireKey>() == 40);

/// What has passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireWay {
    /// As they are on the wire: what the kernel handles together counts apart.
    pub packets: u64,
    /// From the network header on.
    pub bytes: u64,
    /// When the newest was counted: `CLOCK_BOOTTIME`, ns. 0: none was.
    pub last_ns: u64,
    /// The place where they count: interface and `PACKET_*`.
    pub ifindex: u32,
    pub way: u32,
    /// Its network namespace.
    pub netns: u32,
    pub pad: u32,
}

/// Value of the map `WIRES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireCount {
    /// From `low` to `high`.
    pub up: WireWay,
    /// From `high` to `low`.
    pub down: WireWay,
    pub first_ns: u64,
    /// Not 0: the first packet went from `high` to `low`.
    pub began_high: u64,
}

const _: () = assert!(size_of::<WireCount>() == 96);

/// Key of the map `LOCALS`: an address of a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LocalKey {
    /// IPv6, or IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    pub netns: u32,
}

const _: () = assert!(size_of::<LocalKey>() == 20);
