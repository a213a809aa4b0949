//! `flow`: the life of TCP connections. State changes come in softirq as often as not, where the current task is
//! a bystander; owners are learnt in process context (connect, listen, accept) and kept by socket.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::{btf_tracepoint, fentry, kprobe, map, raw_tracepoint, tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext, TracePointContext},
};
use fluoro_shared::{
    flow::{
        DIRECTION_INBOUND, DIRECTION_NONE, DIRECTION_OUTBOUND, FLAG_UNTRACKED, FlowEntry, FlowRecord,
        KIND_CLOSE, KIND_FAIL, KIND_LISTEN, KIND_OPEN, KIND_OWNER, MINTED, state,
    },
    record::{Header, Task},
};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    filter::{self, Verdict},
    ledger, machine,
    machine::offset,
    ring, task,
};

/// Sockets between their first sight and TCP_CLOSE, by address.
#[map]
static FLOWS: HashMap<u64, FlowEntry> = HashMap::with_max_entries(1, 0);

/// Last minted id of this CPU.
#[map]
static MINT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

const IPPROTO_TCP: u16 = 6;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const RCV_SHUTDOWN: u8 = 1;
const SHUTDOWN_MASK: u8 = 3;
const EADDRNOTAVAIL: u32 = 99;
const ETIMEDOUT: u32 = 110;
const ECANCELED: u32 = 125;

// inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)
// From 6.2 on (trampolines: 5.13) the kernel skips a program while the same one runs on that CPU, and softirq often
// comes in between: up to 3 in 100 transitions under load. It counts them: `missed`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn flow_state_btf(ctx: BtfTracePointContext) -> i32 {
    on_state::<Direct>(ctx.arg(0), ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8)
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn flow_state_raw(ctx: RawTracePointContext) -> i32 {
    on_state::<Helper>(ctx.arg(0), ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8)
}

// void inet_sk_state_store(struct sock *sk, int newstate); void inet_sk_set_state(struct sock *sk, int state):
// the two functions in which the tracepoint stands; the old state is still in the socket.
#[kprobe]
pub fn flow_state_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(new)) = (ctx.arg::<Kptr>(0), ctx.arg::<u64>(1)) else { return 0 };
    on_state::<Helper>(sk, Helper::read(sk, offset!(sock_state)), new as u8) as u32
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
    if fd < 0 {
        return 0;
    }
    let files: Kptr = Helper::read(Helper::current_task(), offset!(task_files));
    let table: Kptr = Helper::read(files, offset!(files_fdt));
    if fd >= i64::from(Helper::read::<u32>(table, offset!(fdtable_max))) {
        return 0;
    }
    let fds: Kptr = Helper::read(table, offset!(fdtable_fd));
    let file: Kptr = Helper::read(fds.wrapping_add(fd as usize * 8), 0);
    let socket: Kptr = Helper::read(file, offset!(file_private));
    on_accept::<Helper>(Helper::read(socket, offset!(socket_sk))) as u32
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
fn on_state<A: Access>(sk: Kptr, old: u8, new: u8) -> i32 {
    if !is_tcp::<A>(sk) {
        return 0;
    }
    let key = sk as u64;
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // One way out for all kinds: the record is built in one place, which keeps the program a fifth as long.
    let (entry, kind, flags) = match new {
        state::SYN_SENT | state::LISTEN => {
            let connects = new == state::SYN_SENT;
            let mut entry = fresh::<A>(sk, if connects { DIRECTION_OUTBOUND } else { DIRECTION_NONE });
            entry.owner = task::current::<A>();
            if connects {
                entry.connect_at_ns = now;
            }
            keep(key, &entry);
            if connects {
                return 0;
            }
            (entry, KIND_LISTEN, 0)
        }
        state::ESTABLISHED => {
            let mut entry = match known(key) {
                Some(entry) => entry,
                None if old == state::SYN_SENT => fresh::<A>(sk, DIRECTION_OUTBOUND),
                None => fresh::<A>(sk, DIRECTION_INBOUND),
            };
            entry.established_at_ns = now;
            keep(key, &entry);
            (entry, KIND_OPEN, 0)
        }
        state::CLOSE => {
            let (entry, flags) = match known(key) {
                Some(entry) => (entry, 0),
                None => (
                    fresh::<A>(sk, if old == state::SYN_SENT { DIRECTION_OUTBOUND } else { 0 }),
                    FLAG_UNTRACKED,
                ),
            };
            if flags == 0 {
                let _ = FLOWS.remove(&key);
            }
            let never = flags == 0 && entry.established_at_ns == 0;
            if old == state::SYN_SENT || (never && entry.direction == DIRECTION_OUTBOUND) {
                (entry, KIND_FAIL, flags)
            } else if was_connected(old) {
                (entry, KIND_CLOSE, flags)
            } else {
                return 0;
            }
        }
        _ => return 0,
    };
    emit::<A>(sk, &entry, kind, flags, old, now);
    0
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
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let mut entry = match known(key) {
        Some(entry) => entry,
        None => fresh::<A>(sk, DIRECTION_INBOUND),
    };
    if entry.owner.is_known() {
        return 0;
    }
    entry.owner = task::current::<A>();
    keep(key, &entry);
    // Before ESTABLISHED (fast open) the opening itself will name the owner.
    if entry.established_at_ns != 0 {
        emit::<A>(sk, &entry, KIND_OWNER, 0, open, now);
    }
    0
}

#[inline(always)]
fn known(key: u64) -> Option<FlowEntry> {
    // SAFETY: copied out; a socket's transitions do not run at the same time.
    unsafe { FLOWS.get(&key) }.copied()
}

/// A socket at first sight: it gets the id that it keeps.
#[inline(always)]
fn fresh<A: Access>(sk: Kptr, direction: u8) -> FlowEntry {
    let mut id = A::cookie(sk);
    if id == 0 {
        id = mint();
    }
    FlowEntry { owner: Task::NONE, id, connect_at_ns: 0, established_at_ns: 0, direction, pad: [0; 7] }
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

/// Writes the entry back; a full map is counted as untracked.
#[inline(always)]
fn keep(key: u64, entry: &FlowEntry) {
    if let Some(place) = FLOWS.get_ptr_mut(&key) {
        // SAFETY: the map's own memory; a socket's transitions do not run at the same time.
        unsafe { *place = *entry };
        return;
    }
    ledger::aggregate_seen();
    match FLOWS.insert(&key, entry, 0) {
        Ok(()) => ledger::counted(),
        Err(_) => ledger::untracked(),
    }
}

#[inline(always)]
fn emit<A: Access>(sk: Kptr, entry: &FlowEntry, kind: u16, flags: u16, old: u8, now: u64) {
    // `skc_num` is cleared before a socket reaches TCP_CLOSE; the port as it stands in segments stays. A tcp_sock
    // begins with its inet_sock.
    let tcp = A::tcp(sk);
    if tcp.is_null() {
        return;
    }
    let local_port = u16::from_be(A::read(tcp, offset!(inet_sport)));
    let peer_port: u16 = u16::from_be(A::read(sk, offset!(sock_dport)));
    let event = kind != KIND_OWNER;
    if event {
        ledger::seen();
    }
    match filter::verdict(&entry.owner, Some((local_port, peer_port))) {
        Verdict::Wanted => {}
        Verdict::Filtered => {
            // An opening that was let through because its owner was not known is judged by user space, which
            // needs the owner for that: only events are left out here.
            if event {
                ledger::filtered();
                return;
            }
        }
        Verdict::Muted => {
            if event {
                ledger::muted();
            }
            return;
        }
    }
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let mut record = FlowRecord {
        header: Header { at_ns: now, seq: ledger::next_seq(), cpu, kind, flags },
        owner: entry.owner,
        id: entry.id,
        tx_bytes: 0,
        rx_bytes: 0,
        duration_ns: 0,
        connect_ns: 0,
        srtt_us: 0,
        retransmits: 0,
        netns: 0,
        error: 0,
        local_address: [0; 16],
        peer_address: [0; 16],
        local_port,
        peer_port,
        direction: entry.direction,
        old_state: old,
        pad: 0,
    };
    addresses::<A>(sk, &mut record);
    let net: Kptr = A::read(sk, offset!(sock_net));
    record.netns = A::read(net, offset!(net_inum));
    if entry.established_at_ns != 0 {
        record.duration_ns = now.wrapping_sub(entry.established_at_ns);
        if entry.connect_at_ns != 0 {
            record.connect_ns = entry.established_at_ns.wrapping_sub(entry.connect_at_ns);
        }
    } else if entry.connect_at_ns != 0 {
        record.connect_ns = now.wrapping_sub(entry.connect_at_ns);
    }
    if kind == KIND_OPEN || kind == KIND_CLOSE {
        counters::<A>(sk, tcp, &mut record);
    }
    if kind == KIND_FAIL {
        record.error = failure::<A>(sk, local_port, entry.owner.tgid);
    }
    let sent = ring::send((&raw const record).cast(), size_of::<FlowRecord>() as u64, cpu);
    match (event, sent) {
        (true, true) => ledger::submitted(),
        (true, false) => ledger::lost(),
        (false, true) => {}
        (false, false) => ledger::supplement_lost(),
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
