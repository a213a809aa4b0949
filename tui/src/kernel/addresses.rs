//! Addresses of the network namespace that fluoro is in.

use std::io;
use std::net::IpAddr;

/// Every address of every interface.
pub fn of_this_namespace() -> io::Result<Vec<IpAddr>> {
    let one = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(one).collect())
}
