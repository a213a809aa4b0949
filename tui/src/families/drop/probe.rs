//! The programs of `drop` and their ways in.

use fluoro_shared::drop::{DropFlowKey, DropKey, DropOwner};

use super::model::Frame;
use crate::collect::maps::{Budget, ELEMENT, MapSize, Maps};
use crate::collect::program::{Alternative, Hook, Program};

pub fn maps(budget: &Budget) -> Vec<MapSize> {
    let owner = 8 + size_of::<DropOwner>() as u64 + ELEMENT;
    let count = size_of::<DropKey>() as u64 + 8 + ELEMENT;
    let flow = size_of::<DropFlowKey>() as u64 + 8 + ELEMENT;
    vec![
        MapSize {
            name: "OWNERS",
            entries: budget.entries(1, owner, 32_768),
            entry_bytes: owner,
            counted: false,
        },
        MapSize { name: FLOWS, entries: budget.entries(1, flow, 16_384), entry_bytes: flow, counted: true },
        MapSize { name: DROPS, entries: budget.entries(1, count, 16_384), entry_bytes: count, counted: true },
    ]
}

pub const DROPS: &str = "DROPS";
pub const FLOWS: &str = "DROPPED_FLOWS";

/// What the kernel side has counted so far.
pub fn frame(maps: &mut Maps) -> std::io::Result<Frame> {
    Ok(Frame { drops: maps.read(DROPS, |a: u64, _| a)?, flows: maps.read(FLOWS, |a: u64, _| a)? })
}

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "drop_packet",
        essential: true,
        without: "no drop is seen",
        alternatives: &[
            Alternative {
                name: "raw_tp",
                entry: "drop_packet_raw",
                hook: Hook::RawTracepoint("kfree_skb"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "drop_packet_sk_kprobe",
                hook: Hook::Kprobe(&["sk_skb_reason_drop"]),
                spares: &[],
                blind: Some("packets that are dropped as a list"),
            },
            Alternative {
                name: "kprobe_reason",
                entry: "drop_packet_reason_kprobe",
                hook: Hook::Kprobe(&["kfree_skb_reason"]),
                spares: &[],
                blind: Some("packets that are dropped as a list"),
            },
            Alternative {
                name: "kprobe_plain",
                entry: "drop_packet_kprobe",
                hook: Hook::Kprobe(&["kfree_skb"]),
                spares: &[],
                blind: Some("packets that are dropped as a list, and why"),
            },
        ],
    },
    Program {
        name: "drop_owner",
        essential: false,
        without: "only a socket that is still open when it is looked for has an owner",
        alternatives: &[
            Alternative {
                name: "fentry",
                entry: "drop_owner_fentry",
                hook: Hook::Fentry("security_socket_post_create"),
                spares: &["drop_owner_fentry_spare1", "drop_owner_fentry_spare2"],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "drop_owner_kprobe",
                hook: Hook::Kprobe(&["security_socket_post_create"]),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "drop_owner_syscall",
                hook: Hook::Tracepoint(&[("syscalls", "sys_exit_socket")]),
                spares: &[],
                blind: Some("sockets that are made through io_uring or by 32-bit programs"),
            },
        ],
    },
    Program {
        name: "drop_udp",
        essential: false,
        without: "before 6.11 a datagram that a full buffer refuses has no owner",
        alternatives: &[Alternative {
            name: "raw_tp",
            entry: "drop_udp_raw",
            hook: Hook::RawTracepoint("udp_fail_queue_rcv_skb"),
            spares: &[],
            blind: None,
        }],
    },
    Program {
        name: "drop_queue",
        essential: false,
        without: "before 6.11 a packet that a full queue of a raw socket refuses has no owner",
        alternatives: &[Alternative {
            name: "raw_tp",
            entry: "drop_queue_raw",
            hook: Hook::RawTracepoint("sock_rcvqueue_full"),
            spares: &[],
            blind: None,
        }],
    },
];
