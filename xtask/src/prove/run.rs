//! A run of fluoro that ends by itself or is over when told: output, errors, exit code, time.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Place;

#[derive(Debug, Clone)]
pub struct Ran {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Exit code, or the signal as `signal N`.
    pub fn ending(&self) -> String {
        ending(self.code, self.signal)
    }
}

pub fn ending(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// fluoro with these arguments and the place's hooks, dying with whoever started it.
pub fn fluoro(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new(&place.fluoro);
    command.args(args).args(place.hook_args()).stdin(Stdio::null());
    die_with_parent(&mut command);
    command
}

pub fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl(2) is async-signal-safe and touches nothing of the parent.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into)) };
}

/// Runs to the end, or kills it when the time is up.
pub fn to_the_end(command: &mut Command, within: Duration) -> Result<Ran> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let pid = child.id();
    let (say, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || say.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(within) else {
        send(pid, Signal::SIGKILL)?;
        bail!("{:?} was not over after {within:?}", command.get_args().collect::<Vec<_>>())
    };
    let output = output.context("wait")?;
    Ok(Ran {
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

pub fn send(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), signal).with_context(|| format!("send {signal} to {pid}"))
}

/// Polls for the end of a child; how it ended and after how long.
pub fn await_end(
    child: &mut std::process::Child,
    within: Duration,
    mut meanwhile: impl FnMut(),
) -> Result<Option<(ExitStatus, Duration)>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait")? {
            return Ok(Some((status, begin.elapsed())));
        }
        if begin.elapsed() > within {
            return Ok(None);
        }
        meanwhile();
        std::thread::sleep(Duration::from_millis(5));
    }
}
