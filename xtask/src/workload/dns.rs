//! A name server that answers what its questions ask for, harmful things among them, and programs that ask it. Messages
//! are put together byte by byte: this is who fluoro's reader is compared with.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Words, voice};

/// How long the name server takes for a question that begins with `slow`.
pub const SLOW: Duration = Duration::from_millis(30);

/// The address that names with this word in them have.
pub fn named(word: &str) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, 1, word.bytes().next().unwrap_or(1))
}

const PORT: u16 = 53;
const A: u16 = 1;
const AAAA: u16 = 28;
/// SSHFP, which few read.
const RARE: u16 = 44;

/// Kinds of questions with the type that is asked for, and whether over TCP.
const KINDS: &[(&str, u16, bool)] = &[
    ("plain", A, false),
    ("alias", A, false),
    ("six", AAAA, false),
    ("none", A, false),
    ("slow", A, false),
    ("rare", RARE, false),
    ("stream", A, true),
    ("loop", A, false),
    ("lies", A, false),
    ("cut", A, false),
    ("noise", A, false),
    ("short", A, false),
];

/// `dns-serve ADDRESS PORT`: answers at ADDRESS; a TCP service waits at every address and that port.
pub fn serve(words: &mut Words) -> Result<()> {
    let address: Ipv4Addr = words.parse("ADDRESS")?;
    let service: u16 = words.parse("PORT")?;
    let udp = UdpSocket::bind((address, PORT)).context("bind the name server's port")?;
    let tcp = TcpListener::bind((address, PORT)).context("listen at the name server's port")?;
    let named =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, service)).context("listen at the service's port")?;
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((len, from)) = udp.recv_from(&mut bytes) {
            if let Some(answer) = bytes.get(..len).and_then(answer) {
                let _ = udp.send_to(&answer, from);
            }
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            while talk(&mut stream).is_some() {}
        }
    });
    thread::spawn(move || named.incoming().flatten().for_each(drop));
    voice::say(&json!({"serving": address.to_string()}))?;
    voice::wait_for("end")
}

/// One question over TCP; the length goes first, in a segment of its own.
fn talk(stream: &mut TcpStream) -> Option<()> {
    let question = receive(stream).ok()?;
    send(stream, &answer(&question)?).ok()
}

fn send(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&(message.len() as u16).to_be_bytes())?;
    stream.write_all(message)
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// What is answered to a question, by how its name begins.
pub fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    /// A pointer at the name that is asked for.
    const ASKED: &[u8] = &[0xc0, 12];
    const FINE: u16 = 0x8180;
    let id = question.get(..2)?;
    let asked = question.get(HEADER..)?;
    let label = asked.get(1..=usize::from(*asked.first()?))?;
    let word = asked.get(label.len() + 2..)?;
    let address = Ipv4Addr::new(127, 77, 1, *word.first()?).octets();
    let kind = label.split(|&byte| byte == b'-').next()?;
    let message = |flags: u16, answers: u16, rest: &[u8]| {
        [id, &flags.to_be_bytes(), &[0, 1], &answers.to_be_bytes(), &[0; 4], asked, rest].concat()
    };
    let record = |name: &[u8], kind: u16, data: &[u8]| {
        let len = (data.len() as u16).to_be_bytes();
        [name, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &len, data].concat()
    };
    let plain = record(ASKED, A, &address);
    Some(match kind {
        b"alias" => {
            // `www.` and the last two labels of what was asked for.
            let mut other = b"\x03www\x06fluoro\x04test\x00".to_vec();
            let alias = record(ASKED, 5, &other);
            other = record(&other, A, &address);
            message(FINE, 2, &[alias, other].concat())
        }
        b"six" => {
            message(FINE, 1, &record(ASKED, AAAA, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))
        }
        b"none" => message(FINE | 3, 0, &[]),
        b"rare" => message(FINE, 1, &record(ASKED, RARE, &[1, 1, 2, 3])),
        b"slow" => {
            thread::sleep(SLOW);
            message(FINE, 1, &plain)
        }
        // A name that points at itself.
        b"loop" => {
            let at = (HEADER + asked.len()) as u16 | 0xc000;
            message(FINE, 1, &record(&at.to_be_bytes(), A, &address))
        }
        b"lies" => message(FINE, 60_000, &plain),
        b"cut" => message(FINE | 0x200, 0, &[]),
        b"noise" => {
            let noise: Vec<u8> = (0..900u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
            message(FINE, 7, &noise)
        }
        b"short" => message(FINE, 0, &[]).into_iter().take(7).collect(),
        _ => message(FINE, 1, &plain),
    })
}

/// `dns-ask ADDRESS PORT WORD ROUNDS`: when told, asks everything so many times under names that have WORD in them, then
/// connects to the service that was named last, and says what it asked and when it had the answer.
pub fn ask(words: &mut Words) -> Result<()> {
    let server = SocketAddr::new(words.parse::<IpAddr>("ADDRESS")?, PORT);
    let service: u16 = words.parse("PORT")?;
    let word = words.text("WORD")?;
    let rounds: u32 = words.parse("ROUNDS")?;
    voice::say(&json!({"ready": word}))?;
    voice::wait_for("go")?;
    let mut asked = Vec::new();
    for round in 0..rounds {
        for (number, &(kind, qtype, stream)) in KINDS.iter().enumerate() {
            let name = format!("{kind}-{round}.{word}.fluoro.test");
            let id = (round as u16).wrapping_mul(KINDS.len() as u16).wrapping_add(number as u16);
            asked.push(one(server, &name, qtype, id, stream, round % 2 == 1)?);
        }
    }
    let name = format!("plain-last.{word}.fluoro.test");
    asked.push(one(server, &name, A, u16::MAX, false, false)?);
    let connection = TcpStream::connect((named(&word), service)).context("connect to what was named")?;
    let from = connection.local_addr().context("getsockname")?.port();
    voice::say(&json!({"asked": asked, "connected": {"name": name, "port": from}}))?;
    voice::wait_for("end")
}

/// Asks one thing and waits for the answer.
fn one(server: SocketAddr, name: &str, qtype: u16, id: u16, stream: bool, connected: bool) -> Result<Value> {
    let question = question(name, qtype, id);
    let began = Instant::now();
    let (answer, port) = if stream {
        let mut stream = TcpStream::connect(server).context("connect to the name server")?;
        send(&mut stream, &question).context("ask")?;
        (receive(&mut stream).context("hear the answer")?, stream.local_addr().context("getsockname")?.port())
    } else {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
        socket.set_read_timeout(Some(Duration::from_secs(10))).context("SO_RCVTIMEO")?;
        if connected {
            socket.connect(server).context("connect")?;
            socket.send(&question).context("ask")?;
        } else {
            socket.send_to(&question, server).context("ask")?;
        }
        let mut answer = vec![0; 2048];
        let len = socket.recv(&mut answer).context("hear the answer")?;
        answer.truncate(len);
        (answer, socket.local_addr().context("getsockname")?.port())
    };
    let took = began.elapsed();
    ensure!(answer.get(..2) == question.get(..2), "an answer to something else");
    Ok(json!({
        "name": name, "type": qtype, "id": id, "port": port, "tcp": stream,
        "bytes": answer.len(), "took_ns": took.as_nanos() as u64,
    }))
}

pub fn question(name: &str, qtype: u16, id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend(qtype.to_be_bytes());
    message.extend([0, 1]);
    message
}
