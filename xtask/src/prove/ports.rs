//! Ports that are nobody's, below the range that the kernel hands out by itself: an observer's lines of them belong
//! to one workload for certain.

use std::net::{Ipv6Addr, TcpListener};

use anyhow::{Context, Result};

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
            if TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok() {
                return Ok(port);
            }
        }
        anyhow::bail!("no free port among {TRIES} before {}", self.next)
    }
}
