//! Ports that are nobody's, below the range that the kernel hands out by itself: an observer's lines of them belong
//! to one workload for certain.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket, sockopt};

pub struct FreePorts {
    next: u16,
}

impl FreePorts {
    /// Each scenario counts from a place of its own, so that no two meet each other's sockets in TIME_WAIT.
    pub const fn from(first: u16) -> Self {
        Self { next: first }
    }

    pub fn take(&mut self) -> Result<u16> {
        const TRIES: usize = 500;
        for _ in 0..TRIES {
            let port = self.next;
            self.next = port.checked_add(1).context("out of ports")?;
            // `::` takes the port of both families.
            if is_free(port)? {
                return Ok(port);
            }
        }
        anyhow::bail!("no free port among {TRIES} before {}", self.next)
    }
}

/// Bound, not listened on: a listener would be an event.
fn is_free(port: u16) -> Result<bool> {
    let socket =
        socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    setsockopt(&socket, sockopt::ReuseAddr, &true).context("SO_REUSEADDR")?;
    Ok(bind(socket.as_raw_fd(), &address).is_ok())
}
