//! Transfers of known size by every way that a program has to move bytes through a socket.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile;
use nix::unistd::pipe;
use serde_json::{Value, json};

use super::exchange::Account;
use super::uring::Ring;
use super::{Words, voice};

/// How the sender sends; the receiver splices where the sender does, and reads elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Write,
    Sendfile,
    Splice,
    Zerocopy,
    IoUring,
}

impl Way {
    const ALL: [(&str, Self); 5] = [
        ("write", Self::Write),
        ("sendfile", Self::Sendfile),
        ("splice", Self::Splice),
        ("zerocopy", Self::Zerocopy),
        ("io_uring", Self::IoUring),
    ];
}

impl FromStr for Way {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, way)| way).ok_or(())
    }
}

/// Told `go`, moves BYTES + n one way and half of that back over each of COUNT connections at a time, half of them over
/// IPv6. Says both sides' accounts while all are open; told `end`, closes.
pub fn play(words: &mut Words) -> Result<()> {
    let way: Way = words.parse("WAY")?;
    let bytes: usize = words.parse("BYTES")?;
    let count: usize = words.parse("COUNT")?;
    if way == Way::IoUring
        && let Err(error) = Ring::new()
    {
        voice::say(&json!({"cannot": format!("{error:#}")}))?;
        return Ok(());
    }
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let moving: Vec<_> = (0..count)
        .map(|index| std::thread::spawn(move || transfer(way, bytes + index, index % 2 == 1)))
        .collect();
    let mut open = Vec::new();
    let mut accounts: Vec<Value> = Vec::new();
    for thread in moving {
        let (ends, told) = match thread.join() {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        open.push(ends);
        accounts.extend(told.map(|account| account.to_json()));
    }
    voice::say(&json!({"accounts": accounts}))?;
    voice::wait_for("end")?;
    for Ends { client, server, .. } in open {
        client.shutdown(Shutdown::Write)?;
        ensure!((&server).read(&mut [0; 1])? == 0, "more than was sent has come");
    }
    Ok(())
}

struct Ends {
    client: TcpStream,
    server: TcpStream,
    /// By which an observer that comes later knows who connected.
    _listener: TcpListener,
}

fn transfer(way: Way, bytes: usize, v6: bool) -> Result<(Ends, [Account; 2])> {
    let address = if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).context("listen")?;
    let client = TcpStream::connect(listener.local_addr()?).context("connect")?;
    let (server, _) = listener.accept().context("accept")?;
    let back = bytes / 2;
    pass(way, &client, &server, bytes).with_context(|| format!("{way:?} there"))?;
    pass(way, &server, &client, back).with_context(|| format!("{way:?} back"))?;
    let account = |socket: &TcpStream, tx, rx| -> Result<Account> {
        let mut account = Account::new(socket.local_addr()?, socket.peer_addr()?);
        (account.tx_bytes, account.rx_bytes) = (tx as u64, rx as u64);
        Ok(account)
    };
    let accounts = [account(&client, bytes, back)?, account(&server, back, bytes)?];
    Ok((Ends { client, server, _listener: listener }, accounts))
}

/// Moves this many bytes from one end to the other, sending and receiving at the same time.
fn pass(way: Way, from: &TcpStream, to: &TcpStream, bytes: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(way, from, bytes));
        receive(way, to, bytes)?;
        match sending.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn send(way: Way, mut socket: &TcpStream, bytes: usize) -> Result<()> {
    match way {
        Way::Write => socket.write_all(&vec![b'w'; bytes])?,
        Way::Sendfile => {
            let file = filled(bytes)?;
            let mut sent = 0;
            while sent < bytes {
                sent += sendfile(socket.as_fd(), file.as_fd(), None, bytes - sent).context("sendfile")?;
            }
        }
        Way::Splice => {
            let file = filled(bytes)?;
            let (reader, writer) = pipe().context("pipe")?;
            let mut left = bytes;
            while left > 0 {
                let more = SpliceFFlags::SPLICE_F_MORE;
                let mut held =
                    splice(&file, None, &writer, None, left.min(65_536), more).context("splice")?;
                left -= held;
                while held > 0 {
                    held -= splice(&reader, None, socket, None, held, more).context("splice")?;
                }
            }
        }
        Way::Zerocopy => zerocopy(socket, bytes)?,
        Way::IoUring => {
            let mut ring = Ring::new()?;
            let data = vec![b'u'; bytes];
            let mut sent = 0;
            while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
                sent += ring.send(socket.as_fd(), rest)?;
            }
        }
    }
    Ok(())
}

fn receive(way: Way, mut socket: &TcpStream, bytes: usize) -> Result<()> {
    let mut left = bytes;
    let mut buffer = vec![0; 65_536];
    let (reader, writer) = pipe().context("pipe")?;
    let mut drain = File::from(reader);
    let mut ring = (way == Way::IoUring).then(Ring::new).transpose()?;
    while left > 0 {
        let most = left.min(buffer.len());
        let Some(room) = buffer.get_mut(..most) else { bail!("a buffer of {most}") };
        let got = match (way, &mut ring) {
            (Way::Splice, _) => {
                let got =
                    splice(socket, None, &writer, None, most, SpliceFFlags::empty()).context("splice")?;
                drain.read_exact(room.get_mut(..got).unwrap_or_default())?;
                got
            }
            (_, Some(ring)) => ring.recv(socket.as_fd(), room)?,
            _ => socket.read(room)?,
        };
        ensure!(got > 0, "ended {left} bytes early");
        left -= got;
    }
    Ok(())
}

fn filled(bytes: usize) -> Result<File> {
    let mut file = File::from(memfd_create(c"bytes", MFdFlags::MFD_CLOEXEC).context("memfd_create")?);
    file.write_all(&vec![b'f'; bytes])?;
    std::io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn zerocopy(socket: &TcpStream, bytes: usize) -> Result<()> {
    let yes = 1_i32;
    // SAFETY: the value lives until the call returns.
    Errno::result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const yes).cast(),
            size_of_val(&yes) as u32,
        )
    })
    .context("SO_ZEROCOPY")?;
    // Kept to the end of the process: the kernel may look at it until the last acknowledgement.
    let data: &'static [u8] = vec![b'z'; bytes].leak();
    let mut sent = 0;
    while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the data is readable for its length.
        let got = unsafe {
            libc::send(socket.as_raw_fd(), rest.as_ptr().cast(), rest.len().min(1 << 16), libc::MSG_ZEROCOPY)
        };
        match Errno::result(got) {
            Ok(got) => sent += got.cast_unsigned(),
            // Notifications that nobody takes fill the socket's own memory.
            Err(Errno::ENOBUFS) => take_notifications(socket),
            Err(error) => return Err(error).context("send MSG_ZEROCOPY"),
        }
    }
    Ok(())
}

fn take_notifications(socket: &TcpStream) {
    let mut control = [0u8; 256];
    // SAFETY: an all-zero msghdr is a valid value of this plain C struct.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len() as _;
    // SAFETY: the message and its buffer live until the call returns. None waiting is as good.
    unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
}
