//! `fluoro top` against programs whose pace is known: the totals and the rates of a steady transfer are its own, and
//! a process that came and went within an interval is in it once.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::checks::Checks;
use super::event::Event;
use super::{Place, run};
use crate::workload::actor::Actor;

/// A running `fluoro top SUBJECT -o json`.
pub struct Top {
    child: Child,
    heard: Receiver<String>,
    complaints: Receiver<String>,
    patience: Duration,
}

impl Top {
    pub fn start(place: &Place, subject: &str, args: &[&str]) -> Result<Self> {
        let args = [&["top", subject, "-o", "json"], args].concat();
        let mut child = run::fluoro(place, &args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", place.fluoro.display()))?;
        let heard = lines(child.stdout.take().context("no stdout")?);
        let complaints = lines(child.stderr.take().context("no stderr")?);
        Ok(Self { child, heard, complaints, patience: place.patience(40) })
    }

    /// Of fluoro.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The object of the next interval.
    pub fn next(&self) -> Result<Value> {
        let line = self.heard.recv_timeout(self.patience).with_context(|| {
            format!("fluoro top says nothing but {:?}", self.complaints.try_iter().collect::<Vec<_>>())
        })?;
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))
    }

    /// An object that waits already.
    pub fn waiting(&self) -> Option<Value> {
        serde_json::from_str(&self.heard.try_recv().ok()?).ok()
    }

    /// Objects until there were some that `take` knows and then three in a row that it does not; at most so many: those
    /// that wait already may be of a time in which nothing was to be known.
    pub fn until_quiet(&self, mut take: impl FnMut(&Value) -> bool) -> Result<()> {
        const MOST: usize = 60;
        let mut quiet = None;
        for _ in 0..MOST {
            quiet = if take(&self.next()?) { Some(0) } else { quiet.map(|quiet| quiet + 1) };
            if quiet == Some(3) {
                break;
            }
        }
        Ok(())
    }

    /// All objects of the time to come.
    pub fn gather(&self, time: Duration) -> Result<Vec<Value>> {
        let deadline = std::time::Instant::now() + time;
        let mut objects = Vec::new();
        while let Ok(line) =
            self.heard.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
        {
            objects.push(serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))?);
        }
        Ok(objects)
    }

    /// Everything until it ends by itself.
    pub fn rest(mut self) -> Result<Vec<Value>> {
        let mut objects = Vec::new();
        while let Ok(line) = self.heard.recv_timeout(self.patience) {
            objects.push(serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))?);
        }
        match run::await_end(&mut self.child, self.patience, || ())? {
            Some((status, _)) if status.success() => Ok(objects),
            Some((status, _)) => bail!("fluoro top: {status}"),
            None => bail!("fluoro top --count does not end"),
        }
    }
}

/// What it says, line by line; it waits when nobody listens.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (say, heard) = sync_channel(64);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                return;
            }
        }
    });
    heard
}

impl Drop for Top {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub fn rows(object: &Value) -> Vec<&Value> {
    object.get("rows").and_then(Value::as_array).map(|rows| rows.iter().collect()).unwrap_or_default()
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    flows(place, checks)?;
    processes(place, checks)
}

fn flows(place: &Place, checks: &mut Checks) -> Result<()> {
    const INTERVALS: usize = 7;
    // Three seconds of a megabyte each, or of 50 kB in a guest.
    let chunk = place.scaled(10_000, 500).to_string();
    let mut actor = Actor::start(&place.xtask, &["steady", &chunk, "10", "300"])?;
    let ports = actor.hear(place.patience(10))?;
    let port = |key: &str| ports.get(key).and_then(Value::as_u64).with_context(|| format!("no {key}"));
    let (sender, receiver) = (port("sender_port")?, port("receiver_port")?);

    let filter = format!("pid:{}", actor.pid());
    let top = Top::start(place, "flows", &["-f", &filter, "--count", &INTERVALS.to_string(), "-d", "1s"])?;
    let mut objects = vec![top.next()?];
    actor.tell("go")?;
    let account = actor.hear(place.patience(20))?;
    objects.extend(top.rest()?);
    actor.tell("end")?;
    let bytes = account.get("bytes").and_then(Value::as_u64).context("no bytes")?;

    checks.equal("top flows --count: objects", INTERVALS, objects.len());
    let losses = objects.iter().filter_map(|object| object.get("lost")?.as_u64()).sum::<u64>();
    checks.equal("lost", 0, losses);
    let complete = |object: &&Value| {
        object.get("schema") == Some(&Value::from(1))
            && object.get("time").is_some_and(Value::is_string)
            && object.get("totals").and_then(Value::as_object).is_some_and(|totals| !totals.is_empty())
    };
    checks.equal("objects with schema, time, totals", INTERVALS, objects.iter().filter(complete).count());

    let sides = [("sender", sender, "tx", bytes, 0), ("receiver", receiver, "rx", 0, bytes)];
    for (side, port, way, tx_bytes, rx_bytes) in sides {
        let mut carried = 0.0;
        let mut last = None;
        let mut shown = 0;
        for object in &objects {
            let seconds =
                object.get("interval_ns").and_then(Value::as_u64).context("no interval_ns")? as f64 / 1e9;
            let other = if port == sender { receiver } else { sender };
            for row in rows(object) {
                let facts = Event::facts(row);
                if (u64::from(facts.local_port()), u64::from(facts.peer_port())) != (port, other) {
                    continue;
                }
                shown += 1;
                let rate =
                    row.pointer(&format!("/flow/{way}_bytes_per_s")).and_then(Value::as_f64).unwrap_or(0.0);
                carried += rate * seconds;
                last = Some(facts);
            }
        }
        checks.equal(format!("{side}: intervals that show it"), INTERVALS, shown);
        let last = last.unwrap_or_default();
        checks.equal(
            format!("{side}: last totals"),
            format!("tx {tx_bytes} rx {rx_bytes}"),
            format!("tx {} rx {}", last.tx_bytes.unwrap_or(0), last.rx_bytes.unwrap_or(0)),
        );
        let error = 100.0 * (carried - bytes as f64).abs() / bytes as f64;
        checks.that(
            format!("{side}: {way} rates x intervals"),
            format!("{bytes} within 2%"),
            format!("{carried:.0} ({error:.2}% off)"),
            error <= 2.0,
        );
        checks.equal(format!("{side}: process"), filter.as_str(), &format!("pid:{}", last.pid.unwrap_or(0)));
    }
    Ok(())
}

fn processes(place: &Place, checks: &mut Checks) -> Result<()> {
    let sleeper = Actor::start(&place.xtask, &["sleep"])?;
    sleeper.hear(place.patience(10))?;
    let count = place.scaled(100, 20);
    let mut spawner = Actor::start(&place.xtask, &["spawner", &count.to_string(), "self"])?;

    let top = Top::start(place, "processes", &["--count", "4", "-d", "1s", "--rows", "100000"])?;
    let mut objects = vec![top.next()?];
    spawner.tell("go")?;
    let account = spawner.conclusion(place.patience(30))?;
    objects.extend(top.rest()?);
    checks.equal("top processes --count: objects", 4, objects.len());

    let mut times: HashMap<u32, usize> = HashMap::new();
    let mut there = Vec::new();
    for row in objects.iter().flat_map(rows) {
        let facts = Event::facts(row);
        if let Some(pid) = facts.pid {
            *times.entry(pid).or_default() += 1;
            if pid == sleeper.pid() {
                there.push(facts);
            }
        }
    }
    checks.equal("a process that only sleeps: intervals that show it", 4, there.len());
    let executable =
        std::fs::read_link(format!("/proc/{}/exe", sleeper.pid())).context("read /proc/PID/exe")?;
    checks.equal(
        "its executable",
        executable.display().to_string(),
        there.first().and_then(|facts| facts.executable.clone()).unwrap_or_default(),
    );
    let children = account.get("children").and_then(Value::as_array).context("no children")?;
    let short: Vec<u32> =
        children.iter().filter_map(|child| child.get(0)?.as_u64()?.try_into().ok()).collect();
    let not_once: Vec<String> = short
        .iter()
        .filter_map(|pid| match times.get(pid).copied().unwrap_or(0) {
            1 => None,
            // A life may reach over the end of one interval.
            2 if place.guest.is_some() => None,
            other => Some(format!("{pid}: in {other} intervals")),
        })
        .collect();
    // One of many may be alive just when an interval ends.
    let straddling = not_once.iter().filter(|line| line.ends_with("in 2 intervals")).count();
    checks.equal("short processes", count as usize, short.len());
    checks.at_most("of them alive when an interval ended", 3, straddling);
    let rest: Vec<String> = not_once.into_iter().filter(|line| !line.ends_with("in 2 intervals")).collect();
    checks.none("of them not shown exactly once", &rest);
    Ok(())
}
