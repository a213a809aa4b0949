//! What is fluoro's own doing: its process and the connection of its session, hidden by default because on a quiet
//! machine they would be all there is to see.

use std::net::SocketAddr;
use std::path::Path;

use crate::columns::{Facts, Finder, Value};
use crate::kernel::proc::Proc;

#[derive(Clone, Copy)]
pub struct Own {
    pid: u32,
    /// Both ends of the SSH connection, from this machine's side.
    session: Option<(SocketAddr, SocketAddr)>,
    /// The process that serves the session.
    server: Option<u32>,
}

impl Own {
    /// From the environment; where sudo has removed it, by looking for the session's server among the ancestors.
    pub fn find() -> Self {
        let variable = std::env::var("SSH_CONNECTION").ok();
        Self { pid: std::process::id(), session: variable.as_deref().and_then(parse), server: server() }
    }

    fn is(&self, pid: u64) -> bool {
        pid == u64::from(self.pid) || self.server.map(u64::from) == Some(pid)
    }

    /// Is the row fluoro's own? `places` is kept from row to row.
    pub fn hides(&self, facts: &dyn Facts, places: &Finder<3>) -> bool {
        let [pid, local, peer] = places.of(facts.infos());
        let value = |column: Option<usize>| column.map_or(Value::Missing, |column| facts.value(column));
        let is_end = |column, end| matches!(value(column), Value::Socket(there) if there == end);
        matches!(value(pid), Value::Uint(pid) if self.is(pid))
            || self.session.is_some_and(|(here, there)| is_end(peer, there) && is_end(local, here))
    }

    /// For [`Self::hides`].
    pub const fn places() -> Finder<3> {
        Finder::new(["pid", "local", "peer"])
    }
}

/// `CLIENT CLIENT_PORT SERVER SERVER_PORT`, as sshd sets it.
fn parse(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = text.split_ascii_whitespace();
    let mut end = || -> Option<SocketAddr> {
        let address: std::net::IpAddr = words.next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), words.next()?.parse().ok()?))
    };
    let (peer, local) = (end()?, end()?);
    Some((local, peer))
}

/// The nearest ancestor called sshd that is not the listener itself: `sshd-session`, or `sshd` before OpenSSH 9.8.
fn server() -> Option<u32> {
    let proc = Proc::new(Path::new("/"));
    let mut pid = std::process::id();
    for _ in 0..32 {
        let process = proc.process(pid)?;
        if process.comm.starts_with(b"sshd") && process.parent > 1 {
            return Some(pid);
        }
        pid = process.parent;
        if pid <= 1 {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_seen_from_this_side() {
        let (local, peer) = ("10.0.0.5:22".parse(), "81.2.69.142:51844".parse());
        assert_eq!(parse("81.2.69.142 51844 10.0.0.5 22"), local.ok().zip(peer.ok()));
        assert_eq!(parse("81.2.69.142 51844 10.0.0.5"), None);
    }
}
