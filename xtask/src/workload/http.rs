//! As much of an HTTP server as a load generator asks for: the same answer to every request, on connections that stay.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use serde_json::json;

use super::{Words, voice};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
const END: &[u8] = b"\r\n\r\n";

/// Says that it listens and serves until it is killed, a thread a connection.
pub fn serve(words: &mut Words) -> Result<()> {
    let port: u16 = words.parse("PORT")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listen")?;
    voice::say(&json!({"listening": port, "pid": std::process::id()}))?;
    loop {
        let (stream, _) = listener.accept().context("accept")?;
        // A client that goes away in the middle is its own matter.
        std::thread::spawn(move || answer(stream));
    }
}

/// Answers each request as its head ends; a body is not expected.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    let mut matched = 0;
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        for byte in buffer.iter().take(read) {
            matched = if END.get(matched) == Some(byte) { matched + 1 } else { usize::from(*byte == b'\r') };
            if matched == END.len() {
                stream.write_all(ANSWER)?;
                matched = 0;
            }
        }
    }
}
