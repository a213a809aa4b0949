//! Which UDP sockets there are, by their cookies and ports.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::{DiagError, Parsed, ask, parse};

const IPPROTO_UDP: u8 = 17;
/// Bound and connected ones, without attributes that anybody reads.
const QUESTION: (u32, u8) = (0xffff_ffff, super::INET_DIAG_SKMEMINFO);

/// Local ports of all UDP sockets of the calling thread's network namespace, by the sockets' cookies.
pub fn datagrams() -> Result<HashMap<u64, u16>, DiagError> {
    // SAFETY: no pointers.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG)
    };
    if fd < 0 {
        return Err(DiagError::Open(io::Error::last_os_error()));
    }
    // SAFETY: a descriptor that the kernel has just given.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut buffer = vec![0u8; 64 << 10];
    let mut found = HashMap::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask(&socket, family as u8, IPPROTO_UDP, QUESTION).map_err(DiagError::AskDatagrams)?;
        loop {
            // SAFETY: the buffer is writable for its length.
            let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            if got < 0 {
                let error = io::Error::last_os_error();
                if error.raw_os_error() == Some(libc::EINTR) {
                    continue;
                }
                // A list with gaps would end flows that go on.
                return Err(DiagError::AskDatagrams(error));
            }
            let part = buffer.get(..got as usize).unwrap_or_default();
            match parse(part, &mut |socket| found.extend([(socket.cookie, socket.local.port())])) {
                Parsed::More => {}
                Parsed::Done => break,
                // A family that this kernel does not have.
                Parsed::Refused(libc::ENOENT) if family == libc::AF_INET6 => break,
                Parsed::Refused(errno) => {
                    return Err(DiagError::AskDatagrams(io::Error::from_raw_os_error(errno)));
                }
            }
        }
    }
    Ok(found)
}

/// The same for another network namespace, on a thread of its own.
pub fn datagrams_in(namespace: &Path) -> Result<HashMap<u64, u16>, DiagError> {
    let entered = |source| DiagError::Enter { path: namespace.display().to_string(), source };
    let file = std::fs::File::open(namespace).map_err(entered)?;
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| entered(io::Error::from_raw_os_error(errno as i32)))?;
                datagrams()
            })
            .join()
            .unwrap_or_else(|_| Err(entered(io::Error::other("the thread ended early"))))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_udp_socket_is_listed_until_it_is_closed() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut cookie = 0_u64;
        let mut len = size_of::<u64>() as libc::socklen_t;
        // SAFETY: room for the cookie and its length.
        let told = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut len,
            )
        };
        assert_eq!(told, 0);
        let port = socket.local_addr().unwrap().port();
        assert_eq!(datagrams().unwrap().get(&cookie), Some(&port));
        drop(socket);
        assert!(!datagrams().unwrap().contains_key(&cookie));
    }
}
