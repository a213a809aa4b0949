//! Datagrams sent and taken in every way, each flow of them with known counts: in a network namespace of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn,
    SockaddrStorage, recvmmsg, sendmmsg, sendto, setsockopt, socket, sockopt,
};
use serde_json::{Value, json};

use super::{Words, namespace, voice};

/// Segments of one large datagram.
const SEGMENT: usize = 100;
const SEGMENTS: usize = 8;

/// What must be counted of each flow, by this side's end and the other.
#[derive(Default)]
struct Account(BTreeMap<(String, SocketAddr, SocketAddr), Flow>);

#[derive(Default, Clone, Copy)]
struct Flow {
    tx_packets: u64,
    tx_bytes: u64,
    rx_packets: u64,
    rx_bytes: u64,
}

impl Account {
    fn sent(&mut self, case: &str, from: SocketAddr, to: SocketAddr, packets: u64, bytes: usize) {
        let flow = self.0.entry((case.to_owned(), from, to)).or_default();
        flow.tx_packets += packets;
        flow.tx_bytes += bytes as u64;
    }

    fn taken(&mut self, case: &str, to: SocketAddr, from: SocketAddr, packets: u64, bytes: usize) {
        let flow = self.0.entry((case.to_owned(), to, from)).or_default();
        flow.rx_packets += packets;
        flow.rx_bytes += bytes as u64;
    }

    fn told(&self) -> Vec<Value> {
        let of = |((case, local, peer), flow): (&(String, SocketAddr, SocketAddr), &Flow)| {
            json!({
                "case": case, "local": local.to_string(), "peer": peer.to_string(),
                "tx_packets": flow.tx_packets, "tx_bytes": flow.tx_bytes,
                "rx_packets": flow.rx_packets, "rx_bytes": flow.rx_bytes,
            })
        };
        self.0.iter().map(of).collect()
    }
}

/// Does it all when told `go`, closes all sockets but one, and says what each flow has sent and taken.
pub fn play(words: &mut Words) -> Result<()> {
    let count: usize = words.parse("COUNT")?;
    namespace::enter_own()?;
    let pings = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").is_ok();
    voice::say(&json!({"pid": std::process::id(), "netns": namespace::inode()?}))?;
    voice::wait_for("go")?;
    let mut account = Account::default();
    let four: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let six: SocketAddr = (Ipv6Addr::LOCALHOST, 0).into();
    connected(&mut account, "connected", four, count)?;
    connected(&mut account, "connected v6", six, count)?;
    unconnected(&mut account, "unconnected", four, count)?;
    unconnected(&mut account, "unconnected v6", six, count)?;
    mapped(&mut account, count)?;
    wildcard(&mut account, count)?;
    batches(&mut account, count)?;
    segments(&mut account, false, count)?;
    segments(&mut account, true, count)?;
    quic(&mut account)?;
    multicast(&mut account, count)?;
    multicast_v6(&mut account, count)?;
    broadcast(&mut account, count)?;
    let ping = if pings { Some(ping(count.min(20))?) } else { None };
    let held = UdpSocket::bind(four).context("bind")?;
    let sink = UdpSocket::bind(four).context("bind")?;
    let (from, to) = (held.local_addr()?, sink.local_addr()?);
    held.send_to(b"", to).context("send nothing")?;
    account.sent("held", from, to, 1, 0);
    voice::say(&json!({"flows": account.told(), "ping": ping}))?;
    voice::wait_for("end")
}

/// `datagram-bulk COUNT`: when told, sends so many, a few at a time, and takes them, all in one thread: nothing waits for
/// another, and none is lost.
pub fn bulk(words: &mut Words) -> Result<()> {
    const AT_ONCE: usize = 32;
    let count: usize = words.parse("COUNT")?;
    let (sender, receiver) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    let to = receiver.local_addr()?;
    voice::say(&json!({"ready": true}))?;
    voice::wait_for("go")?;
    let begin = Instant::now();
    let mut buffer = [7; 1000];
    for _ in 0..count / AT_ONCE {
        for _ in 0..AT_ONCE {
            sender.send_to(&buffer, to).context("send")?;
        }
        for _ in 0..AT_ONCE {
            receiver.recv_from(&mut buffer).context("receive")?;
        }
    }
    voice::say(&json!({"datagrams": count, "elapsed_ns": begin.elapsed().as_nanos() as u64}))
}

/// A client that is connected, a server that is not; it looks before it takes.
fn connected(account: &mut Account, case: &str, at: SocketAddr, count: usize) -> Result<()> {
    let (client, server) = (UdpSocket::bind(at)?, UdpSocket::bind(at)?);
    let (near, far) = (client.local_addr()?, server.local_addr()?);
    client.connect(far).context("connect")?;
    let mut buffer = [0; 2048];
    for round in 0..count {
        let size = 1 + round % 1400;
        client.send(buffer.get(..size).context("no room")?).context("send")?;
        server.peek_from(&mut [0; 16]).context("peek")?;
        let (got, from) = server.recv_from(&mut buffer).context("receive")?;
        ensure!((got, from) == (size, near), "{got} bytes from {from}");
        account.sent(case, near, far, 1, size);
        account.taken(case, far, near, 1, size);
        if round % 2 == 0 {
            server.send_to(&[9; 7], near).context("answer")?;
            client.recv(&mut buffer).context("receive the answer")?;
            account.sent(case, far, near, 1, 7);
            account.taken(case, near, far, 1, 7);
        }
    }
    Ok(())
}

/// One socket to five, by turns; some send nothing but an empty datagram.
fn unconnected(account: &mut Account, case: &str, at: SocketAddr, count: usize) -> Result<()> {
    let sender = UdpSocket::bind(at)?;
    let near = sender.local_addr()?;
    let receivers = (0..5).map(|_| UdpSocket::bind(at)).collect::<Result<Vec<_>, _>>()?;
    let mut buffer = [0; 512];
    for round in 0..count {
        for (index, receiver) in receivers.iter().enumerate() {
            let (far, size) = (receiver.local_addr()?, index * 100 * (round % 2));
            sender.send_to(buffer.get(..size).context("no room")?, far).context("send")?;
            let got = receiver.recv_from(&mut buffer).context("receive")?.0;
            ensure!(got == size, "{got} bytes instead of {size}");
            account.sent(case, near, far, 1, size);
            account.taken(case, far, near, 1, size);
        }
    }
    Ok(())
}

/// IPv4 through a socket of IPv6.
fn mapped(account: &mut Account, count: usize) -> Result<()> {
    let sender = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let far = receiver.local_addr()?;
    let near: SocketAddr = (Ipv4Addr::LOCALHOST, sender.local_addr()?.port()).into();
    let wide: SocketAddr = (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), far.port()).into();
    for _ in 0..count {
        sender.send_to(&[1; 60], wide).context("send")?;
        receiver.recv(&mut [0; 100]).context("receive")?;
        account.sent("mapped", near, far, 1, 60);
        account.taken("mapped", far, near, 1, 60);
    }
    Ok(())
}

/// A server on every address, asked at two of them, by a client that never binds.
fn wildcard(account: &mut Account, count: usize) -> Result<()> {
    let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = server.local_addr()?.port();
    let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let own = client.local_addr()?.port();
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)] {
        let far: SocketAddr = (address, port).into();
        let near: SocketAddr = (Ipv4Addr::LOCALHOST, own).into();
        for _ in 0..count {
            client.send_to(&[2; 30], far).context("send")?;
            let (_, from) = server.recv_from(&mut [0; 100]).context("receive")?;
            ensure!(from == near, "from {from} instead of {near}");
            account.sent("wildcard", near, far, 1, 30);
            account.taken("wildcard", far, near, 1, 30);
        }
    }
    Ok(())
}

/// Many datagrams in one call, to three receivers; taken several in one call.
fn batches(account: &mut Account, count: usize) -> Result<()> {
    const BATCH: usize = 12;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = sender.local_addr()?;
    let receivers =
        (0..3).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let payload = [3_u8; 200];
    for _ in 0..count.div_ceil(BATCH) {
        let mut to = Vec::new();
        for receiver in receivers.iter().cycle().take(BATCH) {
            to.push(Some(SockaddrStorage::from(receiver.local_addr()?)));
        }
        let slices: Vec<[IoSlice<'_>; 1]> =
            (0..BATCH).filter_map(|turn| Some([IoSlice::new(payload.get(..100 + turn)?)])).collect();
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let none: [ControlMessage<'_>; 0] = [];
        let sent = sendmmsg(sender.as_raw_fd(), &mut headers, &slices, &to, none, MsgFlags::empty())
            .context("sendmmsg")?
            .count();
        ensure!(sent == BATCH, "{sent} of {BATCH} sent");
        for (index, receiver) in receivers.iter().enumerate() {
            let far = receiver.local_addr()?;
            let due = BATCH / 3;
            let mut room = vec![[0_u8; 300]; due];
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                room.iter_mut().map(|room| [IoSliceMut::new(room)]).collect();
            let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(due, None);
            let taken: Vec<usize> = recvmmsg(
                receiver.as_raw_fd(),
                &mut headers,
                slices.iter_mut(),
                MsgFlags::MSG_WAITFORONE,
                None,
            )
            .context("recvmmsg")?
            .map(|message| message.bytes)
            .collect();
            ensure!(taken.len() == due, "{} of {due} taken", taken.len());
            for turn in 0..due {
                account.sent("sendmmsg", near, far, 1, 100 + turn * 3 + index);
            }
            account.taken("sendmmsg", far, near, due as u64, taken.iter().sum());
        }
    }
    Ok(())
}

/// One call that the kernel cuts into datagrams (UDP_SEGMENT); taken one by one, or put together again (UDP_GRO).
fn segments(account: &mut Account, together: bool, count: usize) -> Result<()> {
    let case = if together { "segments together" } else { "segments" };
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (near, far) = (sender.local_addr()?, receiver.local_addr()?);
    setsockopt(&sender, sockopt::UdpGsoSegment, &(SEGMENT as i32)).context("UDP_SEGMENT")?;
    if together {
        setsockopt(&receiver, sockopt::UdpGroSegment, &true).context("UDP_GRO")?;
    }
    let whole = [4_u8; SEGMENT * SEGMENTS - 50];
    let mut buffer = [0; 4096];
    for _ in 0..count.div_ceil(SEGMENTS) {
        sender.send_to(&whole, far).context("send segments")?;
        account.sent(case, near, far, SEGMENTS as u64, whole.len());
        let mut bytes = 0;
        while bytes < whole.len() {
            bytes += receiver.recv(&mut buffer).context("receive")?;
        }
        account.taken(case, far, near, SEGMENTS as u64, bytes);
    }
    Ok(())
}

/// The beginning of a connection of QUIC version 1, to the port where it is spoken.
fn quic(account: &mut Account) -> Result<()> {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 443)).context("bind port 443")?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (near, far) = (client.local_addr()?, server.local_addr()?);
    client.connect(far)?;
    let mut initial = [0_u8; 1200];
    for (to, from) in initial.iter_mut().zip([0xc3, 0, 0, 0, 1]) {
        *to = from;
    }
    client.send(&initial).context("send")?;
    server.recv(&mut [0; 1500]).context("receive")?;
    account.sent("quic", near, far, 1, initial.len());
    account.taken("quic", far, near, 1, initial.len());
    Ok(())
}

/// To a group of IPv4 that one socket has joined, on the loopback.
fn multicast(account: &mut Account, count: usize) -> Result<()> {
    let group = Ipv4Addr::new(224, 0, 0, 77);
    let receiver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    receiver.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).context("join a group")?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    let by = libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() };
    // SAFETY: the address is as long as is said.
    nix::errno::Errno::result(unsafe {
        let len = size_of_val(&by) as libc::socklen_t;
        libc::setsockopt(
            sender.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MULTICAST_IF,
            (&raw const by).cast(),
            len,
        )
    })
    .context("IP_MULTICAST_IF")?;
    to_many(account, "multicast", &sender, &receiver, (group, receiver.local_addr()?.port()).into(), count)
}

fn multicast_v6(account: &mut Account, count: usize) -> Result<()> {
    const LOOPBACK: u32 = 1;
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x77);
    namespace::route_here(group, LOOPBACK)?;
    let receiver = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).context("bind")?;
    receiver.join_multicast_v6(&group, LOOPBACK).context("join a group of IPv6")?;
    let sender = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).context("bind")?;
    let to = SocketAddrV6::new(group, receiver.local_addr()?.port(), 0, LOOPBACK);
    to_many(account, "multicast v6", &sender, &receiver, to.into(), count)
}

/// To the loopback's own broadcast address.
fn broadcast(account: &mut Account, count: usize) -> Result<()> {
    let receiver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    sender.set_broadcast(true).context("SO_BROADCAST")?;
    let to = (Ipv4Addr::new(127, 255, 255, 255), receiver.local_addr()?.port()).into();
    to_many(account, "broadcast", &sender, &receiver, to, count)
}

fn to_many(
    account: &mut Account,
    case: &str,
    sender: &UdpSocket,
    receiver: &UdpSocket,
    to: SocketAddr,
    count: usize,
) -> Result<()> {
    receiver.set_read_timeout(Some(Duration::from_secs(10))).context("SO_RCVTIMEO")?;
    let near = sender.local_addr()?;
    let far = SocketAddr::new(to.ip(), to.port());
    for _ in 0..count {
        sender.send_to(&[6; 70], to).with_context(|| format!("send to {to}"))?;
        let (got, from) = receiver.recv_from(&mut [0; 100]).with_context(|| format!("take from {to}"))?;
        ensure!((got, from) == (70, near), "{got} bytes from {from}");
        account.sent(case, near, far, 1, 70);
        account.taken(case, far, near, 1, 70);
    }
    Ok(())
}

/// Echo requests from a ping socket.
fn ping(count: usize) -> Result<Value> {
    let protocol = SockProtocol::Icmp;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)
        .context("ping socket")?;
    let echo = [8_u8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    for _ in 0..count {
        sendto(socket.as_raw_fd(), &echo, &to, MsgFlags::empty()).context("send an echo request")?;
        nix::sys::socket::recv(socket.as_raw_fd(), &mut [0; 64], MsgFlags::empty()).context("receive")?;
    }
    Ok(json!({"packets": count, "bytes": count * echo.len()}))
}
