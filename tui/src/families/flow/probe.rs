//! The programs of `flow` and their ways in.

mod udp;

use fluoro_shared::filter::{PACKETS_TCP, PACKETS_UDP};
use fluoro_shared::flow::FlowEntry;
use fluoro_shared::flow::udp::{DatagramCount, DatagramKey, DatagramOther, DatagramSocket};
use fluoro_shared::histogram::HistogramKey;

use super::model::Frame;
use crate::collect::maps::{Budget, ELEMENT, MapSize, Maps};
use crate::collect::program::{Alternative, Hook, Program};

pub fn maps(budget: &Budget) -> Vec<MapSize> {
    let flow = 8 + size_of::<FlowEntry>() as u64 + ELEMENT;
    let bucket = size_of::<HistogramKey>() as u64 + 8 + ELEMENT;
    let datagrams = (size_of::<DatagramKey>() + size_of::<DatagramCount>()) as u64 + ELEMENT;
    let socket = 8 + size_of::<DatagramSocket>() as u64 + ELEMENT;
    vec![
        MapSize {
            name: "FLOWS",
            entries: budget.entries(4, flow, 131_072),
            entry_bytes: flow,
            counted: false,
        },
        MapSize {
            name: HISTOGRAMS,
            entries: budget.entries(1, bucket, 65_536),
            entry_bytes: bucket,
            counted: true,
        },
        MapSize {
            name: DATAGRAMS,
            entries: budget.entries(2, datagrams, 65_536),
            entry_bytes: datagrams,
            counted: true,
        },
        MapSize {
            name: "DATAGRAM_SOCKETS",
            entries: budget.entries(1, socket, 32_768),
            entry_bytes: socket,
            counted: false,
        },
        MapSize {
            name: DATAGRAMS_OTHER,
            entries: 1,
            entry_bytes: (size_of::<DatagramOther>() * budget.possible_cpus) as u64,
            counted: true,
        },
    ]
}

const DATAGRAMS: &str = "DATAGRAMS";
const DATAGRAMS_OTHER: &str = "DATAGRAMS_OTHER";

const HISTOGRAMS: &str = "HISTOGRAMS";

/// What the kernel side has counted so far.
pub fn frame(maps: &mut Maps) -> std::io::Result<Frame> {
    Ok(Frame {
        histograms: maps.read(HISTOGRAMS, |a: u64, b| a + b)?,
        datagrams: maps.read(DATAGRAMS, |a: DatagramCount, _| a)?,
        other_datagrams: maps
            .read(DATAGRAMS_OTHER, DatagramOther::plus)?
            .into_iter()
            .map(|(_, other): (u32, _)| other)
            .next()
            .unwrap_or_default(),
    })
}

/// Protocols that no program tells of where only these are attached: bits `PACKETS_*`.
pub fn untold(is_attached: impl Fn(&str) -> bool) -> u32 {
    let mut untold = 0;
    if !is_attached("flow_state") {
        untold |= PACKETS_TCP;
    }
    if !is_attached("flow_udp_transmit") && !is_attached("flow_udp_receive") {
        untold |= PACKETS_UDP;
    }
    untold
}

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "flow_state",
        essential: true,
        without: "connections are told by readings of the socket table and, where packets are seen, by those",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "flow_state_btf",
                hook: Hook::BtfTracepoint("inet_sock_set_state"),
                spares: &["flow_state_btf_spare1", "flow_state_btf_spare2", "flow_state_btf_spare3"],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "flow_state_raw",
                hook: Hook::RawTracepoint("inet_sock_set_state"),
                spares: &["flow_state_raw_spare1", "flow_state_raw_spare2", "flow_state_raw_spare3"],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "flow_state_kprobe",
                hook: Hook::Kprobe(&["inet_sk_state_store", "inet_sk_set_state"]),
                spares: &[],
                blind: Some("transitions while another kprobe program runs on that CPU are missed"),
            },
        ],
    },
    Program {
        name: "flow_accept",
        essential: false,
        without: "accepted connections have no owner until the socket table is swept",
        alternatives: &[
            Alternative {
                name: "fentry",
                entry: "flow_accept_fentry",
                hook: Hook::Fentry("security_sock_graft"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "flow_accept_kprobe",
                hook: Hook::Kprobe(&["security_sock_graft"]),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "flow_accept_syscall",
                hook: Hook::Tracepoint(&[("syscalls", "sys_exit_accept"), ("syscalls", "sys_exit_accept4")]),
                spares: &[],
                blind: Some(
                    "connections accepted through io_uring or by 32-bit programs have no exact owner",
                ),
            },
        ],
    },
    Program {
        name: "flow_unstarted",
        essential: false,
        without: "attempts that fail before a handshake, for want of a route, are not told",
        alternatives: &[
            Alternative {
                name: "fexit",
                entry: "flow_unstarted_fexit",
                hook: Hook::Fexit("__inet_stream_connect"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "flow_unstarted_syscall",
                hook: Hook::Tracepoint(&[("syscalls", "sys_exit_connect")]),
                spares: &[],
                blind: Some("attempts through io_uring or by 32-bit programs are not told"),
            },
        ],
    },
    Program {
        name: "flow_retransmit",
        essential: false,
        without: "segments sent again are in totals only, not in events and failures",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "flow_retransmit_btf",
                hook: Hook::BtfTracepoint("tcp_retransmit_skb"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "flow_retransmit_raw",
                hook: Hook::RawTracepoint("tcp_retransmit_skb"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "flow_retransmit_kprobe",
                hook: Hook::Kprobe(&["__tcp_retransmit_skb"]),
                spares: &[],
                blind: Some("segments that could not be sent are told, too, and the total is that of before"),
            },
        ],
    },
    Program {
        name: "flow_synack",
        essential: false,
        without: "SYN-ACKs sent again make no event",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "flow_synack_btf",
                hook: Hook::BtfTracepoint("tcp_retransmit_synack"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "flow_synack_raw",
                hook: Hook::RawTracepoint("tcp_retransmit_synack"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "flow_synack_kprobe",
                hook: Hook::Kprobe(&["tcp_rtx_synack"]),
                spares: &[],
                blind: Some("SYN-ACKs that could not be sent are told, too"),
            },
        ],
    },
    Program {
        name: "flow_reset_received",
        essential: false,
        without: "resets that came show only in how connections ended",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "flow_reset_received_btf",
                hook: Hook::BtfTracepoint("tcp_receive_reset"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "flow_reset_received_raw",
                hook: Hook::RawTracepoint("tcp_receive_reset"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "flow_reset_received_kprobe",
                hook: Hook::Kprobe(&["tcp_reset"]),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "flow_reset_sent",
        essential: false,
        without: "resets that went out show only in how connections ended",
        alternatives: &[
            Alternative {
                name: "raw_tp",
                entry: "flow_reset_sent_raw",
                hook: Hook::RawTracepoint("tcp_send_reset"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "flow_reset_sent_kprobe",
                hook: Hook::Kprobe(&["tcp_send_active_reset"]),
                spares: &[],
                blind: Some("resets that answer a segment are not seen"),
            },
        ],
    },
    Program {
        name: "flow_receive",
        essential: false,
        without: "nobody knows who took data last, nor how long the first byte took",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "flow_receive_btf",
                hook: Hook::BtfTracepoint("tcp_rcv_space_adjust"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "flow_receive_raw",
                hook: Hook::RawTracepoint("tcp_rcv_space_adjust"),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "flow_send",
        essential: false,
        without: "nobody knows who sent data last",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "flow_send_btf",
                hook: Hook::BtfTracepoint("sock_send_length"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "flow_send_raw",
                hook: Hook::RawTracepoint("sock_send_length"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "fentry",
                entry: "flow_send_fentry",
                hook: Hook::Fentry("tcp_sendmsg"),
                spares: &[],
                blind: Some("calls that failed count as sent"),
            },
            Alternative {
                name: "kprobe",
                entry: "flow_send_kprobe",
                hook: Hook::Kprobe(&["tcp_sendmsg"]),
                spares: &[],
                blind: Some("calls that failed count as sent"),
            },
        ],
    },
    udp::TRANSMIT,
    udp::SEND,
    udp::RECEIVE,
    udp::CLOSE,
];
