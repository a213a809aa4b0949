//! The programs, and what one tells the other within a call: by thread, which is in one call at a time.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, fentry, kprobe, map, raw_tracepoint},
    maps::Array,
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use fluoro_shared::flow::udp::DatagramKey;

use super::{
    DATAGRAM_SOCKETS, DATAGRAMS, Way, announce, on_closed, on_take, on_transmit,
    packet::{self, Packet},
    protocol_of, socket_of,
};
use crate::{
    access::{Access, Direct, Helper, Kptr},
    machine::offset,
    task,
};

/// Threads that may be in a call at the same time without a note being overwritten: by the low bits of their ids.
const SLOTS: u32 = 2048;

/// What was sent within a call, for where the call ends.
#[map]
static SENT: Array<Sent> = Array::with_max_entries(SLOTS, 0);

#[repr(C)]
struct Sent {
    tid: u32,
    /// One of the constants below.
    state: u32,
    key: DatagramKey,
}

/// A datagram was handed over and everything of it is told.
const DONE: u32 = 1;
/// It was the first of its flow, whose owner waits to be told.
const TO_TELL: u32 = 2;

const MSG_PEEK: u32 = 2;
const MSG_ERRQUEUE: u32 = 0x2000;
const RCV_SHUTDOWN: u8 = 1;

// net_dev_queue(struct sk_buff *skb): softirqs are off.
#[btf_tracepoint(function = "net_dev_queue")]
pub fn flow_udp_transmit_btf(ctx: BtfTracePointContext) -> i32 {
    on_transmit::<Direct>(ctx.arg(0))
}

#[raw_tracepoint(tracepoint = "net_dev_queue")]
pub fn flow_udp_transmit_raw(ctx: RawTracePointContext) -> i32 {
    on_transmit::<Helper>(ctx.arg(0))
}

// sock_send_length(struct sock *sk, int ret, int flags), 6.3: once a message, after it.
#[btf_tracepoint(function = "sock_send_length")]
pub fn flow_udp_send_btf(ctx: BtfTracePointContext) -> i32 {
    on_sent::<Direct>(ctx.arg(0), ctx.arg::<u64>(1) as i32)
}

#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn flow_udp_send_raw(ctx: RawTracePointContext) -> i32 {
    on_sent::<Helper>(ctx.arg(0), ctx.arg::<u64>(1) as i32)
}

// int security_socket_sendmsg(struct socket *sock, struct msghdr *msg, int size): once a message, before it.
#[fentry(function = "security_socket_sendmsg")]
pub fn flow_udp_send_fentry(ctx: FEntryContext) -> i32 {
    on_send::<Direct>(ctx.arg(0))
}

#[kprobe(function = "security_socket_sendmsg")]
pub fn flow_udp_send_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, on_send::<Helper>) as u32
}

// sock_recv_length(struct sock *sk, int ret, int flags), 6.3: once a message, after it.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn flow_udp_receive_btf(ctx: BtfTracePointContext) -> i32 {
    on_received::<Direct>(ctx.arg(0), ctx.arg::<u64>(1) as i32, ctx.arg::<u64>(2) as u32)
}

#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn flow_udp_receive_raw(ctx: RawTracePointContext) -> i32 {
    on_received::<Helper>(ctx.arg(0), ctx.arg::<u64>(1) as i32, ctx.arg::<u64>(2) as u32)
}

// void skb_consume_udp(struct sock *sk, struct sk_buff *skb, int len): `len` is negative of what was only looked at.
#[fentry(function = "skb_consume_udp")]
pub fn flow_udp_receive_fentry(ctx: FEntryContext) -> i32 {
    on_consumed::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(2) as i32)
}

#[kprobe(function = "skb_consume_udp")]
pub fn flow_udp_receive_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(skb), Some(len)) = (ctx.arg::<Kptr>(0), ctx.arg::<Kptr>(1), ctx.arg::<u64>(2)) else {
        return 0;
    };
    on_consumed::<Helper>(sk, skb, len as i32) as u32
}

// void sk_common_release(struct sock *sk): the last reference of a program is gone.
#[fentry(function = "sk_common_release")]
pub fn flow_udp_close_fentry(ctx: FEntryContext) -> i32 {
    on_closed::<Direct>(ctx.arg(0))
}

#[kprobe(function = "sk_common_release")]
pub fn flow_udp_close_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, on_closed::<Helper>) as u32
}

/// Leaves word for the end of the thread's call; `key`: a flow of which it is to tell.
#[inline(always)]
pub fn sent(tid: u32, key: Option<&DatagramKey>) {
    let Some(slot) = SENT.get_ptr_mut(tid % SLOTS) else { return };
    // SAFETY: map memory. Only the thread itself writes it, or one that shares it: then a flow is told a tick later.
    unsafe {
        (*slot).tid = tid;
        if let Some(key) = key {
            (*slot).key = *key;
            (*slot).state = TO_TELL;
        } else {
            (*slot).state = DONE;
        }
    }
}

/// The end of a call that sends.
#[inline(always)]
fn on_sent<A: Access>(sk: Kptr, sent: i32) -> i32 {
    if sk.is_null() || sent < 0 || protocol_of::<A>(sk) == 0 {
        return 0;
    }
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(slot) = SENT.get_ptr_mut(tid % SLOTS) else { return 0 };
    // SAFETY: as above.
    let state = unsafe { if (*slot).tid == tid { core::mem::replace(&mut (*slot).state, 0) } else { 0 } };
    if state == DONE {
        return 0;
    }
    let cookie = A::cookie(sk);
    if state == TO_TELL {
        // SAFETY: as above.
        let key = unsafe { (*slot).key };
        if let Some(socket) = socket_of(sk, cookie)
            && let Some(count) = DATAGRAMS.get_ptr_mut(&key)
        {
            announce::<A>(socket, &key, count, cookie);
        }
    } else {
        // Nothing was handed over yet: the peer's link address is being asked for, or more is to follow.
        own::<A>(sk, cookie);
    }
    0
}

/// The beginning of a call that sends.
#[inline(always)]
fn on_send<A: Access>(socket: Kptr) -> i32 {
    let sk: Kptr = A::read(socket, offset!(socket_sk));
    if !sk.is_null() && protocol_of::<A>(sk) != 0 {
        own::<A>(sk, A::read(sk, offset!(sock_cookie)));
    }
    0
}

/// The current process uses the socket.
#[inline(always)]
fn own<A: Access>(sk: Kptr, cookie: u64) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(held) = DATAGRAM_SOCKETS.get_ptr(&(sk as u64))
        // SAFETY: the map's own memory.
        && unsafe { (*held).owner.tgid == tgid && (*held).cookie == cookie }
    {
        return;
    }
    if let Some(socket) = socket_of(sk, cookie) {
        // SAFETY: the map's own memory.
        unsafe { (*socket).owner = task::current::<A>() };
    }
}

/// The end of a call that receives.
#[inline(always)]
fn on_received<A: Access>(sk: Kptr, bytes: i32, flags: u32) -> i32 {
    if sk.is_null() || bytes < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return 0;
    }
    let protocol = protocol_of::<A>(sk);
    if protocol == 0 {
        return 0;
    }
    // After shutdown nothing is received, and that is 0 bytes, too.
    if bytes == 0 && A::read::<u8>(sk, offset!(sock_shutdown)) & RCV_SHUTDOWN != 0 {
        return 0;
    }
    let mut key = packet::blank();
    let mut packet = packet::NONE;
    key.protocol = protocol;
    on_take::<A>(sk, &mut key, &mut packet, bytes as u64);
    0
}

/// A packet and the socket whose program has taken a datagram out of it.
#[inline(always)]
fn on_consumed<A: Access>(sk: Kptr, skb: Kptr, bytes: i32) -> i32 {
    if bytes < 0 {
        return 0;
    }
    let protocol = protocol_of::<A>(sk);
    if protocol == 0 {
        return 0;
    }
    let mut key = packet::blank();
    let mut packet: Packet = packet::dissect::<A>(skb, Way::In, &mut key);
    key.protocol = protocol;
    on_take::<A>(sk, &mut key, &mut packet, bytes as u64);
    0
}
