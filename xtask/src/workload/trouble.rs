//! Everything that goes wrong with TCP, so many times each, on the loopback of a network namespace of its own; and the
//! kernel's own word for how often it did.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use serde_json::json;

use super::{Words, namespace, voice};
use crate::prove::witness::counter;

/// Told `go`: COUNT resets of each kind, COUNT attempts at a full listener, a flood of 4 x COUNT SYNs, and one transfer
/// whose segments are dropped for a while. Says what it did, waits for `end`.
pub fn play(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    namespace::enter_own()?;
    fs::write("/proc/sys/net/ipv4/tcp_syncookies", "0").context("turn SYN cookies off")?;
    voice::say(&json!({"pid": std::process::id(), "netns": namespace::inode()?}))?;
    voice::wait_for("go")?;
    let refused = refused(count)?;
    let unreachable = unreachable(count)?;
    let aborting = resets(count, Abort::Lingerless)?;
    let unread = resets(count, Abort::Unread)?;
    let resent = resent()?;
    let full = Full::start()?;
    let before = listen_drops()?;
    full.overflow(count)?;
    let flooded = Flooded::start(4 * count)?;
    let stray = Stray::start(count)?;
    // Some of it is sent again, and all of it stands in the socket table at the next look.
    std::thread::sleep(Duration::from_millis(2_500));
    voice::say(&json!({
        "pid": std::process::id(), "refused_port": refused, "unreachable": unreachable, "aborting_port": aborting, "unread_port": unread,
        "resent": {"port": resent.0, "retransmits": resent.1},
        "full": {"port": full.port}, "flooded": {"port": flooded.port, "half_open": flooded.half_open()?},
        "drops": listen_drops()? - before, "stray": {"port": stray.port, "resets": stray.resets},
    }))?;
    voice::wait_for("end")
}

fn port_of(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr().context("getsockname")?.port())
}

/// Attempts at a port that nobody listens on.
fn refused(count: u32) -> Result<u16> {
    let port = port_of(&TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?)?;
    for _ in 0..count {
        let outcome = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        ensure!(outcome.is_err(), "port {port} did not refuse");
    }
    Ok(port)
}

/// Attempts at addresses that this namespace has no way to: addresses and errors.
fn unreachable(count: u32) -> Result<Vec<(String, i32)>> {
    let far: [SocketAddr; 2] =
        [(Ipv4Addr::new(192, 0, 2, 1), 7).into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 7).into()];
    let mut told = Vec::new();
    for to in far {
        for _ in 0..count {
            let error = TcpStream::connect(to).err().and_then(|error| error.raw_os_error());
            told.push((to.ip().to_string(), error.context("a way to nowhere")?));
        }
    }
    Ok(told)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Abort {
    /// SO_LINGER of 0.
    Lingerless,
    /// The server has not read all when it closes.
    Unread,
}

/// The server resets each connection after it has answered. Its port.
fn resets(count: u32, how: Abort) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let port = port_of(&listener)?;
    for _ in 0..count {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
        let (mut server, _) = listener.accept().context("accept")?;
        client.write_all(b"one two")?;
        server.read_exact(&mut [0; 3])?;
        server.write_all(b"answer")?;
        client.read_exact(&mut [0; 6])?;
        if how == Abort::Lingerless {
            server.read_exact(&mut [0; 4])?;
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&server, sockopt::Linger, &linger).context("SO_LINGER")?;
        }
        drop(server);
        let error = client.read(&mut [0; 1]).err().and_then(|error| error.raw_os_error());
        ensure!(error == Some(libc::ECONNRESET), "no reset, but {error:?}");
    }
    Ok(port)
}

/// A transfer whose segments the receiver's filter drops until some were sent again. The client's port, and what the
/// kernel says was sent again.
fn resent() -> Result<(u16, u64)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let mut client = TcpStream::connect(listener.local_addr()?).context("connect")?;
    let (mut server, _) = listener.accept().context("accept")?;
    drop_all(&server)?;
    client.write_all(b"hello")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while total_retrans(&client)? < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Its value is not looked at, but one must be there.
    let value = 0u32;
    // SAFETY: the value lives until the call returns.
    Errno::result(unsafe {
        libc::setsockopt(
            server.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_FILTER,
            (&raw const value).cast(),
            size_of_val(&value) as u32,
        )
    })
    .context("SO_DETACH_FILTER")?;
    server.read_exact(&mut [0; 5])?;
    Ok((client.local_addr()?.port(), u64::from(total_retrans(&client)?)))
}

fn drop_all(socket: &TcpStream) -> Result<()> {
    // BPF_RET | BPF_K, 0: keeps nothing of any segment.
    let mut program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    // SAFETY: the filter lives until the call returns.
    Errno::result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    })
    .context("SO_ATTACH_FILTER")?;
    Ok(())
}

/// `tcpi_total_retrans`.
fn total_retrans(socket: &TcpStream) -> Result<u32> {
    let mut info = [0u32; 26];
    let mut length = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `length` bytes.
    Errno::result(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    })
    .context("TCP_INFO")?;
    Ok(info.get(25).copied().unwrap_or(0))
}

/// A listener whose queue takes no more.
struct Full {
    port: u16,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Full {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        // Without SYN cookies older kernels take nothing at a backlog of 0.
        listen(&listener, Backlog::new(1).context("backlog")?).context("listen")?;
        let port = port_of(&listener)?;
        // The queue takes one more than its backlog.
        let queued = (0..2)
            .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
            .collect::<std::io::Result<_>>()
            .context("connect")?;
        Ok(Self { port, _listener: listener, _queued: queued })
    }

    fn overflow(&self, count: u32) -> Result<()> {
        for _ in 0..count {
            let to = (Ipv4Addr::LOCALHOST, self.port).into();
            let outcome = TcpStream::connect_timeout(&to, Duration::from_millis(5));
            ensure!(outcome.is_err(), "port {} took one more", self.port);
        }
        Ok(())
    }
}

/// `ListenDrops` of this namespace.
fn listen_drops() -> Result<u64> {
    counter("/proc/net/netstat", "TcpExt:", "ListenDrops")
}

/// Resets that this namespace has sent.
fn resets_sent() -> Result<u64> {
    counter("/proc/net/snmp", "Tcp:", "OutRsts")
}

/// A listener that half-open requests have filled: SYNs whose senders are not there.
struct Flooded {
    port: u16,
    _listener: TcpListener,
}

impl Flooded {
    const BACKLOG: i32 = 8;

    fn start(syns: u32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        listen(&listener, Backlog::new(Self::BACKLOG).context("backlog")?).context("listen")?;
        let port = port_of(&listener)?;
        route_to_nowhere()?;
        let raw = raw_socket()?;
        for index in 0..syns {
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 9, (index >> 8) as u8, index as u8), 1000);
            send_bare(&raw, SYN, from, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        }
        Ok(Self { port, _listener: listener })
    }

    /// Requests in /proc/net/tcp.
    fn half_open(&self) -> Result<usize> {
        let table = fs::read_to_string("/proc/net/tcp").context("read /proc/net/tcp")?;
        let here = format!(":{:04X} ", self.port);
        Ok(table
            .lines()
            .filter(|line| line.contains(&here) && line.split_whitespace().nth(3) == Some("03"))
            .count())
    }
}

/// A listener that was sent acknowledgements of what it had never said, and the resets that it answered with. After the
/// flood, which has made the way to the senders.
struct Stray {
    port: u16,
    resets: u64,
    _listener: TcpListener,
}

impl Stray {
    fn start(count: u32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let port = port_of(&listener)?;
        let before = resets_sent()?;
        let raw = raw_socket()?;
        for index in 0..count {
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 9, (index >> 8) as u8, index as u8), 2000);
            send_bare(&raw, ACK, from, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        }
        Ok(Self { port, resets: resets_sent()? - before, _listener: listener })
    }
}

fn raw_socket() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    Errno::result(fd).context("raw socket")?;
    // SAFETY: a descriptor that the kernel has just given.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// 10.0.0.0/8 leads out of the loopback, and so to nobody.
fn route_to_nowhere() -> Result<()> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("socket")?;
    let mut name = *b"lo\0";
    // SAFETY: an all-zero rtentry is a valid value of this plain C struct.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    let address = |octets: [u8; 4]| {
        let plain = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(octets) },
            sin_zero: [0; 8],
        };
        // SAFETY: both are 16 bytes and the family says which.
        unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(plain) }
    };
    route.rt_dst = address([10, 0, 0, 0]);
    route.rt_genmask = address([255, 0, 0, 0]);
    route.rt_flags = libc::RTF_UP;
    route.rt_dev = name.as_mut_ptr().cast();
    // SAFETY: the route and the name that it points to live until the call returns.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as _, &raw const route) })
        .context("ioctl SIOCADDRT")?;
    Ok(())
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A segment with one flag and nothing in it.
fn send_bare(raw: &OwnedFd, flag: u8, from: SocketAddrV4, to: SocketAddrV4) -> Result<()> {
    let mut tcp = Vec::with_capacity(20);
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
    // Header of five words, flags, a window, checksum, no urgent data.
    tcp.extend_from_slice(&[5 << 4, flag, 0x10, 0, 0, 0, 0, 0]);
    let mut pseudo = [from.ip().octets(), to.ip().octets()].concat();
    pseudo.extend_from_slice(&[0, 6, 0, tcp.len() as u8]);
    pseudo.extend_from_slice(&tcp);
    let word = |pair: &[u8]| {
        let mut octets = pair.iter().map(|&octet| u32::from(octet));
        octets.next().unwrap_or(0) << 8 | octets.next().unwrap_or(0)
    };
    let sum: u32 = pseudo.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    tcp.splice(16..18, checksum.to_be_bytes());
    // The kernel fills in length, id and checksum of the outer header.
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend_from_slice(&from.ip().octets());
    packet.extend_from_slice(&to.ip().octets());
    packet.extend_from_slice(&tcp);
    let address = nix::sys::socket::SockaddrIn::from(to);
    nix::sys::socket::sendto(raw.as_raw_fd(), &packet, &address, nix::sys::socket::MsgFlags::empty())
        .context("send a segment")?;
    Ok(())
}
