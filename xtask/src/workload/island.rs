//! A network namespace of its own in which somebody asks for names over the loopback, and packets pass through that are of
//! nobody there: what another such namespace does, too, with the same addresses and ports.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde_json::json;

use super::{Words, dns, namespace, voice};

/// Who is asked, and from where.
pub const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);
const ASKER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 4053);
/// Of what passes through: between whom, and bytes of each datagram there and back.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub const FAR_PORT: u16 = 2000;
pub const DATAGRAMS: (usize, usize) = (100, 300);

/// `island COUNT NEAR_PORT`: when told, so many of each, in turn.
pub fn play(words: &mut Words) -> Result<()> {
    let count: u16 = words.parse("COUNT")?;
    let port: u16 = words.parse("NEAR_PORT")?;
    namespace::enter_own()?;
    voice::say(&json!({"netns": namespace::inode()?}))?;
    voice::wait_for("go")?;
    let server = UdpSocket::bind(SERVER).context("bind the name server's port")?;
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((len, from)) = server.recv_from(&mut bytes) {
            if let Some(answer) = bytes.get(..len).and_then(dns::answer) {
                let _ = server.send_to(&answer, from);
            }
        }
    });
    let asker = UdpSocket::bind(ASKER).context("bind")?;
    asker.set_read_timeout(Some(Duration::from_secs(10))).context("SO_RCVTIMEO")?;
    let wire = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .context("packet socket")?;
    for round in 0..count {
        let question = dns::question(&name(round), 1, round);
        asker.send_to(&question, SERVER).context("ask")?;
        let len = asker.recv(&mut [0; 512]).context("hear the answer")?;
        ensure!(len > question.len(), "no answer");
        inject(&wire, (NEAR, port), (FAR, FAR_PORT), DATAGRAMS.0)?;
        inject(&wire, (FAR, FAR_PORT), (NEAR, port), DATAGRAMS.1)?;
    }
    drop(wire);
    voice::say(&json!({"done": count}))?;
    voice::wait_for("end")
}

/// What is asked for in a round.
pub fn name(round: u16) -> String {
    format!("plain-{round}.island.fluoro.test")
}

/// Puts a datagram of others onto the loopback.
fn inject(wire: &OwnedFd, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), bytes: usize) -> Result<()> {
    const LOOPBACK: i32 = 1;
    let whole = (28 + bytes) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(whole.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let pairs = packet.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
    let sum = pairs.map(|pair| u32::from(u16::from_be_bytes(pair))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet.splice(10..12, sum.to_be_bytes());
    for half in [from.1, to.1, whole - 20, 0] {
        packet.extend(half.to_be_bytes());
    }
    packet.resize(usize::from(whole), b'w');
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: LOOPBACK,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    // SAFETY: packet and address are as long as is said.
    let sent = nix::errno::Errno::result(unsafe {
        libc::sendto(
            wire.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    })
    .context("send on the wire")?;
    ensure!(sent.cast_unsigned() == packet.len(), "{sent} bytes sent");
    Ok(())
}
