//! Datagrams, counted by socket and peer. What goes out is counted where the packet is handed to its interface, which
//! tells every address; what comes in where the program takes it. Owners are learnt in the program's own calls.

mod call;
mod packet;

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use fluoro_shared::{
    flow::udp::{
        DatagramCount, DatagramKey, DatagramOther, DatagramRecord, DatagramSocket, FLAG_ANNOUNCED,
        FLAG_BROADCAST, FLAG_ESTIMATED, FLAG_INBOUND, KIND_DATAGRAM_OPEN, KIND_SOCKET_CLOSED, protocol,
    },
    record::{Header, Task},
};
use packet::Packet;

use super::{AF_INET, mint};
use crate::{
    access::{Access, Kptr},
    filter::{self, Verdict},
    ledger,
    machine::offset,
    ring, task,
};

/// What each flow has sent and received.
#[map]
static DATAGRAMS: HashMap<DatagramKey, DatagramCount> = HashMap::with_max_entries(1, 0);

/// Sockets by their address. Not every kernel tells when one is closed, so the oldest make room; no number is in it.
#[map]
static DATAGRAM_SOCKETS: LruHashMap<u64, DatagramSocket> = LruHashMap::with_max_entries(1, 0);

/// Datagrams of flows that found no room.
#[map]
static DATAGRAMS_OTHER: PerCpuArray<DatagramOther> = PerCpuArray::with_max_entries(1, 0);

/// The packet that was handed to an interface last on this CPU.
#[map]
static HANDED: PerCpuArray<Handed> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Handed {
    skb: u64,
    device: u64,
    /// Ports, and the part of the peer's address that tells most.
    ports: u64,
    peer: u64,
}

const BPF_NOEXIST: u64 = 1;
const SOCK_DGRAM: u16 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// The protocol of a socket whose datagrams are counted; 0: of another.
#[inline(always)]
fn protocol_of<A: Access>(sk: Kptr) -> u8 {
    let protocol: u16 = A::read(sk, offset!(sock_protocol));
    let counted = protocol == protocol::UDP as u16
        || protocol == protocol::ICMP as u16
        || protocol == protocol::ICMPV6 as u16;
    // Raw sockets may have the same protocols.
    if counted && A::read::<u16>(sk, offset!(sock_type)) == SOCK_DGRAM { protocol as u8 } else { 0 }
}

/// Ends of a connected socket, as its program knows them: before any translation of addresses.
#[inline(always)]
fn connected<A: Access>(sk: Kptr, key: &mut DatagramKey) -> bool {
    let peer_port: u16 = A::read(sk, offset!(sock_dport));
    if peer_port == 0 {
        return false;
    }
    key.peer_port = u16::from_be(peer_port);
    local::<A>(sk, key);
    if A::read::<u16>(sk, offset!(sock_family)) == AF_INET {
        packet::mapped(&mut key.peer_address, A::read(sk, offset!(sock_daddr)));
    } else {
        packet::wide(
            &mut key.peer_address,
            A::read(sk, offset!(sock_v6_daddr)),
            A::read(sk, offset!(sock_v6_daddr).wrapping_add(8)),
        );
    }
    true
}

/// The end that a socket is bound to.
#[inline(always)]
fn local<A: Access>(sk: Kptr, key: &mut DatagramKey) {
    key.local_port = A::read(sk, offset!(sock_num));
    if A::read::<u16>(sk, offset!(sock_family)) == AF_INET {
        packet::mapped(&mut key.local_address, A::read(sk, offset!(sock_rcv_saddr)));
    } else {
        packet::wide(
            &mut key.local_address,
            A::read(sk, offset!(sock_v6_rcv_saddr)),
            A::read(sk, offset!(sock_v6_rcv_saddr).wrapping_add(8)),
        );
    }
}

/// A datagram is handed to an interface, most often inside the call that sends it.
#[inline(always)]
fn on_transmit<A: Access>(skb: Kptr) -> i32 {
    let sk: Kptr = A::read(skb, offset!(skb_sk));
    if sk.is_null() {
        return 0;
    }
    let protocol = protocol_of::<A>(sk);
    if protocol == 0 {
        return 0;
    }
    // Before the headers, of which there are so many kinds: the verifier looks at it once (see `Behind`).
    let device = A::read::<Kptr>(skb, offset!(skb_dev)) as u64;
    let mut key = packet::blank();
    let packet = packet::dissect::<A>(skb, Way::Out, &mut key);
    // What a tunnel makes of it has other ports, and is the same datagram.
    if packet.datagrams == 0
        || key.protocol != protocol
        || key.local_port != A::read::<u16>(sk, offset!(sock_num))
    {
        return 0;
    }
    if is_passed_on(skb as u64, device, &key) {
        return 0;
    }
    connected::<A>(sk, &mut key);
    let tgid = bpf_get_current_pid_tgid();
    let cookie: u64 = A::read(sk, offset!(sock_cookie));
    let Some(socket) = socket_of(sk, cookie) else { return 0 };
    // SAFETY: the map's own memory.
    key.socket = unsafe { (*socket).id };
    // The packet of a peer whose link address is not known yet is sent later, by anybody: only the process that uses the
    // socket is believed to be in its call.
    let owner = unsafe { (*socket).owner.tgid };
    let trusted = owner != 0 && owner == (tgid >> 32) as u32;
    let made = count::<A>(sk, &key, &packet, Some(skb), socket).filter(|held| held.is_new);
    call::sent(tgid as u32, if made.is_some() && !trusted { Some(&key) } else { None });
    if trusted && let Some(held) = made {
        announce::<A>(socket, &key, held.count, cookie);
    }
    0
}

/// The same packet once more, at the interface below: of a bridge, a bond, a VLAN.
#[inline(always)]
fn is_passed_on(skb: u64, device: u64, key: &DatagramKey) -> bool {
    let Some(handed) = HANDED.get_ptr_mut(0) else { return false };
    let ports = u64::from(key.local_port) << 16 | u64::from(key.peer_port);
    let peer = (u128::from_ne_bytes(key.peer_address) >> 64) as u64;
    // SAFETY: map memory of this CPU, on which nothing else hands packets over meanwhile.
    unsafe {
        let same = (*handed).skb == skb && (*handed).ports == ports && (*handed).peer == peer;
        if same && (*handed).device != device {
            return true;
        }
        (*handed).skb = skb;
        (*handed).device = device;
        (*handed).ports = ports;
        (*handed).peer = peer;
    }
    false
}

/// A program takes what came: `packet` is what it came in, if that is known. `bytes` is what the call returns.
#[inline(always)]
fn on_take<A: Access>(sk: Kptr, key: &mut DatagramKey, packet: &mut Packet, bytes: u64) {
    let is_connected = connected::<A>(sk, key);
    if packet.datagrams == 0 {
        packet.datagrams = 1;
        packet.flags = FLAG_INBOUND;
        if !is_connected {
            packet.flags |= FLAG_ESTIMATED;
            local::<A>(sk, key);
            // Nobody, of the family.
            if A::read::<u16>(sk, offset!(sock_family)) == AF_INET {
                packet::mapped(&mut key.peer_address, 0);
            }
        }
    }
    packet.bytes = bytes;
    let cookie = A::cookie(sk);
    let Some(socket) = socket_of(sk, cookie) else { return };
    // SAFETY: the map's own memory.
    key.socket = unsafe { (*socket).id };
    let Some(held) = count::<A>(sk, key, packet, None, socket) else { return };
    if held.is_new {
        announce::<A>(socket, key, held.count, cookie);
    }
}

/// What is remembered of a socket, now if it was not before. `cookie`: as far as it has one.
#[inline(always)]
fn socket_of(sk: Kptr, cookie: u64) -> Option<*mut DatagramSocket> {
    let address = sk as u64;
    if let Some(held) = DATAGRAM_SOCKETS.get_ptr_mut(&address) {
        // SAFETY: the map's own memory.
        unsafe {
            if (*held).cookie == cookie {
                return Some(held);
            }
            if (*held).cookie == 0 {
                (*held).cookie = cookie;
                return Some(held);
            }
        }
    }
    let id = if cookie == 0 { mint() } else { cookie };
    let socket = DatagramSocket { owner: Task::NONE, id, cookie, named: 0 };
    let _ = DATAGRAM_SOCKETS.insert(&address, &socket, 0);
    DATAGRAM_SOCKETS.get_ptr_mut(&address)
}

struct Held {
    count: *mut DatagramCount,
    is_new: bool,
}

/// Adds to a flow what is sent in a packet, or without one what is received; `None`: there is no room for it.
#[inline(always)]
fn count<A: Access>(
    sk: Kptr,
    key: &DatagramKey,
    packet: &Packet,
    sent: Option<Kptr>,
    socket: *const DatagramSocket,
) -> Option<Held> {
    let mut is_new = false;
    let mut held = DATAGRAMS.get_ptr_mut(key);
    if held.is_none() {
        let net: Kptr = A::Behind::read(sk, offset!(sock_net));
        let to_all = sent.is_some_and(packet::is_to_all::<A>);
        let count = DatagramCount {
            id: 0,
            cookie: 0,
            tx_packets: 0,
            tx_bytes: 0,
            rx_packets: 0,
            rx_bytes: 0,
            // SAFETY: no arguments.
            opened_ns: unsafe { bpf_ktime_get_boot_ns() },
            netns: A::Behind::read(net, offset!(net_inum)),
            flags: packet.flags | if to_all { FLAG_BROADCAST } else { 0 },
            // SAFETY: the map's own memory.
            owner: unsafe { (*socket).owner },
        };
        ledger::aggregate_seen();
        // Another CPU may be first.
        is_new = DATAGRAMS.insert(key, &count, BPF_NOEXIST).is_ok();
        held = DATAGRAMS.get_ptr_mut(key);
        if held.is_some() { ledger::counted() } else { ledger::untracked() }
    }
    let Some(count) = held else {
        if let Some(other) = DATAGRAMS_OTHER.get_ptr_mut(0) {
            // SAFETY: the map's own memory.
            unsafe {
                match sent {
                    Some(_) => add(&raw mut (*other).tx_packets, &raw mut (*other).tx_bytes, packet),
                    None => add(&raw mut (*other).rx_packets, &raw mut (*other).rx_bytes, packet),
                }
            }
        }
        return None;
    };
    // SAFETY: the map's own memory.
    unsafe {
        match sent {
            Some(_) => add(&raw mut (*count).tx_packets, &raw mut (*count).tx_bytes, packet),
            None => add(&raw mut (*count).rx_packets, &raw mut (*count).rx_bytes, packet),
        }
        if packet.flags & FLAG_ESTIMATED != 0 && (*count).flags & FLAG_ESTIMATED == 0 {
            (*count).flags |= FLAG_ESTIMATED;
        }
    }
    Some(Held { count, is_new })
}

#[inline(always)]
fn add(packets: *mut u64, bytes: *mut u64, packet: &Packet) {
    ledger::add(packets, u64::from(packet.datagrams));
    ledger::add(bytes, packet.bytes);
}

/// Tells of a new flow: the current process is in the call that made it.
#[inline(always)]
fn announce<A: Access>(
    socket: *mut DatagramSocket,
    key: &DatagramKey,
    count: *mut DatagramCount,
    cookie: u64,
) {
    // SAFETY: the maps' own memory; only who made the flow announces it.
    unsafe {
        let mut id = mint();
        if cookie != 0 && (*socket).named == 0 {
            (*socket).named = 1;
            id = cookie;
        }
        (*count).id = id;
        (*count).cookie = cookie;
        (*count).flags |= FLAG_ANNOUNCED;
        let record = DatagramRecord {
            header: header(KIND_DATAGRAM_OPEN, (*count).opened_ns),
            owner: task::current::<A>(),
            flow: *key,
            id,
            netns: (*count).netns,
            flags: (*count).flags,
        };
        (*socket).owner = record.owner;
        (*count).owner = record.owner;
        ledger::seen();
        match filter::verdict(&record.owner, Some((key.local_port, key.peer_port))) {
            Verdict::Wanted => {}
            Verdict::Filtered => return ledger::filtered(),
            Verdict::Muted => return ledger::muted(),
        }
        if send(&record) { ledger::submitted() } else { ledger::lost() }
    }
}

#[inline(always)]
fn header(kind: u16, at_ns: u64) -> Header {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    Header { at_ns, seq: ledger::next_seq(), cpu, kind, flags: 0 }
}

#[inline(always)]
fn send(record: &DatagramRecord) -> bool {
    ring::send((&raw const *record).cast(), size_of::<DatagramRecord>() as u64, record.header.cpu)
}

/// A socket is closed; its flows are user space's to end.
#[inline(always)]
fn on_closed<A: Access>(sk: Kptr) -> i32 {
    if protocol_of::<A>(sk) == 0 {
        return 0;
    }
    let address = sk as u64;
    let Some(held) = DATAGRAM_SOCKETS.get_ptr(&address) else { return 0 };
    // SAFETY: the map's own memory, and no arguments.
    let (socket, now) = unsafe { ((*held).id, bpf_ktime_get_boot_ns()) };
    let _ = DATAGRAM_SOCKETS.remove(&address);
    let flow = DatagramKey { socket, ..packet::blank() };
    let record = DatagramRecord {
        header: header(KIND_SOCKET_CLOSED, now),
        owner: Task::NONE,
        flow,
        id: 0,
        netns: 0,
        flags: 0,
    };
    // Where it is lost, the socket table or silence ends them.
    if !send(&record) {
        ledger::supplement_lost();
    }
    0
}
