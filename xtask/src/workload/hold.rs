//! Connections that are there before somebody looks and stay until told: for sockets older than the observer, and
//! transfers whose pace is known.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::actor::{Actor, own_program};
use super::{Words, namespace, voice};

/// What each connection carries after it was told to close.
const FAREWELL: &[u8] = b"goodbye";

/// Two processes hold COUNT connections; the n-th has carried BYTES + n one way and twice that the other. Says both
/// accounts, `{"port":..,"clients":[..],"servers":[..]}`, once when they stand and, told `close`, once when closed.
/// `apart`: in a network namespace of their own.
pub fn pair(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let bytes: u32 = words.parse("BYTES")?;
    if words.optional::<String>("apart")?.is_some_and(|place| place == "apart") {
        namespace::enter_own()?;
    }
    let program = own_program()?;
    let args = [count.to_string(), bytes.to_string()];
    let limit = Duration::from_secs(30);

    let mut server = Actor::start(&program, &["hold-serve", &args[0], &args[1], "0"])?;
    let port = server.hear(limit)?.get("listening").and_then(Value::as_u64).context("no port")?;
    let mut client = Actor::start(&program, &["hold-connect", &args[0], &args[1], &port.to_string()])?;
    let told = |clients: Value, servers: Value| json!({"port": port, "clients": clients, "servers": servers});
    let clients = client.hear(limit)?;
    voice::say(&told(clients, server.hear(limit)?))?;
    voice::wait_for("close")?;
    client.tell("close")?;
    server.tell("close")?;
    let clients = client.conclusion(limit)?;
    voice::say(&told(clients, server.conclusion(limit)?))
}

fn account(stream: &TcpStream, tx_bytes: u64, rx_bytes: u64) -> Result<Value> {
    Ok(json!({
        "local": stream.local_addr()?.to_string(), "peer": stream.peer_addr()?.to_string(),
        "tx_bytes": tx_bytes, "rx_bytes": rx_bytes,
        "pid": std::process::id(), "tid": std::process::id(),
    }))
}

pub fn serve(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let bytes: u32 = words.parse("BYTES")?;
    let port: u16 = words.parse("PORT")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listen")?;
    voice::say(&json!({"listening": listener.local_addr()?.port(), "pid": std::process::id()}))?;
    let mut held = Vec::new();
    for index in 0..count {
        let (mut stream, _) = listener.accept().context("accept")?;
        let size = (bytes + index) as usize;
        stream.read_exact(&mut vec![0; size])?;
        stream.write_all(&vec![b'a'; 2 * size])?;
        held.push((stream, 2 * size as u64, size as u64));
    }
    let accounts =
        held.iter().map(|(stream, tx, rx)| account(stream, *tx, *rx)).collect::<Result<Vec<_>>>()?;
    voice::say(&json!(accounts))?;
    voice::wait_for("close")?;
    let mut accounts = Vec::new();
    for (stream, tx, rx) in &mut held {
        let mut last = Vec::new();
        stream.read_to_end(&mut last).context("read the farewell")?;
        ensure!(last == FAREWELL, "a farewell of {} bytes", last.len());
        accounts.push(account(stream, *tx, *rx + last.len() as u64)?);
    }
    drop(held);
    voice::say(&json!(accounts))
}

pub fn connect(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let bytes: u32 = words.parse("BYTES")?;
    let port: u16 = words.parse("PORT")?;
    let mut held = Vec::new();
    for index in 0..count {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
        let size = (bytes + index) as usize;
        stream.write_all(&vec![b'q'; size])?;
        stream.read_exact(&mut vec![0; 2 * size])?;
        held.push((stream, size as u64, 2 * size as u64));
    }
    let accounts =
        held.iter().map(|(stream, tx, rx)| account(stream, *tx, *rx)).collect::<Result<Vec<_>>>()?;
    voice::say(&json!(accounts))?;
    voice::wait_for("close")?;
    let mut accounts = Vec::new();
    for (mut stream, tx, rx) in held {
        stream.write_all(FAREWELL)?;
        accounts.push(account(&stream, tx + FAREWELL.len() as u64, rx)?);
    }
    voice::say(&json!(accounts))
}

/// One connection within one process, and who is who.
struct Loop {
    sender: TcpStream,
    receiver: TcpStream,
}

impl Loop {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let sender = TcpStream::connect(listener.local_addr()?).context("connect")?;
        let (receiver, _) = listener.accept().context("accept")?;
        Ok(Self { sender, receiver })
    }

    fn ports(&self) -> Result<Value> {
        Ok(json!({
            "pid": std::process::id(),
            "sender_port": self.sender.local_addr()?.port(),
            "receiver_port": self.receiver.local_addr()?.port(),
        }))
    }
}

/// Sends CHUNK bytes every PAUSE_MS, COUNT times, when told `go`; says how much it was; stays open until told `end`.
pub fn steady(words: &mut Words) -> Result<()> {
    let chunk: usize = words.parse("CHUNK")?;
    let pause = Duration::from_millis(words.parse("PAUSE_MS")?);
    let count: u32 = words.parse("COUNT")?;
    let Loop { mut sender, mut receiver } = {
        let both = Loop::new()?;
        voice::say(&both.ports()?)?;
        both
    };
    voice::wait_for("go")?;
    let mut bytes = vec![b's'; chunk];
    let begin = Instant::now();
    for turn in 1..=count {
        sender.write_all(&bytes)?;
        receiver.read_exact(&mut bytes)?;
        std::thread::sleep((pause * turn).saturating_sub(begin.elapsed()));
    }
    voice::say(&json!({
        "bytes": chunk as u64 * u64::from(count), "elapsed_ns": begin.elapsed().as_nanos() as u64,
    }))?;
    voice::wait_for("end")
}

/// Sends BYTES as fast as it goes when told `go`; says how long it took.
pub fn bulk(words: &mut Words) -> Result<()> {
    const CHUNK: usize = 65_536;
    let bytes: u64 = words.parse("BYTES")?;
    let Loop { mut sender, mut receiver } = {
        let both = Loop::new()?;
        voice::say(&both.ports()?)?;
        both
    };
    voice::wait_for("go")?;
    let begin = Instant::now();
    let sending = std::thread::spawn(move || -> Result<()> {
        let chunk = vec![b'b'; CHUNK];
        let mut left = bytes as usize;
        while left > 0 {
            let Some(part) = chunk.get(..left.min(CHUNK)) else { break };
            sender.write_all(part)?;
            left -= part.len();
        }
        Ok(())
    });
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match receiver.read(&mut buffer)? {
            0 => break,
            more => received += more as u64,
        }
    }
    let elapsed = begin.elapsed();
    match sending.join() {
        Ok(outcome) => outcome?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    ensure!(received == bytes, "{received} of {bytes} bytes came");
    voice::say(&json!({"bytes": bytes, "elapsed_ns": elapsed.as_nanos() as u64}))
}
