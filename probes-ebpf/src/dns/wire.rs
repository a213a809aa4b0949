//! Packets by conversation. Those that pass through the namespace and belong to no socket of it: of containers behind a
//! bridge, or what this machine routes. Neither end is an address of the namespace, and neither is all or many. And those
//! of any socket, where nothing else tells of them. A packet is seen on every interface that it crosses; it counts where its
//! direction was seen first.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_ktime_get_boot_ns, macros::map, maps::HashMap};
use fluoro_shared::{
    dns::{DnsEnd, DnsPlace},
    filter::{PACKETS_TCP, PACKETS_UDP},
    wire::{LocalKey, WireCount, WireKey, WireWay},
};

use super::{Ends, IPPROTO_TCP, apart};
use crate::{filter, ledger};

/// Conversations.
#[map]
static WIRES: HashMap<WireKey, WireCount> = HashMap::with_max_entries(1, 0);

/// Addresses of each namespace. The unspecified one is among them once all are.
#[map]
static LOCALS: HashMap<LocalKey, u8> = HashMap::with_max_entries(4096, 0);

const BPF_NOEXIST: u64 = 1;

/// Where a direction counts, another place may take over after it was quiet there for so long.
const QUIET_NS: u64 = 2_000_000_000;

#[inline(always)]
fn is_local(address: &[u8; 16], netns: u32) -> bool {
    // SAFETY: presence alone is asked.
    unsafe { LOCALS.get(&LocalKey { address: *address, netns }) }.is_some()
}

/// To all or to many: 224.0.0.0/3, which has the limited broadcast in it, and ff00::/8. Or on no wire: 127.0.0.0/8.
#[inline(always)]
const fn is_no_peer(address: &[u8; 16]) -> bool {
    let mapped = address[10] == 0xff && address[11] == 0xff && address[0] == 0;
    address[0] == 0xff || (mapped && (address[12] >= 224 || address[12] == 127))
}

/// Whether a packet passes through. Most do not, and are known by what costs least.
#[inline(always)]
fn passes(ends: &Ends, netns: u32) -> bool {
    !is_no_peer(&ends.source.address)
        && !is_no_peer(&ends.destination.address)
        && !is_local(&ends.source.address, netns)
        && !is_local(&ends.destination.address, netns)
        && is_local(&[0; 16], netns)
}

/// Nothing but packets tells of it.
#[inline(always)]
fn is_untold(ends: &Ends) -> bool {
    let of = if ends.source.protocol == u16::from(IPPROTO_TCP) { PACKETS_TCP } else { PACKETS_UDP };
    filter::packets() & of != 0
}

/// A packet of any.
#[inline(always)]
pub fn on_packet(skb: *mut __sk_buff, ends: &Ends, place: &DnsPlace) {
    if is_untold(ends) || passes(ends, place.netns) {
        count(skb, ends, place);
    }
}

/// A packet that a socket sends or gets.
#[inline(always)]
pub fn on_socket(skb: *mut __sk_buff, ends: &Ends, place: &DnsPlace) {
    if is_untold(ends) {
        count(skb, ends, place);
    }
}

/// Counts a packet that is not seen elsewhere.
#[inline(always)]
fn count(skb: *mut __sk_buff, ends: &Ends, place: &DnsPlace) {
    let DnsPlace { ifindex, way, netns, .. } = *place;
    let [source, destination] =
        [ends.source, ends.destination].map(|end| DnsEnd { address: apart(&end.address, netns), ..end });
    let up = is_below(&source, &destination);
    let key = if up {
        WireKey { low: source, high: destination }
    } else {
        WireKey { low: destination, high: source }
    };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: a member of the context.
    let segments = unsafe { (*skb).gso_segs };
    let mut count = WIRES.get_ptr_mut(&key);
    if count.is_none() {
        let none = WireWay { packets: 0, bytes: 0, last_ns: 0, ifindex: 0, way: 0, netns: 0, pad: 0 };
        let new = WireCount { up: none, down: none, first_ns: now, began_high: u64::from(!up) };
        // Another CPU may be first.
        let _ = WIRES.insert(&key, &new, BPF_NOEXIST);
        count = WIRES.get_ptr_mut(&key);
    }
    let Some(count) = count else {
        ledger::aggregate_seen();
        ledger::untracked();
        return;
    };
    // SAFETY: the map's own memory.
    unsafe {
        let one = if up { &raw mut (*count).up } else { &raw mut (*count).down };
        let (last, there) = ((*one).last_ns, ((*one).ifindex, (*one).way, (*one).netns));
        if there != (ifindex, way, netns) {
            if last != 0 && now.wrapping_sub(last) < QUIET_NS {
                return;
            }
            ((*one).ifindex, (*one).way, (*one).netns) = (ifindex, way, netns);
        }
        (*one).last_ns = now;
        let packets = if segments > 1 { segments } else { 1 };
        ledger::aggregate_seen();
        ledger::counted();
        ledger::add(&raw mut (*one).packets, u64::from(packets));
        ledger::add(
            &raw mut (*one).bytes,
            u64::from(ends.len) + u64::from(packets - 1) * u64::from(ends.headers),
        );
    }
}

#[inline(always)]
fn is_below(one: &DnsEnd, other: &DnsEnd) -> bool {
    let (a, b) = (u128::from_be_bytes(one.address), u128::from_be_bytes(other.address));
    if a == b { one.port < other.port } else { a < b }
}
