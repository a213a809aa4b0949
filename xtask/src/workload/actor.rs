//! A workload as its starter sees it: a child that says JSON lines, is told words, and ends with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Lines that may wait to be heard before the child waits instead.
const UNHEARD: usize = 4096;

pub struct Actor {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Receiver<String>,
}

impl Actor {
    /// Starts `program workload ARGS`. Call it on a thread that lives as long as the actor: its death is the
    /// actor's death.
    pub fn start<S: AsRef<OsStr>>(program: &Path, args: &[S]) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("workload").args(args);
        Self::run(command)
    }

    /// Starts any command that speaks the same way.
    pub fn run(mut command: Command) -> Result<Self> {
        let name = command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {} {name}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (say, heard) = sync_channel(UNHEARD);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Self { name, child, stdin, heard })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next thing it says.
    pub fn hear(&self, within: Duration) -> Result<Value> {
        match self.heard.recv_timeout(within) {
            Ok(line) => {
                serde_json::from_str(&line).with_context(|| format!("{}: {line:?} is not JSON", self.name))
            }
            Err(RecvTimeoutError::Timeout) => bail!("{}: silent for {within:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => bail!("{}: ended without an answer", self.name),
        }
    }

    pub fn tell(&mut self, word: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        writeln!(stdin, "{word}").with_context(|| format!("tell {word:?} to {}", self.name))
    }

    /// Everything it has yet to say, until it ends well.
    pub fn rest(mut self, within: Duration) -> Result<Vec<Value>> {
        let deadline = Instant::now() + within;
        let mut said = Vec::new();
        loop {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => said.push(
                    serde_json::from_str(&line)
                        .with_context(|| format!("{}: {line:?} is not JSON", self.name))?,
                ),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("{}: not over after {within:?}", self.name),
            }
        }
        let status = self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        if !status.success() {
            bail!("{}: {status}", self.name);
        }
        Ok(said)
    }

    /// Tells it to end, and waits for that.
    pub fn end(&mut self, within: Duration) -> Result<()> {
        self.tell("end")?;
        let deadline = Instant::now() + within;
        while self.child.try_wait().context("wait")?.is_none() {
            if Instant::now() > deadline {
                bail!("{}: not over after {within:?}", self.name);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits for its end; the code it ends with.
    pub fn ending(&mut self, within: Duration) -> Result<Option<i32>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().context("wait")? {
                return Ok(status.code());
            }
            if Instant::now() > deadline {
                bail!("{}: not over after {within:?}", self.name);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Everything it has yet to say; the last thing said is what it sums up.
    pub fn conclusion(self, within: Duration) -> Result<Value> {
        let name = self.name.clone();
        self.rest(within)?.pop().with_context(|| format!("{name}: said nothing"))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// This very program, to start further workloads.
pub fn own_program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("read /proc/self/exe")
}
