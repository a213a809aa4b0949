//! The programs of datagrams.

use crate::collect::program::{Alternative, Hook, Program};

pub const TRANSMIT: Program = Program {
    name: "flow_udp_transmit",
    essential: false,
    without: "datagrams that are sent are counted, if at all, by the packets that dns_packet sees",
    alternatives: &[
        Alternative {
            name: "tp_btf",
            entry: "flow_udp_transmit_btf",
            hook: Hook::BtfTracepoint("net_dev_queue"),
            spares: &[],
            blind: None,
        },
        Alternative {
            name: "raw_tp",
            entry: "flow_udp_transmit_raw",
            hook: Hook::RawTracepoint("net_dev_queue"),
            spares: &[],
            blind: None,
        },
    ],
};

pub const SEND: Program = Program {
    name: "flow_udp_send",
    essential: false,
    without: "who sends datagrams is looked for in /proc",
    alternatives: &[
        Alternative {
            name: "tp_btf",
            entry: "flow_udp_send_btf",
            hook: Hook::BtfTracepoint("sock_send_length"),
            spares: &[],
            blind: None,
        },
        Alternative {
            name: "raw_tp",
            entry: "flow_udp_send_raw",
            hook: Hook::RawTracepoint("sock_send_length"),
            spares: &[],
            blind: None,
        },
        Alternative {
            name: "fentry",
            entry: "flow_udp_send_fentry",
            hook: Hook::Fentry("security_socket_sendmsg"),
            spares: &[],
            blind: None,
        },
        Alternative {
            name: "kprobe",
            entry: "flow_udp_send_kprobe",
            hook: Hook::Kprobe(&["security_socket_sendmsg"]),
            spares: &[],
            blind: None,
        },
    ],
};

pub const RECEIVE: Program = Program {
    name: "flow_udp_receive",
    essential: false,
    without: "datagrams that are received are not counted",
    alternatives: &[
        Alternative {
            name: "fentry",
            entry: "flow_udp_receive_fentry",
            hook: Hook::Fentry("skb_consume_udp"),
            spares: &[],
            blind: None,
        },
        Alternative {
            name: "kprobe",
            entry: "flow_udp_receive_kprobe",
            hook: Hook::Kprobe(&["skb_consume_udp"]),
            spares: &[],
            blind: None,
        },
        Alternative {
            name: "tp_btf",
            entry: "flow_udp_receive_btf",
            hook: Hook::BtfTracepoint("sock_recv_length"),
            spares: &[],
            blind: Some("of sockets that are not connected it is not known from whom they receive"),
        },
        Alternative {
            name: "raw_tp",
            entry: "flow_udp_receive_raw",
            hook: Hook::RawTracepoint("sock_recv_length"),
            spares: &[],
            blind: Some("of sockets that are not connected it is not known from whom they receive"),
        },
    ],
};

pub const CLOSE: Program = Program {
    name: "flow_udp_close",
    essential: false,
    without: "that a UDP socket was closed is seen in the socket table, once an interval",
    alternatives: &[
        Alternative {
            name: "fentry",
            entry: "flow_udp_close_fentry",
            hook: Hook::Fentry("sk_common_release"),
            spares: &[],
            blind: None,
        },
        Alternative {
            name: "kprobe",
            entry: "flow_udp_close_kprobe",
            hook: Hook::Kprobe(&["sk_common_release"]),
            spares: &[],
            blind: None,
        },
    ],
};
