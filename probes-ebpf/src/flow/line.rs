//! What is told of a connection: a record from a socket and what is remembered of it, put into the books and a ring.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id};
use fluoro_shared::{
    flow::{
        DIRECTION_OUTBOUND, FLAG_BARE, FlowEntry, FlowRecord, KIND_CLOSE, KIND_DATA, KIND_FAIL, KIND_LISTEN,
        KIND_OPEN, KIND_OWNER, end, is_event, state,
    },
    record::{Header, Task},
};

use super::AF_INET;
use crate::{
    access::{Access, Helper, Kptr},
    filter::{self, Verdict},
    ledger,
    machine::{self, offset},
    ring,
};

const RCV_SHUTDOWN: u8 = 1;
const SHUTDOWN_MASK: u8 = 3;
const EPIPE: u32 = 32;
const EADDRNOTAVAIL: u32 = 99;
const ECONNABORTED: u32 = 103;
const ECONNRESET: u32 = 104;
const ETIMEDOUT: u32 = 110;
const ECANCELED: u32 = 125;

/// The kernel's smoothed round-trip time of a full socket.
#[inline(always)]
pub fn rtt_ns<A: Access>(sk: Kptr) -> u64 {
    let tcp = A::tcp(sk);
    if tcp.is_null() { 0 } else { u64::from(A::read::<u32>(tcp, offset!(tcp_srtt)) >> 3) * 1000 }
}

/// Tells of a full socket and its owner.
#[inline(always)]
pub fn emit<A: Access>(sk: Kptr, entry: &FlowEntry, kind: u16, flags: u16, old: u8, now: u64) {
    tell::<A>(sk, entry, &entry.owner, kind, flags, old, now);
}

#[inline(always)]
pub fn tell<A: Access>(sk: Kptr, entry: &FlowEntry, owner: &Task, kind: u16, flags: u16, old: u8, now: u64) {
    // `skc_num` is cleared before a socket reaches TCP_CLOSE; the port as it stands in segments stays. A tcp_sock
    // begins with its inet_sock.
    let tcp = A::tcp(sk);
    if tcp.is_null() {
        return;
    }
    let local_port = u16::from_be(A::read(tcp, offset!(inet_sport)));
    let peer_port: u16 = u16::from_be(A::read(sk, offset!(sock_dport)));
    if !due(entry, kind, local_port, peer_port) {
        return;
    }
    let mut record = blank::<A>(sk, entry, owner, Header { at_ns: now, kind, flags, ..NOTHING }, old);
    record.local_port = local_port;
    record.peer_port = peer_port;
    addresses::<A>(sk, &mut record);
    if flags & FLAG_BARE == 0 && !matches!(kind, KIND_FAIL | KIND_LISTEN | KIND_OWNER | KIND_DATA) {
        counters::<A>(sk, tcp, &mut record);
    }
    if kind == KIND_CLOSE {
        record.end = ended::<A>(sk, entry, old);
    }
    if kind == KIND_FAIL {
        record.error_or_first_byte_us = failure::<A>(sk, local_port, entry.owner.tgid);
    }
    send(&mut record);
}

/// Who was to be connected to.
pub struct Peer {
    pub port: u16,
    /// IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
}

/// Where the ends of what is no connection stand.
pub enum Ends<'a> {
    /// In itself, a request or what is left in TIME_WAIT: it begins like any other.
    Socket(Kptr),
    /// In the headers of a segment that came.
    Segment(Kptr),
    /// In the socket, as far as it was bound, and in what was asked for.
    Attempt(Kptr, &'a Peer),
}

/// Tells of what is no connection; `holder` is the socket whose namespace it is in.
#[inline(always)]
pub fn emit_small<A: Access>(
    ends: Ends<'_>,
    holder: Kptr,
    entry: &FlowEntry,
    kind: u16,
    flags: u16,
    old: u8,
    now: u64,
) {
    let (local_port, peer_port): (u16, u16) = match ends {
        Ends::Socket(sk) => (A::read(sk, offset!(sock_num)), u16::from_be(A::read(sk, offset!(sock_dport)))),
        Ends::Segment(skb) => {
            let tcp = header(skb, Helper::read(skb, offset!(skb_transport)));
            (u16::from_be(Helper::read(tcp, 2)), u16::from_be(Helper::read(tcp, 0)))
        }
        Ends::Attempt(sk, peer) => (A::read(sk, offset!(sock_num)), peer.port),
    };
    if !due(entry, kind, local_port, peer_port) {
        return;
    }
    let header = Header { at_ns: now, kind, flags: flags | FLAG_BARE, ..NOTHING };
    let mut record = blank::<A>(holder, entry, &entry.owner, header, old);
    record.local_port = local_port;
    record.peer_port = peer_port;
    match ends {
        Ends::Socket(sk) => addresses::<A>(sk, &mut record),
        Ends::Segment(skb) => came_between(skb, &mut record),
        Ends::Attempt(sk, peer) => {
            addresses::<A>(sk, &mut record);
            record.peer_address = peer.address;
        }
    }
    send(&mut record);
}

/// Where a header of a segment stands.
#[inline(always)]
fn header(skb: Kptr, at: u16) -> Kptr {
    Helper::read::<Kptr>(skb, offset!(skb_head)).wrapping_add(usize::from(at))
}

/// The addresses of a segment that came: it was sent to this side.
#[inline(always)]
fn came_between(skb: Kptr, record: &mut FlowRecord) {
    let ip = header(skb, Helper::read(skb, offset!(skb_network)));
    if Helper::read::<u8>(ip, 0) >> 4 == 4 {
        mapped(&mut record.local_address, Helper::read(ip, 16));
        mapped(&mut record.peer_address, Helper::read(ip, 12));
    } else {
        wide::<Helper>(&mut record.local_address, ip, 24);
        wide::<Helper>(&mut record.peer_address, ip, 8);
    }
}

const NOTHING: Header = Header { at_ns: 0, seq: 0, cpu: 0, kind: 0, flags: 0 };

/// Keeps the books. True: somebody wants it.
#[inline(always)]
fn due(entry: &FlowEntry, kind: u16, local_port: u16, peer_port: u16) -> bool {
    let event = is_event(kind);
    if event {
        ledger::seen();
    }
    match filter::verdict(&entry.owner, Some((local_port, peer_port))) {
        Verdict::Wanted => true,
        // An opening that was let through because its owner was not known is judged by user space, which needs the
        // owner for that.
        Verdict::Filtered if kind == KIND_OWNER => true,
        Verdict::Filtered => {
            if event {
                ledger::filtered();
            }
            false
        }
        Verdict::Muted => {
            if event {
                ledger::muted();
            }
            false
        }
    }
}

#[inline(always)]
fn blank<A: Access>(sk: Kptr, entry: &FlowEntry, owner: &Task, header: Header, old: u8) -> FlowRecord {
    let now = header.at_ns;
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let net: Kptr = A::Behind::read(sk, offset!(sock_net));
    let mut record = FlowRecord {
        header: Header { seq: ledger::next_seq(), cpu, ..header },
        owner: *owner,
        id: entry.id,
        tx_bytes: 0,
        rx_bytes: 0,
        duration_ns: 0,
        connect_ns: 0,
        srtt_us: 0,
        retransmits: 0,
        netns: A::Behind::read(net, offset!(net_inum)),
        error_or_first_byte_us: entry.first_byte_us,
        local_address: [0; 16],
        peer_address: [0; 16],
        local_port: 0,
        peer_port: 0,
        direction: entry.direction,
        old_state: old,
        end: end::UNKNOWN,
        pad: 0,
    };
    if entry.established_at_ns != 0 {
        record.duration_ns = now.wrapping_sub(entry.established_at_ns);
        if entry.connect_at_ns != 0 {
            record.connect_ns = entry.established_at_ns.wrapping_sub(entry.connect_at_ns);
        }
    } else if entry.connect_at_ns != 0 {
        record.connect_ns = now.wrapping_sub(entry.connect_at_ns);
    }
    record
}

#[inline(always)]
fn send(record: &mut FlowRecord) {
    let (kind, cpu) = (record.header.kind, record.header.cpu);
    let sent = ring::send((&raw const *record).cast(), size_of::<FlowRecord>() as u64, cpu);
    match (kind, sent) {
        (KIND_OWNER, false) => ledger::supplement_lost(),
        // The close tells it again.
        (KIND_OWNER | KIND_DATA, _) => {}
        (_, true) => ledger::submitted(),
        (_, false) => ledger::lost(),
    }
}

/// How a connection ended: tcp_reset leaves ECONNRESET or EPIPE, tcp_abort ECONNABORTED, a timer any other error. None
/// and not in an ending state: this side gave the connection up, and a reset goes out next.
#[inline(always)]
fn ended<A: Access>(sk: Kptr, entry: &FlowEntry, old: u8) -> u8 {
    match A::read::<u32>(sk, offset!(sock_err)) {
        0 if matches!(old, state::ESTABLISHED | state::CLOSE_WAIT) => end::RESET_SENT,
        0 => entry.end,
        ECONNRESET | EPIPE => end::RESET_RECEIVED,
        ECONNABORTED => end::RESET_SENT,
        _ => end::TIMEOUT,
    }
}

#[inline(always)]
fn addresses<A: Access>(sk: Kptr, record: &mut FlowRecord) {
    if A::read::<u16>(sk, offset!(sock_family)) == AF_INET {
        mapped(&mut record.local_address, A::read(sk, offset!(sock_rcv_saddr)));
        mapped(&mut record.peer_address, A::read(sk, offset!(sock_daddr)));
    } else {
        wide::<A>(&mut record.local_address, sk, offset!(sock_v6_rcv_saddr));
        wide::<A>(&mut record.peer_address, sk, offset!(sock_v6_daddr));
    }
}

/// An IPv4 address as `::ffff:a.b.c.d`; `v4` is in network order as it lies in memory.
#[inline(always)]
fn mapped(address: &mut [u8; 16], v4: u32) {
    address[10] = 0xff;
    address[11] = 0xff;
    let octets = v4.to_ne_bytes();
    address[12] = octets[0];
    address[13] = octets[1];
    address[14] = octets[2];
    address[15] = octets[3];
}

#[inline(always)]
fn wide<A: Access>(address: &mut [u8; 16], sk: Kptr, at: u32) {
    let high: u64 = A::read(sk, at);
    let low: u64 = A::read(sk, at.wrapping_add(8));
    *address = ((u128::from(low) << 64) | u128::from(high)).to_ne_bytes();
}

/// The kernel's own counters, with SYN and FIN taken out: `bytes_acked` counts the SYN of the active opener and a
/// FIN that was acknowledged, `bytes_received` a FIN that came while the socket was whole.
#[inline(always)]
fn counters<A: Access>(sk: Kptr, tcp: Kptr, record: &mut FlowRecord) {
    let acked: u64 = A::read(tcp, offset!(tcp_bytes_acked));
    let received: u64 = A::read(tcp, offset!(tcp_bytes_received));
    record.srtt_us = A::read::<u32>(tcp, offset!(tcp_srtt)) >> 3;
    record.retransmits = A::read(tcp, offset!(tcp_retransmits));
    if record.header.kind == KIND_OPEN {
        return;
    }
    let syn = u64::from(record.direction == DIRECTION_OUTBOUND);
    let all_acked = A::read::<u32>(tcp, offset!(tcp_snd_una)) == A::read::<u32>(tcp, offset!(tcp_write_seq));
    let fin_acked = match record.old_state {
        state::FIN_WAIT2 | state::TIME_WAIT => true,
        state::FIN_WAIT1 | state::CLOSING | state::LAST_ACK => all_acked,
        _ => false,
    };
    let fin_received = A::read::<u64>(sk, offset!(sock_flags)) & u64::from(machine::sock_done()) != 0
        && A::read::<u8>(sk, offset!(sock_shutdown)) & RCV_SHUTDOWN != 0;
    record.tx_bytes = acked.saturating_sub(syn + u64::from(fin_acked));
    record.rx_bytes = received.saturating_sub(u64::from(fin_received));
}

/// Why an attempt ended. The socket's own error, or, where it has none: the program closed it (then both directions
/// are shut) or disconnected it (then the program is current); no local port was to be had; or it is the timer, whose
/// error the program, woken on another CPU, has already taken.
#[inline(always)]
fn failure<A: Access>(sk: Kptr, local_port: u16, owner: u32) -> u32 {
    let error: u32 = A::read(sk, offset!(sock_err));
    if error != 0 {
        return error;
    }
    let shut = A::read::<u8>(sk, offset!(sock_shutdown)) & SHUTDOWN_MASK == SHUTDOWN_MASK;
    if !shut && local_port == 0 {
        EADDRNOTAVAIL
    } else if !shut && owner != 0 && (bpf_get_current_pid_tgid() >> 32) as u32 != owner {
        ETIMEDOUT
    } else {
        ECANCELED
    }
}
