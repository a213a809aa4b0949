//! A socket that sees the packets of every interface of this network namespace, for a filter that takes what it wants and
//! lets nothing into the queue.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType};

/// A packet socket that nothing reaches yet: a filter can be attached before the first packet.
pub fn socket() -> io::Result<OwnedFd> {
    // Without a protocol it is bound to none. Datagrams begin at the network header, whatever the link.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(nix::sys::socket::socket(AddressFamily::Packet, SockType::Datagram, flags, None)?)
}

/// Has a filter decide what gets into the queue.
pub fn attach(socket: &OwnedFd, filter: &OwnedFd) -> io::Result<()> {
    let number = filter.as_raw_fd();
    let len = size_of_val(&number) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_BPF);
    // SAFETY: the number is as long as is said.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const number).cast(), len) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From now on every packet, coming and going, is shown to it.
pub fn listen(socket: &OwnedFd) -> io::Result<()> {
    // Any other protocol shows what comes in only.
    const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ALL,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is as long as is said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// For whoever is to do something about it.
pub fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "packet sockets are refused: run with sudo, or grant CAP_NET_RAW".to_owned()
        }
        Some(libc::EAFNOSUPPORT) => {
            "this kernel has no packet sockets (CONFIG_PACKET, module af_packet)".to_owned()
        }
        _ => format!("no packet socket: {error}"),
    }
}
