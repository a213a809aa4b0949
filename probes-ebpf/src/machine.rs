//! Read-only globals that user space writes before loading. The verifier knows them as constants, so a branch
//! that this machine cannot take is gone before it is checked.

use core::ptr::read_volatile;

use fluoro_shared::offsets::{ABSENT, Machine, Offsets};

#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ABSENT;

#[unsafe(no_mangle)]
pub static MACHINE: Machine = Machine {
    cgroup_subsys: ABSENT,
    ring_mask: 0,
    ring_bell: 0,
    socket_cookie: 0,
    read_kernel: 1,
    exit_group_dead: ABSENT,
    sock_done: 0,
    stamp_mask: 0,
    drop_reason: ABSENT,
    drop_rx_sk: ABSENT,
    udp_fail_skb: ABSENT,
    drop_not_yet: ABSENT,
    drop_consumed: ABSENT,
    drop_unspecified: ABSENT,
    skb_csum_done: ABSENT,
    skb_csum_valid: ABSENT,
    text_low: 0,
    text_high: 0,
    retransmit_error: ABSENT,
    uring_complete: ABSENT,
    uring_request: ABSENT,
    skb_pkt_type: ABSENT,
    netns: 0,
    all_netns: 0,
    rss_first: ABSENT,
    rss_stride: ABSENT,
};

/// One offset by its name.
macro_rules! offset {
    ($field:ident) => {
        $crate::machine::load(&$crate::machine::OFFSETS.$field)
    };
}
pub(crate) use offset;

/// Volatile: the compiler must not fold in the value of the object file.
#[inline(always)]
pub fn load(global: &'static u32) -> u32 {
    // SAFETY: a reference is readable.
    unsafe { read_volatile(global) }
}

macro_rules! getters {
    ($($name:ident),+) => {
        $(#[inline(always)]
        pub fn $name() -> u32 {
            load(&MACHINE.$name)
        })+
    };
}

getters!(
    cgroup_subsys,
    ring_mask,
    ring_bell,
    socket_cookie,
    read_kernel,
    exit_group_dead,
    sock_done,
    stamp_mask,
    drop_reason,
    drop_rx_sk,
    udp_fail_skb,
    drop_not_yet,
    drop_consumed,
    drop_unspecified,
    skb_csum_done,
    skb_csum_valid,
    text_low,
    text_high,
    retransmit_error,
    uring_complete,
    uring_request,
    skb_pkt_type,
    netns,
    all_netns,
    rss_first,
    rss_stride
);
