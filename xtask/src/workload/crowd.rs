//! A crowd of connections for the console to show: most idle, some of them talking every second.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use super::{Words, voice};

/// Connections that carry something each second, where nothing else is said.
const TALKING: usize = 20;

/// Opens COUNT connections within this process (twice as many sockets), says `{"sockets":..}`, lets TALKING of them
/// talk once a second until told `end`.
pub fn play(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let talking = words.optional("TALKING")?.unwrap_or(TALKING);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("setrlimit RLIMIT_NOFILE")?;

    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("listen")?;
    let port = listener.local_addr()?.port();
    let mut pairs = Vec::with_capacity(count as usize);
    for index in 0..count {
        // One destination address has not ephemeral ports enough for all.
        let to = SocketAddrV4::new(Ipv4Addr::from(0x7f00_0001 + index % 8), port);
        let sender = TcpStream::connect(to).with_context(|| format!("connect {index}"))?;
        let (receiver, _) = listener.accept().with_context(|| format!("accept {index}"))?;
        pairs.push((sender, receiver));
    }
    voice::say(&json!({"pid": std::process::id(), "sockets": 2 * count}))?;

    let (say, told) = channel();
    std::thread::spawn(move || {
        let _ = say.send(voice::wait_for("end"));
    });
    loop {
        match told.recv_timeout(Duration::from_secs(1)) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                for (sender, receiver) in pairs.iter_mut().take(talking) {
                    sender.write_all(&[b'c'; 1000])?;
                    receiver.read_exact(&mut [0; 1000])?;
                }
            }
        }
    }
}
