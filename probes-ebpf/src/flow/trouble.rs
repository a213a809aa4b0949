//! What goes wrong on the way: segments sent again, connections reset by either side.

use aya_ebpf::{
    helpers::bpf_ktime_get_boot_ns,
    macros::{btf_tracepoint, kprobe, map, raw_tracepoint},
    maps::PerCpuArray,
    programs::{BtfTracePointContext, ProbeContext, RawTracePointContext},
};
use fluoro_shared::{
    flow::{
        DIRECTION_INBOUND, DIRECTION_UNKNOWN, FLAG_BARE, FLAG_SENT, FlowEntry, KIND_RESET, KIND_RETRANSMIT,
        state,
    },
    offsets::ABSENT,
};

use super::{
    FLOWS, blank,
    line::{Ends, emit, emit_small},
    recall,
};
use crate::{
    access::{Access, Direct, Helper, Kptr},
    machine,
    machine::offset,
};

/// Sockets that this CPU has just seen close, by a few bits of their peer's port (an address must not be computed
/// with): a reset is sent after the socket has
/// reached TCP_CLOSE and its entry is gone.
#[map]
static CLOSED: PerCpuArray<Closed> = PerCpuArray::with_max_entries(CLOSED_SLOTS, 0);

const CLOSED_SLOTS: u32 = 16;

#[repr(C)]
struct Closed {
    key: u64,
    entry: FlowEntry,
}

#[inline(always)]
fn slot<A: Access>(sk: Kptr) -> u32 {
    u32::from(u16::from_be(A::read(sk, offset!(sock_dport)))) % CLOSED_SLOTS
}

#[inline(always)]
pub fn keep_closed<A: Access>(sk: Kptr, entry: &FlowEntry) {
    let key = sk as u64;
    if let Some(closed) = CLOSED.get_ptr_mut(slot::<A>(sk)) {
        // SAFETY: map memory of this CPU; what an interrupt mixes in bears another key, or is of no consequence but a
        // wrong owner of a reset that follows within microseconds.
        unsafe {
            (*closed).entry = *entry;
            (*closed).key = key;
        }
    }
}

// tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb, int err): `err` from 6.15 on, where segments
// that could not be sent are told, too.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn flow_retransmit_btf(ctx: BtfTracePointContext) -> i32 {
    let error = if machine::retransmit_error() == ABSENT { 0 } else { ctx.arg::<u64>(2) as u32 };
    on_retransmit::<Direct>(ctx.arg(0), error)
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn flow_retransmit_raw(ctx: RawTracePointContext) -> i32 {
    let error = if machine::retransmit_error() == ABSENT { 0 } else { ctx.arg::<u64>(2) as u32 };
    on_retransmit::<Helper>(ctx.arg(0), error)
}

// int __tcp_retransmit_skb(struct sock *sk, struct sk_buff *skb, int segs)
#[kprobe(function = "__tcp_retransmit_skb")]
pub fn flow_retransmit_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, |sk| on_retransmit::<Helper>(sk, 0)) as u32
}

// tcp_retransmit_synack(const struct sock *sk, const struct request_sock *req)
#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn flow_synack_btf(ctx: BtfTracePointContext) -> i32 {
    on_synack::<Direct>(ctx.arg(0), ctx.arg(1))
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
pub fn flow_synack_raw(ctx: RawTracePointContext) -> i32 {
    on_synack::<Helper>(ctx.arg(0), ctx.arg(1))
}

// int tcp_rtx_synack(const struct sock *sk, struct request_sock *req)
#[kprobe(function = "tcp_rtx_synack")]
pub fn flow_synack_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(request)) = (ctx.arg(0), ctx.arg(1)) else { return 0 };
    on_synack::<Helper>(sk, request) as u32
}

// tcp_receive_reset(struct sock *sk)
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn flow_reset_received_btf(ctx: BtfTracePointContext) -> i32 {
    on_reset_received::<Direct>(ctx.arg(0))
}

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn flow_reset_received_raw(ctx: RawTracePointContext) -> i32 {
    on_reset_received::<Helper>(ctx.arg(0))
}

// void tcp_reset(struct sock *sk, struct sk_buff *skb)
#[kprobe(function = "tcp_reset")]
pub fn flow_reset_received_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, on_reset_received::<Helper>) as u32
}

// tcp_send_reset(const struct sock *sk, const struct sk_buff *skb, const enum sk_rst_reason reason): from 6.10 on `sk`
// may be null, which the verifiers of 6.10 to 6.12 do not know of BTF tracepoints; so no direct loads here.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn flow_reset_sent_raw(ctx: RawTracePointContext) -> i32 {
    on_reset_sent(ctx.arg(0), ctx.arg(1))
}

// void tcp_send_active_reset(struct sock *sk, gfp_t priority, enum sk_rst_reason reason)
#[kprobe(function = "tcp_send_active_reset")]
pub fn flow_reset_sent_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, |sk| on_reset_sent(sk, core::ptr::null())) as u32
}

/// What is remembered of a socket, or at least its id where the kernel has given it one.
#[inline(always)]
fn entry_of<A: Access>(sk: Kptr) -> FlowEntry {
    let key = sk as u64;
    let mut entry = blank(state::CLOSE, state::CLOSE);
    if let Some(held) = FLOWS.get_ptr(&key) {
        recall(held, &mut entry);
    } else if let Some(closed) = CLOSED.get_ptr(slot::<A>(sk))
        // SAFETY: the map's own memory.
        && unsafe { (*closed).key } == key
    {
        // SAFETY: as above.
        entry = unsafe { (*closed).entry };
    } else {
        entry.id = A::cookie(sk);
    }
    entry
}

#[inline(always)]
fn on_retransmit<A: Access>(sk: Kptr, error: u32) -> i32 {
    if error != 0 {
        return 0;
    }
    let entry = entry_of::<A>(sk);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    emit::<A>(sk, &entry, KIND_RETRANSMIT, 0, A::read(sk, offset!(sock_state)), now);
    0
}

/// A SYN-ACK sent again: there is no connection yet, so it is told of the listener.
#[inline(always)]
fn on_synack<A: Access>(listener: Kptr, request: Kptr) -> i32 {
    let mut entry = entry_of::<A>(listener);
    entry.direction = DIRECTION_INBOUND;
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    emit_small::<A>(Ends::Socket(request), listener, &entry, KIND_RETRANSMIT, 0, state::SYN_RECV, now);
    0
}

#[inline(always)]
fn on_reset_received<A: Access>(sk: Kptr) -> i32 {
    let held: u8 = A::read(sk, offset!(sock_state));
    // An attempt that is refused is told as that.
    if held == state::SYN_SENT {
        return 0;
    }
    let entry = entry_of::<A>(sk);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    emit::<A>(sk, &entry, KIND_RESET, 0, held, now);
    0
}

/// `skb` is the segment that is answered; null: none is, or nobody tells.
#[inline(always)]
fn on_reset_sent(sk: Kptr, skb: Kptr) -> i32 {
    // Nobody's segment: there is no socket for it.
    if sk.is_null() {
        return 0;
    }
    let held: u8 = Helper::read(sk, offset!(sock_state));
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let small = matches!(held, state::LISTEN | state::NEW_SYN_RECV | state::TIME_WAIT);
    if !small {
        let entry = entry_of::<Helper>(sk);
        // What a closed socket counted was told when it closed.
        let flags = if held == state::CLOSE { FLAG_SENT | FLAG_BARE } else { FLAG_SENT };
        emit::<Helper>(sk, &entry, KIND_RESET, flags, held, now);
        return 0;
    }
    let mut entry = blank(state::CLOSE, state::CLOSE);
    entry.direction = DIRECTION_UNKNOWN;
    let mut ends = Ends::Socket(sk);
    let mut told = held;
    if held == state::LISTEN {
        // The other end of the segment stands in the segment only.
        if skb.is_null() {
            return 0;
        }
        entry = entry_of::<Helper>(sk);
        ends = Ends::Segment(skb);
        told = state::SYN_RECV;
    } else {
        entry.id = Helper::cookie(sk);
    }
    if held == state::NEW_SYN_RECV {
        told = state::SYN_RECV;
    }
    if told == state::SYN_RECV {
        entry.direction = DIRECTION_INBOUND;
    } else if entry.id == 0 {
        // Without an id it cannot be tied to the connection it was.
        return 0;
    }
    emit_small::<Helper>(ends, sk, &entry, KIND_RESET, FLAG_SENT, told, now);
    0
}
