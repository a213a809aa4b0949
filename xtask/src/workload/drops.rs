//! Packets that never arrive, each for a reason that is known, and some that do: in a network namespace of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, setsockopt, socket,
    sockopt,
};
use serde_json::json;

use super::{Words, namespace, nft, voice};

/// Nobody listens there.
const CLOSED: u16 = 9;
const REFUSED_GOING_OUT: u16 = 7001;
const REFUSED_COMING_IN: u16 = 7002;
const FULL: u16 = 7003;
const CORRUPT: u16 = 7004;
const FINE: u16 = 7005;

/// Does it all when told `go` and says how many of each.
pub fn play(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    namespace::enter_own()?;
    voice::say(&json!({"pid": std::process::id(), "netns": namespace::inode()?}))?;
    voice::wait_for("go")?;

    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    for _ in 0..count {
        sender.send_to(&[b'c'; 40], at(CLOSED)).context("send to a closed port")?;
    }
    let full = overflow(&sender, count)?;
    // They stay open: whose they are is looked for after the packets.
    let (corrupt, _receiver) = corrupt(count)?;
    let _waiting = UdpSocket::bind(at(REFUSED_COMING_IN)).context("bind")?;
    let nftables = filter(&sender, count)?;
    exchange(&sender, count)?;
    voice::say(&json!({
        "closed": {"port": CLOSED, "packets": count},
        "full": {"port": FULL, "packets": full},
        "corrupt": {"port": CORRUPT, "packets": corrupt},
        "out": {"port": REFUSED_GOING_OUT, "packets": nftables.as_ref().map(|()| count).ok()},
        "in": {"port": REFUSED_COMING_IN, "packets": nftables.as_ref().map(|()| count).ok()},
        "nftables": nftables.err(),
        "fine": {"port": FINE},
        "sender": sender.local_addr().context("getsockname")?.port(),
    }))?;
    voice::wait_for("end")
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Fills the buffer of a socket that nobody reads. How many datagrams it did not take, by the socket's own account.
fn overflow(sender: &UdpSocket, count: u32) -> Result<u32> {
    let receiver = UdpSocket::bind(at(FULL)).context("bind")?;
    setsockopt(&receiver, sockopt::RcvBuf, &1).context("SO_RCVBUF")?;
    let before = udp_counter("RcvbufErrors")?;
    for _ in 0..count {
        sender.send_to(&[b'f'; 1000], at(FULL)).context("send")?;
    }
    receiver.set_nonblocking(true).context("set_nonblocking")?;
    let mut taken = 0;
    let refused = settled(|| {
        taken += std::iter::from_fn(|| receiver.recv(&mut [0; 2048]).ok()).count() as u32;
        let refused = udp_counter("RcvbufErrors")? - before;
        Ok((refused, taken + refused == count))
    })?;
    ensure!(taken + refused == count, "{taken} taken and {refused} refused are not {count}");
    ensure!(refused > 0, "the buffer took everything");
    Ok(refused)
}

/// What `look` finds once it is content, or after two seconds: on a busy machine what was sent arrives later.
fn settled(mut look: impl FnMut() -> Result<(u32, bool)>) -> Result<u32> {
    let began = Instant::now();
    loop {
        let (found, content) = look()?;
        if content || began.elapsed() > Duration::from_secs(2) {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Datagrams whose checksum is wrong, to a port that is open.
fn corrupt(count: u32) -> Result<(u32, UdpSocket)> {
    let receiver = UdpSocket::bind(at(CORRUPT)).context("bind")?;
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)
        .context("raw socket")?;
    let before = udp_counter("InCsumErrors")?;
    let packet = packet(40_000, CORRUPT);
    for _ in 0..count {
        sendto(raw.as_raw_fd(), &packet, &SockaddrIn::new(127, 0, 0, 1, 0), MsgFlags::empty())
            .context("send raw")?;
    }
    let refused = settled(|| {
        let refused = udp_counter("InCsumErrors")? - before;
        Ok((refused, refused == count))
    })?;
    ensure!(refused == count, "the kernel found {refused} of {count} checksums wrong");
    Ok((refused, receiver))
}

/// An IPv4 packet with a datagram of eight bytes. The kernel completes the header of IP.
fn packet(from: u16, to: u16) -> Vec<u8> {
    const LEN: u16 = 20 + 8 + 8;
    let mut bytes = vec![0x45, 0];
    bytes.extend(LEN.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend((LEN - 20).to_be_bytes());
    bytes.extend(0x1234_u16.to_be_bytes());
    bytes.extend(b"corrupt!");
    bytes
}

/// Datagrams that rules refuse, on their way out and on their way in; or why there are no rules.
fn filter(sender: &UdpSocket, count: u32) -> Result<Result<(), String>> {
    for (hook, port) in [(nft::LOCAL_OUT, REFUSED_GOING_OUT), (nft::LOCAL_IN, REFUSED_COMING_IN)] {
        match nft::drop_port(hook, port) {
            Err(error) if nft::is_absent(&error) => return Ok(Err(format!("{error:#}"))),
            outcome => outcome?,
        }
    }
    for _ in 0..count {
        let sent = sender.send_to(&[b'o'; 40], at(REFUSED_GOING_OUT));
        ensure!(
            sent.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)),
            "a rule let it out: {sent:?}"
        );
        sender.send_to(&[b'i'; 40], at(REFUSED_COMING_IN)).context("send")?;
    }
    Ok(Ok(()))
}

/// What arrives and is read: no packet of it is dropped.
fn exchange(sender: &UdpSocket, count: u32) -> Result<()> {
    let receiver = UdpSocket::bind(at(FINE)).context("bind")?;
    for _ in 0..count {
        sender.send_to(b"fine", at(FINE)).context("send")?;
        receiver.recv(&mut [0; 16]).context("receive")?;
    }
    let listener = TcpListener::bind(at(FINE)).context("listen")?;
    for number in 0..count.min(20) {
        let mut one = TcpStream::connect(at(FINE)).context("connect")?;
        let (mut other, _) = listener.accept().context("accept")?;
        one.write_all(&[b'x'; 5000]).context("write")?;
        other.read_exact(&mut [0; 5000]).context("read")?;
        other.write_all(&[b'y'; 100]).context("write")?;
        one.read_exact(&mut [0; 100]).context("read")?;
        drop(one);
        // Then the other end is closed only when this one waits for nothing but that.
        if number < 3 {
            std::thread::sleep(Duration::from_millis(250));
        }
        ensure!(other.read(&mut [0; 1]).context("read the end")? == 0, "more than was sent");
    }
    Ok(())
}

/// A number of UDP's own, of this namespace.
fn udp_counter(name: &str) -> Result<u32> {
    let text = fs::read_to_string("/proc/self/net/snmp").context("read /proc/self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let index = names.split(' ').position(|known| known == name).with_context(|| format!("no {name}"))?;
    values.split(' ').nth(index).context("no value")?.parse().context("not a number")
}
