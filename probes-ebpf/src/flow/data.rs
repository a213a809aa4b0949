//! Who moves data, and how long the first byte took: asked where a program sends or takes data, in its own context.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns},
    macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use fluoro_shared::flow::{KIND_DATA, WHAT_FIRST_BYTE, state};

use super::{FLOWS, blank, is_tcp, line::tell};
use crate::{
    access::{Access, Direct, Helper, Kptr},
    histogram,
    machine::offset,
    task,
};

/// Two processes that take turns at one socket are told of once in 2^27 ns (134 ms) at most.
const PAUSE: u32 = 27;

/// A connection is short up to this age.
const YOUNG_NS: u64 = 200_000_000;

// tcp_rcv_space_adjust(struct sock *sk): data has been copied or spliced to a program (tcp_recvmsg, tcp_read_sock,
// tcp_zerocopy_receive), once a segment.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn flow_receive_btf(ctx: BtfTracePointContext) -> i32 {
    on_data::<Direct>(ctx.arg(0), true)
}

#[raw_tracepoint(tracepoint = "tcp_rcv_space_adjust")]
pub fn flow_receive_raw(ctx: RawTracePointContext) -> i32 {
    on_data::<Helper>(ctx.arg(0), true)
}

// sock_send_length(struct sock *sk, int ret, int flags), 6.3: once a call, of any protocol.
#[btf_tracepoint(function = "sock_send_length")]
pub fn flow_send_btf(ctx: BtfTracePointContext) -> i32 {
    let sent = ctx.arg::<u64>(1) as i32;
    if sent > 0 { on_data::<Direct>(ctx.arg(0), false) } else { 0 }
}

#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn flow_send_raw(ctx: RawTracePointContext) -> i32 {
    let sent = ctx.arg::<u64>(1) as i32;
    if sent > 0 { on_data::<Helper>(ctx.arg(0), false) } else { 0 }
}

// int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)
#[fentry(function = "tcp_sendmsg")]
pub fn flow_send_fentry(ctx: FEntryContext) -> i32 {
    on_data::<Direct>(ctx.arg(0), false)
}

#[kprobe(function = "tcp_sendmsg")]
pub fn flow_send_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, |sk| on_data::<Helper>(sk, false)) as u32
}

#[inline(always)]
fn on_data<A: Access>(sk: Kptr, received: bool) -> i32 {
    if sk.is_null() {
        return 0;
    }
    let key = sk as u64;
    let known = FLOWS.get_ptr_mut(&key);
    if known.is_none() {
        meet::<A>(sk);
    }
    let Some(held) = known.or_else(|| FLOWS.get_ptr_mut(&key)) else { return 0 };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: the map's own memory. These members are nobody else's but of a socket that starts anew.
    unsafe {
        let established = (*held).established_at_ns;
        let first = received && (*held).first_byte_us == 0 && established != 0;
        let mover = (*held).mover;
        if mover == tgid && !first {
            return 0;
        }
        let now = bpf_ktime_get_boot_ns();
        let age_ns = now.wrapping_sub(established);
        if first {
            (*held).first_byte_us = (age_ns / 1000).clamp(1, u64::from(u32::MAX)) as u32;
            if (*held).owner.is_known() {
                let owner = &(*held).owner;
                histogram::sample(owner.start_ns, owner.tgid, WHAT_FIRST_BYTE, 0, age_ns.max(1));
            }
        }
        // What the owner of a short connection moves itself goes without saying: the close tells the rest.
        let young = established != 0 && age_ns < YOUNG_NS;
        let expected = mover == tgid || (mover == 0 && tgid == (*held).owner.tgid);
        if expected && young {
            return 0;
        }
        let tick = (now >> PAUSE) as u32;
        if mover != 0 && mover != tgid && (*held).told_at == tick {
            return 0;
        }
        (*held).told_at = tick;
        (*held).mover = tgid;
        // The record's owner is the mover here.
        tell::<A>(sk, &*held, &task::current::<A>(), KIND_DATA, 0, (*held).state, now);
    }
    0
}

/// A socket older than the programs is remembered from now on. Of what is no connection nothing is.
#[inline(always)]
fn meet<A: Access>(sk: Kptr) {
    let open: u8 = A::read(sk, offset!(sock_state));
    if !is_tcp::<A>(sk) || !matches!(open, state::ESTABLISHED | state::CLOSE_WAIT) {
        return;
    }
    let mut entry = blank(state::CLOSE, state::CLOSE);
    entry.state = open;
    // Without the kernel's cookie the socket table would know it by another id.
    entry.id = A::cookie(sk);
    if entry.id == 0 {
        return;
    }
    if FLOWS.insert(&(sk as u64), &entry, 0).is_ok()
        // Closed by another CPU before the entry was there: nobody would remove it.
        && A::read::<u8>(sk, offset!(sock_state)) == state::CLOSE
    {
        let _ = FLOWS.remove(&(sk as u64));
    }
}
