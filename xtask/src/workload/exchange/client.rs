//! The connecting side of an exchange.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};

use super::{Account, Deal, Family, Kind};
use crate::workload::{Words, voice};

/// Connections at a time, each from a thread of its own.
const AT_ONCE: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

pub fn play(words: &mut Words) -> Result<()> {
    let kind: Kind = words.parse("KIND")?;
    let family: Family = words.parse("FAMILY")?;
    let count: u32 = words.parse("COUNT")?;
    let to = family.connects_to(words.parse("PORT")?);
    let places = AtomicU32::new(0);
    let places = &places;

    std::thread::scope(|scope| {
        let fetching: Vec<_> = (0..AT_ONCE)
            .map(|first| {
                scope.spawn(move || {
                    (first..count).step_by(AT_ONCE as usize).try_for_each(|index| {
                        let account = fetch(kind, family, to, places, Deal::nth(index))
                            .with_context(|| format!("request {index} to {to}"))?;
                        voice::say(&account.to_json())
                    })
                })
            })
            .collect();
        fetching.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn fetch(kind: Kind, family: Family, to: SocketAddr, places: &AtomicU32, deal: Deal) -> Result<Account> {
    let mut stream = loop {
        let from = family.comes_from(places.fetch_add(1, Ordering::Relaxed)).context("out of ports")?;
        match connect(from, to, kind == Kind::Epoll) {
            Ok(stream) => break stream,
            // Somebody else has this port, or a connection of an earlier run is not quite over.
            Err(Errno::EADDRINUSE | Errno::EADDRNOTAVAIL) => {}
            Err(error) => return Err(error).context("connect"),
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut account = Account::new(stream.local_addr()?, stream.peer_addr()?);

    stream.write_all(&deal.header()).context("send the header")?;
    stream.write_all(&vec![b'q'; deal.request as usize]).context("send the request")?;
    account.tx_bytes = (Deal::HEADER + deal.request as usize) as u64;
    if deal.half_close {
        stream.shutdown(Shutdown::Write).context("shutdown")?;
    }
    let mut answer = vec![0; deal.response as usize];
    stream.read_exact(&mut answer).context("read the response")?;
    account.rx_bytes = u64::from(deal.response);
    if deal.server_first {
        ensure!(stream.read(&mut [0; 1]).context("read the end")? == 0, "more than the response came");
    }
    Ok(account)
}

/// Connects from a given place; without blocking, and then waits for the outcome, if told so.
fn connect(from: SocketAddr, to: SocketAddr, at_once: bool) -> Result<TcpStream, Errno> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let blocks = if at_once { SockFlag::SOCK_NONBLOCK } else { SockFlag::empty() };
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | blocks, None)?;
    socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if from.port() == 0 {
        // The port is chosen by connect(), which knows that it need only differ from others to the same peer.
        socket::setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    }
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
    match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => {
            let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut waiting, PollTimeout::from(30_000_u16))? == 0 {
                return Err(Errno::ETIMEDOUT);
            }
            match socket::getsockopt(&socket, sockopt::SocketError)? {
                0 => {}
                error => return Err(Errno::from_raw(error)),
            }
        }
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false).map_err(|_| Errno::last())?;
    Ok(stream)
}
