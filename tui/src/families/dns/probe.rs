//! The programs of `dns` and their ways in.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use fluoro_shared::dns::{DnsEnd, DnsPlace, DnsSight};
use fluoro_shared::drop::DropOwner;
use fluoro_shared::wire::{LocalKey, WireCount, WireKey};
use zerocopy::IntoBytes as _;

use super::model::Frame;
use crate::collect::elsewhere::Elsewhere;
use crate::collect::maps::{Budget, ELEMENT, MapSize, Maps};
use crate::collect::program::{Alternative, Hook, Program};
use crate::kernel::addresses;
use crate::kernel::proc::Proc;

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
        counted(LOCALS, size_of::<LocalKey>(), 1, ADDRESSES_MAX),
    ]
}

pub const WIRES: &str = "WIRES";
const LOCALS: &str = "LOCALS";

/// Addresses of which the kernel side is told at most, with the mark of each namespace that it was told all.
const ADDRESSES_MAX: u32 = 4096;

/// What has passed through. The kernel side is told the addresses of the namespaces before: until then it counts nothing
/// of them, and where they are too many it never does.
pub fn frame(maps: &mut Maps, elsewhere: Option<&Elsewhere>) -> std::io::Result<Frame> {
    let told: HashSet<LocalKey> =
        maps.read(LOCALS, |_: u8, b: u8| b)?.into_iter().map(|(address, _)| address).collect();
    let own = Proc::new(Path::new("/")).netns(std::process::id()).unwrap_or(0);
    let mut namespaces = vec![(own, addresses::of_this_namespace()?)];
    namespaces.extend(elsewhere.map(Elsewhere::refresh).unwrap_or_default());
    let (here, crowded) = fit(namespaces, maps.entries(LOCALS));
    if let Some(elsewhere) = elsewhere {
        elsewhere.crowded(crowded);
    }
    // A mark stands only while all addresses do: it comes last and goes first.
    let mut gone: Vec<&LocalKey> = told.difference(&here).collect();
    gone.sort_by_key(|key| key.address != ALL_TOLD);
    for key in gone {
        maps.forget(LOCALS, key.as_bytes())?;
    }
    let mut new: Vec<&LocalKey> = here.difference(&told).collect();
    new.sort_by_key(|key| key.address == ALL_TOLD);
    for key in new {
        maps.write(LOCALS, key.as_bytes(), &[1])?;
    }
    Ok(Frame { wires: maps.read(WIRES, |_: WireCount, b| b)?, locals: here })
}

/// Keys for all addresses of each namespace, and the namespaces for which there is no room.
fn fit(namespaces: Vec<(u32, Vec<IpAddr>)>, room: usize) -> (HashSet<LocalKey>, Vec<u32>) {
    let (mut here, mut crowded) = (HashSet::new(), Vec::new());
    for (netns, addresses) in namespaces {
        let all: HashSet<LocalKey> = addresses
            .into_iter()
            .map(octets)
            .chain([ALL_TOLD])
            .map(|address| LocalKey { address, netns })
            .collect();
        if here.len() + all.len() <= room {
            here.extend(all);
        } else {
            crowded.push(netns);
        }
    }
    (here, crowded)
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
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
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "dns_sender_btf",
                hook: Hook::BtfTracepoint("net_dev_queue"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "dns_sender_raw",
                hook: Hook::RawTracepoint("net_dev_queue"),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "dns_packet",
        essential: true,
        without: "no question and no answer is seen",
        alternatives: &[
            Alternative {
                name: "packet_socket",
                entry: "dns_packet_filter",
                hook: Hook::PacketSocket,
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "cgroup",
                entry: "dns_packet_egress",
                hook: Hook::SocketGroup { egress: "dns_packet_egress", ingress: "dns_packet_ingress" },
                spares: &[],
                blind: Some("what passes through, or comes to no socket"),
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_namespace_is_told_wholly_or_not_at_all() {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let namespaces =
            vec![(1, vec![address(1)]), (2, vec![address(1), address(2)]), (3, vec![address(3)])];
        let (here, crowded) = fit(namespaces, 4);
        assert_eq!(crowded, [2]);
        let mut told: Vec<u32> = here.iter().map(|key| key.netns).collect();
        told.sort_unstable();
        assert_eq!(told, [1, 1, 3, 3]);
        assert!(here.contains(&LocalKey { address: ALL_TOLD, netns: 3 }));
    }
}
