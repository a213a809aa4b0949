//! Processes that use a known time of a CPU, and processes that use none.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, fork, pause};
use serde_json::json;

use super::{Words, voice};

/// Says `{"pid":..}`; when told `go`, THREADS threads use MILLISECONDS of a CPU each and end; says `{"cpu_ns":..}`, what the
/// kernel counts of the process from then to now, and waits for `end`.
pub fn play(words: &mut Words) -> Result<()> {
    let threads: usize = words.parse("THREADS")?;
    let each = Duration::from_millis(words.parse("MILLISECONDS")?);
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let before = own_time()?;
    let burners: Vec<_> = (0..threads).map(|_| thread::spawn(move || burn(each))).collect();
    for burner in burners {
        burner.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    let cpu_ns = own_time()? - before;
    voice::say(&json!({"cpu_ns": cpu_ns}))?;
    voice::wait_for("end")
}

fn burn(time: Duration) -> Result<()> {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("clock_gettime").map(Duration::from);
    let until = now()? + time;
    while now()? < until {}
    Ok(())
}

fn own_time() -> Result<i64> {
    let used = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    Ok((used.user_time() + used.system_time()).num_nanoseconds())
}

/// COUNT children that do nothing, until told `end`; says `{"children":..}` when all are there.
pub fn sleepers(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let mut children = Vec::new();
    for _ in 0..count {
        // SAFETY: this program has one thread; the child makes system calls and nothing else.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => children.push(child),
            ForkResult::Child => {
                let _ = prctl::set_pdeathsig(Signal::SIGKILL);
                loop {
                    pause();
                }
            }
        }
    }
    voice::say(&json!({"children": children.len()}))?;
    voice::wait_for("end")?;
    for child in children {
        kill(child, Signal::SIGKILL).context("kill a child")?;
        waitpid(child, None).context("wait for a child")?;
    }
    Ok(())
}
