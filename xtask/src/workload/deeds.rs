//! One process that does something of every family, and knows how much: what each family says of it stands beside that.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, gettid};
use serde_json::json;

use super::{Words, voice};

/// Bytes of one write and one read.
const CHUNK: usize = 1000;

/// Threads that want the same CPU.
const SPINNERS: usize = 2;

/// Goes to DIR, waits for `go`, does everything COUNT times, says how much that was, and waits for `end`.
pub fn play(words: &mut Words) -> Result<()> {
    let directory = words.text("DIR")?;
    let count: u64 = words.parse("COUNT")?;
    let spin_ms: u64 = words.parse("SPIN_MS")?;
    std::env::set_current_dir(&directory).with_context(|| format!("chdir {directory}"))?;
    // Each has run before anybody looks at it for the first time.
    let (begun, done, over) = (
        Arc::new(Barrier::new(SPINNERS + 1)),
        Arc::new(Barrier::new(SPINNERS + 1)),
        Arc::new(Barrier::new(SPINNERS + 1)),
    );
    let spinners: Vec<_> = (0..SPINNERS)
        .map(|_| {
            let (begun, done, over) = (Arc::clone(&begun), Arc::clone(&done), Arc::clone(&over));
            thread::spawn(move || -> Result<[u64; 2]> {
                let mut one = CpuSet::new();
                one.set(0).context("CPU 0")?;
                sched_setaffinity(Pid::from_raw(0), &one).context("sched_setaffinity")?;
                begun.wait();
                let before = scheduled()?;
                let until = thread_time()? + spin_ms * 1_000_000;
                while thread_time()? < until {
                    std::hint::spin_loop();
                }
                let after = scheduled()?;
                done.wait();
                over.wait();
                Ok([after[0] - before[0], after[1] - before[1]])
            })
        })
        .collect();
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    begun.wait();
    done.wait();

    let path = format!("fluoro-deeds-{}", std::process::id());
    fs::create_dir(&path).context("mkdir")?;
    let inside = format!("{path}/file");
    for _ in 0..count {
        // An open, a write and a read of as many bytes.
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&inside)
            .context("open")?;
        file.write_all(&[b'x'; CHUNK]).context("write")?;
        file.read_exact_at(&mut [0; CHUNK], 0).context("read")?;
        ensure!(File::open(format!("{path}/missing")).is_err(), "{path}/missing is there");
        ensure!(fs::create_dir(&path).is_err(), "{path} was not there");
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let at = listener.local_addr().context("getsockname")?;
    for _ in 0..count {
        let _one = TcpStream::connect(at).context("connect")?;
        let _other = listener.accept().context("accept")?;
    }
    let datagrams = overflow(count)?;
    fs::remove_file(&inside).and_then(|()| fs::remove_dir(&path)).context("remove what was made")?;
    let chunk = CHUNK as u64;
    voice::say(&json!({
        // Each thread looks twice at what the scheduler says of it.
        "opens": 2 * count + 2 * SPINNERS as u64,
        "missing": count,
        "in_the_way": count,
        "failed": count + datagrams.in_vain,
        "read_bytes": (count + datagrams.taken) * chunk,
        "written_bytes": 2 * count * chunk,
        "established": 2 * count,
        "dropped": datagrams.dropped,
    }))?;
    voice::wait_for("end")?;
    over.wait();
    let mut sum = [0; 2];
    for spinner in spinners {
        let one = spinner.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        sum = [sum[0] + one[0], sum[1] + one[1]];
    }
    voice::say(&json!({"on_cpu_ns": sum[0], "waited_ns": sum[1]}))
}

/// What became of datagrams.
struct Datagrams {
    dropped: u64,
    taken: u64,
    /// Calls that found nothing to read.
    in_vain: u64,
}

/// Fills the buffer of a socket that nobody reads, and then reads it.
fn overflow(count: u64) -> Result<Datagrams> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    setsockopt(&receiver, sockopt::RcvBuf, &1).context("SO_RCVBUF")?;
    receiver.set_nonblocking(true).context("set_nonblocking")?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    let at = receiver.local_addr().context("getsockname")?;
    for _ in 0..count {
        sender.send_to(&[b'f'; CHUNK], at).context("send")?;
    }
    let (mut taken, mut in_vain) = (0, 0);
    let mut bytes = [0; CHUNK];
    let began = Instant::now();
    loop {
        match receiver.recv(&mut bytes) {
            Ok(_) => taken += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                in_vain += 1;
                let dropped = drops(&receiver)?;
                if dropped + taken == count {
                    return Ok(Datagrams { dropped, taken, in_vain });
                }
                // On a busy machine what was sent arrives later.
                ensure!(began.elapsed() < Duration::from_secs(5), "{dropped} and {taken} are not {count}");
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
}

/// Datagrams that the socket had no room for, by its own account.
fn drops(socket: &UdpSocket) -> Result<u64> {
    /// `SK_MEMINFO_DROPS`.
    const DROPS: usize = 8;
    let mut told = [0_u32; DROPS + 1];
    let mut len = size_of_val(&told) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
    // SAFETY: the kernel writes as many bytes as `len` says, which are there.
    let outcome =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, told.as_mut_ptr().cast(), &raw mut len) };
    Errno::result(outcome).context("SO_MEMINFO")?;
    ensure!(len as usize == size_of_val(&told), "SO_MEMINFO tells {len} bytes");
    Ok(u64::from(told[DROPS]))
}

/// Time on a CPU and on its run queue, of this thread.
fn scheduled() -> Result<[u64; 2]> {
    let text = fs::read_to_string(format!("/proc/self/task/{}/schedstat", gettid())).context("schedstat")?;
    let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || fields.next().context("schedstat is short")?.context("schedstat");
    Ok([next()?, next()?])
}

fn thread_time() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("clock_gettime")?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Takes memory, MIB of it, when told `go`.
pub fn devour(words: &mut Words) -> Result<()> {
    let mib: usize = words.parse("MIB")?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let taken: Vec<Vec<u8>> = (0..mib).map(|_| vec![1; 1 << 20]).collect();
    voice::say(&json!({"taken_mib": std::hint::black_box(&taken).len()}))?;
    voice::wait_for("end")
}
