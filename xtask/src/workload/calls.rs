//! Calls into the kernel of which every one is known: how many, of which kind, how they end, how long they take.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::{Words, voice};

/// Each thread makes COUNT calls of each kind when told `go`, and again when told again, until told `end`. Says what
/// one round was, `{"pid":..,"calls":{NAME:[CALLS, ERRORS, ERRNO or null]..}}`, and `"done"` after each.
pub fn play(words: &mut Words) -> Result<()> {
    let threads: u64 = words.parse("THREADS")?;
    let count: u64 = words.parse("COUNT")?;
    let each = threads * count;
    voice::say(&json!({"pid": std::process::id(), "calls": {
        "getppid": [each, 0, null], "lseek": [each, each, "ESPIPE"], "openat": [each, each, "ENOENT"],
        "dup2": [each, each, "EBADF"], "sched_yield": [each, 0, null],
    }}))?;
    loop {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).context("read from stdin")?;
        if line.trim_end() != "go" {
            return Ok(());
        }
        let workers: Vec<_> = (0..threads).map(|_| thread::spawn(move || round(count))).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        voice::say(&json!("done"))?;
    }
}

/// Asks for its parent as fast as that goes for so many SECONDS when told `go`, until told `end`. Says
/// `{"pid":..}`, and `{"calls":..}` of which each is known.
pub fn parents(words: &mut Words) -> Result<()> {
    /// Asked before the clock is looked at again.
    const ROUND: u64 = 1_000;
    let seconds = words.parse("SECONDS")?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let (until, mut calls) = (Instant::now() + Duration::from_secs(seconds), 0_u64);
    while Instant::now() < until {
        for _ in 0..ROUND {
            // SAFETY: no arguments.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        calls += ROUND;
    }
    voice::say(&json!({"calls": calls}))?;
    voice::wait_for("end")
}

fn round(count: u64) -> Result<()> {
    let (reader, _writer) = io::pipe().context("pipe")?;
    let pipe = std::os::fd::AsRawFd::as_raw_fd(&reader);
    for _ in 0..count {
        // SAFETY: none of these calls touches memory but the path, which is there.
        unsafe {
            libc::syscall(libc::SYS_getppid);
            libc::syscall(libc::SYS_lseek, pipe, 0, libc::SEEK_CUR);
            libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/nowhere/to/be/found".as_ptr(), libc::O_RDONLY);
            libc::syscall(libc::SYS_dup2, -1, 100);
            libc::syscall(libc::SYS_sched_yield);
        }
    }
    Ok(())
}

/// THREADS threads, whose ids are the same but for multiples of APART, wait in read(2) when told `go`, all of them for so
/// many MILLISECONDS. Says that they wait, and how long at least and at most: `{"waiting":N}`,
/// `{"least_ns":..,"most_ns":..}`.
pub fn wait(words: &mut Words) -> Result<()> {
    let threads: usize = words.parse("THREADS")?;
    let milliseconds = words.parse("MILLISECONDS")?;
    let apart: i32 = words.parse("APART")?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let (reader, mut writer) = io::pipe().context("pipe")?;
    let began = Instant::now();
    let mut sleepers = Vec::new();
    let mut first: Option<i32> = None;
    let woken = Arc::new(AtomicUsize::new(0));
    while sleepers.len() < threads {
        let mut reader = reader.try_clone().context("dup")?;
        let (tell, told) = sync_channel(1);
        let woken = Arc::clone(&woken);
        let sleep = move || {
            let own = nix::unistd::gettid().as_raw();
            let stays = first.is_none_or(|first| own % apart == first % apart);
            // Whoever started it waits for this.
            let _ = tell.send(stays.then_some(own));
            if stays {
                reader.read_exact(&mut [0])?;
                woken.fetch_add(1, Ordering::Relaxed);
                // The next call takes the place of whoever has not returned yet.
                while apart > 1 && woken.load(Ordering::Relaxed) < threads {
                    std::hint::spin_loop();
                }
            }
            io::Result::Ok(())
        };
        let sleeper = thread::Builder::new().stack_size(64 << 10).spawn(sleep).context("start a thread")?;
        match told.recv().context("a thread ended early")? {
            Some(own) => {
                first = first.or(Some(own));
                sleepers.push(sleeper);
                if apart > 1 {
                    // The next id, where the kernel lets one say so; else it comes by and by.
                    let next = if own > apart { own - apart } else { own + apart };
                    let _ = fs::write("/proc/sys/kernel/ns_last_pid", (next - 1).to_string());
                }
            }
            None => sleeper.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??,
        }
    }
    // A thread whose state is S waits; the last one started may not have come so far yet.
    while waiting(Path::new("/proc/self/task"))? < threads {
        thread::sleep(Duration::from_millis(1));
    }
    let all = Instant::now();
    voice::say(&json!({"waiting": threads}))?;
    thread::sleep(Duration::from_millis(milliseconds));
    let least = all.elapsed();
    writer.write_all(&vec![0; threads]).context("write to the pipe")?;
    for sleeper in sleepers {
        sleeper.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    let most = began.elapsed();
    voice::say(&json!({"least_ns": least.as_nanos() as u64, "most_ns": most.as_nanos() as u64}))
}

fn waiting(tasks: &Path) -> Result<usize> {
    let state = |stat: &[u8]| stat.iter().rposition(|&b| b == b')').and_then(|at| stat.get(at + 2)).copied();
    Ok(fs::read_dir(tasks)
        .context("read /proc/self/task")?
        .filter_map(|task| {
            // Not by read(2): those of the waiting threads are counted.
            let mut stat = [0; 512];
            let read = fs::File::open(task.ok()?.path().join("stat")).ok()?.read_at(&mut stat, 0).ok()?;
            state(stat.get(..read)?)
        })
        .filter(|&state| state == b'S')
        .count())
}
