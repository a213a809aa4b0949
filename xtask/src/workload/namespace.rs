//! A network namespace of one's own, with nothing in it but a loopback that is up.

use std::fs;
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Leaves the machine's network. Call it before the first thread is started.
pub fn enter_own() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
    loopback_up()
}

/// Inode of the network namespace one is in.
pub fn inode() -> Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net").context("stat /proc/self/ns/net")?.ino())
}

pub fn loopback_up() -> Result<()> {
    let socket =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    // SAFETY: SIOCGIFFLAGS reads the name and writes the flags of the ifreq it is given.
    nix::errno::Errno::result(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request)
    })
    .context("ioctl SIOCGIFFLAGS lo")?;
    // SAFETY: the call above has filled this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: SIOCSIFFLAGS only reads the ifreq.
    nix::errno::Errno::result(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    })
    .context("ioctl SIOCSIFFLAGS lo up")?;
    Ok(())
}

/// `struct in6_rtmsg` (include/uapi/linux/ipv6_route.h).
#[repr(C)]
struct Route {
    destination: [u8; 16],
    source: [u8; 16],
    gateway: [u8; 16],
    kind: u32,
    destination_len: u16,
    source_len: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    interface: u32,
}

/// Has what is sent to an address of IPv6 come in again by a loopback, which refuses every other route.
pub fn route_here(address: Ipv6Addr, interface: u32) -> Result<()> {
    /// Of include/uapi/linux/ipv6_route.h.
    const LOCAL: u32 = 0x8000_0000;
    let socket =
        socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    let route = Route {
        destination: address.octets(),
        source: [0; 16],
        gateway: [0; 16],
        kind: u32::from(libc::RTN_LOCAL),
        destination_len: 128,
        source_len: 0,
        metric: 1024,
        info: 0,
        flags: u32::from(libc::RTF_UP) | LOCAL,
        interface,
    };
    // SAFETY: SIOCADDRT on a socket of IPv6 reads an in6_rtmsg.
    nix::errno::Errno::result(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as _, &raw const route)
    })
    .context("ioctl SIOCADDRT")?;
    Ok(())
}
