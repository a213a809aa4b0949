//! Programs that do one thing again and again, as programs of a machine do, until they are told to end.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::{Words, voice};

/// Does it again after each pause, until told `end`.
fn until_told(pause: Duration, mut once: impl FnMut() -> Result<()>) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let listening = thread::spawn(move || {
        let heard = voice::wait_for("end");
        told.store(true, Ordering::Relaxed);
        heard
    });
    while !over.load(Ordering::Relaxed) {
        once()?;
        thread::sleep(pause);
    }
    match listening.join() {
        Ok(heard) => heard,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Serves requests, each of which waits WAIT_MS for one file among others and asks a neighbour over the loopback.
pub fn service(words: &mut Words) -> Result<()> {
    let folder = PathBuf::from(words.text("DIR")?);
    let wait = Duration::from_millis(words.parse("WAIT_MS")?);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let (settings, slow) = (folder.join("settings.toml"), folder.join("stock.pipe"));
    fs::write(&settings, "currency = \"EUR\"\n").context("write the settings")?;
    mkfifo(&slow, Mode::S_IRWXU).with_context(|| format!("make {}", slow.display()))?;
    // Open at both ends, so that a read waits for a writer and never for an open.
    let mut pipe = File::options().read(true).write(true).open(&slow).context("open the pipe")?;
    let mut feed = pipe.try_clone().context("dup")?;
    let (ask, asked) = mpsc::channel::<()>();
    let feeding = thread::spawn(move || {
        while asked.recv().is_ok() {
            thread::sleep(wait);
            if feed.write_all(b"42").is_err() {
                return;
            }
        }
    });
    let neighbour = answering()?;
    voice::say(&json!({
        "pid": std::process::id(), "slow": slow, "quick": settings, "port": neighbour.port(),
    }))?;
    until_told(Duration::from_millis(5), || {
        let mut text = String::new();
        File::open(&settings).and_then(|mut file| file.read_to_string(&mut text)).context("read settings")?;
        ask.send(()).context("the feeder is gone")?;
        pipe.read_exact(&mut [0; 2]).context("read the pipe")?;
        let mut stream = TcpStream::connect(neighbour).context("connect")?;
        stream.write_all(b"price?").context("ask")?;
        stream.read_exact(&mut [0; 6]).context("read the answer")
    })?;
    drop(ask);
    ensure!(feeding.join().is_ok(), "the feeder panicked");
    fs::remove_dir_all(&folder).context("remove what was made")
}

/// Somebody on the loopback who answers each connection once.
fn answering() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut question = [0; 6];
            let _ = stream.read_exact(&mut question).and_then(|()| stream.write_all(&question));
        }
    });
    Ok(address)
}

/// A port of the loopback that is nobody else's and refuses: bound, not listened on. Kept until dropped.
fn refusing() -> Result<(TcpSocket, SocketAddr)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
    use std::os::fd::AsRawFd;
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).context("bind")?;
    let name: SockaddrIn = getsockname(socket.as_raw_fd()).context("getsockname")?;
    Ok((socket, SocketAddr::from((Ipv4Addr::LOCALHOST, name.port()))))
}

type TcpSocket = std::os::fd::OwnedFd;

/// Asks a port that refuses.
pub fn refused(words: &mut Words) -> Result<()> {
    let pause = Duration::from_millis(words.parse("PAUSE_MS")?);
    let (_bound, address) = refusing()?;
    voice::say(&json!({"pid": std::process::id(), "port": address.port()}))?;
    until_told(pause, || {
        ensure!(TcpStream::connect(address).is_err(), "port {} accepted", address.port());
        Ok(())
    })
}

/// Starts the program that it is told, which is this program under another name, for an errand of a few milliseconds.
pub fn errands(words: &mut Words) -> Result<()> {
    let folder = PathBuf::from(words.text("DIR")?);
    let pause = Duration::from_millis(words.parse("PAUSE_MS")?);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let (_bound, address) = refusing()?;
    voice::say(&json!({"pid": std::process::id(), "port": address.port(), "made": made(&folder)}))?;
    // Not an argument: whoever looks for the children by name finds them alone.
    let program = voice::hear().context("which program?")?;
    until_told(pause, || {
        let status = Command::new(&program)
            .args(["workload", "errand"])
            .arg(&folder)
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("start {program}"))?;
        ensure!(status.code() == Some(ERRAND), "{program}: {status}");
        Ok(())
    })?;
    fs::remove_dir_all(&folder).context("remove what was made")
}

/// What an errand ends with.
pub const ERRAND: i32 = 3;

fn made(folder: &Path) -> PathBuf {
    folder.join("schema.sql")
}

/// Writes a file, is refused by a port, fails.
pub fn errand(words: &mut Words) -> Result<()> {
    let folder = PathBuf::from(words.text("DIR")?);
    let port: u16 = words.parse("PORT")?;
    fs::write(made(&folder), "create table t (n int);\n").context("write")?;
    ensure!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "port {port} accepted");
    std::process::exit(ERRAND)
}

/// Reads PATH.
pub fn reads(words: &mut Words) -> Result<()> {
    let path = words.text("PATH")?;
    let pause = Duration::from_millis(words.parse("PAUSE_MS")?);
    voice::say(&json!({"pid": std::process::id()}))?;
    until_told(pause, || fs::read(&path).map(drop).with_context(|| format!("read {path}")))
}
