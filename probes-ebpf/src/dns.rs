//! `dns`: questions and answers about names, off the wire. A packet socket's filter takes them in, on every interface of
//! its network namespace, and lets none into the socket's queue. Where there is no packet socket, programs of the control
//! group at the root see what sockets send and get. Both run where no task can be asked for, so a program on the way out of a
//! socket notes which process made that.

mod wire;

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, generated::bpf_skb_load_bytes},
    macros::{btf_tracepoint, cgroup_skb, fentry, kprobe, map, raw_tracepoint, socket_filter, tracepoint},
    maps::{LruHashMap, PerCpuArray, ProgramArray},
    programs::{
        BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext, SkBuffContext,
        TracePointContext,
    },
};
use fluoro_shared::{
    dns::{
        DnsEnd, DnsPlace, DnsRecord, DnsSight, FLAG_FILTERED, FLAG_MUTED, FLAG_OUTGOING, FLAG_TCP,
        KIND_PACKET, PAYLOAD_MAX, PORTS,
    },
    drop::DropOwner,
    record::{Header, Task},
};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    drop,
    filter::{self, Verdict},
    ledger, machine,
    machine::offset,
    ring, task,
};

/// Whose socket sends from there. The oldest make room.
#[map]
static SENDERS: LruHashMap<DnsEnd, DropOwner> = LruHashMap::with_max_entries(1, 0);

/// Packets seen of late.
#[map]
static SIGHTS: LruHashMap<DnsSight, DnsPlace> = LruHashMap::with_max_entries(1, 0);

/// This filter, for those in other network namespaces: each is a program that notes its namespace and goes on here.
#[map]
static HERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Room to build records. Packet sockets see packets with softirqs off, so that none comes between; control groups do
/// not: there a softirq may come, and from 7.0 on another task.
#[map]
static PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(PACKETS, 0);

const PACKETS: u32 = 4;

#[repr(C)]
struct Packet {
    record: DnsRecord,
    payload: [u8; PAYLOAD_MAX],
    /// Not 0: somebody builds a record here.
    busy: u64,
}

impl Packet {
    /// The first that nobody uses.
    #[inline(always)]
    fn take() -> Option<*mut Self> {
        let mut index = 0;
        while index < PACKETS {
            let packet = PACKET.get_ptr_mut(index)?;
            // SAFETY: map memory of this CPU. Whoever comes between these lines has left before they go on, but for
            // another task at just this moment.
            unsafe {
                if read_volatile(&raw const (*packet).busy) == 0 {
                    write_volatile(&raw mut (*packet).busy, 1);
                    return Some(packet);
                }
            }
            index += 1;
        }
        None
    }

    #[inline(always)]
    fn leave(packet: *mut Self) {
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*packet).busy, 0) };
    }
}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const PACKET_HOST: u32 = 0;
const PACKET_OUTGOING: u32 = 4;

/// A packet that is seen again elsewhere within this time is the same.
const SAME_NS: u64 = 1_000_000_000;

// net_dev_queue(struct sk_buff *skb): in __dev_queue_xmit, before packet sockets see the packet.
#[btf_tracepoint(function = "net_dev_queue")]
pub fn dns_sender_btf(ctx: BtfTracePointContext) -> i32 {
    on_send::<Direct>(ctx.arg(0))
}

#[raw_tracepoint(tracepoint = "net_dev_queue")]
pub fn dns_sender_raw(ctx: RawTracePointContext) -> i32 {
    on_send::<Helper>(ctx.arg(0))
}

// int security_socket_post_create(struct socket *sock, int family, int type, int protocol, int kern)
// The spares tell the same once more, for a task that came between while the first was preempted.
macro_rules! on_creates {
    ($($program:ident)+) => {
        $(#[fentry(function = "security_socket_post_create")]
        pub fn $program(ctx: FEntryContext) -> i32 {
            drop::on_create::<Direct>(ctx.arg(0), ctx.arg(4))
        })+
    };
}

on_creates! { dns_owner_fentry dns_owner_fentry_spare1 dns_owner_fentry_spare2 }

#[kprobe(function = "security_socket_post_create")]
pub fn dns_owner_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(socket), Some(kern)) = (ctx.arg::<Kptr>(0), ctx.arg::<u64>(4)) else { return 0 };
    drop::on_create::<Helper>(socket, kern) as u32
}

// syscalls:sys_exit_socket: the returned descriptor leads to the socket.
#[tracepoint]
pub fn dns_owner_syscall(ctx: TracePointContext) -> u32 {
    // Field `ret` of every syscalls:sys_exit_* record.
    const RET: usize = 16;
    // SAFETY: inside the tracepoint's record.
    let Ok(fd) = (unsafe { ctx.read_at::<i64>(RET) }) else { return 0 };
    let socket = task::open_socket(fd);
    if socket.is_null() { 0 } else { drop::on_create::<Helper>(socket, 0) as u32 }
}

/// Of a packet socket of the kind SOCK_DGRAM: offsets count from the network header. 0: nothing for its queue.
#[socket_filter]
pub fn dns_packet_filter(ctx: SkBuffContext) -> i64 {
    let skb = ctx.skb.skb;
    // SAFETY: members of the context.
    let (ifindex, way) = unsafe { ((*skb).ifindex, (*skb).pkt_type) };
    let place = DnsPlace { at_ns: 0, ifindex, way, netns: noted(skb), pad: 0 };
    if let Some(ends) = ends(skb) {
        wire::on_packet(skb, &ends, &place);
        on_packet(skb, &ends, place);
    }
    0
}

/// What a socket sends, before it is cut into fragments: offsets count from the network header.
#[cgroup_skb(egress)]
pub fn dns_packet_egress(ctx: SkBuffContext) -> i32 {
    // It comes before `net_dev_queue`.
    if machine::read_kernel() != 0 {
        on_send::<Helper>(ctx.skb.skb as Kptr);
    }
    on_socket(ctx.skb.skb, PACKET_OUTGOING)
}

/// What a socket gets.
#[cgroup_skb(ingress)]
pub fn dns_packet_ingress(ctx: SkBuffContext) -> i32 {
    on_socket(ctx.skb.skb, PACKET_HOST)
}

/// What a program of a control group returns, or the packet is thrown away.
const PASS: i32 = 1;

/// The packet's own words for its way do not tell these two apart on the loopback.
#[inline(always)]
fn on_socket(skb: *mut __sk_buff, way: u32) -> i32 {
    let mut netns = machine::netns();
    if machine::read_kernel() != 0 {
        let device: Kptr = Helper::read(skb.cast(), offset!(skb_dev));
        let net: Kptr = Helper::read(device, offset!(dev_net));
        let there: u32 = Helper::read(net, offset!(net_inum));
        if there != 0 && there != netns {
            if machine::all_netns() == 0 {
                return PASS;
            }
            netns = there;
        }
    }
    // SAFETY: a member of the context.
    let place = DnsPlace { at_ns: 0, ifindex: unsafe { (*skb).ifindex }, way, netns, pad: 0 };
    if let Some(ends) = ends(skb) {
        wire::on_socket(skb, &ends, &place);
        on_packet(skb, &ends, place);
    }
    PASS
}

const fn is_dns(port: u16) -> bool {
    port == PORTS[0] || port == PORTS[1] || port == PORTS[2]
}

/// Every packet that is sent comes by: of most no more is read than their ports.
#[inline(always)]
fn on_send<A: Access>(skb: Kptr) -> i32 {
    let sk: Kptr = A::read(skb, offset!(skb_sk));
    if sk.is_null() {
        return 0;
    }
    let head: Kptr = A::read(skb, offset!(skb_head));
    let network: u16 = A::read(skb, offset!(skb_network));
    let transport: u16 = A::read(skb, offset!(skb_transport));
    // Who makes its own headers may not have said where the second begins.
    let is_told = transport != network && transport != u16::MAX;
    if is_told && !asks(head.wrapping_add(usize::from(transport))) {
        return 0;
    }
    let ip = head.wrapping_add(usize::from(network));
    let mut from = DnsEnd { address: [0; 16], port: 0, protocol: 0 };
    let transport = match u16::from_be(A::read(skb, offset!(skb_protocol))) {
        ETH_P_IP => {
            from.protocol = u16::from(Helper::read::<u8>(ip, 9));
            mapped(&mut from.address, Helper::read(ip, 12));
            ip.wrapping_add(usize::from(Helper::read::<u8>(ip, 0) & 0xf) << 2)
        }
        ETH_P_IPV6 => {
            from.protocol = u16::from(Helper::read::<u8>(ip, 6));
            from.address = Helper::read(ip, 8);
            ip.wrapping_add(40)
        }
        _ => return 0,
    };
    if from.protocol != u16::from(IPPROTO_TCP) && from.protocol != u16::from(IPPROTO_UDP) {
        return 0;
    }
    if asks(transport) {
        from.port = u16::from_be(Helper::read(transport, 0));
        let net: Kptr = A::Behind::read(sk, offset!(sock_net));
        from.address = apart(&from.address, A::Behind::read(net, offset!(net_inum)));
        let _ = SENDERS.insert(&from, &drop::owner(sk), 0);
    }
    0
}

/// Whether one of the ports that a transport's header begins with is one of names.
#[inline(always)]
fn asks(transport: Kptr) -> bool {
    let ports: [u16; 2] = Helper::read(transport, 0);
    is_dns(u16::from_be(ports[0])) || is_dns(u16::from_be(ports[1]))
}

/// What the headers say.
struct Headers {
    source: DnsEnd,
    destination: DnsEnd,
    sequence: u32,
    /// Where the payload begins and ends.
    from: u32,
    to: u32,
    /// Bytes of it that there were before IP cut them into fragments.
    whole: u32,
}

#[inline(always)]
fn on_packet(skb: *mut __sk_buff, ends: &Ends, place: DnsPlace) {
    let Some(headers) = dissect(skb, ends) else { return };
    if headers.to <= headers.from {
        return;
    }
    let DnsPlace { ifindex, way, netns, .. } = place;
    let (source, destination) = (headers.source, headers.destination);
    // SAFETY: no arguments.
    let (now, cpu) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_smp_processor_id()) };
    let tcp = source.protocol == u16::from(IPPROTO_TCP);
    let here = headers.to - headers.from;
    let which = if tcp { headers.sequence } else { u32::from(load::<u16>(skb, headers.from).unwrap_or(0)) };
    let [from, to] = [source, destination].map(|end| DnsEnd { address: apart(&end.address, netns), ..end });
    let sight = DnsSight { source: from, destination: to, which, len: here };
    if seen_elsewhere(&sight, &DnsPlace { at_ns: now, ..place }) {
        return;
    }
    ledger::seen();
    let Some(packet) = Packet::take() else {
        ledger::error();
        return;
    };
    // Masks that the compiler cannot see through tell the verifier the bounds.
    let mut most = here - 1;
    if most > PAYLOAD_MAX as u32 - 1 {
        most = PAYLOAD_MAX as u32 - 1;
    }
    // SAFETY: a local.
    let len = (unsafe { read_volatile(&raw const most) } & (PAYLOAD_MAX as u32 - 1)) + 1;
    // SAFETY: the map's own memory has room for so many bytes.
    let loaded = unsafe {
        let to = (&raw mut (*packet).payload).cast();
        bpf_skb_load_bytes(skb.cast(), headers.from, to, len)
    };
    if loaded != 0 {
        Packet::leave(packet);
        ledger::error();
        return;
    }
    let asks = if is_dns(destination.port) { &sight.source } else { &sight.destination };
    let (mut owner, mut inode) = (Task::NONE, 0);
    if let Some(known) = SENDERS.get_ptr(asks) {
        // SAFETY: the map's own memory.
        unsafe { (owner, inode) = ((*known).task, (*known).inode) };
    }
    let mut flags = if tcp { FLAG_TCP } else { 0 };
    if way == PACKET_OUTGOING {
        flags |= FLAG_OUTGOING;
    }
    match filter::verdict(&owner, Some((source.port, destination.port))) {
        Verdict::Wanted => {}
        Verdict::Filtered => flags |= FLAG_FILTERED,
        Verdict::Muted => flags |= FLAG_MUTED,
    }
    let record = DnsRecord {
        header: Header { at_ns: now, seq: ledger::next_seq(), cpu, kind: KIND_PACKET, flags },
        owner,
        inode,
        source_address: source.address,
        destination_address: destination.address,
        source_port: source.port,
        destination_port: destination.port,
        ifindex,
        sequence: headers.sequence,
        payload_len: len,
        whole_len: headers.whole,
        netns,
    };
    // SAFETY: the map's own memory.
    unsafe { (&raw mut (*packet).record).write(record) };
    let sent = ring::send(packet.cast(), size_of::<DnsRecord>() as u64 + u64::from(len), cpu);
    Packet::leave(packet);
    match flags & (FLAG_FILTERED | FLAG_MUTED) {
        0 if sent => ledger::submitted(),
        0 => ledger::lost(),
        FLAG_FILTERED => ledger::filtered(),
        _ => ledger::muted(),
    }
    if !sent && flags & (FLAG_FILTERED | FLAG_MUTED) != 0 {
        ledger::supplement_lost();
    }
}

/// One packet is seen on every interface that it crosses, on the loopback twice: it counts where it was seen first. Seen
/// there again, it was sent again.
#[inline(always)]
fn seen_elsewhere(sight: &DnsSight, place: &DnsPlace) -> bool {
    if let Some(first) = SIGHTS.get_ptr(sight) {
        // SAFETY: the map's own memory.
        let (at_ns, ifindex, way, netns) =
            unsafe { ((*first).at_ns, (*first).ifindex, (*first).way, (*first).netns) };
        let there = (ifindex, way, netns) == (place.ifindex, place.way, place.netns);
        if !there && place.at_ns.wrapping_sub(at_ns) < SAME_NS {
            return true;
        }
    }
    let _ = SIGHTS.insert(sight, place, 0);
    false
}

/// The network namespace of the packet socket: noted by the program that came before, or fluoro's own.
#[inline(always)]
fn noted(skb: *mut __sk_buff) -> u32 {
    // SAFETY: a member of the context; the kernel clears it before the first program.
    let noted = unsafe { (*skb).cb[0] };
    if noted == 0 { machine::netns() } else { noted }
}

/// A loopback's address is told from that of another namespace by bytes that are zero in it.
#[inline(always)]
fn apart(address: &[u8; 16], netns: u32) -> [u8; 16] {
    let bits = u128::from_be_bytes(*address);
    let is_loopback = bits == 1 || bits >> 24 == 0x00ff_ff7f;
    if is_loopback { (bits | u128::from(netns) << 96).to_be_bytes() } else { *address }
}

#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes as many bytes, or says that it could not.
    unsafe {
        let len = size_of::<T>() as u32;
        (bpf_skb_load_bytes(skb.cast(), at, value.as_mut_ptr().cast(), len) == 0).then(|| value.assume_init())
    }
}

/// Of whom a packet is for whom.
pub struct Ends {
    source: DnsEnd,
    destination: DnsEnd,
    /// Where the transport's header begins.
    transport: u32,
    /// Up to the payload.
    headers: u32,
    /// From the network header on, without what pads the frame.
    len: u32,
}

#[inline(always)]
fn ends(skb: *mut __sk_buff) -> Option<Ends> {
    let mut source = DnsEnd { address: [0; 16], port: 0, protocol: 0 };
    let mut destination = source;
    // SAFETY: members of the context.
    let (ethertype, whole) = unsafe { (u16::from_be((*skb).protocol as u16), (*skb).len) };
    let (protocol, transport, told) = match ethertype {
        ETH_P_IP => {
            let ip: [u8; 20] = load(skb, 0)?;
            // Only the first fragment has ports.
            if u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0 {
                return None;
            }
            mapped(&mut source.address, u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]]));
            mapped(&mut destination.address, u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]]));
            (ip[9], u32::from(ip[0] & 0xf) << 2, u32::from(u16::from_be_bytes([ip[2], ip[3]])))
        }
        ETH_P_IPV6 => {
            let len: u16 = load(skb, 4)?;
            source.address = load(skb, 8)?;
            destination.address = load(skb, 24)?;
            let (protocol, transport) = upper(skb)?;
            let len = u32::from(u16::from_be(len));
            (protocol, transport, if len == 0 { 0 } else { len + 40 })
        }
        _ => return None,
    };
    let ports: [u16; 2] = match protocol {
        IPPROTO_TCP | IPPROTO_UDP => load(skb, transport)?,
        _ => return None,
    };
    (source.port, destination.port) = (u16::from_be(ports[0]), u16::from_be(ports[1]));
    (source.protocol, destination.protocol) = (u16::from(protocol), u16::from(protocol));
    let header =
        if protocol == IPPROTO_TCP { u32::from(load::<u8>(skb, transport + 12)? >> 4) << 2 } else { 8 };
    // Behind the packet there may be padding; a very large one does not tell its length.
    let len = if told == 0 || told > whole { whole } else { told };
    Some(Ends { source, destination, transport, headers: transport + header, len })
}

#[inline(always)]
fn dissect(skb: *mut __sk_buff, ends: &Ends) -> Option<Headers> {
    let Ends { source, destination, transport, headers: from, len: mut to } = *ends;
    if !is_dns(source.port) && !is_dns(destination.port) {
        return None;
    }
    if source.protocol == u16::from(IPPROTO_TCP) {
        let sequence = u32::from_be(load(skb, transport + 4)?);
        return Some(Headers { source, destination, sequence, from, to, whole: to.saturating_sub(from) });
    }
    let len = u32::from(u16::from_be(load(skb, transport + 4)?));
    if len >= 8 && transport + len < to {
        to = transport + len;
    }
    let whole = if len >= 8 { len - 8 } else { to.saturating_sub(from) };
    Some(Headers { source, destination, sequence: 0, from, to, whole })
}

/// The transport's protocol and where it begins, behind what may stand before it.
#[inline(always)]
fn upper(skb: *mut __sk_buff) -> Option<(u8, u32)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let mut next: u8 = load(skb, 6)?;
    let mut at = 40;
    for _ in 0..3 {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let header: [u8; 2] = load(skb, at)?;
                next = header[0];
                at += (u32::from(header[1]) + 1) << 3;
            }
            FRAGMENT => {
                let header: [u8; 4] = load(skb, at)?;
                if u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
                    return None;
                }
                next = header[0];
                at += 8;
            }
            _ => break,
        }
    }
    Some((next, at))
}

/// An IPv4 address as `::ffff:a.b.c.d`; `v4` is in network order as it lies in memory.
#[inline(always)]
fn mapped(address: &mut [u8; 16], v4: u32) {
    *address = ((u128::from(v4) << 96) | (0xffff << 80)).to_ne_bytes();
}
