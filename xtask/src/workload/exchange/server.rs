//! The accepting side of an exchange, in five kinds.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{ForkResult, fork};
use serde_json::json;

use super::{Account, Deal, Family, Kind, LATE};
use crate::workload::uring::Ring;
use crate::workload::{Words, voice};

const THREADS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// Says that it listens, then one account a connection.
pub fn play(words: &mut Words) -> Result<()> {
    let kind: Kind = words.parse("KIND")?;
    let family: Family = words.parse("FAMILY")?;
    let count: u32 = words.parse("COUNT")?;
    let on = family.listens_on(words.parse("PORT")?);
    let listener = TcpListener::bind(on).with_context(|| format!("listen on {on}"))?;
    voice::say(&json!({"listening": listener.local_addr()?.to_string(), "pid": std::process::id()}))?;
    match kind {
        Kind::Plain => plain(&listener, count),
        Kind::Forking => forking(&listener, count),
        Kind::Threaded => threaded(&listener, count),
        Kind::Epoll => epoll(&listener, count),
        Kind::Uring => uring(&listener, count),
    }
}

fn plain(listener: &TcpListener, count: u32) -> Result<()> {
    for _ in 0..count {
        let (stream, account) = accept(listener)?;
        voice::say(&serve(stream, account)?.to_json())?;
    }
    Ok(())
}

fn forking(listener: &TcpListener, count: u32) -> Result<()> {
    for _ in 0..count {
        let (stream, account) = accept(listener)?;
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Child => {
                let served = serve(stream, account).and_then(|account| voice::say(&account.to_json()));
                if let Err(error) = &served {
                    eprintln!("a forked server: {error:#}");
                }
                std::process::exit(i32::from(served.is_err()));
            }
            ForkResult::Parent { .. } => drop(stream),
        }
    }
    for _ in 0..count {
        match wait().context("wait for a forked server")? {
            WaitStatus::Exited(_, 0) => {}
            other => bail!("a forked server ended with {other:?}"),
        }
    }
    Ok(())
}

fn threaded(listener: &TcpListener, count: u32) -> Result<()> {
    let taken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let serving: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while taken.fetch_add(1, Ordering::Relaxed) < count {
                        let (stream, account) = accept(listener)?;
                        voice::say(&serve(stream, account)?.to_json())?;
                    }
                    Ok(())
                })
            })
            .collect();
        serving.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn uring(listener: &TcpListener, count: u32) -> Result<()> {
    let mut ring = Ring::new()?;
    for _ in 0..count {
        let stream = TcpStream::from(ring.accept(listener.as_fd())?);
        let account = Account::new(stream.local_addr()?, stream.peer_addr()?);
        let connection = Asked { ring: &mut ring, stream };
        voice::say(&serve(connection, account)?.to_json())?;
    }
    Ok(())
}

/// A connection whose bytes go through a ring.
struct Asked<'a> {
    ring: &'a mut Ring,
    stream: TcpStream,
}

impl Read for Asked<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.ring.recv(self.stream.as_fd(), room).map_err(std::io::Error::other)
    }
}

impl Write for Asked<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.ring.send(self.stream.as_fd(), bytes).map_err(std::io::Error::other)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A connection that is waited for, but not for ever.
fn patient(stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn accept(listener: &TcpListener) -> Result<(TcpStream, Account)> {
    let (stream, peer) = listener.accept().context("accept")?;
    let account = Account::new(stream.local_addr()?, peer);
    Ok((patient(stream)?, account))
}

fn serve(mut stream: impl Read + Write, mut account: Account) -> Result<Account> {
    let mut header = [0; Deal::HEADER];
    stream.read_exact(&mut header).context("read the header")?;
    let deal = Deal::from_header(&header)?;
    let mut request = vec![0; deal.request as usize];
    stream.read_exact(&mut request).context("read the request")?;
    account.rx_bytes = (Deal::HEADER + request.len()) as u64;
    if deal.half_close {
        ensure!(stream.read(&mut [0; 1]).context("read the half close")? == 0, "more than the request came");
    }
    stream.write_all(&vec![b'a'; deal.response as usize]).context("send the response")?;
    account.tx_bytes = u64::from(deal.response);
    if !deal.server_first {
        ensure!(stream.read(&mut [0; 1]).context("read the end")? == 0, "more than the request came");
    }
    if deal.late {
        std::thread::sleep(LATE);
    }
    Ok(account)
}

/// A connection of the epoll server.
struct Ongoing {
    stream: TcpStream,
    account: Account,
    header: Vec<u8>,
    deal: Option<Deal>,
    /// The peer's FIN has come.
    ended: bool,
    sent: u32,
}

fn epoll(listener: &TcpListener, count: u32) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    listener.set_nonblocking(true)?;
    let watch = |fd: std::os::fd::BorrowedFd, flags| {
        epoll.add(fd, EpollEvent::new(flags, fd.as_raw_fd() as u64)).context("epoll_ctl")
    };
    watch(listener.as_fd(), EpollFlags::EPOLLIN)?;

    let mut ongoing: HashMap<RawFd, Ongoing> = HashMap::new();
    let mut served = 0;
    let mut ready = [EpollEvent::empty(); 32];
    while served < count {
        let events = epoll.wait(&mut ready, EpollTimeout::from(30_000_u16)).context("epoll_wait")?;
        ensure!(
            events > 0,
            "nothing to do for 30 s with {} open and {served} of {count} served",
            ongoing.len()
        );
        for event in ready.iter().take(events) {
            let fd = event.data() as RawFd;
            if fd == listener.as_raw_fd() {
                while let Some((stream, peer)) = accept_if_any(listener)? {
                    watch(stream.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET)?;
                    let account = Account::new(stream.local_addr()?, peer);
                    let fd = stream.as_raw_fd();
                    let new =
                        Ongoing { stream, account, header: Vec::new(), deal: None, ended: false, sent: 0 };
                    ongoing.insert(fd, new);
                }
                continue;
            }
            let Some(connection) = ongoing.get_mut(&fd) else { continue };
            if connection.go_on()?
                && let Some(done) = ongoing.remove(&fd)
            {
                voice::say(&done.account.to_json())?;
                served += 1;
            }
        }
    }
    Ok(())
}

fn accept_if_any(listener: &TcpListener) -> Result<Option<(TcpStream, SocketAddr)>> {
    match listener.accept() {
        Ok((stream, peer)) => {
            stream.set_nonblocking(true)?;
            Ok(Some((stream, peer)))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("accept"),
    }
}

impl Ongoing {
    /// Reads and writes what can be; whether it is over.
    fn go_on(&mut self) -> Result<bool> {
        let mut buffer = [0; 16_384];
        while !self.ended {
            // The header first and alone, so that the rest is only counted.
            let wanted = if self.deal.is_none() { Deal::HEADER - self.header.len() } else { buffer.len() };
            let Some(room) = buffer.get_mut(..wanted) else { bail!("a header of {}", self.header.len()) };
            match self.stream.read(room) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    self.account.rx_bytes += read as u64;
                    if self.deal.is_none() {
                        self.header.extend(room.iter().take(read));
                        if self.header.len() == Deal::HEADER {
                            self.deal = Some(Deal::from_header(&self.header)?);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("read"),
            }
        }
        let Some(deal) = self.deal else {
            ensure!(!self.ended, "the client left before it had asked");
            return Ok(false);
        };
        if self.account.rx_bytes < (Deal::HEADER as u64) + u64::from(deal.request)
            || (deal.half_close && !self.ended)
        {
            return Ok(false);
        }
        while self.sent < deal.response {
            let chunk = vec![b'a'; (deal.response - self.sent).min(65_536) as usize];
            match self.stream.write(&chunk) {
                Ok(written) => self.sent += written as u32,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("write"),
            }
        }
        self.account.tx_bytes = u64::from(deal.response);
        Ok(deal.server_first || self.ended)
    }
}
