//! What the kernel programs must know of this machine before they are loaded: member offsets from BTF, and the
//! facts that prune code.

use std::path::Path;

use fluoro_shared::inflight::Stamp;
use fluoro_shared::offsets::{
    ABSENT, Machine, Offsets, URING_COMPLETION, URING_RESULT, URING_USER_DATA, WANTED,
};
use zerocopy::FromBytes;

use crate::collect::program::Hook;
use crate::families::Family;
use crate::kernel::btf::Btf;
use crate::kernel::drop_reasons;
use crate::kernel::proc::Proc;

/// The offsets of all wanted members, [`ABSENT`] for those that this kernel does not have.
pub fn offsets(btf: Option<&Btf>) -> Offsets {
    let Some(btf) = btf else { return Offsets::ABSENT };
    let mut bytes = Vec::with_capacity(size_of::<Offsets>());
    for wanted in WANTED {
        let offset = wanted
            .places
            .iter()
            .find_map(|(structure, member)| btf.member_offset(structure, member))
            .map_or(ABSENT, |member| member.byte_offset);
        bytes.extend_from_slice(&offset.to_ne_bytes());
    }
    Offsets::read_from_bytes(&bytes).unwrap_or(Offsets::ABSENT)
}

/// Names of wanted members that this kernel does not have.
pub fn missing(offsets: &Offsets) -> Vec<&'static str> {
    use zerocopy::IntoBytes;
    WANTED
        .iter()
        .zip(offsets.as_bytes().chunks_exact(4))
        .filter(|(_, bytes)| *bytes == ABSENT.to_ne_bytes())
        .map(|(wanted, _)| wanted.field)
        .collect()
}

/// The facts that prune code. `subsys` is the index of the cgroup v1 controller that identifies tasks, `stamps` a power
/// of two, `text` the address of `_stext`, 0 where that is not told.
pub fn machine(
    btf: Option<&Btf>,
    subsys: Option<u32>,
    possible_cpus: usize,
    stamps: u32,
    read_kernel: bool,
    text: u64,
) -> Machine {
    let proto_args = |name: &str| btf.and_then(|b| b.func_proto(name)).map(|p| p.params.len());
    // The first parameter of a tracepoint's prototype is `void *ctx`.
    let arg = |name: &str, index: u32| match proto_args(name) {
        Some(params) if params > index as usize + 1 => index,
        _ => ABSENT,
    };
    let reason = |label: &str| {
        btf.and_then(|b| b.enum_value(drop_reasons::CORE, label)).map_or(ABSENT, |value| value as u32)
    };
    let bit = |member: &str| {
        btf.and_then(|b| b.member_offset("sk_buff", member))
            .map_or(ABSENT, |at| at.byte_offset * 8 + at.bit_offset)
    };
    let (rss_first, rss_stride) =
        btf.and_then(|btf| page_counters(btf, read_kernel)).unwrap_or((ABSENT, ABSENT));
    Machine {
        cgroup_subsys: subsys.unwrap_or(ABSENT),
        ring_mask: rings(possible_cpus) as u32 - 1,
        ring_bell: 0,
        // The helper for tracing programs and the kernel's own user of it came together in 5.12.
        socket_cookie: u32::from(btf.is_some_and(|b| b.has_func("bpf_get_socket_ptr_cookie"))),
        read_kernel: u32::from(read_kernel),
        // void *ctx, task, group_dead
        exit_group_dead: if proto_args("btf_trace_sched_process_exit") == Some(3) { 1 } else { ABSENT },
        sock_done: btf.and_then(|b| b.enum_value("sock_flags", "SOCK_DONE")).map_or(0, |bit| 1 << bit),
        uring_complete: btf.map_or(ABSENT, uring_complete),
        uring_request: btf.map_or(ABSENT, uring_request),
        stamp_mask: stamps.saturating_sub(1),
        drop_reason: arg("btf_trace_kfree_skb", 2),
        drop_rx_sk: arg("btf_trace_kfree_skb", 3),
        udp_fail_skb: arg("btf_trace_udp_fail_queue_rcv_skb", 2),
        drop_not_yet: reason("SKB_NOT_DROPPED_YET"),
        drop_consumed: reason("SKB_CONSUMED"),
        drop_unspecified: reason("SKB_DROP_REASON_NOT_SPECIFIED"),
        skb_csum_done: bit("csum_complete_sw"),
        skb_csum_valid: bit("csum_valid"),
        text_low: text as u32,
        text_high: (text >> 32) as u32,
        skb_pkt_type: bit("pkt_type"),
        netns: Proc::new(Path::new("/")).netns(std::process::id()).unwrap_or(0),
        all_netns: 0,
        rss_first,
        rss_stride,
        // void *ctx, sk, skb, err
        retransmit_error: if proto_args("btf_trace_tcp_retransmit_skb") == Some(4) { 2 } else { ABSENT },
    }
}

/// Where `mm_struct` counts its pages, and how far apart: four numbers, which only the helper that reads kernel memory
/// reaches, from 6.2 on four counters that are kept by CPU.
fn page_counters(btf: &Btf, read_kernel: bool) -> Option<(u32, u32)> {
    if let Some(numbers) = btf.member_offset("mm_struct", "rss_stat.count") {
        return read_kernel.then_some((numbers.byte_offset, size_of::<u64>() as u32));
    }
    let counters = btf.member_offset("mm_struct", "rss_stat")?;
    let count = btf.member_offset("percpu_counter", "count")?;
    Some((counters.byte_offset.checked_add(count.byte_offset)?, btf.size_of("percpu_counter")?))
}

/// Which arguments io_uring_complete has: its prototype changed in 5.19 and 6.13.
fn uring_complete(btf: &Btf) -> u32 {
    let Some(proto) = btf.func_proto("btf_trace_io_uring_complete") else { return ABSENT };
    let last = proto.params.last().map_or(0, |param| param.type_id);
    match proto.params.len() {
        _ if btf.points_to(last, "io_uring_cqe") => URING_COMPLETION,
        // void *, context, request, user data, result, ..
        7.. => URING_RESULT,
        // void *, context, user data, result, flags
        5 if uring_request(btf) != ABSENT => URING_USER_DATA,
        _ => ABSENT,
    }
}

/// Where the tracepoint of a submission tells the request, by whichever of its names.
fn uring_request(btf: &Btf) -> u32 {
    let names = ["btf_trace_io_uring_submit_req", "btf_trace_io_uring_submit_sqe"];
    let Some(proto) = names.iter().find_map(|name| btf.func_proto(name)) else { return ABSENT };
    match proto.params.get(1) {
        Some(first) if btf.points_to(first.type_id, "io_kiocb") => 0,
        // void *, context, request, opcode, user data, flags, force_nonblock, sq_thread
        Some(_) if proto.params.len() == 8 => 1,
        _ => ABSENT,
    }
}

/// Why a hook is of no use on this machine although it could be attached.
pub fn unfit(hook: Hook, machine: &Machine, offsets: &Offsets) -> Option<&'static str> {
    let silent = matches!(hook, Hook::Fexit("io_issue_sqe") | Hook::Kprobe(["io_wq_free_work"]));
    // Requests keep their result since 5.19, and may ask for no completion since 5.17.
    if silent && offsets.req_result == ABSENT {
        return Some("this kernel's requests all complete, or do not keep their result");
    }
    if hook == Hook::Iterator("task") && machine.rss_first == ABSENT {
        return Some("it cannot read how much memory this kernel counts for a process");
    }
    let (Hook::BtfTracepoint(name) | Hook::RawTracepoint(name)) = hook else { return None };
    let useless = match name {
        "io_uring_complete" => machine.uring_complete == ABSENT,
        "io_uring_submit_req" | "io_uring_submit_sqe" => machine.uring_request == ABSENT,
        _ => false,
    };
    useless.then_some("this kernel's tracepoint does not tell the request")
}

/// Stamps of calls under way: one a thread id, as far as a sixteenth of the budget reaches.
pub fn stamps(pid_max: u32, map_budget: u64) -> u32 {
    let room = (map_budget / 16 / size_of::<Stamp>() as u64).clamp(1 << 10, 1 << 22) as u32;
    let room = 1 << room.ilog2();
    pid_max.clamp(1, room).next_power_of_two()
}

/// Rings of a family: a power of two, one a CPU up to the contract's number.
pub fn rings(possible_cpus: usize) -> usize {
    possible_cpus.clamp(1, fluoro_shared::RINGS).next_power_of_two()
}

/// Bytes of a ring: a quarter of the budget for rings, shared by families and CPUs; the kernel wants powers of two. 1 MiB
/// holds what comes in 150 ms at 20,000 connections a second.
pub fn ring_bytes(possible_cpus: usize, map_budget: u64) -> u32 {
    let share = map_budget / 4 / (Family::ALL.len() * rings(possible_cpus)) as u64;
    1 << share.clamp(256 << 10, 1 << 20).ilog2()
}
