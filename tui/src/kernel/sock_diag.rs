//! The kernel's table of TCP sockets, asked by netlink sock_diag: forty times faster than /proc/net/tcp and with the
//! kernel's own counters (`struct tcp_info`, append-only: what an older kernel lacks is missing here).

mod udp;

pub use udp::{datagrams, datagrams_in};

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    pub cookie: u64,
    /// As in include/net/tcp_states.h.
    pub state: u8,
    /// IPv4-mapped addresses are IPv4.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub uid: u32,
    /// 0 when no process holds it any more.
    pub inode: u64,
    pub rtt_us: Option<u32>,
    pub retransmits: Option<u32>,
    /// Includes the SYN of the active opener and an acknowledged FIN.
    pub bytes_acked: Option<u64>,
    /// Includes a received FIN.
    pub bytes_received: Option<u64>,
    pub min_rtt_us: Option<u32>,
    /// Segments.
    pub cwnd: Option<u32>,
    pub out_of_order: Option<u32>,
    pub delivery_rate: Option<u64>,
    /// Of a listener: connections that wait to be accepted, and how many may.
    pub waiting: u32,
    pub backlog: u32,
    /// Of a listener: attempts turned away.
    pub drops: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    #[error("cannot open a sock_diag socket: {0}")]
    Open(#[source] io::Error),
    #[error("cannot ask for the TCP sockets: {0}; the kernel needs CONFIG_INET_TCP_DIAG (module tcp_diag)")]
    Ask(#[source] io::Error),
    #[error("cannot ask for the UDP sockets: {0}; the kernel needs CONFIG_INET_UDP_DIAG (module udp_diag)")]
    AskDatagrams(#[source] io::Error),
    #[error("cannot enter the network namespace {path}: {source}")]
    Enter {
        path: String,
        #[source]
        source: io::Error,
    },
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_INFO: u8 = 2;
const INET_DIAG_SKMEMINFO: u8 = 7;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
const LISTEN: u8 = 10;
/// What is asked for, each with the attribute that is of use there. Asking for SYN_RECV brings requests, too, whose
/// handshake is not over; what is in TIME_WAIT has no socket any more.
const QUESTIONS: [(u32, u8); 2] =
    [(1 << LISTEN, INET_DIAG_SKMEMINFO), (0xfff & !(1 << LISTEN) & !(1 << 6), INET_DIAG_INFO)];
/// `struct nlmsghdr`, `struct inet_diag_req_v2`, `struct inet_diag_msg` (include/uapi/linux/inet_diag.h).
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
/// Offsets in `struct tcp_info` (include/uapi/linux/tcp.h).
const INFO_RTT: usize = 68;
const INFO_CWND: usize = 80;
const INFO_TOTAL_RETRANS: usize = 100;
const INFO_BYTES_ACKED: usize = 120;
const INFO_BYTES_RECEIVED: usize = 128;
const INFO_MIN_RTT: usize = 148;
const INFO_DELIVERY_RATE: usize = 160;
const INFO_OUT_OF_ORDER: usize = 224;
/// Offset in `__u32 skmeminfo[SK_MEMINFO_VARS]` (include/uapi/linux/sock_diag.h).
const SKMEMINFO_DROPS: usize = 32;

/// Takes one socket.
pub type Take<'a> = dyn FnMut(Socket) + Send + 'a;

/// All TCP sockets of the calling thread's network namespace, one after the other, listeners first. After an error
/// what came is right, and something is missing.
pub fn dump(take: &mut Take<'_>) -> Result<(), DiagError> {
    // SAFETY: no pointers.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG)
    };
    if fd < 0 {
        return Err(DiagError::Open(io::Error::last_os_error()));
    }
    // SAFETY: a descriptor that the kernel has just given.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut buffer = vec![0u8; 256 << 10];
    let families = [libc::AF_INET, libc::AF_INET6];
    for (question, family) in
        QUESTIONS.into_iter().flat_map(|question| families.map(|family| (question, family)))
    {
        ask(&socket, family as u8, IPPROTO_TCP, question).map_err(DiagError::Ask)?;
        loop {
            // SAFETY: the buffer is writable for its length.
            let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            if got < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(DiagError::Ask(error));
            }
            let part = buffer.get(..got as usize).unwrap_or_default();
            match parse(part, take) {
                Parsed::More => {}
                Parsed::Done => break,
                // A family that this kernel does not have.
                Parsed::Refused(libc::ENOENT) if family == libc::AF_INET6 => break,
                Parsed::Refused(errno) => return Err(DiagError::Ask(io::Error::from_raw_os_error(errno))),
            }
        }
    }
    Ok(())
}

/// The same for another network namespace: on a thread of its own, which ends afterwards, so that this one never
/// leaves its namespace.
pub fn dump_in(namespace: &Path, take: &mut Take<'_>) -> Result<(), DiagError> {
    let entered = |source| DiagError::Enter { path: namespace.display().to_string(), source };
    let file = std::fs::File::open(namespace).map_err(entered)?;
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| entered(io::Error::from_raw_os_error(errno as i32)))?;
                dump(take)
            })
            .join()
            .unwrap_or_else(|_| Err(entered(io::Error::other("the thread ended early"))))
    })
}

fn ask(socket: &OwnedFd, family: u8, protocol: u8, (states, attribute): (u32, u8)) -> io::Result<()> {
    const NLM_F_REQUEST_DUMP: u16 = 0x301;
    let mut request = Vec::with_capacity(HEADER + REQUEST);
    request.extend_from_slice(&((HEADER + REQUEST) as u32).to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    // Sequence number and port.
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[family, protocol, 1 << (attribute - 1), 0]);
    request.extend_from_slice(&states.to_ne_bytes());
    // Any socket: an empty inet_diag_sockid.
    request.resize(HEADER + REQUEST, 0);
    // SAFETY: the request is readable for its length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    More,
    Done,
    Refused(i32),
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Reads the messages of one datagram.
fn parse(mut bytes: &[u8], take: &mut Take<'_>) -> Parsed {
    while let (Some(len), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let len = len as usize;
        let Some(body) = bytes.get(HEADER..len) else { break };
        match kind {
            NLMSG_DONE => {
                // A dump that could not begin ends so, with its error: the kernel lacks the module.
                let code = word(body, 0).map_or(0, u32::cast_signed);
                return if code < 0 { Parsed::Refused(code.wrapping_neg()) } else { Parsed::Done };
            }
            NLMSG_ERROR => {
                return Parsed::Refused(
                    word(body, 0).map_or(libc::EPROTO, |code| code.cast_signed().wrapping_neg()),
                );
            }
            SOCK_DIAG_BY_FAMILY => {
                if let Some(socket) = socket(body) {
                    take(socket);
                }
            }
            _ => {}
        }
        let Some(rest) = bytes.get(len.next_multiple_of(4)..) else { break };
        bytes = rest;
    }
    Parsed::More
}

/// `struct inet_diag_msg` and its attributes.
fn socket(body: &[u8]) -> Option<Socket> {
    let family = *body.first()?;
    let state = *body.get(1)?;
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| -> Option<IpAddr> {
        if i32::from(family) == libc::AF_INET {
            let octets: [u8; 4] = body.get(at..at + 4)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        } else {
            let octets: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
    };
    let mut found = Socket {
        local: SocketAddr::new(address(8)?, port(4)?),
        peer: SocketAddr::new(address(24)?, port(6)?),
        cookie: u64::from(word(body, 44)?) | u64::from(word(body, 48)?) << 32,
        state,
        uid: word(body, 64)?,
        inode: u64::from(word(body, 68)?),
        rtt_us: None,
        retransmits: None,
        bytes_acked: None,
        bytes_received: None,
        min_rtt_us: None,
        cwnd: None,
        out_of_order: None,
        delivery_rate: None,
        waiting: word(body, 56)?,
        backlog: word(body, 60)?,
        drops: None,
    };
    let mut attributes = body.get(MESSAGE..)?;
    while let (Some(len), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let len = usize::from(len);
        let Some(info) = attributes.get(4..len) else { break };
        if kind == u16::from(INET_DIAG_INFO) {
            found.rtt_us = word(info, INFO_RTT);
            found.retransmits = word(info, INFO_TOTAL_RETRANS);
            found.bytes_acked = long(info, INFO_BYTES_ACKED);
            found.bytes_received = long(info, INFO_BYTES_RECEIVED);
            // All ones: not measured yet.
            found.min_rtt_us = word(info, INFO_MIN_RTT).filter(|us| *us != u32::MAX);
            found.cwnd = word(info, INFO_CWND);
            found.out_of_order = word(info, INFO_OUT_OF_ORDER);
            found.delivery_rate = long(info, INFO_DELIVERY_RATE);
        } else if kind == u16::from(INET_DIAG_SKMEMINFO) {
            found.drops = word(info, SKMEMINFO_DROPS);
        }
        let Some(rest) = attributes.get(len.next_multiple_of(4)..) else { break };
        attributes = rest;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_real_connection_is_listed_with_the_bytes_it_moved() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[7; 1000]).unwrap();
        let mut received = [0; 1000];
        server.read_exact(&mut received).unwrap();
        // The acknowledgement may come a moment later than the data.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let mut sockets = Vec::new();
        dump(&mut |socket| sockets.push(socket)).unwrap();
        let find = |local| sockets.iter().find(|s| s.local == local && s.state == 1).unwrap();
        let ours = find(client.local_addr().unwrap());
        // One more for the SYN of the side that connected.
        assert_eq!(ours.bytes_acked, Some(1001));
        assert_eq!(ours.peer, listener.local_addr().unwrap());
        assert_eq!(find(server.local_addr().unwrap()).bytes_received, Some(1000));
        assert!(ours.min_rtt_us.is_some() && ours.cwnd.is_some_and(|cwnd| cwnd > 0));
        let listening =
            sockets.iter().find(|s| s.state == LISTEN && s.local == listener.local_addr().unwrap());
        let listening = listening.unwrap();
        // What std asks for, if the machine allows as many.
        assert!(listening.backlog > 0);
        assert_eq!((listening.waiting, listening.drops), (0, Some(0)));
    }

    #[test]
    fn an_older_kernels_short_tcp_info_leaves_the_rest_unknown() {
        let mut body = vec![0u8; MESSAGE];
        body[0] = libc::AF_INET as u8;
        body[1] = 1;
        let info_len = 4 + INFO_TOTAL_RETRANS + 4;
        body.extend_from_slice(&(info_len as u16).to_ne_bytes());
        body.extend_from_slice(&u16::from(INET_DIAG_INFO).to_ne_bytes());
        body.resize(MESSAGE + info_len, 1);
        let found = socket(&body).unwrap();
        assert_eq!((found.retransmits, found.bytes_acked), (Some(0x0101_0101), None));
    }

    #[test]
    fn a_dump_that_could_not_begin_is_no_empty_table() {
        let mut message = 20_u32.to_ne_bytes().to_vec();
        message.extend(NLMSG_DONE.to_ne_bytes());
        message.extend([0; 10]);
        message.extend((-libc::ENOENT).to_ne_bytes());
        assert_eq!(parse(&message, &mut |_| ()), Parsed::Refused(libc::ENOENT));
        message.truncate(16);
        message.extend(0_i32.to_ne_bytes());
        assert_eq!(parse(&message, &mut |_| ()), Parsed::Done);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = parse(&bytes, &mut |_| ());
            let _ = socket(&bytes);
        }
    }
}
