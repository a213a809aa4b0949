//! What a call into the kernel costs while somebody watches every call of the machine: getppid, bare, with an empty pair
//! of programs, with fluoro, and with the peers that are installed, in turns.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::peers::{Tracefs, end};
use super::{Report, median};
use crate::prove::witness::{self, BpfKind};
use crate::prove::{Place, fluoro_command};

const ROUNDS: usize = 7;

/// How long a peer that says nothing gets to attach.
const SETTLE: Duration = Duration::from_secs(3);

/// Budgets: times an empty pair, and nanoseconds.
const RATIO: f64 = 3.2;
const ADDED_NS: f64 = 450.0;

pub fn play(place: &Place, report: &mut Report) -> Result<()> {
    let pid = std::process::id().to_string();
    let latency = "tracepoint:raw_syscalls:sys_enter { @s[tid] = nsecs; } tracepoint:raw_syscalls:sys_exit /@s[tid]/ { \
                   @h[pid] = hist(nsecs - @s[tid]); @c[pid, args->id] = count(); delete(@s[tid]); }";
    let peers: [(&str, Vec<&str>); 5] = [
        ("syscount", vec!["-L", "-P", "-d", "60"]),
        ("syscount-bpfcc", vec!["-L", "-P", "-d", "60"]),
        ("bpftrace", vec!["-e", latency]),
        ("perf", vec!["trace", "-s", "-p", &pid, "-o", "/dev/null"]),
        ("strace", vec!["-c", "-f", "-p", &pid, "-o", "/dev/null"]),
    ];
    let _tracefs = Tracefs::mount();
    let mut bare = Vec::new();
    let mut series: Vec<(String, Vec<f64>)> =
        vec![("empty pair".to_owned(), vec![]), ("fluoro".to_owned(), vec![])];
    for round in 0..ROUNDS {
        bare.push(getppid_ns());
        let pair = empty::attach()?;
        push(&mut series, "empty pair", getppid_ns());
        drop(pair);
        let mut fluoro = fluoro_command(place, &["top", "syscalls", "-o", "json"]);
        let watched = watched(&mut fluoro, |child| {
            let held = witness::bpf_ids_held(child.id());
            held.iter().filter(|(kind, _)| *kind == BpfKind::Link).count() >= 5
        })?;
        push(&mut series, "fluoro", watched);
        // Peers are slower by orders of magnitude: a few rounds tell.
        if round < 3 {
            for (peer, args) in peers.iter().filter(|(peer, _)| super::console::installed(peer)) {
                let begin = Instant::now();
                let ns = self::watched(Command::new(peer).args(args), |_| begin.elapsed() > SETTLE)?;
                push(&mut series, peer, ns);
            }
        }
    }
    let Some([base, ..]) = median::of(&bare) else { return Ok(()) };
    report.add("nobody", "getppid", "ns", &bare, None);
    let added = |series: &[f64]| series.iter().map(|ns| ns - base).collect::<Vec<_>>();
    let pair =
        series.first().and_then(|(_, series)| median::of(&added(series))).map_or(1.0, |[pair, ..]| pair);
    for (who, series) in &series {
        let (ns, ratio) = if who == "fluoro" { (Some(ADDED_NS), Some(RATIO)) } else { (None, None) };
        let added = added(series);
        report.add(who, "a call, added", "ns", &added, ns);
        let ratios: Vec<f64> = added.iter().map(|ns| ns / pair).collect();
        report.add(who, "a call, added, to an empty pair", "x", &ratios, ratio);
    }
    Ok(())
}

fn push(series: &mut Vec<(String, Vec<f64>)>, who: &str, ns: f64) {
    match series.iter_mut().find(|(known, _)| known == who) {
        Some((_, series)) => series.push(ns),
        None => series.push((who.to_owned(), vec![ns])),
    }
}

/// The cost of a call while `command` runs and `is_ready`.
fn watched(command: &mut Command, is_ready: impl Fn(&Child) -> bool) -> Result<f64> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().ok().context("start an observer")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_ready(child) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    let ready = is_ready(child);
    thread::sleep(Duration::from_millis(300));
    let ns = getppid_ns();
    end(child);
    ensure!(ready, "{} attached nothing", command.get_program().display());
    Ok(ns)
}

/// Of several rounds the fastest: others run beside it.
pub fn getppid_ns() -> f64 {
    const ROUND: Duration = Duration::from_millis(20);
    const BATCH: u32 = 64;
    let mut best = f64::MAX;
    for _ in 0..15 {
        let begin = Instant::now();
        let mut calls = 0;
        while begin.elapsed() < ROUND {
            for _ in 0..BATCH {
                // SAFETY: no arguments.
                unsafe { libc::syscall(libc::SYS_getppid) };
            }
            calls += BATCH;
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    best
}

/// Programs that return at once, on sys_enter and sys_exit.
mod empty {
    use std::ffi::CStr;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use anyhow::{Result, bail};

    /// Detached and unloaded when dropped.
    pub fn attach() -> Result<Vec<OwnedFd>> {
        let mut held = Vec::new();
        for name in [c"sys_enter", c"sys_exit"] {
            let program = load()?;
            held.push(open(&program, name)?);
            held.push(program);
        }
        Ok(held)
    }

    fn call(command: libc::c_int, attributes: &[u8]) -> Result<OwnedFd> {
        // SAFETY: bpf(2) reads at most so many bytes; what they point to lives in the callers.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
        if fd < 0 {
            bail!("bpf({command}): {}", std::io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel has just given.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn load() -> Result<OwnedFd> {
        const BPF_PROG_LOAD: libc::c_int = 5;
        const RAW_TRACEPOINT: u32 = 17;
        // mov64 r0, 0; exit
        let instructions: [u64; 2] = [0xb7, 0x95];
        let licence = c"GPL";
        let mut attributes = Vec::new();
        attributes.extend_from_slice(&RAW_TRACEPOINT.to_ne_bytes());
        attributes.extend_from_slice(&(instructions.len() as u32).to_ne_bytes());
        attributes.extend_from_slice(&(instructions.as_ptr() as u64).to_ne_bytes());
        attributes.extend_from_slice(&(licence.as_ptr() as u64).to_ne_bytes());
        attributes.resize(72, 0);
        call(BPF_PROG_LOAD, &attributes)
    }

    fn open(program: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
        const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
        let mut attributes = (name.as_ptr() as u64).to_ne_bytes().to_vec();
        attributes.extend_from_slice(&program.as_raw_fd().to_ne_bytes());
        attributes.resize(16, 0);
        call(BPF_RAW_TRACEPOINT_OPEN, &attributes)
    }
}
