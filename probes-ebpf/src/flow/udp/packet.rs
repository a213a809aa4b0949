//! What a packet says of itself: its headers stand in memory that has no type, so they are read by helper.

use fluoro_shared::flow::udp::{DatagramKey, FLAG_BROADCAST, FLAG_INBOUND, FLAG_QUIC, protocol};
use fluoro_shared::offsets::ABSENT;

use super::Way;
use crate::{
    access::{Access, Helper, Kptr},
    machine,
    machine::offset,
};

pub struct Packet {
    /// As the application sent them, however many packets carry them; 0: nothing to be counted.
    pub datagrams: u32,
    /// Without headers.
    pub bytes: u64,
    /// `FLAG_*` of the flow, should it be the first.
    pub flags: u32,
}

pub const NONE: Packet = Packet { datagrams: 0, bytes: 0, flags: 0 };

const IPV6_FRAGMENT: u8 = 44;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: u64 = 8;
/// Of include/uapi/linux/if_packet.h.
const PACKET_BROADCAST: u8 = 1;
/// An IPv6 header and a UDP header; an IPv4 header is shorter.
const READ: usize = 48;

#[inline(always)]
pub const fn blank() -> DatagramKey {
    DatagramKey {
        socket: 0,
        local_address: [0; 16],
        peer_address: [0; 16],
        local_port: 0,
        peer_port: 0,
        protocol: 0,
        pad: [0; 3],
    }
}

/// Reads the headers into `key`, but for the socket.
#[inline(always)]
pub fn dissect<A: Access>(skb: Kptr, way: Way, key: &mut DatagramKey) -> Packet {
    let head: Kptr = A::read(skb, offset!(skb_head));
    let network: u16 = A::read(skb, offset!(skb_network));
    let ip = head.wrapping_add(usize::from(network));
    let bytes: [u64; READ / 8] = Helper::read(ip, 0);
    let byte = |at: usize| (bytes[at / 8] >> (at % 8 * 8)) as u8;
    let pair = |at: usize| ((bytes[at / 8] >> (at % 8 * 8)) as u16).swap_bytes();
    let half = |at: usize| (bytes[at / 8] >> (at % 8 * 8)) as u32;
    let (from, to, carried, transport, at, length);
    match byte(0) >> 4 {
        4 => {
            // Only the first fragment has ports.
            if pair(6) & 0x1fff != 0 {
                return NONE;
            }
            let header = usize::from(byte(0) & 15) * 4;
            from = address_of_v4(half(12));
            to = address_of_v4(half(16));
            carried = byte(9);
            at = header;
            length = u64::from(pair(2)).saturating_sub(header as u64);
            transport = if header == 20 {
                bytes[2] >> 32 | bytes[3] << 32
            } else if is_counted(carried) {
                Helper::read(ip.wrapping_add(header), 0)
            } else {
                0
            };
        }
        6 => {
            from = (bytes[1], bytes[2]);
            to = (bytes[3], bytes[4]);
            if byte(6) == IPV6_FRAGMENT {
                if pair(IPV6_HEADER + 2) & 0xfff8 != 0 {
                    return NONE;
                }
                carried = byte(IPV6_HEADER);
                at = IPV6_HEADER + 8;
                length = 0;
                transport = Helper::read(ip.wrapping_add(IPV6_HEADER + 8), 0);
            } else {
                carried = byte(6);
                at = IPV6_HEADER;
                length = u64::from(pair(4));
                transport = bytes[5];
            }
        }
        _ => return NONE,
    }
    if !is_counted(carried) {
        return NONE;
    }
    key.protocol = carried;
    let ((local, peer), ports);
    if carried == protocol::UDP {
        let source = (transport as u16).swap_bytes();
        let destination = ((transport >> 16) as u16).swap_bytes();
        ports = if way == Way::Out { (source, destination) } else { (destination, source) };
    } else {
        // The identifier of an echo.
        ports = (((transport >> 32) as u16).swap_bytes(), 0);
    }
    (local, peer) = if way == Way::Out { (from, to) } else { (to, from) };
    (key.local_port, key.peer_port) = ports;
    wide(&mut key.local_address, local.0, local.1);
    wide(&mut key.peer_address, peer.0, peer.1);
    let mut packet = NONE;
    packet.datagrams = 1;
    packet.bytes = if carried == protocol::UDP {
        u64::from(((transport >> 32) as u16).swap_bytes()).saturating_sub(UDP_HEADER)
    } else {
        length
    };
    // One packet of several datagrams: sent at once (UDP_SEGMENT), or put together on arrival (UDP_GRO).
    let end: u32 = A::read(skb, offset!(skb_end));
    let shared = head.wrapping_add(end as usize);
    let segments = Helper::read::<u16>(shared, offset!(shared_gso_segs));
    if segments > 1 && carried == protocol::UDP {
        packet.datagrams = u32::from(segments);
    }
    if way == Way::In {
        packet.flags |= FLAG_INBOUND;
        let bits = machine::skb_pkt_type();
        if bits != ABSENT && A::read::<u8>(skb, bits / 8) >> (bits % 8) & 7 == PACKET_BROADCAST {
            packet.flags |= FLAG_BROADCAST;
        }
    }
    if is_quic(ip.wrapping_add(at + UDP_HEADER as usize), key) {
        packet.flags |= FLAG_QUIC;
    }
    packet
}

/// Whether a packet that is handed to an interface goes to all who are at its wire, as the link's header says: of
/// Ethernet, the address of a subnet's broadcast being known to routes alone.
#[inline(always)]
pub fn is_to_all<A: Access>(skb: Kptr) -> bool {
    const ETHERNET: u16 = 1;
    const HEADER: u16 = 14;
    let device: Kptr = A::Behind::read(skb, offset!(skb_dev));
    let (mac, network): (u16, u16) = (A::read(skb, offset!(skb_mac)), A::read(skb, offset!(skb_network)));
    if A::Behind::read::<u16>(device, offset!(dev_type)) != ETHERNET || network.wrapping_sub(mac) != HEADER {
        return false;
    }
    let head: Kptr = A::read(skb, offset!(skb_head));
    let to: [u16; 3] = Helper::read(head.wrapping_add(usize::from(mac)), 0);
    to[0] & to[1] & to[2] == 0xffff
}

#[inline(always)]
const fn is_counted(carried: u8) -> bool {
    matches!(carried, protocol::UDP | protocol::ICMP | protocol::ICMPV6)
}

/// By RFC 9000 and 9369: a long header of a version that is in use, or, where HTTPS is spoken, the fixed bit of a short
/// one.
#[inline(always)]
fn is_quic(payload: Kptr, key: &DatagramKey) -> bool {
    const HTTPS: u16 = 443;
    const DNS: u16 = 853;
    const LONG: u8 = 0xc0;
    const SHORT: u8 = 0x40;
    let port = |port: u16| key.local_port == port || key.peer_port == port;
    if key.protocol != protocol::UDP || !(port(HTTPS) || port(8443) || port(DNS)) {
        return false;
    }
    let bytes: u64 = Helper::read(payload, 0);
    let version = ((bytes >> 8) as u32).swap_bytes();
    match bytes as u8 & LONG {
        LONG => matches!(version, 1 | 0x6b33_43cf) || version >> 8 == 0x00ff_0000,
        SHORT => port(HTTPS),
        _ => false,
    }
}

/// An IPv4 address as `::ffff:a.b.c.d`, in two halves as they lie in memory.
#[inline(always)]
const fn address_of_v4(v4: u32) -> (u64, u64) {
    (0, (v4 as u64) << 32 | 0xffff_0000)
}

#[inline(always)]
pub fn mapped(address: &mut [u8; 16], v4: u32) {
    let (high, low) = address_of_v4(v4);
    wide(address, high, low);
}

#[inline(always)]
pub fn wide(address: &mut [u8; 16], first: u64, second: u64) {
    *address = (u128::from(second) << 64 | u128::from(first)).to_ne_bytes();
}
