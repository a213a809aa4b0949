//! Known numbers of calls and bytes on known files.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use super::raw::call;
use super::uring::{Request, Ring, op};
use super::{Words, text, voice};

const CHUNK: usize = 4096;

#[derive(Default)]
struct Count {
    opens: u64,
    reads: u64,
    writes: u64,
    syncs: u64,
    read_bytes: u64,
    write_bytes: u64,
    errors: u64,
}

impl Count {
    fn told(&self, path: &str, uring: bool) -> Value {
        json!({
            "path": path, "uring": uring, "opens": self.opens, "reads": self.reads, "writes": self.writes,
            "syncs": self.syncs, "read_bytes": self.read_bytes, "write_bytes": self.write_bytes, "errors": self.errors,
        })
    }
}

fn done(result: isize, what: &str) -> Result<u64> {
    ensure!(result >= 0, "{what}: {}", Errno::last());
    Ok(result as u64)
}

/// Reads and writes when told `go`, and says what; then waits to be told to `end`, so that its numbers can be read.
pub fn play(words: &mut Words) -> Result<()> {
    let below = PathBuf::from(words.text("DIR")?).join(format!("fluoro-activity-{}", std::process::id()));
    let rounds: u64 = words.parse("ROUNDS")?;
    std::fs::create_dir(&below)?;
    let path = |name: &str| below.join(name).display().to_string();
    let (plain, copied, asked, silent) = (path("plain"), path("copied"), path("asked"), path("silent"));
    let (fifo, missing) = (path("fifo"), path("missing"));
    call::mknod(&text(fifo.as_bytes())?, libc::S_IFIFO | 0o600);
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let (first, second) = plainly(&plain, &copied, rounds)?;
    let mut told = vec![first, second];
    // Before io_uring, whose work interrupts a read and has it begin anew.
    told.push(waiting(&fifo)?);
    told.extend(by_uring(&asked, rounds)?);
    told.extend(silently(&silent, rounds)?);
    let mut failed = Count::default();
    let none = text(missing.as_bytes())?;
    for _ in 0..rounds * 10 {
        ensure!(call::open(&none, libc::O_RDONLY, 0) == -i64::from(libc::ENOENT), "{missing} is there");
        failed.opens += 1;
        failed.errors += 1;
    }
    told.push(failed.told(&missing, false));
    voice::say(&json!({"pid": std::process::id(), "files": told}))?;
    voice::wait_for("end")?;
    std::fs::remove_dir_all(&below).context("remove what was made")
}

fn opened(path: &CString) -> Result<i32> {
    let file = call::open(path, libc::O_RDWR | libc::O_CREAT, 0o600);
    ensure!(file >= 0, "open {path:?}: {file}");
    Ok(file as i32)
}

/// Every call there is that moves bytes from one file to another.
fn plainly(plain: &str, copied: &str, rounds: u64) -> Result<(Value, Value)> {
    let (mut from, mut to) = (Count::default(), Count::default());
    let (plain_text, copied_text) = (text(plain.as_bytes())?, text(copied.as_bytes())?);
    let (file, copy) = (opened(&plain_text)?, opened(&copied_text)?);
    (from.opens, to.opens) = (1, 1);
    let mut bytes = [7_u8; CHUNK];
    let at = bytes.as_mut_ptr();
    let vector = libc::iovec { iov_base: at.cast(), iov_len: CHUNK };
    let (pipe_out, pipe_in) = nix::unistd::pipe().context("pipe")?;
    for _ in 0..rounds {
        let mut offset = 0_i64;
        // SAFETY: the buffer has CHUNK bytes, and lives through every call.
        unsafe {
            for written in [
                libc::write(file, at.cast(), CHUNK),
                libc::pwrite(file, at.cast(), CHUNK, 0),
                libc::writev(file, &raw const vector, 1),
                libc::pwritev(file, &raw const vector, 1, 0),
            ] {
                from.writes += 1;
                from.write_bytes += done(written, "write")?;
            }
            libc::lseek(file, 0, libc::SEEK_SET);
            for read in [
                libc::read(file, at.cast(), CHUNK),
                libc::pread(file, at.cast(), CHUNK, 0),
                libc::readv(file, &raw const vector, 1),
                libc::preadv(file, &raw const vector, 1, 0),
            ] {
                from.reads += 1;
                from.read_bytes += done(read, "read")?;
            }
            let sent = done(libc::sendfile(copy, file, &raw mut offset, CHUNK), "sendfile")?;
            from.reads += 1;
            from.read_bytes += sent;
            to.writes += 1;
            to.write_bytes += sent;
            offset = 0;
            let mut written = 0_i64;
            let copied = libc::copy_file_range(file, &raw mut offset, copy, &raw mut written, CHUNK, 0);
            let copied = done(copied, "copy_file_range")?;
            from.reads += 1;
            from.read_bytes += copied;
            to.writes += 1;
            to.write_bytes += copied;
            offset = 0;
            let none = std::ptr::null_mut();
            let piped = libc::splice(file, &raw mut offset, pipe_in.as_raw_fd(), none, CHUNK, 0);
            from.reads += 1;
            from.read_bytes += done(piped, "splice into a pipe")?;
            let piped = libc::splice(pipe_out.as_raw_fd(), none, copy, none, CHUNK, 0);
            to.writes += 1;
            to.write_bytes += done(piped, "splice out of a pipe")?;
            ensure!(libc::fsync(file) == 0 && libc::fdatasync(file) == 0, "fsync: {}", Errno::last());
            from.syncs += 2;
        }
    }
    call::close(file);
    call::close(copy);
    Ok((from.told(plain, false), to.told(copied, false)))
}

fn by_uring(path: &str, rounds: u64) -> Result<Option<Value>> {
    let Some(ring) = Ring::new()? else { return Ok(None) };
    let mut count = Count { opens: 1, ..Count::default() };
    let file = opened(&text(path.as_bytes())?)?;
    let mut bytes = vec![7_u8; CHUNK];
    let address = bytes.as_mut_ptr() as u64;
    let request = |opcode| Request { opcode, fd: file, address, len: CHUNK as u32, ..Request::default() };
    let (write, read) = (request(op::WRITE), request(op::READ));
    for _ in 0..rounds {
        count.writes += 1;
        count.write_bytes += done(ring.run(write)? as isize, "io_uring write")?;
        count.reads += 1;
        count.read_bytes += done(ring.run(read)? as isize, "io_uring read")?;
    }
    let synced = ring.run(Request { opcode: op::FSYNC, fd: file, ..Request::default() })?;
    ensure!(synced == 0, "io_uring fsync: {synced}");
    count.syncs += 1;
    drop(bytes);
    call::close(file);
    Ok(Some(count.told(path, true)))
}

/// The same by requests that ask for no completion. It reads what it has written, so that it knows it was.
fn silently(path: &str, rounds: u64) -> Result<Option<Value>> {
    let Some(ring) = Ring::new()?.filter(Ring::may_be_silent) else { return Ok(None) };
    let mut count = Count { opens: 1, ..Count::default() };
    let file = opened(&text(path.as_bytes())?)?;
    let mut bytes = vec![7_u8; CHUNK];
    let address = bytes.as_mut_ptr() as u64;
    let request = |opcode| Request { opcode, fd: file, address, len: CHUNK as u32, ..Request::default() };
    let sync = Request { opcode: op::FSYNC, fd: file, ..Request::default() };
    for _ in 0..rounds {
        for request in [request(op::WRITE), request(op::READ), sync] {
            ensure!(ring.run_silently(request)? == 0, "a request of io_uring failed");
        }
    }
    (count.writes, count.reads, count.syncs) = (rounds, rounds, rounds);
    (count.write_bytes, count.read_bytes) = (rounds * CHUNK as u64, rounds * CHUNK as u64);
    drop(bytes);
    call::close(file);
    let mut told = count.told(path, true);
    if let Some(told) = told.as_object_mut() {
        told.insert("silent".to_owned(), Value::Bool(true));
    }
    Ok(Some(told))
}

/// A read that waits for its writer.
fn waiting(path: &str) -> Result<Value> {
    const WAIT: Duration = Duration::from_millis(300);
    let fifo = text(path.as_bytes())?;
    let file = opened(&fifo)?;
    let writer = std::thread::spawn(move || {
        std::thread::sleep(WAIT);
        // SAFETY: one byte.
        unsafe { libc::write(file, [1_u8].as_ptr().cast(), 1) }
    });
    let mut byte = [0_u8];
    let began = Instant::now();
    // SAFETY: one byte.
    let read = done(unsafe { libc::read(file, byte.as_mut_ptr().cast(), 1) }, "read of a FIFO")?;
    let waited = began.elapsed();
    ensure!(writer.join().is_ok_and(|written| written == 1), "nothing was written into the FIFO");
    call::close(file);
    let count = Count { opens: 1, reads: 1, writes: 1, read_bytes: read, write_bytes: 1, ..Count::default() };
    let mut told = count.told(path, false);
    if let Some(told) = told.as_object_mut() {
        told.insert("waited_ns".to_owned(), json!(waited.as_nanos() as u64));
    }
    Ok(told)
}

/// Opens and closes a file as fast as it can when told `go`, for SECONDS at most.
pub fn storm(words: &mut Words) -> Result<()> {
    let count: u64 = words.parse("COUNT")?;
    let path = words.text("PATH")?;
    let most = words.optional("SECONDS")?.map_or(Duration::MAX, Duration::from_secs);
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let path_text = text(path.as_bytes())?;
    let began = Instant::now();
    let mut opens = 0;
    while opens < count && (opens % 1024 != 0 || began.elapsed() < most) {
        let file = call::openat(libc::AT_FDCWD, &path_text, libc::O_RDONLY, 0);
        ensure!(file >= 0, "open {path}: {file}");
        call::close(file);
        opens += 1;
    }
    voice::say(&json!({"opens": opens, "elapsed_ns": began.elapsed().as_nanos() as u64}))
}
