//! A few rules of nftables through netlink, in the network namespace one is in: what `nft add rule` would send.

use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Hooks of include/uapi/linux/netfilter.h.
pub const LOCAL_IN: u32 = 1;
pub const LOCAL_OUT: u32 = 3;

const TABLE: &str = "fluoro";

/// Drops what comes to this port (of any transport) over IPv4 at this hook. The namespace's end removes it.
pub fn drop_port(hook: u32, port: u16) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)
        .context("nftables: netlink socket")?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("nftables: bind")?;
    let chain = format!("hook{hook}");
    let batch = [
        message(BATCH_BEGIN, 0, 0, &[]),
        message(of_nftables(0), 1, CREATE, &attribute(1, &text(TABLE))),
        message(of_nftables(3), 2, CREATE, &self::chain(&chain, hook)),
        message(of_nftables(6), 3, CREATE | APPEND, &rule(&chain, port)),
        message(BATCH_END, 4, 0, &[]),
    ]
    .concat();
    send(socket.as_raw_fd(), &batch, MsgFlags::empty()).context("nftables: send")?;
    // One acknowledgement for each of the three, or the first error.
    for _ in 0..3 {
        let mut answer = [0_u8; 4096];
        let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("nftables: receive")?;
        let code = answer.get(16..20).filter(|_| len >= 20).and_then(|bytes| bytes.try_into().ok());
        let code = i32::from_ne_bytes(code.context("nftables: a short answer")?);
        if code != 0 {
            return Err(Error::from_raw_os_error(-code)).context("nftables: the kernel refused the rule");
        }
    }
    Ok(())
}

/// Whether an error of [`drop_port`] says that the kernel has no nftables.
pub fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<nix::errno::Errno>() == Some(&nix::errno::Errno::EPROTONOSUPPORT)
        || error.downcast_ref::<Error>().is_some_and(|error| {
            error.kind() == ErrorKind::Unsupported
                || matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOENT))
        })
}

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400 | ACK;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
const NFPROTO_IPV4: u8 = 2;

const fn of_nftables(kind: u16) -> u16 {
    SUBSYSTEM << 8 | kind
}

fn message(kind: u16, seq: u32, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let family = if kind < 0x100 { 0 } else { NFPROTO_IPV4 };
    let mut bytes = Vec::new();
    bytes.extend((20 + attributes.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0]);
    let resource = if kind < 0x100 { SUBSYSTEM } else { 0 };
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &parts.concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn chain(name: &str, hook: u32) -> Vec<u8> {
    [
        attribute(1, &text(TABLE)),
        attribute(3, &text(name)),
        nest(4, &[number(1, hook), number(2, 0)]),
        attribute(7, &text("filter")),
    ]
    .concat()
}

fn expression(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    nest(1, &[attribute(1, &text(name)), nest(2, parts)])
}

fn rule(chain: &str, port: u16) -> Vec<u8> {
    // Register 1 takes the two bytes at offset 2 of the transport header; verdict 0 is NF_DROP.
    let load = expression("payload", &[number(1, 1), number(2, 2), number(3, 2), number(4, 2)]);
    let compare =
        expression("cmp", &[number(1, 1), number(2, 0), nest(3, &[attribute(1, &port.to_be_bytes())])]);
    let verdict = expression("immediate", &[number(1, 0), nest(2, &[nest(2, &[number(1, 0)])])]);
    [attribute(1, &text(TABLE)), attribute(2, &text(chain)), nest(4, &[load, compare, verdict])].concat()
}
