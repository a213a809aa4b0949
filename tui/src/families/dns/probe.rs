//! The programs of `dns` and their ways in.

use fluoro_shared::dns::{DnsEnd, DnsPlace, DnsSight};
use fluoro_shared::drop::DropOwner;

use crate::collect::maps::{Budget, ELEMENT, MapSize};
use crate::collect::program::{Alternative, Hook, Program};

pub fn maps(budget: &Budget) -> Vec<MapSize> {
    let map = |name, key: usize, value: usize, most| {
        let entry_bytes = (key + value) as u64 + ELEMENT;
        MapSize { name, entries: budget.entries(1, entry_bytes, most), entry_bytes, counted: false }
    };
    vec![
        map("OWNERS", 8, size_of::<DropOwner>(), 16_384),
        map("SENDERS", size_of::<DnsEnd>(), size_of::<DropOwner>(), 8192),
        map("SIGHTS", size_of::<DnsSight>(), size_of::<DnsPlace>(), 8192),
    ]
}

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "dns_owner",
        essential: false,
        without: "only a socket that is still open when it is looked for has an owner",
        alternatives: &[
            Alternative {
                name: "fentry",
                entry: "dns_owner_fentry",
                hook: Hook::Fentry("security_socket_post_create"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "dns_owner_kprobe",
                hook: Hook::Kprobe(&["security_socket_post_create"]),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "dns_owner_syscall",
                hook: Hook::Tracepoint(&[("syscalls", "sys_exit_socket")]),
                spares: &[],
                blind: Some("sockets that are made through io_uring or by 32-bit programs"),
            },
        ],
    },
    Program {
        name: "dns_sender",
        essential: false,
        without: "who asks is not known",
        alternatives: &[Alternative {
            name: "raw_tp",
            entry: "dns_sender_raw",
            hook: Hook::RawTracepoint("net_dev_queue"),
            spares: &[],
            blind: None,
        }],
    },
    Program {
        name: "dns_packet",
        essential: true,
        without: "no question and no answer is seen",
        alternatives: &[Alternative {
            name: "packet_socket",
            entry: "dns_packet_filter",
            hook: Hook::PacketSocket,
            spares: &[],
            blind: None,
        }],
    },
];
