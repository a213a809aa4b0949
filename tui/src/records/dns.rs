//! Records of the family `dns`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fluoro_shared::dns::{
    DnsRecord, FLAG_FILTERED, FLAG_MUTED, FLAG_OUTGOING, FLAG_TCP, KIND_PACKET, PAYLOAD_MAX,
};
use zerocopy::FromBytes;

use super::{BootTime, Malformed, NetnsId, TaskFacts};

/// A packet that carries (part of) a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: BootTime,
    /// Its place among all of a run: CPU and number there.
    pub place: (u32, u64),
    /// Who made the socket of the end that asks.
    pub owner: Option<TaskFacts>,
    /// Inode of that socket.
    pub inode: Option<u64>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// This machine was sending it.
    pub outgoing: bool,
    /// Number of the payload's first byte in the stream, over TCP.
    pub sequence: Option<u32>,
    pub payload: Vec<u8>,
    /// Bytes that the packet had, of which there may be more than are told.
    pub whole: u32,
    pub silence: Option<Silence>,
    /// Where it was seen.
    pub netns: NetnsId,
}

/// A message's header is as long: what is shorter is no message.
pub const HEADER: usize = 12;

/// Why a packet makes no line: the kernel side has counted it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    Filtered,
    Muted,
}

impl Record {
    /// The namespace whose loopback it is on.
    pub fn of_loopback(&self) -> Option<NetnsId> {
        (self.source.ip().is_loopback() || self.destination.ip().is_loopback()).then_some(self.netns)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let size = || Malformed::Size(bytes.len());
        let (raw, payload) = DnsRecord::read_from_prefix(bytes).map_err(|_| size())?;
        if raw.header.kind != KIND_PACKET {
            return Err(Malformed::Kind(raw.header.kind));
        }
        let payload = payload.get(..raw.payload_len as usize).filter(|payload| payload.len() <= PAYLOAD_MAX);
        let payload = payload.ok_or_else(size)?;
        let flags = raw.header.flags;
        let (tcp, silent) = (flags & FLAG_TCP != 0, flags & (FLAG_FILTERED | FLAG_MUTED) != 0);
        // No message is shorter. What makes no line is no error either.
        if !tcp && !silent && payload.len() < HEADER {
            return Err(size());
        }
        let end = |address: [u8; 16], port| {
            SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
        };
        Ok(Self {
            at: BootTime(raw.header.at_ns),
            place: (raw.header.cpu, raw.header.seq),
            owner: TaskFacts::decode(&raw.owner),
            inode: (raw.inode != 0).then_some(raw.inode),
            source: end(raw.source_address, raw.source_port),
            destination: end(raw.destination_address, raw.destination_port),
            outgoing: flags & FLAG_OUTGOING != 0,
            sequence: tcp.then_some(raw.sequence),
            payload: payload.to_vec(),
            whole: raw.whole_len.max(raw.payload_len),
            netns: NetnsId(raw.netns),
            silence: match flags & (FLAG_FILTERED | FLAG_MUTED) {
                0 => None,
                FLAG_FILTERED => Some(Silence::Filtered),
                _ => Some(Silence::Muted),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    fn raw() -> DnsRecord {
        let mut raw = DnsRecord::new_zeroed();
        raw.header.kind = KIND_PACKET;
        raw
    }

    #[test]
    fn mapped_addresses_are_ipv4_and_what_is_missing_is_said() {
        let mut raw = raw();
        raw.header.flags = FLAG_TCP;
        raw.source_address = "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets();
        (raw.source_port, raw.payload_len, raw.whole_len) = (53, 2, 3);
        let record = Record::decode(&[raw.as_bytes(), b"ab\0\0"].concat()).unwrap();
        assert_eq!(record.source, "10.0.0.1:53".parse().unwrap());
        assert!(record.destination.is_ipv6());
        assert_eq!((record.payload.as_slice(), record.whole, record.sequence), (&b"ab"[..], 3, Some(0)));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Record::decode(&[0; 10]), Err(Malformed::Size(10)));
        assert_eq!(Record::decode(DnsRecord::new_zeroed().as_bytes()), Err(Malformed::Kind(0)));
        let mut raw = raw();
        assert_eq!(Record::decode(raw.as_bytes()), Err(Malformed::Size(size_of::<DnsRecord>())));
        raw.payload_len = 1;
        assert_eq!(Record::decode(raw.as_bytes()), Err(Malformed::Size(size_of::<DnsRecord>())));
        raw.payload_len = u32::MAX;
        let bytes = [raw.as_bytes(), &[0; PAYLOAD_MAX + 1]].concat();
        assert_eq!(Record::decode(&bytes), Err(Malformed::Size(bytes.len())));
        raw.payload_len = PAYLOAD_MAX as u32 + 1;
        let bytes = [raw.as_bytes(), &[0; PAYLOAD_MAX + 1]].concat();
        assert_eq!(Record::decode(&bytes), Err(Malformed::Size(bytes.len())));
    }
}
