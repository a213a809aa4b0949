//! `flow`: the life of TCP connections. State changes come in softirq as often as not, where the current task is
//! a bystander; owners are learnt in process context (connect, listen, accept) and kept by socket.

mod data;
mod line;
mod trouble;
mod udp;
mod unstarted;

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::{btf_tracepoint, fentry, kprobe, map, raw_tracepoint, tracepoint},
    maps::{Array, HashMap, PerCpuArray},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext, TracePointContext},
};
use fluoro_shared::{
    flow::{
        DIRECTION_INBOUND, DIRECTION_NONE, DIRECTION_OUTBOUND, DIRECTION_UNKNOWN, FLAG_UNTRACKED, FlowEntry,
        KIND_CLOSE, KIND_FAIL, KIND_LISTEN, KIND_OPEN, KIND_OWNER, MINTED, WHAT_CONNECT, WHAT_RTT, end,
        state,
    },
    record::Task,
};
use line::emit;

use crate::{
    access::{Access, Direct, Helper, Kptr},
    histogram, ledger,
    machine::offset,
    task,
};

/// Sockets between their first sight and TCP_CLOSE, by address.
#[map]
static FLOWS: HashMap<u64, FlowEntry> = HashMap::with_max_entries(1, 0);

/// Last minted id of this CPU.
#[map]
static MINT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// 1 while the spares are attached.
#[map]
static SPARED: Array<u32> = Array::with_max_entries(1, 0);

const IPPROTO_TCP: u16 = 6;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

// inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)
// From 6.2 on the kernel skips a raw tracepoint's program while the same one runs on that CPU: softirq often comes in
// between (up to 3 in 100 transitions under load), and from 7.0 on other tasks, since programs can be preempted. Spares
// with the same body run after it and do what was skipped; four in all serve two preempted tasks, the running one and
// softirq.
macro_rules! on_transitions {
    ($($btf:ident, $raw:ident, $turn:ident;)+) => {
        $(#[btf_tracepoint(function = "inet_sock_set_state")]
        pub fn $btf(ctx: BtfTracePointContext) -> i32 {
            on_state::<Direct>(Turn::$turn, ctx.arg(0), ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8)
        }

        #[raw_tracepoint(tracepoint = "inet_sock_set_state")]
        pub fn $raw(ctx: RawTracePointContext) -> i32 {
            on_state::<Helper>(Turn::$turn, ctx.arg(0), ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8)
        })+
    };
}

on_transitions! {
    flow_state_btf, flow_state_raw, First;
    flow_state_btf_spare1, flow_state_raw_spare1, Spare;
    flow_state_btf_spare2, flow_state_raw_spare2, Spare;
    flow_state_btf_spare3, flow_state_raw_spare3, Last;
}

// void inet_sk_state_store(struct sock *sk, int newstate); void inet_sk_set_state(struct sock *sk, int state):
// the two functions in which the tracepoint stands; the old state is still in the socket.
#[kprobe]
pub fn flow_state_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(new)) = (ctx.arg::<Kptr>(0), ctx.arg::<u64>(1)) else { return 0 };
    on_state::<Helper>(Turn::First, sk, Helper::read(sk, offset!(sock_state)), new as u8) as u32
}

// void security_sock_graft(struct sock *sk, struct socket *parent): accept(2) and io_uring accept give the
// connection its file here; the acceptor is current.
#[fentry(function = "security_sock_graft")]
pub fn flow_accept_fentry(ctx: FEntryContext) -> i32 {
    on_accept::<Direct>(ctx.arg(0))
}

#[kprobe(function = "security_sock_graft")]
pub fn flow_accept_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, on_accept::<Helper>) as u32
}

// syscalls:sys_exit_accept, syscalls:sys_exit_accept4: the returned descriptor leads to the socket. Does not see
// io_uring.
#[tracepoint]
pub fn flow_accept_syscall(ctx: TracePointContext) -> u32 {
    // Field `ret` of every syscalls:sys_exit_* record.
    const RET: usize = 16;
    // SAFETY: inside the tracepoint's record.
    let Ok(fd) = (unsafe { ctx.read_at::<i64>(RET) }) else { return 0 };
    on_accept::<Helper>(Helper::read(task::open_socket(fd), offset!(socket_sk))) as u32
}

/// Which of the programs on one hook this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Spare,
    /// The last spare.
    Last,
}

#[inline(always)]
fn spared() -> bool {
    SPARED.get(0).is_some_and(|&spared| spared != 0)
}

#[inline(always)]
fn is_tcp<A: Access>(sk: Kptr) -> bool {
    let family: u16 = A::read(sk, offset!(sock_family));
    let protocol: u16 = A::read(sk, offset!(sock_protocol));
    (family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP
}

/// States that a full connection leaves for TCP_CLOSE.
#[inline(always)]
const fn was_connected(old: u8) -> bool {
    matches!(
        old,
        state::ESTABLISHED
            | state::FIN_WAIT1
            | state::FIN_WAIT2
            | state::TIME_WAIT
            | state::CLOSE_WAIT
            | state::LAST_ACK
            | state::CLOSING
    )
}

#[inline(always)]
fn on_state<A: Access>(turn: Turn, sk: Kptr, old: u8, new: u8) -> i32 {
    if !is_tcp::<A>(sk) {
        return 0;
    }
    let key = sk as u64;
    let held = FLOWS.get_ptr_mut(&key);
    // 0 is no state.
    // SAFETY: the map's own memory.
    let left = held.map_or(0, |held| unsafe { (*held).state });
    if turn != Turn::First {
        if left == new {
            // One before has been here.
            if turn == Turn::Last && new == state::CLOSE {
                let _ = FLOWS.remove(&key);
            }
            return 0;
        }
        ledger::recovered(1);
    }
    let ours = left == old && !begins(old, new);
    // Half of all transitions, at one search in the map.
    if let Some(held) = held.filter(|_| ours && only_closes(new)) {
        // SAFETY: the map's own memory; a socket's transitions do not run at the same time.
        unsafe {
            if (*held).id != 0 {
                (*held).state = new;
                (*held).end = whose_end((*held).end, new);
                return 0;
            }
        }
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let mut entry = blank(old, new);
    if let Some(held) = held.filter(|_| ours) {
        recall(held.cast_const(), &mut entry);
    }
    entry.state = new;
    entry.end = whose_end(entry.end, new);
    // The kernel sets the cookie of a child only after this transition.
    if entry.id == 0 && new != state::SYN_RECV {
        entry.id = id::<A>(sk);
    }
    let kind = match new {
        state::SYN_SENT => {
            entry.owner = task::current::<A>();
            entry.connect_at_ns = now;
            0
        }
        state::LISTEN => {
            entry.owner = task::current::<A>();
            KIND_LISTEN
        }
        state::ESTABLISHED => {
            entry.established_at_ns = now;
            KIND_OPEN
        }
        state::CLOSE => ending(old, &entry),
        _ => 0,
    };
    if remember(key, &entry, ours, turn, old) && kind != 0 {
        if kind == KIND_OPEN && entry.connect_at_ns != 0 {
            histogram::sample(
                entry.owner.start_ns,
                entry.owner.tgid,
                WHAT_CONNECT,
                0,
                now - entry.connect_at_ns,
            );
        }
        let flags = if entry.flags & FlowEntry::UNTRACKED == 0 { 0 } else { FLAG_UNTRACKED };
        if kind == KIND_CLOSE {
            trouble::keep_closed::<A>(sk, &entry);
            let rtt_ns = line::rtt_ns::<A>(sk);
            if rtt_ns != 0 && entry.owner.is_known() {
                histogram::sample(entry.owner.start_ns, entry.owner.tgid, WHAT_RTT, 0, rtt_ns);
            }
        }
        emit::<A>(sk, &entry, kind, flags, old, now);
    }
    0
}

/// Whose FIN went first, once one has.
#[inline(always)]
const fn whose_end(so_far: u8, new: u8) -> u8 {
    match (so_far, new) {
        (end::UNKNOWN, state::FIN_WAIT1) => end::LOCAL,
        (end::UNKNOWN, state::CLOSE_WAIT) => end::PEER,
        _ => so_far,
    }
}

/// Of a socket that goes to TCP_CLOSE: which record that is, 0 for none.
#[inline(always)]
const fn ending(old: u8, entry: &FlowEntry) -> u16 {
    let never = entry.flags & FlowEntry::UNTRACKED == 0 && entry.established_at_ns == 0;
    if old == state::SYN_SENT || (never && entry.direction == DIRECTION_OUTBOUND) {
        KIND_FAIL
    } else if was_connected(old) {
        KIND_CLOSE
    } else {
        0
    }
}

#[inline(always)]
fn on_accept<A: Access>(sk: Kptr) -> i32 {
    if sk.is_null() || !is_tcp::<A>(sk) {
        return 0;
    }
    let key = sk as u64;
    let open: u8 = A::read(sk, offset!(sock_state));
    if open == state::CLOSE || open == state::LISTEN {
        return 0;
    }
    let owner = task::current::<A>();
    let held = if let Some(held) = FLOWS.get_ptr_mut(&key) {
        // SAFETY: the map's own memory. Nothing but the owner is written: another CPU may be counting a transition.
        unsafe {
            if (*held).owner.is_known() || (*held).state == state::CLOSE {
                return 0;
            }
            // Whole before it is known: see `recall`.
            (&raw mut (*held).owner).write_volatile(Task { start_ns: 0, ..owner });
            (&raw mut (*held).owner.start_ns).write_volatile(owner.start_ns);
            &*held
        }
    } else {
        let mut entry = blank(state::SYN_RECV, state::ESTABLISHED);
        entry.owner = owner;
        entry.state = open;
        entry.id = id::<A>(sk);
        ledger::aggregate_seen();
        if FLOWS.insert(&key, &entry, 0).is_ok() {
            ledger::counted()
        } else {
            ledger::untracked()
        }
        // Closed by another CPU before the entry was there: nobody would remove it.
        if A::read::<u8>(sk, offset!(sock_state)) == state::CLOSE {
            let _ = FLOWS.remove(&key);
        }
        return 0;
    };
    // Before ESTABLISHED (fast open) the opening itself will name the owner.
    if held.established_at_ns != 0 {
        // SAFETY: no arguments.
        let now = unsafe { bpf_ktime_get_boot_ns() };
        emit::<A>(sk, held, KIND_OWNER, 0, open, now);
    }
    0
}

/// Copies out what is held. A socket's transitions do not run at the same time, but the exit of accept(2) may be naming
/// the owner on another CPU: one that is not whole yet is none.
#[inline(always)]
fn recall(held: *const FlowEntry, entry: &mut FlowEntry) {
    // SAFETY: the map's own memory.
    unsafe {
        let start_ns = (&raw const (*held).owner.start_ns).read_volatile();
        *entry = *held;
        entry.owner.start_ns = start_ns;
    }
}

/// States on the way from ESTABLISHED to TCP_CLOSE: of them no more is kept than which it is and whose FIN went first.
#[inline(always)]
const fn only_closes(new: u8) -> bool {
    matches!(
        new,
        state::FIN_WAIT1
            | state::FIN_WAIT2
            | state::TIME_WAIT
            | state::CLOSE_WAIT
            | state::LAST_ACK
            | state::CLOSING
    )
}

/// Whether a socket starts anew with this transition, whatever is held under its address.
#[inline(always)]
const fn begins(old: u8, new: u8) -> bool {
    matches!(new, state::SYN_SENT | state::LISTEN) || (new == state::SYN_RECV && old != state::SYN_SENT)
}

/// A socket at first sight.
#[inline(always)]
const fn blank(old: u8, new: u8) -> FlowEntry {
    let (direction, flags) = match (old, new) {
        (state::SYN_SENT, state::CLOSE) => (DIRECTION_OUTBOUND, FlowEntry::UNTRACKED),
        (state::SYN_SENT, _) | (_, state::SYN_SENT) => (DIRECTION_OUTBOUND, 0),
        (_, state::LISTEN) => (DIRECTION_NONE, 0),
        (_, state::SYN_RECV | state::ESTABLISHED) => (DIRECTION_INBOUND, 0),
        _ => (DIRECTION_UNKNOWN, FlowEntry::UNTRACKED),
    };
    FlowEntry {
        owner: Task::NONE,
        id: 0,
        connect_at_ns: 0,
        established_at_ns: 0,
        first_byte_us: 0,
        told_at: 0,
        mover: 0,
        direction,
        state: 0,
        flags,
        end: end::UNKNOWN,
    }
}

/// The id that a socket keeps: the kernel's cookie, or one of our own.
#[inline(always)]
fn id<A: Access>(sk: Kptr) -> u64 {
    match A::cookie(sk) {
        0 => mint(),
        cookie => cookie,
    }
}

#[inline(always)]
fn mint() -> u64 {
    let Some(last) = MINT.get_ptr_mut(0) else { return MINTED };
    // SAFETY: map memory of this CPU; two ids collide only if an interrupt comes between these two lines and mints
    // too, which the time in the low bits tells apart.
    let (next, cpu, now) = unsafe {
        let next = last.read_volatile().wrapping_add(1);
        last.write_volatile(next);
        (next, u64::from(bpf_get_smp_processor_id()), bpf_ktime_get_boot_ns())
    };
    MINTED | (cpu & 0xfff) << 48 | (next & 0xffff_ffff) << 16 | (now & 0xffff)
}

/// Writes the entry back, or forgets it after TCP_CLOSE; a full map is counted as untracked. False when that is left
/// to the spare that comes next: what is not held, it could not tell from what it has to recover.
#[inline(always)]
fn remember(key: u64, entry: &FlowEntry, ours: bool, turn: Turn, old: u8) -> bool {
    let last = turn == Turn::Last || !spared();
    let over = entry.state == state::CLOSE;
    let held = FLOWS.get_ptr_mut(&key);
    if let Some(held) = held {
        // SAFETY: the map's own memory; a socket's transitions do not run at the same time. It is written before a
        // removal, too, which some kernels refuse while an interrupted one is under way. The owner stays out of it
        // where accept(2) may be writing it.
        unsafe {
            if !ours {
                (*held).owner = entry.owner;
            }
            (*held).id = entry.id;
            (*held).connect_at_ns = entry.connect_at_ns;
            (*held).established_at_ns = entry.established_at_ns;
            (*held).direction = entry.direction;
            (*held).state = entry.state;
            (*held).flags = entry.flags;
            (*held).end = entry.end;
            if !ours {
                (*held).first_byte_us = 0;
                (*held).mover = 0;
            }
        }
    }
    if over && last {
        let _ = FLOWS.remove(&key);
        return true;
    }
    let kept = held.is_some() || FLOWS.insert(&key, entry, 0).is_ok();
    if !kept && !last {
        ledger::recovered(-1);
        return false;
    }
    if matches!(entry.state, state::SYN_SENT | state::LISTEN)
        || (entry.state == state::ESTABLISHED && old != state::SYN_SENT)
    {
        ledger::aggregate_seen();
        if kept { ledger::counted() } else { ledger::untracked() }
    }
    true
}
