//! `fluoro observe` around a workload: start it, wait until it says that it observes, let the workload happen, stop
//! it by SIGINT, and have its lines, its ledger and its last words.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::checks::Checks;
use super::doctor::Doctor;
use super::event::Event;
use super::{Place, Skip, run, witness};

/// Ending takes at most this long by contract.
const ENDING: Duration = Duration::from_secs(5);

pub struct Observer {
    child: Child,
    lines: Option<JoinHandle<Result<Lines>>>,
    said: Receiver<String>,
    heard: Vec<String>,
    count: Arc<AtomicU64>,
    place: Place,
}

/// What to do with the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Events,
    /// The lines as they are.
    Raw,
    /// Only how many there were of each name: for workloads that would fill the memory.
    Counts,
}

#[derive(Default)]
struct Lines {
    events: Vec<Event>,
    raw: Vec<Value>,
    counts: BTreeMap<String, u64>,
    stats: Option<Value>,
}

/// A finished observation.
pub struct Observed {
    pub events: Vec<Event>,
    /// With [`Keep::Raw`].
    pub raw: Vec<Value>,
    pub counts: BTreeMap<String, u64>,
    pub stats: Value,
    pub stderr: Vec<String>,
    pub ending: String,
    pub ending_took: Duration,
    /// Most resident memory, KiB.
    pub peak_kib: u64,
    /// CPU time used.
    pub cpu: Duration,
}

/// A family's ledger of events, by the names of `fluoro.stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Books {
    pub seen: u64,
    pub submitted: u64,
    pub muted: u64,
    pub filtered: u64,
    pub lost: u64,
    pub error: u64,
    /// `None`: the kernel does not say.
    pub missed: Option<u64>,
}

impl Observer {
    /// `fluoro observe FAMILIES -o json --stats ARGS`, up to the moment where it says that it observes.
    pub fn start(place: &Place, families: &[&str], args: &[&str], keep: Keep) -> Result<Self> {
        let args = [&["observe"], families, &["-o", "json", "--stats"], args].concat();
        let mut child = run::fluoro(place, &args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", place.fluoro.display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let count = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&count);
        let lines = thread::spawn(move || Lines::read(stdout, keep, &counting));
        let (say, said) = sync_channel(1024);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        let mut observer =
            Self { child, lines: Some(lines), said, heard: Vec::new(), count, place: place.clone() };
        observer.await_ready(families)?;
        Ok(observer)
    }

    fn await_ready(&mut self, families: &[&str]) -> Result<()> {
        let ready = format!("fluoro: observing {}", families.join(", "));
        let deadline = Instant::now() + self.place.patience(30);
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line == ready => return Ok(()),
                Ok(line) => self.heard.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("fluoro never said {ready:?}; it said {:?}", self.heard)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().context("wait for fluoro")?;
                    // Where doctor knows that it cannot be, the scenario is not failed but cannot be played.
                    if status.code() == Some(1)
                        && let Ok(doctor) = Doctor::ask(&self.place, &[])
                        && let Some(reason) = families.iter().find_map(|family| doctor.why_not(family))
                    {
                        return Err(Skip(format!("{:?}; doctor: {reason}", self.heard)).into());
                    }
                    bail!("fluoro ended with {status} and did not say {ready:?}; it said {:?}", self.heard)
                }
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until no line has come for a while: longer than an inbound opening may be held back.
    pub fn settle(&self) {
        self.settle_after(0);
    }

    /// The same, once so many have come.
    pub fn settle_after(&self, lines: u64) {
        const QUIET: Duration = Duration::from_millis(450);
        let deadline = Instant::now() + self.place.patience(15);
        let mut last = (self.count.load(Ordering::Relaxed), Instant::now());
        while (last.0 < lines || last.1.elapsed() < QUIET) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            let now = self.count.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
    }

    /// Settles, stops fluoro by SIGINT and takes everything it said.
    pub fn finish(self) -> Result<Observed> {
        self.settle();
        self.stop(Signal::SIGINT)
    }

    pub fn stop(mut self, signal: Signal) -> Result<Observed> {
        let pid = self.child.id();
        let mut peak_kib = witness::peak_kib(pid).unwrap_or(0);
        let mut cpu = witness::cpu_time(pid).unwrap_or_default();
        run::send(pid, signal)?;
        let limit = self.place.patience(20);
        let ended = run::await_end(&mut self.child, limit, || {
            peak_kib = peak_kib.max(witness::peak_kib(pid).unwrap_or(0));
            cpu = cpu.max(witness::cpu_time(pid).unwrap_or_default());
        })?;
        let Some((status, ending_took)) = ended else {
            bail!("fluoro did not end within {limit:?} of {signal}");
        };
        let lines = match self.lines.take().context("lines were taken")?.join() {
            Ok(lines) => lines?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        self.heard.extend(self.said.iter());
        Ok(Observed {
            events: lines.events,
            raw: lines.raw,
            counts: lines.counts,
            stats: lines.stats.context("the last line was not fluoro.stats")?,
            stderr: std::mem::take(&mut self.heard),
            ending: run::ending(status.code(), status.signal()),
            ending_took,
            peak_kib,
            cpu,
        })
    }
}

impl Observer {
    /// Ends it by a signal and only says how that went: for ends after which nothing is to be read.
    pub fn end_by(&mut self, signal: Signal) -> Result<Option<(ExitStatus, Duration)>> {
        run::send(self.child.id(), signal)?;
        run::await_end(&mut self.child, self.place.patience(20), || ())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Lines {
    fn read(from: impl Read, keep: Keep, count: &AtomicU64) -> Result<Self> {
        let mut lines = Self::default();
        for line in BufReader::with_capacity(1 << 18, from).lines() {
            let line = line.context("read fluoro's lines")?;
            if lines.stats.is_some() {
                bail!("a line after fluoro.stats: {line}");
            }
            let value: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))?;
            if value.get("event_name").and_then(Value::as_str) == Some("fluoro.stats") {
                lines.stats = Some(value);
                continue;
            }
            let event = Event::from_value(&value)?;
            count.fetch_add(1, Ordering::Relaxed);
            *lines.counts.entry(event.name.clone()).or_default() += 1;
            match keep {
                Keep::Events => lines.events.push(event),
                Keep::Raw => lines.raw.push(value),
                Keep::Counts => {}
            }
        }
        Ok(lines)
    }
}

impl Observed {
    pub fn books(&self, family: &str) -> Result<Books> {
        let books = self
            .stats
            .pointer(&format!("/families/{family}"))
            .with_context(|| format!("no {family} in fluoro.stats"))?;
        let number = |key: &str| {
            books
                .get(key)
                .and_then(Value::as_u64)
                .with_context(|| format!("no number {family}.{key} in fluoro.stats"))
        };
        Ok(Books {
            seen: number("seen")?,
            submitted: number("submitted")?,
            muted: number("muted")?,
            filtered: number("filtered")?,
            lost: number("lost")?,
            error: number("error")?,
            missed: books.get("missed").and_then(Value::as_u64),
        })
    }

    /// A number of what is kept in maps, by the names of `fluoro.stats`.
    pub fn aggregate(&self, family: &str, key: &str) -> Result<u64> {
        self.stats
            .pointer(&format!("/families/{family}/aggregates/{key}"))
            .and_then(Value::as_u64)
            .with_context(|| format!("no {family}.aggregates.{key} in fluoro.stats"))
    }

    /// Lines shown, without the one of the stats.
    pub fn shown(&self) -> u64 {
        self.counts.values().sum()
    }

    /// What must hold after any observation: the ledger balances and agrees with the lines and with the last words.
    pub fn check_books(&self, checks: &mut Checks, families: &[&str]) -> Result<()> {
        checks.equal("exit code after SIGINT", "0", self.ending.as_str());
        checks.at_most("seconds to end", ENDING.as_secs_f64(), self.ending_took.as_secs_f64());
        let mut sum = Books { missed: Some(0), ..Books::default() };
        for family in families {
            let books = self.books(family)?;
            checks.equal(
                format!("{family} ledger: submitted + muted + filtered + lost + error = seen"),
                books.seen,
                books.submitted + books.muted + books.filtered + books.lost + books.error,
            );
            let aggregate = |key| self.aggregate(family, key);
            checks.equal(
                format!("{family} aggregates: counted + filtered + untracked = seen"),
                aggregate("seen")?,
                aggregate("counted")? + aggregate("filtered")? + aggregate("untracked")?,
            );
            sum.seen += books.seen;
            sum.submitted += books.submitted;
            sum.filtered += books.filtered;
            sum.lost += books.lost;
            sum.missed = sum.missed.zip(books.missed).map(|(a, b)| a + b);
        }
        checks.note(format!("hook runs missed: {}", sum.missed.map_or("?".to_owned(), |n| n.to_string())));
        checks.equal("lines shown = submitted", sum.submitted, self.shown());
        let told = self.summary()?;
        checks.equal(
            "summary on stderr",
            format!(
                "seen {}, shown {}, filtered {}, lost {}",
                sum.seen,
                self.shown(),
                sum.filtered,
                sum.lost
            ),
            told,
        );
        Ok(())
    }

    /// `seen N, shown N, filtered N, lost N` of the line on stderr.
    fn summary(&self) -> Result<String> {
        let line = self
            .stderr
            .iter()
            .find_map(|line| {
                line.find("seen ").and_then(|at| line.get(at..)).filter(|rest| rest.contains(", missed "))
            })
            .with_context(|| format!("no line `seen N, shown N, ..` on stderr: {:?}", self.stderr))?;
        Ok(line.split(", missed ").next().unwrap_or_default().to_owned())
    }
}
