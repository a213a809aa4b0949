//! `fluoro top syscalls` and `observe syscall` against programs whose every call is known, and beside strace: calls,
//! errors by name, latencies of a thousand threads that block, 32-bit programs apart, a trace whose books balance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::top::{Top, rows};
use super::{Place, run};
use crate::workload::actor::Actor;
use crate::workload::program;

/// Of one kind, of one process.
#[derive(Debug, Default, Clone)]
struct Sum {
    calls: u64,
    errors: u64,
    by_type: BTreeMap<String, u64>,
    sum_ns: u64,
    /// Of the interval with most calls.
    p50_ns: u64,
    most: u64,
    max_ns: u64,
}

/// By name and ABI.
type Sums = BTreeMap<(String, String), Sum>;

/// `fluoro top syscalls` around what happens to one process.
struct Table {
    top: Top,
    sums: Sums,
    untracked: u64,
    collisions: u64,
}

impl Table {
    fn start(place: &Place, pid: u32) -> Result<Self> {
        Self::with(place, pid, &[])
    }

    fn with(place: &Place, pid: u32, args: &[&str]) -> Result<Self> {
        Self::filtered(place, &format!("pid:{pid}"), args)
    }

    fn filtered(place: &Place, filter: &str, args: &[&str]) -> Result<Self> {
        let args = [&["-f", filter, "-d", "500ms"], args].concat();
        let top = Top::start(place, "syscalls", &args)?;
        let mut table = Self { top, sums: Sums::new(), untracked: 0, collisions: 0 };
        // What it did before is not counted.
        table.take()?;
        table.sums.clear();
        Ok(table)
    }

    fn take(&mut self) -> Result<()> {
        let object = self.top.next()?;
        self.add(&object);
        Ok(())
    }

    fn add(&mut self, object: &Value) {
        let total = |key: &str| object.pointer(&format!("/totals/{key}")).and_then(Value::as_u64);
        self.untracked = total("untracked").unwrap_or(0);
        self.collisions = total("collisions").unwrap_or(0);
        for row in rows(object) {
            let text = |path: &str| row.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            let number = |path: &str| row.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            let sum = self.sums.entry((text("/syscall/name"), text("/syscall/abi"))).or_default();
            let calls = number("/calls");
            sum.calls += calls;
            sum.errors += number("/errors");
            sum.sum_ns += number("/duration/sum_ns");
            sum.max_ns = sum.max_ns.max(number("/duration/max_ns"));
            if calls > sum.most {
                (sum.most, sum.p50_ns) = (calls, number("/duration/p50_ns"));
            }
            let types = row.get("errors_by_type").and_then(Value::as_object);
            for (name, count) in types.into_iter().flatten() {
                *sum.by_type.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
    }

    /// Everything up to now: what has been said, and two intervals more, one of which began after.
    fn settle(&mut self) -> Result<()> {
        while let Some(object) = self.top.waiting() {
            self.add(&object);
        }
        self.take()?;
        self.take()
    }

    fn of(&self, name: &str, abi: &str) -> Sum {
        self.sums.get(&(name.to_owned(), abi.to_owned())).cloned().unwrap_or_default()
    }
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    counted(place, checks)?;
    waited(place, checks)?;
    launched(place, checks)?;
    compat(place, checks)?;
    traced(place, checks)?;
    // Whichever hook tells of a call, where its start is kept and how many lines go out is the same.
    if place.hooks.is_empty() {
        shared(place, checks)?;
        flooded(place, checks)?;
    }
    Ok(())
}

/// Threads that make known calls; on the host strace counts the same ones.
fn counted(place: &Place, checks: &mut Checks) -> Result<()> {
    const THREADS: &str = "4";
    let count = place.scaled(20_000, 200).to_string();
    let mut actor = Actor::start(&place.xtask, &["calls", THREADS, &count])?;
    let told = actor.hear(place.patience(10))?;
    let mut table = Table::start(place, actor.pid())?;
    actor.tell("go")?;
    actor.hear(place.patience(60))?;
    table.settle()?;
    let calls = told.get("calls").and_then(Value::as_object).context("no calls")?;
    for (name, expected) in calls {
        let number = |index: usize| expected.get(index).and_then(Value::as_u64).unwrap_or(0);
        let errno = expected.get(2).and_then(Value::as_str);
        let seen = table.of(name, "");
        let types = |types: &BTreeMap<String, u64>| format!("{types:?}");
        let expected_types = errno.map(|errno| (errno.to_owned(), number(1))).into_iter().collect();
        checks.equal(
            format!("{name}: calls, errors by type"),
            format!("{} {}", number(0), types(&expected_types)),
            format!("{} {}", seen.calls, types(&seen.by_type)),
        );
        checks.equal(format!("{name}: errors"), number(1), seen.errors);
        let sound = seen.p50_ns > 0 && seen.p50_ns <= seen.max_ns && seen.max_ns <= seen.sum_ns;
        checks.that(
            format!("{name}: p50, max, sum"),
            "in this order",
            format!("{} {} {} ns", seen.p50_ns, seen.max_ns, seen.sum_ns),
            sound,
        );
    }
    checks.equal("untracked calls", 0, table.untracked);
    actor.end(place.patience(10))?;
    drop(table);
    if place.guest.is_none() { beside_strace(place, checks) } else { Ok(()) }
}

/// Another such process, with strace attached. Attaching interrupts the read in which it waits, and detaching
/// finds it in the next: read is compared but for those.
fn beside_strace(place: &Place, checks: &mut Checks) -> Result<()> {
    let mut actor = Actor::start(&place.xtask, &["calls", "4", "500"])?;
    actor.hear(place.patience(10))?;
    let Ok(mut strace) = Strace::attach(actor.pid()) else {
        checks.note("no strace here: compared with the program's own counts only");
        return Ok(());
    };
    strace.await_attached(actor.pid(), place.patience(10))?;
    let mut table = Table::start(place, actor.pid())?;
    actor.tell("go")?;
    actor.hear(place.patience(100))?;
    table.settle()?;
    let expected = strace.finish(place.patience(20))?;
    let names: std::collections::BTreeSet<&String> =
        expected.keys().chain(table.sums.keys().map(|(name, _)| name)).collect();
    let mut compared = 0;
    for name in names {
        let strace = expected.get(name).copied().unwrap_or_default();
        let seen = table.of(name, "");
        // exit never returns: strace does not count it.
        if matches!(name.as_str(), "read" | "exit") {
            continue;
        }
        compared += 1;
        checks.equal(
            format!("beside strace: {name}"),
            format!("{} calls, {} errors", strace.0, strace.1),
            format!("{} calls, {} errors", seen.calls, seen.errors),
        );
    }
    checks.at_least("kinds of calls compared with strace", 8, compared);
    actor.end(place.patience(10))
}

struct Strace {
    child: Child,
    output: PathBuf,
}

impl Strace {
    fn attach(pid: u32) -> Result<Self> {
        Self::start(&["-p", &pid.to_string()])
    }

    fn start(whom: &[&str]) -> Result<Self> {
        let output = std::env::temp_dir().join(format!("fluoro-strace-{}", std::process::id()));
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-U", "calls,errors,name", "-o"]).arg(&output).args(whom);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        run::die_with_parent(&mut command);
        Ok(Self { child: command.spawn().context("start strace")?, output })
    }

    fn await_attached(&mut self, pid: u32, within: Duration) -> Result<()> {
        let begin = Instant::now();
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        while !traced() {
            if begin.elapsed() > within || self.child.try_wait()?.is_some() {
                bail!("strace does not attach");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets go of whom it traces. Calls and errors by name.
    fn finish(self, within: Duration) -> Result<BTreeMap<String, (u64, u64)>> {
        run::send(self.child.id(), Signal::SIGINT)?;
        self.rest(within)
    }

    /// When all whom it traces have ended.
    fn rest(mut self, within: Duration) -> Result<BTreeMap<String, (u64, u64)>> {
        run::await_end(&mut self.child, within, || ())?.context("strace does not end")?;
        let text = std::fs::read_to_string(&self.output).context("read what strace says")?;
        let mut found = BTreeMap::new();
        for line in text.lines().filter(|line| !line.contains("total")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |word: &str| word.parse::<u64>().ok();
            match words.as_slice() {
                [calls, errors, name] if number(calls).is_some() => {
                    found.insert(
                        (*name).to_owned(),
                        (number(calls).unwrap_or(0), number(errors).unwrap_or(0)),
                    );
                }
                [calls, name] if number(calls).is_some() => {
                    found.insert((*name).to_owned(), (number(calls).unwrap_or(0), 0));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = std::fs::remove_file(&self.output);
    }
}

/// Threads that block in read(2), all at the same time, on few CPUs: none of their times is another's.
fn waited(place: &Place, checks: &mut Checks) -> Result<()> {
    let threads = place.scaled(1000, 50);
    let mut actor = Actor::start(&place.xtask, &["wait", &threads.to_string(), "700", "1"])?;
    actor.hear(place.patience(10))?;
    let mut table = Table::start(place, actor.pid())?;
    actor.tell("go")?;
    actor.hear(place.patience(30))?;
    let held = actor.hear(place.patience(30))?;
    table.settle()?;
    let bound = |key: &str| held.get(key).and_then(Value::as_u64).with_context(|| format!("no {key}"));
    let (least, most) = (bound("least_ns")?, bound("most_ns")?);
    let read = table.of("read", "");
    checks.note(format!("{threads} threads in read for {} to {} ms", least / 1_000_000, most / 1_000_000));
    checks.at_least("read: calls", u64::from(threads), read.calls);
    // Beside them the main thread reads a few words.
    checks.at_most("read: calls", u64::from(threads) + 20, read.calls);
    // A bucket's middle is within a sixteenth of what is in it.
    let (low, high) = (least - least / 16, most + most / 16);
    checks.that(
        "read: p50",
        format!("{low} to {high} ns"),
        format!("{} ns", read.p50_ns),
        (low..=high).contains(&read.p50_ns),
    );
    let (low, high) = (least * u64::from(threads), most * (u64::from(threads) + 20));
    checks.that(
        "read: sum of all times",
        format!("{low} to {high} ns"),
        format!("{} ns", read.sum_ns),
        (low..=high).contains(&read.sum_ns),
    );
    Ok(())
}

/// Two threads that block in read(2) and whose starts share a place under a small budget: both are counted, and of the
/// one that was overwritten no time is made up. Nor is one of the read in which the process was when fluoro came.
fn shared(place: &Place, checks: &mut Checks) -> Result<()> {
    /// Places that 2 MiB have room for (docs/syscall.md).
    const PLACES: &str = "8192";
    let mut actor = Actor::start(&place.xtask, &["wait", "2", "700", PLACES])?;
    actor.hear(place.patience(10))?;
    let mut table = Table::with(place, actor.pid(), &["--map-budget", "2"])?;
    actor.tell("go")?;
    actor.hear(place.patience(60))?;
    let held = actor.hear(place.patience(30))?;
    table.settle()?;
    let bound = |key: &str| held.get(key).and_then(Value::as_u64).with_context(|| format!("no {key}"));
    let (least, most) = (bound("least_ns")?, bound("most_ns")?);
    let read = table.of("read", "");
    checks.at_least("shared place: read: calls", 3, read.calls);
    checks.at_least("shared place: collisions", 1, table.collisions);
    // The second began after the search for a thread with its id. A stranger may have its place, too.
    let low = if table.collisions == 1 { least } else { 0 };
    checks.that(
        "shared place: read: sum of all times",
        format!("{low} to {} ns: of one thread", least + least / 2),
        format!("{} ns (the first thread: {most} ns at most)", read.sum_ns),
        (low..=least + least / 2).contains(&read.sum_ns),
    );
    Ok(())
}

/// A program from its execve to its exit_group, stopped and continued in a call that goes on afterwards by another one:
/// nothing is counted before, each call once. On the host strace counts the same.
fn launched(place: &Place, checks: &mut Checks) -> Result<()> {
    let scratch = super::identity::Scratch::new("launched")?;
    let path = scratch.path.join("program").display().to_string();
    let count = u64::from(place.scaled(5000, 100));
    program::write_x86_64(Path::new(&path), count as u32)?;
    let mut actor = Actor::start(&place.xtask, &["launch", &path])?;
    actor.hear(place.patience(10))?;
    let mut table = Table::filtered(place, &format!("exe:\"{path}\""), &[])?;
    table.take()?;
    actor.tell("go")?;
    let pid = actor.hear(place.patience(10))?.get("pid").and_then(Value::as_u64).context("no pid")?;
    stop_and_continue(pid as u32, place.patience(20))?;
    let ended = actor.hear(place.patience(20))?;
    table.settle()?;
    checks.equal("launched: exit code", json!({"code": program::CODE}), ended);
    let expected = [
        ("execve", 1, 0),
        ("getppid", count, 0),
        ("dup2", count, count),
        ("nanosleep", 1, 1),
        ("restart_syscall", 1, 0),
        ("exit_group", 1, 0),
    ];
    let known = expected.map(|(name, calls, errors)| (name.to_owned(), (calls, errors)));
    let told = |counts: &BTreeMap<String, (u64, u64)>| format!("{counts:?}");
    let seen: BTreeMap<String, (u64, u64)> =
        table.sums.iter().map(|((name, _), sum)| (name.clone(), (sum.calls, sum.errors))).collect();
    checks.equal("launched: calls and errors by name", told(&known.into()), told(&seen));
    if place.guest.is_some() {
        return Ok(());
    }
    let Ok(strace) = Strace::start(&[&path]) else {
        checks.note("no strace here: compared with what is known only");
        return Ok(());
    };
    stop_and_continue(child_of(strace.child.id(), &path, place.patience(10))?, place.patience(20))?;
    let mut counted = strace.rest(place.patience(20))?;
    // It never returns: strace does not count it.
    counted.insert("exit_group".to_owned(), (1, 0));
    checks.equal("launched: the same beside strace", told(&counted), told(&seen));
    Ok(())
}

/// Stops a process when it sleeps, and lets it go on.
fn stop_and_continue(pid: u32, within: Duration) -> Result<()> {
    await_state(pid, 'S', within)?;
    run::send(pid, Signal::SIGSTOP)?;
    await_state(pid, 'T', within)?;
    run::send(pid, Signal::SIGCONT)
}

/// The letters of /proc/PID/stat; a process that a tracer holds has `t` for `T`.
fn await_state(pid: u32, state: char, within: Duration) -> Result<()> {
    let begin = Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read /proc/PID/stat")?;
        let now = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).context("no state")?;
        let is_held = state == 'T' && now == 't';
        if now == state || is_held {
            return Ok(());
        }
        if begin.elapsed() > within {
            bail!("{pid} is in state {now}, not {state}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The child of a process that runs this program.
fn child_of(pid: u32, program: &str, within: Duration) -> Result<u32> {
    let begin = Instant::now();
    loop {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let runs = |child: &&str| {
            std::fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == Path::new(program))
        };
        if let Some(child) = children.context("read its children")?.split_whitespace().find(runs) {
            return child.parse().context("a pid");
        }
        if begin.elapsed() > within {
            bail!("{pid} does not start {program}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A 32-bit program's calls are of another table, whatever their numbers mean in the native one.
fn compat(place: &Place, checks: &mut Checks) -> Result<()> {
    let scratch = super::identity::Scratch::new("compat")?;
    let path = scratch.path.join("program");
    let count = place.scaled(5000, 100);
    program::write_i386(&path, count)?;
    let program = path.display().to_string();
    let mut actor = Actor::start(&place.xtask, &["exec", &program])?;
    actor.hear(place.patience(10))?;
    let mut table = Table::start(place, actor.pid())?;
    actor.tell("go")?;
    let ended = actor.ending(place.patience(20))?;
    if ended != Some(program::CODE) {
        checks.note(format!("this kernel runs no 32-bit programs: it ended with {ended:?}"));
        return Ok(());
    }
    table.settle()?;
    checks.equal("32-bit: getppid calls", u64::from(count), table.of("getppid", "i386").calls);
    checks.equal("32-bit: exit calls", 1, table.of("exit", "i386").calls);
    let native: u64 = ["getppid", "ftruncate", "write"].iter().map(|name| table.of(name, "").calls).sum();
    checks.equal("counted as native calls", 0, native);
    Ok(())
}

/// Every call of one process as a line, or in the books.
fn traced(place: &Place, checks: &mut Checks) -> Result<()> {
    let count = place.scaled(1000, 50);
    let mut actor = Actor::start(&place.xtask, &["calls", "1", &count.to_string()])?;
    let told = actor.hear(place.patience(10))?;
    let filter = format!("pid:{}", actor.pid());
    let watch = Observer::start(place, &["syscall"], &["-f", &filter], Keep::Raw)?;
    actor.tell("go")?;
    actor.hear(place.patience(30))?;
    watch.settle();
    let observed = watch.finish()?;
    observed.check_books(checks, &["syscall"])?;
    let lost = observed.books("syscall")?.lost;
    checks.equal("trace: lost", 0, lost);
    let calls = told.get("calls").and_then(Value::as_object).context("no calls")?;
    for (name, expected) in calls {
        let expected = |index: usize| expected.get(index).and_then(Value::as_u64).unwrap_or(0);
        let of = |line: &&Value| line.pointer("/syscall/name").and_then(Value::as_str) == Some(name);
        let lines: Vec<&Value> = observed.raw.iter().filter(of).collect();
        checks.equal(format!("trace: lines of {name}"), expected(0), lines.len() as u64);
        let failed = lines.iter().filter(|line| line.pointer("/error/type").is_some()).count() as u64;
        checks.equal("trace: of them with error.type", expected(1), failed);
        let timed = lines.iter().filter(|line| line.pointer("/result/duration_ns").is_some()).count() as u64;
        checks.equal("trace: of them timed", expected(0), timed);
    }
    let opened = |line: &&Value| line.pointer("/syscall/name").and_then(Value::as_str) == Some("openat");
    let arguments = observed.raw.iter().find(opened).and_then(|line| line.pointer("/syscall/arguments"));
    if let Some(arguments) = arguments {
        checks.equal(
            "trace: arguments",
            "AT_FDCWD, \"/nowhere/to/be/found\", O_RDONLY",
            arguments.as_str().unwrap_or(""),
        );
    } else {
        checks.note("the hook in use does not see arguments");
    }
    actor.end(place.patience(10))
}

/// More calls than lines are let through: what is not shown is lost, to the last one.
fn flooded(place: &Place, checks: &mut Checks) -> Result<()> {
    let mut actor = Actor::start(&place.xtask, &["parents", "1"])?;
    actor.hear(place.patience(10))?;
    let filter = format!("pid:{}", actor.pid());
    let watch = Observer::start(place, &["syscall"], &["-f", &filter], Keep::Counts)?;
    actor.tell("go")?;
    let told = actor.hear(place.patience(30))?;
    watch.settle();
    let observed = watch.finish()?;
    observed.check_books(checks, &["syscall"])?;
    let books = observed.books("syscall")?;
    let calls = told.get("calls").and_then(Value::as_u64).context("no calls")?;
    let all = observed.shown() + books.lost;
    let missed = books.missed.unwrap_or(0);
    // Reads, writes and what else a program does beside; some machines ask the kernel for the time, once in a thousand.
    let most = calls + 50 + calls / 1_000;
    checks.that(
        "flood: lines shown and lost",
        format!("{calls} to {most}, but for {missed} runs missed"),
        format!("{all}: {} shown, {} lost", observed.shown(), books.lost),
        calls <= all + missed && all <= most,
    );
    checks.at_least("flood: lines lost", 1, books.lost);
    actor.tell("end")
}
