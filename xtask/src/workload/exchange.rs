//! Requests and responses of known, varied sizes between one client process and one server process, over every
//! manner of accepting and of ending a connection. Both sides say what they sent, received and which process called
//! connect() or accept(); the pair fails when the two accounts differ.

pub mod client;
pub mod server;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Words;
use super::actor::{Actor, own_program};
use super::{namespace, voice};

/// How the server accepts; the client of `Epoll` connects without blocking, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One connection after the other.
    Plain,
    /// The parent accepts, a child serves.
    Forking,
    /// Four threads, each of which accepts and serves.
    Threaded,
    /// One process, non-blocking.
    Epoll,
    /// Accepts, reads and writes through io_uring, one connection after the other.
    Uring,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Forking, Self::Threaded, Self::Epoll, Self::Uring];

    /// Those that accept by accept(2).
    pub const BY_CALL: [Self; 4] = [Self::Plain, Self::Forking, Self::Threaded, Self::Epoll];

    /// Those that serve several connections at a time, and the one that asks for everything by a ring.
    pub const BUSY: [Self; 4] = [Self::Forking, Self::Threaded, Self::Epoll, Self::Uring];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Forking => "forking",
            Self::Threaded => "threaded",
            Self::Epoll => "epoll",
            Self::Uring => "uring",
        }
    }
}

/// Which addresses the two sides use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    /// An IPv4 client of a server that listens on `::`.
    MappedServer,
    /// A client that connects an IPv6 socket to `::ffff:127.0.0.1`.
    MappedClient,
}

impl Family {
    pub const ALL: [Self; 4] = [Self::V4, Self::V6, Self::MappedServer, Self::MappedClient];

    pub const fn word(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::MappedServer => "mapped-server",
            Self::MappedClient => "mapped-client",
        }
    }

    /// Where the n-th connection comes from, so that no two of a run ever have the same ends: an address of its own; of
    /// IPv6, whose loopback has one address only, a port of its own (`None`: that one does not exist).
    fn comes_from(self, index: u32) -> Option<SocketAddr> {
        /// Below the range that the kernel hands out by itself, and below what tests listen on.
        const PORTS: std::ops::Range<u32> = 2_000..20_000;
        let own = Ipv4Addr::from(0x7f01_0000 + index + 1);
        let port = (PORTS.start + index) as u16;
        match self {
            Self::V4 | Self::MappedServer => Some((own, 0).into()),
            Self::MappedClient => Some((own.to_ipv6_mapped(), 0).into()),
            Self::V6 => PORTS.contains(&(PORTS.start + index)).then(|| (Ipv6Addr::LOCALHOST, port).into()),
        }
    }

    /// What an observer should call it: a mapped address is IPv4.
    pub const fn network_type(self) -> &'static str {
        match self {
            Self::V6 => "ipv6",
            _ => "ipv4",
        }
    }

    fn listens_on(self, port: u16) -> SocketAddr {
        let address = match self {
            Self::V4 | Self::MappedClient => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Self::MappedServer => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(address, port)
    }

    fn connects_to(self, port: u16) -> SocketAddr {
        let address = match self {
            Self::V4 | Self::MappedServer => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Self::MappedClient => IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
        };
        SocketAddr::new(address, port)
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or(())
    }
}

impl FromStr for Family {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|family| family.word() == word).ok_or(())
    }
}

/// One request with its response, as the client asks for it in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deal {
    request: u32,
    response: u32,
    /// The server closes as soon as it has answered; else the client does when it has read.
    server_first: bool,
    /// The client shuts down its sending side before it reads the answer.
    half_close: bool,
    /// The server takes its time between the client's FIN and its own.
    late: bool,
}

impl Deal {
    const HEADER: usize = 12;

    /// The deal of the n-th connection: sizes from nothing to several windows.
    fn nth(index: u32) -> Self {
        // Knuth's multiplicative hash: spread, and the same in every run.
        let mixed = index.wrapping_mul(2_654_435_761);
        let large = index % 17 == 3;
        Self {
            request: if large { 40_000 + mixed % 50_000 } else { mixed % 1_400 },
            response: match index % 11 {
                0 => 0,
                7 => 150_000 + mixed % 200_000,
                _ => mixed % 20_000,
            },
            server_first: index % 3 == 1,
            half_close: index % 5 == 2,
            late: index % 13 == 6,
        }
    }

    fn header(self) -> [u8; Self::HEADER] {
        let manner =
            u32::from(self.server_first) | u32::from(self.half_close) << 1 | u32::from(self.late) << 2;
        let mut header = [0; Self::HEADER];
        for (to, from) in header
            .iter_mut()
            .zip([self.request, self.response, manner].iter().flat_map(|word| word.to_le_bytes()))
        {
            *to = from;
        }
        header
    }

    fn from_header(header: &[u8]) -> Result<Self> {
        let mut words = header.chunks_exact(4).map(|word| word.try_into().map(u32::from_le_bytes));
        let (Some(Ok(request)), Some(Ok(response)), Some(Ok(manner)), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("header of {} bytes", header.len());
        };
        Ok(Self {
            request,
            response,
            server_first: manner & 1 != 0,
            half_close: manner & 2 != 0,
            late: manner & 4 != 0,
        })
    }
}

/// How long a late server waits before its FIN.
const LATE: Duration = Duration::from_millis(3);

/// One side's account of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    /// The process, and the thread of it, that called connect() or accept().
    pub pid: u32,
    pub tid: u32,
}

impl Account {
    pub fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Self {
            local: canonical(local),
            peer: canonical(peer),
            tx_bytes: 0,
            rx_bytes: 0,
            pid: std::process::id(),
            tid: nix::unistd::gettid().as_raw().cast_unsigned(),
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "local": self.local.to_string(), "peer": self.peer.to_string(),
            "tx_bytes": self.tx_bytes, "rx_bytes": self.rx_bytes, "pid": self.pid, "tid": self.tid,
        })
    }

    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |key| value.get(key).and_then(Value::as_u64);
        let address = |key| value.get(key).and_then(Value::as_str).and_then(|text| text.parse().ok());
        Some(Self {
            local: address("local")?,
            peer: address("peer")?,
            tx_bytes: number("tx_bytes")?,
            rx_bytes: number("rx_bytes")?,
            pid: number("pid")?.try_into().ok()?,
            tid: number("tid")?.try_into().ok()?,
        })
    }
}

/// Runs both sides and says one object: `{"clients":[account..],"servers":[account..],..}`, n-th with n-th.
pub fn pair(words: &mut Words) -> Result<()> {
    let kind: Kind = words.parse("KIND")?;
    let family: Family = words.parse("FAMILY")?;
    let count: u32 = words.parse("COUNT")?;
    let port: u16 = words.parse("PORT")?;
    match words.text("here|apart")?.as_str() {
        "here" => {}
        "apart" => namespace::enter_own()?,
        other => bail!("{other}: neither here nor apart"),
    }
    let program = own_program()?;
    let args = [kind.word(), family.word(), &count.to_string(), &port.to_string()];
    let side = |role| Actor::start(&program, &[&[role], args.as_slice()].concat());

    let limit = Duration::from_mins(2);
    let server = side("serve")?;
    let ready = server.hear(Duration::from_secs(20))?;
    let client = side("fetch")?;
    let (client_pid, server_pid) = (client.pid(), server.pid());
    let clients = accounts(&client.rest(limit)?)?;
    let mut by_peer: HashMap<SocketAddr, Account> =
        accounts(&server.rest(limit)?)?.into_iter().map(|account| (account.peer, account)).collect();

    ensure!(clients.len() == count as usize, "{} of {count} requests were made", clients.len());
    ensure!(by_peer.len() == count as usize, "{} of {count} requests were served", by_peer.len());
    let mut servers = Vec::new();
    for client in &clients {
        let server = by_peer.remove(&client.local).with_context(|| format!("nobody served {client:?}"))?;
        ensure!(
            (client.tx_bytes, client.rx_bytes, client.peer)
                == (server.rx_bytes, server.tx_bytes, server.local),
            "the two sides differ: {client:?} {server:?}"
        );
        servers.push(server);
    }
    voice::say(&json!({
        "kind": kind.word(), "network_type": family.network_type(), "netns": namespace::inode()?,
        "listener": ready, "port": port, "client_pid": client_pid, "server_pid": server_pid,
        "clients": clients.iter().map(Account::to_json).collect::<Vec<_>>(),
        "servers": servers.iter().map(Account::to_json).collect::<Vec<_>>(),
    }))
}

fn accounts(said: &[Value]) -> Result<Vec<Account>> {
    said.iter()
        .map(|value| Account::from_json(value).with_context(|| format!("{value}: not an account")))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_deal_survives_its_header() {
        for index in 0..2_000 {
            let deal = Deal::nth(index);
            assert_eq!(Deal::from_header(&deal.header()).unwrap(), deal);
        }
        assert!(Deal::from_header(&[0; 11]).is_err());
    }

    #[test]
    fn the_deals_of_a_short_run_cover_every_manner_of_ending() {
        let deals: Vec<Deal> = (0..60).map(Deal::nth).collect();
        for server_first in [false, true] {
            for half_close in [false, true] {
                assert!(deals.iter().any(|d| d.server_first == server_first && d.half_close == half_close));
            }
        }
        assert!(deals.iter().any(|d| d.late && !d.server_first));
        assert!(deals.iter().any(|d| d.response == 0));
        assert!(deals.iter().any(|d| d.response > 150_000));
    }

    #[test]
    fn no_two_connections_come_from_the_same_place() {
        for family in Family::ALL {
            let places: std::collections::HashSet<_> = (0..5_000).map(|n| family.comes_from(n)).collect();
            assert_eq!(places.len(), 5_000);
            assert!(!places.contains(&None));
        }
        assert_eq!(Family::V6.comes_from(20_000), None);
    }

    #[test]
    fn an_account_names_a_mapped_address_as_ipv4() {
        let account = Account::new(
            "[::ffff:127.0.0.1]:80".parse().unwrap(),
            "[::ffff:127.0.0.1]:4000".parse().unwrap(),
        );
        assert_eq!(account.local.to_string(), "127.0.0.1:80");
        assert_eq!(Account::from_json(&account.to_json()).unwrap(), account);
    }
}
