//! Records of the family `drop`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fluoro_shared::drop::{
    DropRecord, FLAG_BAD_CHECKSUM, FLAG_OWNER_MAY_FOLLOW, FLAG_QUEUE_FULL, FLAG_RECEIVED, KIND_OWNER,
    KIND_PACKET,
};
use zerocopy::FromBytes;

use super::{BootTime, Malformed, NetnsId, Outside, TaskFacts};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: BootTime,
    pub what: What,
    pub place: Place,
    /// Of the socket that sent it or that it was for.
    pub owner: Option<TaskFacts>,
    /// Inode of that socket.
    pub inode: Option<u64>,
    pub why: Why,
    pub netns: NetnsId,
    pub interface: Interface,
    pub len: u32,
    pub received: bool,
    /// Source and destination; ports are 0 where the packet has none.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    pub ethertype: u16,
    pub protocol: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A packet was dropped; the record that names its owner may follow.
    Packet { owner_may_follow: bool },
    /// Whose the packet of that record was. No event of its own.
    Owner { of: Place },
}

/// A record's place among all of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub cpu: u32,
    pub seq: u64,
}

/// What the kernel side knows of the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Why {
    /// Value of the kernel's enum; 0 where it has none.
    pub reason: u32,
    /// Distance of the place in the code from `_stext`.
    pub location: Option<i64>,
    /// The protocol whose checksum the kernel found wrong.
    pub bad_checksum: Option<u8>,
    pub queue_full: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    pub index: u32,
    pub name: Option<Outside>,
}

impl Why {
    pub fn new(reason: u32, location: u64, flags: u16, protocol: u8) -> Self {
        Self {
            reason,
            location: (location != 0).then_some(location.cast_signed()),
            bad_checksum: (flags & FLAG_BAD_CHECKSUM != 0).then_some(protocol),
            queue_full: flags & FLAG_QUEUE_FULL != 0,
        }
    }
}

impl Record {
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let raw = DropRecord::read_from_bytes(bytes).map_err(|_| Malformed::Size(bytes.len()))?;
        let flags = raw.header.flags;
        let cpu = raw.header.cpu;
        let what = match raw.header.kind {
            KIND_PACKET => What::Packet { owner_may_follow: flags & FLAG_OWNER_MAY_FOLLOW != 0 },
            KIND_OWNER => What::Owner { of: Place { cpu, seq: raw.of_seq } },
            kind => return Err(Malformed::Kind(kind)),
        };
        let end = |address: [u8; 16], port| {
            SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
        };
        let name = Outside::from_padded(&raw.interface);
        Ok(Self {
            at: BootTime(raw.header.at_ns),
            what,
            place: Place { cpu, seq: raw.header.seq },
            owner: TaskFacts::decode(&raw.owner),
            inode: (raw.inode != 0).then_some(raw.inode),
            why: Why::new(raw.reason, raw.location, flags, raw.protocol),
            netns: NetnsId(raw.netns),
            interface: Interface { index: raw.ifindex, name: (!name.is_empty()).then_some(name) },
            len: raw.len,
            received: flags & FLAG_RECEIVED != 0,
            ends: (raw.protocol != UNKNOWN).then(|| {
                (end(raw.source_address, raw.source_port), end(raw.destination_address, raw.destination_port))
            }),
            ethertype: raw.ethertype,
            protocol: raw.protocol,
        })
    }
}

/// No IP protocol has this number.
const UNKNOWN: u8 = 255;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    #[test]
    fn what_a_packet_does_not_tell_is_not_made_up() {
        let mut raw = DropRecord::new_zeroed();
        raw.header.kind = KIND_PACKET;
        raw.protocol = UNKNOWN;
        let record = Record::decode(raw.as_bytes()).unwrap();
        assert_eq!((record.ends, record.owner, record.inode), (None, None, None));
        assert_eq!((record.why.location, record.interface.name), (None, None));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mut raw = DropRecord::new_zeroed();
        raw.header.kind = KIND_PACKET;
        raw.source_address = "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets();
        raw.source_port = 53;
        let (source, destination) = Record::decode(raw.as_bytes()).unwrap().ends.unwrap();
        assert_eq!(source, "10.0.0.1:53".parse().unwrap());
        assert!(destination.is_ipv6());
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Record::decode(&[0; 10]), Err(Malformed::Size(10)));
        assert_eq!(Record::decode(DropRecord::new_zeroed().as_bytes()), Err(Malformed::Kind(0)));
    }
}
