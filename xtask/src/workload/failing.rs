//! Connections that never come about, for three reasons: nobody listens, nobody answers, the program gave up first.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, connect, getsockname,
    getsockopt, listen, setsockopt, socket, sockopt,
};
use serde_json::{Value, json};

use super::{Words, voice};

/// Makes the attempts when told `go` and says `{"pid":..,"attempts":[{local_port, peer_port, error}..]}`.
pub fn play(words: &mut Words) -> Result<()> {
    let refused: u32 = words.parse("REFUSED")?;
    let timed_out: u32 = words.parse("TIMED-OUT")?;
    let cancelled: u32 = words.parse("CANCELLED")?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;

    let mut attempts: Vec<Value> = Vec::new();
    let mut tell = |attempt: &Attempt, error: &str| {
        let Attempt { local_port, peer_port, .. } = attempt;
        attempts.push(json!({"local_port": local_port, "peer_port": peer_port, "error": error}));
    };

    // A port that is bound, not listened on, and so nobody else's.
    let (_closed, closed_port) = bound()?;
    for _ in 0..refused {
        let attempt = Attempt::start(closed_port)?;
        ensure!(attempt.outcome(1_000)? == Some(Errno::ECONNREFUSED), "port {closed_port} did not refuse");
        tell(&attempt, "ECONNREFUSED");
    }

    let silent = Silent::start()?;
    let waiting = (0..timed_out).map(|_| Attempt::start(silent.port)).collect::<Result<Vec<_>>>()?;
    for _ in 0..cancelled {
        let attempt = Attempt::start(silent.port)?;
        ensure!(attempt.outcome(20)?.is_none(), "port {} did answer", silent.port);
        tell(&attempt, "ECANCELED");
    }
    for attempt in waiting {
        ensure!(attempt.outcome(15_000)? == Some(Errno::ETIMEDOUT), "port {} did answer", silent.port);
        tell(&attempt, "ETIMEDOUT");
    }
    voice::say(&json!({"pid": std::process::id(), "attempts": attempts}))
}

fn bound() -> Result<(OwnedFd, u16)> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("socket")?;
    bind(socket.as_raw_fd(), &loopback(0)).context("bind")?;
    let name: SockaddrIn = getsockname(socket.as_raw_fd()).context("getsockname")?;
    Ok((socket, name.port()))
}

fn loopback(port: u16) -> SockaddrStorage {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

struct Attempt {
    socket: OwnedFd,
    local_port: u16,
    peer_port: u16,
    at_once: Option<Errno>,
}

impl Attempt {
    /// Begins to connect from a port known beforehand. Gives up after its second unanswered SYN (about a second).
    fn start(peer_port: u16) -> Result<Self> {
        const USER_TIMEOUT_MS: u32 = 900;
        let (socket, local_port) = bound()?;
        setsockopt(&socket, sockopt::TcpUserTimeout, &USER_TIMEOUT_MS).context("TCP_USER_TIMEOUT")?;
        let at_once = match connect(socket.as_raw_fd(), &loopback(peer_port)) {
            Err(Errno::EINPROGRESS) => None,
            Err(error) => Some(error),
            Ok(()) => anyhow::bail!("port {peer_port} accepted a connection"),
        };
        Ok(Self { socket, local_port, peer_port, at_once })
    }

    /// What connect() came to, or `None` while it is under way.
    fn outcome(&self, milliseconds: u16) -> Result<Option<Errno>> {
        if self.at_once.is_some() {
            return Ok(self.at_once);
        }
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut waiting, PollTimeout::from(milliseconds)).context("poll")? == 0 {
            return Ok(None);
        }
        let error = getsockopt(&self.socket, sockopt::SocketError).context("SO_ERROR")?;
        ensure!(error != 0, "port {} accepted a connection", self.peer_port);
        Ok(Some(Errno::from_raw(error)))
    }
}

/// A listener whose queue is full: further SYNs are dropped without an answer.
struct Silent {
    port: u16,
    _listener: OwnedFd,
    _queued: Vec<OwnedFd>,
}

impl Silent {
    fn start() -> Result<Self> {
        let (listener, port) = bound()?;
        listen(&listener, Backlog::new(0).context("backlog")?).context("listen")?;
        let mut queued = Vec::new();
        // The queue takes one more than its backlog; a connection that stays in progress shows that it is full.
        for _ in 0..8 {
            let (socket, _) = bound()?;
            match connect(socket.as_raw_fd(), &loopback(port)) {
                Ok(()) | Err(Errno::EINPROGRESS) => {}
                Err(error) => return Err(error).context("connect"),
            }
            std::thread::sleep(Duration::from_millis(5));
            let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            let connected = poll(&mut waiting, PollTimeout::from(200_u16)).context("poll")? == 1;
            queued.push(socket);
            if !connected {
                return Ok(Self { port, _listener: listener, _queued: queued });
            }
        }
        anyhow::bail!("port {port}: a queue of 0 took {} connections", queued.len())
    }
}
