//! Second witnesses: what the kernel itself says of processes and of BPF objects, read without fluoro.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// Most resident memory so far (VmHWM), KiB.
pub fn peak_kib(pid: u32) -> Option<u64> {
    status_kib(pid, "VmHWM:")
}

/// Resident memory now, KiB.
pub fn resident_kib(pid: u32) -> Option<u64> {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields of /proc/PID/stat after the name; the first is the state.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    Some(after.split_whitespace().map(ToOwned::to_owned).collect())
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf only reads.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}

fn stat_ticks(pid: u32, field: usize) -> Option<u64> {
    stat_fields(pid)?.get(field)?.parse().ok()
}

/// User and system time.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let ticks = stat_ticks(pid, 11)? + stat_ticks(pid, 12)?;
    Some(Duration::from_nanos(ticks * (1_000_000_000 / ticks_per_second())))
}

/// Time on a CPU of all living threads, by the scheduler's own nanosecond account where the kernel keeps one.
pub fn run_time(pid: u32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanos = tasks.flatten().map(|task| {
        let account = fs::read_to_string(task.path().join("schedstat")).ok()?;
        account.split_whitespace().next()?.parse::<u64>().ok()
    });
    match nanos.sum::<Option<u64>>() {
        Some(sum) if sum > 0 => Some(Duration::from_nanos(sum)),
        _ => cpu_time(pid),
    }
}

/// When the process began, since the Unix epoch, at the precision of /proc (10 ms).
pub fn created(pid: u32) -> Result<Duration> {
    let ticks = stat_ticks(pid, 19).with_context(|| format!("/proc/{pid}/stat has no start time"))?;
    let since_boot = Duration::from_nanos(ticks * (1_000_000_000 / ticks_per_second()));
    let wall = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME).context("clock_gettime")?);
    let boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).context("clock_gettime")?);
    wall.checked_sub(boot).map(|booted| booted + since_boot).context("the clock is older than the boot")
}

/// A time as fluoro prints it, since the Unix epoch.
pub fn parse_time(text: &str) -> Option<Duration> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = seconds.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    // Days since the epoch of a civil date, years counted from March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years.div_euclid(4) - years.div_euclid(100)
        + years.div_euclid(400)
        + (153 * months + 2) / 5
        + day
        - 719_469;
    let total = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(Duration::new(u64::try_from(total).ok()?, nanos))
}

/// Kinds of BPF objects that have ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BpfKind {
    Program,
    Map,
    Link,
}

impl BpfKind {
    pub const ALL: [Self; 3] = [Self::Program, Self::Map, Self::Link];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Program => "prog",
            Self::Map => "map",
            Self::Link => "link",
        }
    }

    /// `BPF_*_GET_NEXT_ID`.
    const fn next_command(self) -> libc::c_int {
        match self {
            Self::Program => 11,
            Self::Map => 12,
            Self::Link => 31,
        }
    }
}

/// All ids of a kind that exist on the machine now.
pub fn bpf_ids(kind: BpfKind) -> Result<BTreeSet<u32>> {
    /// The start of `union bpf_attr` as the id commands read it.
    #[repr(C)]
    struct Attributes {
        start: u32,
        next: u32,
        flags: u32,
    }
    let mut ids = BTreeSet::new();
    let mut attributes = Attributes { start: 0, next: 0, flags: 0 };
    // More than any machine has; a bound all the same.
    for _ in 0..1_000_000 {
        // SAFETY: bpf(2) reads and writes at most the given size of `attributes`, which lives through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                kind.next_command(),
                &raw mut attributes,
                size_of::<Attributes>() as libc::c_uint,
            )
        };
        match Errno::result(result) {
            Ok(_) => {
                ids.insert(attributes.next);
                attributes.start = attributes.next;
            }
            Err(Errno::ENOENT) => return Ok(ids),
            Err(error) => bail!("bpf(GET_NEXT_ID) of {}: {error}", kind.word()),
        }
    }
    bail!("bpf(GET_NEXT_ID) of {} does not come to an end", kind.word())
}

/// The same as `bpftool` tells it, where that is installed.
pub fn bpftool_ids(kind: BpfKind) -> Result<Option<BTreeSet<u32>>> {
    let Some(bpftool) =
        ["/usr/sbin/bpftool", "/sbin/bpftool", "/usr/bin/bpftool"].iter().find(|p| Path::new(p).exists())
    else {
        return Ok(None);
    };
    let output = Command::new(bpftool).args(["-j", kind.word(), "list"]).output().context("run bpftool")?;
    let list: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("bpftool {} list: {:?}", kind.word(), String::from_utf8_lossy(&output.stderr))
    })?;
    let ids =
        list.as_array().into_iter().flatten().filter_map(|entry| entry.get("id")?.as_u64()?.try_into().ok());
    Ok(Some(ids.collect()))
}

/// Ids of the BPF objects that a process holds descriptors of.
pub fn bpf_ids_held(pid: u32) -> BTreeSet<(BpfKind, u32)> {
    let mut held = BTreeSet::new();
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return held };
    for entry in entries.flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let Ok(id) = value.trim().parse() else { continue };
            for kind in BpfKind::ALL {
                if key == format!("{}_id", kind.word()) {
                    held.insert((kind, id));
                }
            }
        }
    }
    held
}

/// Runs that the kernel has skipped of those programs that a process holds and whose names begin so. Of programs that only
/// add to what others tell fluoro does not have them among what its family missed.
pub fn runs_skipped(pid: u32, names: &[&str]) -> u64 {
    /// `BPF_PROG_GET_FD_BY_ID`, `BPF_OBJ_GET_INFO_BY_FD`
    const BY_ID: libc::c_int = 13;
    const INFO: libc::c_int = 15;
    /// In `struct bpf_prog_info` (include/uapi/linux/bpf.h).
    const NAME: usize = 64;
    const NAME_LEN: usize = 16;
    const RECURSION_MISSES: usize = 208;
    let bpf = |command: libc::c_int, attributes: &mut [u32; 4]| {
        // SAFETY: bpf(2) reads at most the given size of `attributes`; what that points to is as long as it says.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attributes.as_mut_ptr(),
                size_of_val(attributes) as libc::c_uint,
            )
        };
        Errno::result(result).ok()
    };
    let skipped = |id: u32| {
        let number = bpf(BY_ID, &mut [id, 0, 0, 0])? as i32;
        // SAFETY: the kernel has just given it to us.
        let program = unsafe { OwnedFd::from_raw_fd(number) };
        let mut info = [0_u8; RECURSION_MISSES + 8];
        let at = info.as_mut_ptr() as u64;
        bpf(INFO, &mut [program.as_raw_fd() as u32, info.len() as u32, at as u32, (at >> 32) as u32])?;
        let name = String::from_utf8_lossy(info.get(NAME..NAME + NAME_LEN)?).into_owned();
        let misses = u64::from_ne_bytes(info.get(RECURSION_MISSES..)?.try_into().ok()?);
        names.iter().any(|begin| name.starts_with(begin)).then_some(misses)
    };
    bpf_ids_held(pid)
        .into_iter()
        .filter(|(kind, _)| *kind == BpfKind::Program)
        .filter_map(|(_, id)| skipped(id))
        .sum()
}

/// Memory of the maps that a process holds descriptors of, as the kernel accounts it, each map once.
pub fn map_bytes_held(pid: u32) -> u64 {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return 0 };
    let mut maps = BTreeMap::new();
    for entry in entries.flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    maps.values().sum()
}

/// Every process of the machine.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// IPv4 TCP sockets with this local or remote port that are not yet over, as `/proc/net/tcp` lists them.
pub fn sockets_open(port: u16) -> Result<usize> {
    const TIME_WAIT: &str = "06";
    let text = fs::read_to_string("/proc/net/tcp").context("read /proc/net/tcp")?;
    let port = format!(":{port:04X}");
    let open = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = [fields.next(), fields.next()];
        ends.into_iter().flatten().any(|end| end.ends_with(&port)) && fields.next() != Some(TIME_WAIT)
    };
    Ok(text.lines().filter(open).count())
}

/// A counter of a table in which a line of names stands above one of numbers.
pub fn counter(path: &str, kind: &str, wanted: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let mut lines = text.lines().filter(|line| line.starts_with(kind));
    let names = lines.next().with_context(|| format!("no {kind}"))?.split_whitespace();
    let values = lines.next().with_context(|| format!("no {kind}"))?.split_whitespace();
    let found =
        names.zip(values).find(|(name, _)| *name == wanted).with_context(|| format!("no {wanted}"))?;
    found.1.parse().with_context(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_as_printed() {
        assert_eq!(parse_time("1970-01-01T00:00:00Z").unwrap(), Duration::ZERO);
        assert_eq!(parse_time("2024-02-29T12:34:56.5Z").unwrap(), Duration::new(1_709_210_096, 500_000_000));
        assert_eq!(parse_time("2026-11-23T08:34:38.000000001Z").unwrap(), Duration::new(1_795_422_878, 1));
        assert_eq!(parse_time("2026-11-23 08:34:38"), None);
    }

    #[test]
    fn the_creation_of_this_process_lies_in_the_recent_past() {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME).unwrap());
        let age = now.checked_sub(created(std::process::id()).unwrap()).unwrap();
        assert!(age < Duration::from_hours(1), "{age:?}");
    }
}
