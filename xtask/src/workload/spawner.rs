//! Short processes at full speed, each waited for: pid, executable, exit code or signal are known from wait4.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, raise};
use nix::unistd::{Uid, setuid};
use serde_json::{Value, json};

use super::{Words, voice};

/// How the n-th child ends, when it is this program: mostly codes, every seventh by a signal.
fn ending(index: u32) -> String {
    const SIGNALS: [i32; 4] = [libc::SIGKILL, libc::SIGTERM, libc::SIGABRT, libc::SIGQUIT];
    match SIGNALS.get((index / 7) as usize % SIGNALS.len()) {
        Some(signal) if index % 7 == 5 => format!("signal:{signal}"),
        _ => (index % 256).to_string(),
    }
}

/// Starts COUNT children, in turn of the executables given; `self` is this program. Says, when all are over,
/// `{"children":[[pid, executable's number, code or null, signal or null]..]}`.
pub fn play(words: &mut Words) -> Result<()> {
    let count: u32 = words.parse("COUNT")?;
    let executables = words.rest();
    ensure!(!executables.is_empty(), "no EXECUTABLE");
    // The ways to die that dump core should not.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("setrlimit RLIMIT_CORE")?;
    let own = super::actor::own_program()?;
    voice::wait_for("go")?;

    let begin = Instant::now();
    let mut children: Vec<Value> = Vec::with_capacity(count as usize);
    for (index, (turn, executable)) in (0..count).zip(executables.iter().enumerate().cycle()) {
        let mut command = if executable == "self" {
            let mut command = Command::new(&own);
            command.args(["workload", "exit", &ending(index)]);
            command
        } else {
            Command::new(executable)
        };
        let mut child = command.spawn().with_context(|| format!("start {executable}"))?;
        let status = child.wait().context("wait4")?;
        children.push(json!([child.id(), turn, status.code(), status.signal()]));
    }
    let elapsed = begin.elapsed();
    voice::say(&json!({"children": children, "elapsed_ns": elapsed.as_nanos() as u64}))
}

/// Ends with the code or by the signal told, after the time told.
pub fn exit(words: &mut Words) -> Result<()> {
    let how = words.text("CODE|signal:N")?;
    if let Some(milliseconds) = words.optional("MILLISECONDS")? {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    if let Some(number) = how.strip_prefix("signal:") {
        let signal =
            Signal::try_from(number.parse::<i32>().context("signal number")?).context("signal number")?;
        // A shell that starts something in the background has it ignore some signals, and that is inherited.
        if signal != Signal::SIGKILL {
            // SAFETY: the default action is no function of ours.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }
                .with_context(|| format!("reset {signal}"))?;
        }
        raise(signal).with_context(|| format!("raise {signal}"))?;
    }
    std::process::exit(how.parse().with_context(|| format!("{how}: not an exit code"))?)
}

/// Becomes another program when told `go`.
pub fn exec(words: &mut Words) -> Result<()> {
    let program = words.text("PROGRAM")?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    Err(Command::new(&program).args(words.rest()).exec()).with_context(|| format!("exec {program}"))
}

/// Says that it is there, and ends when told `end`.
pub fn sleep(words: &mut Words) -> Result<()> {
    if let Some(uid) = words.optional("UID")? {
        setuid(Uid::from_raw(uid)).with_context(|| format!("setuid {uid}"))?;
    }
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("end")
}
