//! `drop`: packets that the kernel threw away. The hook runs in softirq as often as not, where the current task is a
//! bystander: a packet belongs to whoever made the socket that sent it or that it was for, or to nobody.
//!
//! Kernel members are read by helper throughout: what stands in a packet has no type that a direct load could have.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::{fentry, kprobe, map, raw_tracepoint, tracepoint},
    maps::{HashMap, LruHashMap, PerCpuArray},
    programs::{FEntryContext, ProbeContext, RawTracePointContext, TracePointContext},
};
use fluoro_shared::{
    drop::{
        DropFlowKey, DropKey, DropOwner, DropRecord, FLAG_BAD_CHECKSUM, FLAG_OWNER_MAY_FOLLOW,
        FLAG_QUEUE_FULL, FLAG_RECEIVED, INTERFACE_LEN, KIND_OWNER, KIND_PACKET,
    },
    offsets::ABSENT,
    record::{Header, Task},
};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    filter::{self, Verdict},
    ledger, machine,
    machine::offset,
    ring, task,
};

/// Who made which socket, by its address. Sockets go without telling, so the oldest make room.
#[map]
static OWNERS: LruHashMap<u64, DropOwner> = LruHashMap::with_max_entries(1, 0);

/// Packets dropped.
#[map]
static DROPS: HashMap<DropKey, u64> = HashMap::with_max_entries(1, 0);

/// The same by conversation.
#[map]
static DROPPED_FLOWS: HashMap<DropFlowKey, u64> = HashMap::with_max_entries(1, 0);

/// The packet that a full queue on this CPU has just refused: whose it was is known before it is dropped.
#[map]
static REFUSED: PerCpuArray<Refused> = PerCpuArray::with_max_entries(1, 0);

/// The packet dropped last on this CPU, where its owner is told after it.
#[map]
static LAST: PerCpuArray<Last> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Refused {
    skb: u64,
    sk: u64,
}

#[repr(C)]
struct Last {
    /// Of its record; 0: none waits for its owner.
    seq: u64,
    key: DropKey,
    port: u64,
    flow: DropFlowKey,
}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_DCCP: u8 = 33;
const IPPROTO_SCTP: u8 = 132;
const IPPROTO_UDPLITE: u8 = 136;
/// Reserved by IANA.
const UNKNOWN: u8 = 255;
const BPF_NOEXIST: u64 = 1;

// kfree_skb(struct sk_buff *skb, void *location)                                                             to 5.16
// kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason)                                from 5.17
// kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)            from 6.11
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn drop_packet_raw(ctx: RawTracePointContext) -> i32 {
    let reason = if machine::drop_reason() == ABSENT { 0 } else { ctx.arg::<u64>(2) as u32 };
    let rx_sk: Kptr = if machine::drop_rx_sk() == ABSENT { core::ptr::null() } else { ctx.arg(3) };
    on_drop(ctx.arg(0), ctx.arg(1), reason, rx_sk)
}

// void sk_skb_reason_drop(struct sock *sk, struct sk_buff *skb, enum skb_drop_reason reason): from 6.11
#[kprobe(function = "sk_skb_reason_drop")]
pub fn drop_packet_sk_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(skb), Some(reason)) = (ctx.arg::<Kptr>(0), ctx.arg::<Kptr>(1), ctx.arg::<u64>(2))
    else {
        return 0;
    };
    on_free(&ctx, skb, reason as u32, sk) as u32
}

// void kfree_skb_reason(struct sk_buff *skb, enum skb_drop_reason reason): from 5.17
#[kprobe(function = "kfree_skb_reason")]
pub fn drop_packet_reason_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(skb), Some(reason)) = (ctx.arg::<Kptr>(0), ctx.arg::<u64>(1)) else { return 0 };
    on_free(&ctx, skb, reason as u32, core::ptr::null()) as u32
}

// void kfree_skb(struct sk_buff *skb): to 5.16
#[kprobe(function = "kfree_skb")]
pub fn drop_packet_kprobe(ctx: ProbeContext) -> u32 {
    let Some(skb) = ctx.arg::<Kptr>(0) else { return 0 };
    on_free(&ctx, skb, 0, core::ptr::null()) as u32
}

// sock_rcvqueue_full(struct sock *sk, struct sk_buff *skb): before kfree_skb.
#[raw_tracepoint(tracepoint = "sock_rcvqueue_full")]
pub fn drop_queue_raw(ctx: RawTracePointContext) -> i32 {
    on_refused(ctx.arg(1), ctx.arg(0))
}

// udp_fail_queue_rcv_skb(int rc, struct sock *sk): after kfree_skb                                           to 6.9
// udp_fail_queue_rcv_skb(int rc, struct sock *sk, struct sk_buff *skb): before it                            from 6.10
#[raw_tracepoint(tracepoint = "udp_fail_queue_rcv_skb")]
pub fn drop_udp_raw(ctx: RawTracePointContext) -> i32 {
    if machine::udp_fail_skb() == ABSENT { on_owner(ctx.arg(1)) } else { on_refused(ctx.arg(2), ctx.arg(1)) }
}

// int security_socket_post_create(struct socket *sock, int family, int type, int protocol, int kern)
// The spares tell the same once more, for a task that came between while the first was preempted.
macro_rules! on_creates {
    ($($program:ident)+) => {
        $(#[fentry(function = "security_socket_post_create")]
        pub fn $program(ctx: FEntryContext) -> i32 {
            on_create::<Direct>(ctx.arg(0), ctx.arg(4))
        })+
    };
}

on_creates! { drop_owner_fentry drop_owner_fentry_spare1 drop_owner_fentry_spare2 }

#[kprobe(function = "security_socket_post_create")]
pub fn drop_owner_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(socket), Some(kern)) = (ctx.arg::<Kptr>(0), ctx.arg::<u64>(4)) else { return 0 };
    on_create::<Helper>(socket, kern) as u32
}

// syscalls:sys_exit_socket: the returned descriptor leads to the socket.
#[tracepoint]
pub fn drop_owner_syscall(ctx: TracePointContext) -> u32 {
    // Field `ret` of every syscalls:sys_exit_* record.
    const RET: usize = 16;
    // SAFETY: inside the tracepoint's record.
    let Ok(fd) = (unsafe { ctx.read_at::<i64>(RET) }) else { return 0 };
    let socket = task::open_socket(fd);
    if socket.is_null() { 0 } else { on_create::<Helper>(socket, 0) as u32 }
}

/// A socket has been made by the task that runs.
#[inline(always)]
pub fn on_create<A: Access>(socket: Kptr, kern: u64) -> i32 {
    let sk: Kptr = A::read(socket, offset!(socket_sk));
    if kern as u32 != 0 || sk.is_null() {
        return 0;
    }
    let inode = Helper::read(socket, offset!(socket_inode));
    let owner = DropOwner { task: task::current::<A>(), inode };
    ledger::sample(OWNERS.insert(&(sk as u64), &owner, 0).is_ok());
    0
}

/// Entry of a function that frees: it does so if nobody else holds the packet.
#[inline(always)]
fn on_free(ctx: &ProbeContext, skb: Kptr, reason: u32, rx_sk: Kptr) -> i32 {
    if skb.is_null() || Helper::read::<u32>(skb, offset!(skb_users)) != 1 {
        return 0;
    }
    // SAFETY: the probe's own registers; nothing has been pushed since the call.
    let stack = unsafe { (*ctx.as_ptr().cast::<aya_ebpf::bindings::pt_regs>()).rsp };
    on_drop(skb, Helper::read(stack as Kptr, 0), reason, rx_sk)
}

#[inline(always)]
fn on_refused(skb: Kptr, sk: Kptr) -> i32 {
    // Where kfree_skb itself tells the socket, nothing need be remembered.
    if machine::drop_rx_sk() != ABSENT {
        return 0;
    }
    if let Some(refused) = REFUSED.get_ptr_mut(0) {
        // SAFETY: map memory of this CPU.
        unsafe { refused.write_volatile(Refused { skb: skb as u64, sk: sk as u64 }) };
    }
    0
}

#[inline(always)]
fn on_drop(skb: Kptr, location: u64, reason: u32, rx_sk: Kptr) -> i32 {
    if reason == machine::drop_not_yet() || reason == machine::drop_consumed() {
        return 0;
    }
    // Messages of Unix and netlink sockets are no packets.
    let ethertype = u16::from_be(Helper::read(skb, offset!(skb_protocol)));
    if ethertype == 0 {
        return 0;
    }
    // SAFETY: no arguments.
    let (now, cpu) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_smp_processor_id()) };
    let mut record = DropRecord {
        header: Header { at_ns: now, seq: 0, cpu, kind: KIND_PACKET, flags: 0 },
        owner: Task::NONE,
        inode: 0,
        location: 0,
        of_seq: 0,
        source_address: [0; 16],
        destination_address: [0; 16],
        interface: [0; INTERFACE_LEN],
        reason,
        ifindex: 0,
        netns: 0,
        len: 0,
        source_port: 0,
        destination_port: 0,
        ethertype,
        protocol: UNKNOWN,
        pad: 0,
    };
    let iif: u32 = Helper::read(skb, offset!(skb_iif));
    let received = iif != 0;
    if received {
        record.header.flags |= FLAG_RECEIVED;
    }
    if is_bad(skb) {
        record.header.flags |= FLAG_BAD_CHECKSUM;
    }
    let mut sk = rx_sk;
    if sk.is_null() {
        sk = refused(skb, &mut record.header.flags);
    }
    if sk.is_null() {
        sk = Helper::read(skb, offset!(skb_sk));
    }
    let mut net: Kptr = core::ptr::null();
    if !sk.is_null() {
        own(sk, &mut record);
        net = Helper::read(sk, offset!(sock_net));
    }
    let device = device(skb, received);
    record.ifindex = iif;
    if !device.is_null() {
        record.ifindex = Helper::read(device, offset!(dev_ifindex));
        record.interface = Helper::read(device, offset!(dev_name));
        net = Helper::read(device, offset!(dev_net));
    }
    if !net.is_null() {
        record.netns = Helper::read(net, offset!(net_inum));
    }
    dissect(skb, &mut record);
    if record.protocol == IPPROTO_TCP && is_heard(skb, &record) {
        return 0;
    }
    let base = u64::from(machine::text_high()) << 32 | u64::from(machine::text_low());
    if base != 0 {
        record.location = location.wrapping_sub(base);
    }
    report(record)
}

/// Counts a packet and sends its record.
#[inline(always)]
fn report(mut record: DropRecord) -> i32 {
    if machine::udp_fail_skb() == ABSENT
        && record.header.flags & FLAG_RECEIVED != 0
        && !record.owner.is_known()
        && record.protocol == IPPROTO_UDP
    {
        record.header.flags |= FLAG_OWNER_MAY_FOLLOW;
    }
    let silent = is_silent(record.reason);
    let key = DropKey {
        start_ns: record.owner.start_ns,
        location: if silent { record.location } else { 0 },
        tgid: record.owner.tgid,
        reason: record.reason,
        ifindex: record.ifindex,
        netns: record.netns,
        flags: u32::from(record.header.flags & (FLAG_BAD_CHECKSUM | FLAG_QUEUE_FULL)),
        protocol: if record.header.flags & FLAG_BAD_CHECKSUM != 0 { u32::from(record.protocol) } else { 0 },
    };
    ledger::aggregate_seen();
    if count(&DROPS, &key, 1) {
        ledger::counted()
    } else {
        ledger::untracked()
    }
    record.header.seq = ledger::next_seq();
    // Built in the map, not on the stack, which is full.
    if let Some(last) = LAST.get_ptr_mut(0) {
        let waits = record.header.flags & FLAG_OWNER_MAY_FOLLOW != 0;
        let seq = if waits { record.header.seq } else { 0 };
        let port = u64::from(record.destination_port);
        // SAFETY: map memory of this CPU.
        unsafe {
            (&raw mut (*last).seq).write_volatile(seq);
            (&raw mut (*last).key).write_volatile(key);
            (&raw mut (*last).port).write_volatile(port);
            let flow = &raw mut (*last).flow;
            (&raw mut (*flow).source_address).write_volatile(record.source_address);
            (&raw mut (*flow).destination_address).write_volatile(record.destination_address);
            (&raw mut (*flow).location).write_volatile(key.location);
            (&raw mut (*flow).reason).write_volatile(record.reason);
            (&raw mut (*flow).netns).write_volatile(record.netns);
            (&raw mut (*flow).flags).write_volatile(key.flags);
            (&raw mut (*flow).source_port).write_volatile(record.source_port);
            (&raw mut (*flow).destination_port).write_volatile(record.destination_port);
            (&raw mut (*flow).protocol).write_volatile(u64::from(record.protocol));
            if record.source_port != 0 && matches!(record.protocol, IPPROTO_TCP | IPPROTO_UDP) {
                ledger::sample(count(&DROPPED_FLOWS, &*flow, 1));
            }
        }
    }
    ledger::seen();
    match filter::verdict(&record.owner, Some((record.source_port, record.destination_port))) {
        Verdict::Wanted => {}
        Verdict::Filtered => {
            ledger::filtered();
            return 0;
        }
        Verdict::Muted => {
            ledger::muted();
            return 0;
        }
    }
    if send(&record) {
        ledger::submitted()
    } else {
        ledger::lost()
    }
    0
}

#[inline(always)]
fn send(record: &DropRecord) -> bool {
    ring::send((&raw const *record).cast(), size_of::<DropRecord>() as u64, record.header.cpu)
}

/// Adds to a count, modulo 2^64. False: the map is full.
#[inline(always)]
fn count<K>(map: &HashMap<K, u64>, key: &K, by: u64) -> bool {
    // Another CPU may be first.
    bump(map, key, by) || map.insert(key, &by, BPF_NOEXIST).is_ok() || bump(map, key, by)
}

#[inline(always)]
fn bump<K>(map: &HashMap<K, u64>, key: &K, by: u64) -> bool {
    let Some(count) = map.get_ptr_mut(key) else { return false };
    ledger::add(count, by);
    true
}

/// The socket that the packet dropped last was for. It is named, and its count moves to where it belongs.
#[inline(always)]
fn on_owner(sk: Kptr) -> i32 {
    let Some(last) = LAST.get_ptr_mut(0) else { return 0 };
    // SAFETY: map memory of this CPU, on which nothing has been dropped since.
    let (seq, mut key, port) = unsafe { ((*last).seq, (*last).key, (*last).port) };
    if seq == 0 || port != u64::from(Helper::read::<u16>(sk, offset!(sock_num))) {
        return 0;
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*last).seq).write_volatile(0) };
    // SAFETY: no arguments.
    let (now, cpu) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_smp_processor_id()) };
    let header =
        Header { at_ns: now, seq: ledger::next_seq(), cpu, kind: KIND_OWNER, flags: FLAG_QUEUE_FULL };
    let mut record = DropRecord {
        header,
        owner: Task::NONE,
        inode: 0,
        location: 0,
        of_seq: seq,
        source_address: [0; 16],
        destination_address: [0; 16],
        interface: [0; INTERFACE_LEN],
        reason: 0,
        ifindex: 0,
        netns: 0,
        len: 0,
        source_port: 0,
        destination_port: port as u16,
        ethertype: 0,
        protocol: IPPROTO_UDP,
        pad: 0,
    };
    own(sk, &mut record);
    count(&DROPS, &key, 0_u64.wrapping_sub(1));
    (key.start_ns, key.tgid) = (record.owner.start_ns, record.owner.tgid);
    key.flags |= u32::from(FLAG_QUEUE_FULL);
    count(&DROPS, &key, 1);
    // SAFETY: as above. A port of 0 has been counted nowhere.
    unsafe {
        let flow = &raw mut (*last).flow;
        if (*flow).source_port != 0 && bump(&DROPPED_FLOWS, &*flow, 0_u64.wrapping_sub(1)) {
            (*flow).flags |= u32::from(FLAG_QUEUE_FULL);
            count(&DROPPED_FLOWS, &*flow, 1);
        }
    }
    if let Verdict::Muted = filter::verdict(&record.owner, None) {
        return 0;
    }
    if !send(&record) {
        ledger::supplement_lost();
    }
    0
}

/// The socket whose full queue has just refused this packet: it is dropped before any other on this CPU.
#[inline(always)]
fn refused(skb: Kptr, flags: &mut u16) -> Kptr {
    if machine::drop_rx_sk() != ABSENT {
        return core::ptr::null();
    }
    let Some(held) = REFUSED.get_ptr_mut(0) else { return core::ptr::null() };
    // SAFETY: map memory of this CPU.
    let last = unsafe {
        let last = held.read_volatile();
        (&raw mut (*held).skb).write_volatile(0);
        last
    };
    if last.skb != skb as u64 {
        return core::ptr::null();
    }
    *flags |= FLAG_QUEUE_FULL;
    last.sk as Kptr
}

/// Puts down whose socket it is.
#[inline(always)]
fn own(sk: Kptr, record: &mut DropRecord) {
    let owner = owner(sk);
    (record.inode, record.owner) = (owner.inode, owner.task);
}

/// Who made a socket, as far as known, and its inode. Sockets that are not whole (requests, TIME_WAIT) have neither.
#[inline(always)]
pub fn owner(sk: Kptr) -> DropOwner {
    const TIME_WAIT: u8 = 6;
    const NEW_SYN_RECV: u8 = 12;
    let mut owner = DropOwner { task: Task::NONE, inode: 0 };
    let state: u8 = Helper::read(sk, offset!(sock_state));
    if state == TIME_WAIT || state == NEW_SYN_RECV {
        return owner;
    }
    let socket: Kptr = Helper::read(sk, offset!(sock_socket));
    if !socket.is_null() {
        owner.inode = Helper::read(socket, offset!(socket_inode));
    }
    // SAFETY: the map's own memory; a newer owner of the same address would have another inode.
    let Some(held) = OWNERS.get_ptr(&(sk as u64)) else { return owner };
    unsafe {
        if owner.inode == 0 || (*held).inode == owner.inode {
            owner.task = (*held).task;
        }
    }
    owner
}

/// The interface that the packet is at. A datagram on its way into a queue keeps something else in that member, and one
/// that is just being sent has not come to its interface yet.
#[inline(always)]
fn device(skb: Kptr, received: bool) -> Kptr {
    let device: u64 = Helper::read(skb, offset!(skb_dev));
    if is_kernel(device) {
        return device as Kptr;
    }
    let route = Helper::read::<u64>(skb, offset!(skb_dst)) & !1;
    if received || !is_kernel(route) {
        return core::ptr::null();
    }
    let device: u64 = Helper::read(route as Kptr, offset!(dst_dev));
    if is_kernel(device) { device as Kptr } else { core::ptr::null() }
}

/// With five levels of page tables, only the top byte of every kernel address has all its bits set.
#[inline(always)]
const fn is_kernel(address: u64) -> bool {
    address >> 56 == 0xff
}

/// The kernel has computed the checksum and found it wrong.
#[inline(always)]
fn is_bad(skb: Kptr) -> bool {
    bit(skb, machine::skb_csum_done()) && !bit(skb, machine::skb_csum_valid())
}

/// The kernel gives no reason.
#[inline(always)]
fn is_silent(reason: u32) -> bool {
    machine::drop_unspecified() == ABSENT || reason == machine::drop_unspecified()
}

/// A segment without data that TCP has taken in. A FIN stays in the queue of a socket until that is closed, empty and long
/// since heard; what only ends a connection is freed without a reason once it has come to a socket in TIME_WAIT.
#[inline(always)]
fn is_heard(skb: Kptr, record: &DropRecord) -> bool {
    const SYN: u8 = 2;
    let len: u32 = Helper::read(skb, offset!(skb_len));
    if len == 0 {
        return true;
    }
    let flags = record.header.flags & (FLAG_RECEIVED | FLAG_BAD_CHECKSUM);
    let data: u64 = Helper::read(skb, offset!(skb_data));
    let before = data.wrapping_sub(Helper::read(skb, offset!(skb_head)));
    // Only where it begins with the header of TCP, TCP has it in hand.
    if flags != FLAG_RECEIVED
        || !is_silent(record.reason)
        || before != u64::from(Helper::read::<u16>(skb, offset!(skb_transport)))
    {
        return false;
    }
    let header = data as Kptr;
    Helper::read::<u8>(header, 13) & SYN == 0 && len == u32::from(Helper::read::<u8>(header, 12) >> 4) << 2
}

#[inline(always)]
fn bit(base: Kptr, at: u32) -> bool {
    at != ABSENT && Helper::read::<u8>(base, at >> 3) >> (at & 7) & 1 != 0
}

/// Addresses and ports, from the headers as they lie in memory.
#[inline(always)]
fn dissect(skb: Kptr, record: &mut DropRecord) {
    let head: u64 = Helper::read(skb, offset!(skb_head));
    let data: u64 = Helper::read(skb, offset!(skb_data));
    let network = u64::from(Helper::read::<u16>(skb, offset!(skb_network)));
    record.len = Helper::read(skb, offset!(skb_len));
    // Headroom always leaves some distance.
    if network == 0 {
        return;
    }
    let headers = data.wrapping_sub(head).wrapping_sub(network) as i64;
    record.len = (i64::from(record.len) + headers).clamp(0, i64::from(u32::MAX)) as u32;
    let start = head.wrapping_add(network) as Kptr;
    let first: u8 = Helper::read(start, 0);
    if record.ethertype == ETH_P_IP && first >> 4 == 4 {
        record.protocol = Helper::read(start, 9);
        mapped(&mut record.source_address, Helper::read(start, 12));
        mapped(&mut record.destination_address, Helper::read(start, 16));
        // Ports are in the first fragment.
        if u16::from_be(Helper::read(start, 6)) & 0x1fff == 0 {
            ports(start.wrapping_add(usize::from(first & 0xf) << 2), record);
        }
    } else if record.ethertype == ETH_P_IPV6 && first >> 4 == 6 {
        record.source_address = Helper::read(start, 8);
        record.destination_address = Helper::read(start, 24);
        upper(start, record);
    }
}

/// Follows the headers that may stand before the transport's: rarely one, never more than a few.
#[inline(always)]
fn upper(start: Kptr, record: &mut DropRecord) {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let mut next: u8 = Helper::read(start, 6);
    let mut at = start.wrapping_add(40);
    for _ in 0..3 {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let len: u8 = Helper::read(at, 1);
                next = Helper::read(at, 0);
                at = at.wrapping_add((usize::from(len) + 1) << 3);
            }
            FRAGMENT => {
                next = Helper::read(at, 0);
                if u16::from_be(Helper::read(at, 2)) & 0xfff8 != 0 {
                    record.protocol = next;
                    return;
                }
                at = at.wrapping_add(8);
            }
            _ => break,
        }
    }
    record.protocol = next;
    ports(at, record);
}

#[inline(always)]
fn ports(transport: Kptr, record: &mut DropRecord) {
    if matches!(record.protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_DCCP | IPPROTO_SCTP | IPPROTO_UDPLITE) {
        record.source_port = u16::from_be(Helper::read(transport, 0));
        record.destination_port = u16::from_be(Helper::read(transport, 2));
    }
}

/// An IPv4 address as `::ffff:a.b.c.d`; `v4` is in network order as it lies in memory.
#[inline(always)]
fn mapped(address: &mut [u8; 16], v4: u32) {
    *address = ((u128::from(v4) << 96) | (0xffff << 80)).to_ne_bytes();
}
