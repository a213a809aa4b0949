//! Connections opened and closed as fast as two processes can. Eight destination addresses keep the ephemeral ports
//! from running out while the closed ones stand in TIME_WAIT.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept4, bind, listen, setsockopt, socket,
    sockopt,
};
use nix::unistd::read;
use serde_json::json;

use super::{Words, voice};

const ADDRESSES: u32 = 8;

/// Connections ahead of the server: one that is not accepted in 200 ms is told without its owner.
const UNACCEPTED: usize = 8;

/// Listens when told `listen`, then accepts COUNT connections and closes each after its peer has.
pub fn serve(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let port: u16 = words.parse("PORT")?;
    voice::wait_for("listen")?;
    let listener =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).context("SO_REUSEADDR")?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
        .with_context(|| format!("bind port {port}"))?;
    listen(&listener, Backlog::new(4096).context("backlog")?).context("listen")?;
    voice::say(&json!({"listening": port, "pid": std::process::id()}))?;

    for index in 0..count {
        let accepted = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)
            .with_context(|| format!("accept of connection {index}"))?;
        // SAFETY: accept4 has just returned this descriptor to us alone.
        let connection = unsafe { OwnedFd::from_raw_fd(accepted) };
        let end = read(&connection, &mut [0; 1]).with_context(|| format!("read of connection {index}"))?;
        ensure!(end == 0, "connection {index} brought bytes");
    }
    voice::say(&json!({"accepts": count, "listens": 1}))
}

/// Closes first, and waits until the peer has closed, too.
fn close(mut connection: TcpStream) -> Result<()> {
    connection.shutdown(Shutdown::Write).context("shutdown")?;
    let end = connection.read(&mut [0; 1]).context("read of a closed connection")?;
    ensure!(end == 0, "a closed connection brought bytes");
    Ok(())
}

/// Connects and closes COUNT times when told `go`.
pub fn connect(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let port: u16 = words.parse("PORT")?;
    voice::wait_for("go")?;
    let begin = Instant::now();
    let mut open = VecDeque::with_capacity(UNACCEPTED);
    for index in 0..count {
        if open.len() == UNACCEPTED {
            open.pop_front().map_or(Ok(()), close)?;
        }
        let to = SocketAddrV4::new(Ipv4Addr::from(0x7f00_0001 + index % ADDRESSES), port);
        open.push_back(TcpStream::connect(to).with_context(|| format!("connect {index} to {to}"))?);
    }
    open.into_iter().try_for_each(close)?;
    let elapsed = begin.elapsed();
    voice::say(&json!({"connects": count, "elapsed_ns": elapsed.as_nanos() as u64}))
}
