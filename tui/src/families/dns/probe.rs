//! The programs of `dns` and their ways in.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use fluoro_shared::dns::{DnsEnd, DnsPlace, DnsSight};
use fluoro_shared::drop::DropOwner;
use fluoro_shared::wire::{WireCount, WireKey};

use super::model::Frame;
use crate::collect::maps::{Budget, ELEMENT, MapSize, Maps};
use crate::collect::program::{Alternative, Hook, Program};
use crate::kernel::addresses;

pub fn maps(budget: &Budget) -> Vec<MapSize> {
    let map = |name, key: usize, value: usize, most| {
        let entry_bytes = (key + value) as u64 + ELEMENT;
        MapSize { name, entries: budget.entries(1, entry_bytes, most), entry_bytes, counted: false }
    };
    let counted = |name, key, value, most| MapSize { counted: true, ..map(name, key, value, most) };
    vec![
        map("OWNERS", 8, size_of::<DropOwner>(), 16_384),
        map("SENDERS", size_of::<DnsEnd>(), size_of::<DropOwner>(), 8192),
        map("SIGHTS", size_of::<DnsSight>(), size_of::<DnsPlace>(), 8192),
        counted(WIRES, size_of::<WireKey>(), size_of::<WireCount>(), 16_384),
        counted(LOCALS, 16, 1, 4096),
    ]
}

pub const WIRES: &str = "WIRES";
const LOCALS: &str = "LOCALS";

/// Addresses of which the kernel side is told at most: one place is for the mark that it was told all.
const ADDRESSES_MAX: usize = 4095;

/// What has passed through. The kernel side is told the addresses of the namespace before: until then it counts nothing,
/// and where they are too many it never does.
pub fn frame(maps: &mut Maps) -> std::io::Result<Frame> {
    let octets = |address| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let told: HashSet<[u8; 16]> =
        maps.read(LOCALS, |_: u8, b: u8| b)?.into_iter().map(|(address, _)| address).collect();
    let here: HashSet<[u8; 16]> = addresses::of_this_namespace()?.into_iter().map(octets).collect();
    if here.len() <= ADDRESSES_MAX {
        for gone in told.iter().filter(|address| !here.contains(*address) && **address != ALL_TOLD) {
            maps.forget(LOCALS, gone)?;
        }
        for new in here.iter().filter(|address| !told.contains(*address)) {
            maps.write(LOCALS, new, &[1])?;
        }
        if !told.contains(&ALL_TOLD) {
            maps.write(LOCALS, &ALL_TOLD, &[1])?;
        }
    }
    Ok(Frame { wires: maps.read(WIRES, |_: WireCount, b| b)? })
}

/// No interface has this address.
const ALL_TOLD: [u8; 16] = Ipv6Addr::UNSPECIFIED.octets();

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
                spares: &["dns_owner_fentry_spare1", "dns_owner_fentry_spare2"],
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
