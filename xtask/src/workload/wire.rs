//! Two containers at a bridge: a network namespace with a bridge, and one at each of two of its ports. They talk; the one
//! with the bridge only passes it on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::actor::{Actor, own_program};
use super::{Words, namespace, voice};

const PATIENCE: Duration = Duration::from_secs(20);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const UDP_PORT: u16 = 7000;
const TCP_PORT: u16 = 7001;
/// Of what is sent to all.
pub const CALL_PORT: u16 = 7002;
pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 255);

/// Bytes of a datagram that is sent, and of the one that is sent back.
pub const DATAGRAMS: (usize, usize) = (100, 300);
/// Bytes sent in a stream, and back.
pub const STREAM: (usize, usize) = (1_000_000, 5_000);

/// `wire COUNT`: builds all that; when told, the two exchange so many datagrams and one stream, then one of them ends.
pub fn play(words: &mut Words) -> Result<()> {
    let count = words.text("COUNT")?;
    namespace::enter_own()?;
    ip("link add br0 type bridge")?;
    ip("link set br0 up")?;
    let program = own_program()?;
    let mut ends = Vec::new();
    for (number, role) in [(1, "talk"), (2, "serve")] {
        let mut end = Actor::start(&program, &["wire-end", role, &number.to_string(), &count])?;
        end.hear(PATIENCE)?;
        ip(&format!("link add v{number} type veth peer name e{number}"))?;
        ip(&format!("link set e{number} netns {}", end.pid()))?;
        ip(&format!("link set v{number} master br0 up"))?;
        end.tell("up")?;
        ends.push(end);
    }
    let Ok([mut talker, mut server]) = <[Actor; 2]>::try_from(ends) else { bail!("not two ends") };
    server.hear(PATIENCE).context("the server's readiness")?;
    talker.hear(PATIENCE).context("the talker's readiness")?;
    voice::say(&json!({"netns": namespace::inode()?}))?;
    voice::wait_for("go")?;
    talker.tell("go")?;
    voice::say(&talker.hear(PATIENCE)?)?;
    voice::wait_for("part")?;
    talker.end(PATIENCE)?;
    // With its last process a namespace is gone, and with that its end of the wire: if nobody else holds it.
    let deadline = Instant::now() + PATIENCE;
    while nix::net::if_::if_nametoindex("v1").is_ok() {
        ensure!(Instant::now() < deadline, "somebody holds the namespace of a process that has ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    voice::say(&json!({"gone": true}))?;
    voice::wait_for("end")?;
    server.end(PATIENCE)
}

/// `wire-end talk|serve NUMBER COUNT`: one of the two.
pub fn end(words: &mut Words) -> Result<()> {
    let role = words.text("ROLE")?;
    let number: u8 = words.parse("NUMBER")?;
    let count: usize = words.parse("COUNT")?;
    namespace::enter_own()?;
    voice::say(&json!({"role": role}))?;
    voice::wait_for("up")?;
    ip(&format!("addr add 10.77.0.{number}/24 dev e{number}"))?;
    ip(&format!("link set e{number} up"))?;
    match role.as_str() {
        "serve" => serve(count),
        "talk" => {
            voice::say(&json!({"up": true}))?;
            voice::wait_for("go")?;
            voice::say(&talk(count)?)?;
            voice::wait_for("end")
        }
        _ => bail!("role {role}: talk or serve"),
    }
}

fn serve(count: usize) -> Result<()> {
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, UDP_PORT)).context("bind")?;
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TCP_PORT)).context("listen")?;
    let called = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CALL_PORT)).context("bind")?;
    voice::say(&json!({"up": true}))?;
    called.recv(&mut [0; 16]).context("hear what is sent to all")?;
    for _ in 0..count {
        let (len, from) = udp.recv_from(&mut [0; 2048]).context("receive")?;
        ensure!(len == DATAGRAMS.0, "a datagram of {len} bytes");
        udp.send_to(&[b'r'; DATAGRAMS.1], from).context("send back")?;
    }
    let (mut stream, _) = tcp.accept().context("accept")?;
    let mut bytes = vec![0; STREAM.0];
    stream.read_exact(&mut bytes).context("read")?;
    stream.write_all(&[b'r'; STREAM.1]).context("write back")?;
    ensure!(stream.read(&mut [0; 1]).context("read the end")? == 0, "more than was sent");
    voice::wait_for("end")
}

fn talk(count: usize) -> Result<Value> {
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    udp.set_read_timeout(Some(PATIENCE)).context("SO_RCVTIMEO")?;
    let caller = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    caller.set_broadcast(true).context("SO_BROADCAST")?;
    caller.send_to(b"all", (BROADCAST, CALL_PORT)).context("send to all")?;
    for _ in 0..count {
        udp.send_to(&[b's'; DATAGRAMS.0], (SERVER, UDP_PORT)).context("send")?;
        let len = udp.recv(&mut [0; 2048]).context("hear back")?;
        ensure!(len == DATAGRAMS.1, "a datagram of {len} bytes");
    }
    let mut stream = TcpStream::connect((SERVER, TCP_PORT)).context("connect")?;
    stream.write_all(&vec![b's'; STREAM.0]).context("write")?;
    stream.read_exact(&mut [0; STREAM.1]).context("read")?;
    Ok(json!({
        "datagrams": count,
        "netns": namespace::inode()?,
        "udp": udp.local_addr().context("getsockname")?.port(),
        "tcp": stream.local_addr().context("getsockname")?.port(),
    }))
}

fn ip(words: &str) -> Result<()> {
    let ran = Command::new("ip").args(words.split(' ')).output().context("run ip")?;
    ensure!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr).trim());
    Ok(())
}
