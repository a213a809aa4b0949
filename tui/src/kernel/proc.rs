//! Processes as /proc shows them. A process may vanish between any two reads: then it is simply not there.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::kernel::mounts;

/// What /proc tells of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub tgid: u32,
    pub parent: u32,
    /// Start in units of 10 ms since boot (USER_HZ is 100 on every architecture fluoro knows).
    pub start: u64,
    pub comm: Vec<u8>,
    /// Where `exe` points; `None` for kernel threads and where reading it is denied.
    pub executable: Option<Vec<u8>>,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Each argument with its NUL, up to a bound.
    pub args: Vec<u8>,
    /// Lines of /proc/PID/cgroup.
    pub cgroups: Vec<u8>,
}

/// Bytes of arguments that are kept, as of those that the kernel side reads.
const ARGS_MAX: u64 = 512;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In user and kernel space, all threads, also those that have ended; in steps of 10 ms.
    pub cpu_ns: u64,
    pub resident_pages: u64,
    pub threads: u64,
}

/// What the scheduler has counted of a thread since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    pub tid: u32,
    pub on_cpu_ns: u64,
    /// It could have run, and another did.
    pub waited_ns: u64,
}

/// Threads of one process that are looked at.
const THREADS_MAX: u64 = 512;

/// A /proc, or a folder that looks like one.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
}

impl Proc {
    pub fn new(root: &Path) -> Self {
        Self { root: root.join("proc") }
    }

    fn of(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }

    /// One process, by the id of its thread group.
    pub fn process(&self, pid: u32) -> Option<Process> {
        let stat = fs::read(self.of(pid, "stat")).ok()?;
        let (comm, parent, start) = parse_stat(&stat)?;
        let status = fs::read(self.of(pid, "status")).ok()?;
        let tgid = status_field(&status, b"Tgid:")?;
        if tgid != pid {
            return None;
        }
        Some(Process {
            tgid,
            parent,
            start,
            comm,
            executable: fs::read_link(self.of(pid, "exe")).ok().map(|path| path.into_os_string().into_vec()),
            uid: status_field(&status, b"Uid:")?,
            gid: status_field(&status, b"Gid:").unwrap_or(0),
            args: self.args(pid),
            cgroups: fs::read(self.of(pid, "cgroup")).unwrap_or_default(),
        })
    }

    fn args(&self, pid: u32) -> Vec<u8> {
        let mut args = Vec::new();
        if let Ok(file) = fs::File::open(self.of(pid, "cmdline")) {
            // What could not be read is not there.
            let _ = file.take(ARGS_MAX).read_to_end(&mut args);
        }
        args
    }

    /// What a process uses now; `None` when the one that started then is gone.
    pub fn usage(&self, pid: u32, start: u64) -> Option<Usage> {
        let stat = fs::read(self.of(pid, "stat")).ok()?;
        let usage = parse_usage(&stat)?;
        let is_it = parse_stat(&stat).is_some_and(|(_, _, started)| started == start);
        is_it.then_some(usage)
    }

    /// How many descriptors a process has open; `None`: reading it is denied.
    pub fn descriptors(&self, pid: u32) -> Option<u64> {
        fs::read_dir(self.of(pid, "fd")).ok().map(|entries| entries.count() as u64)
    }

    /// What the scheduler says of each thread. `None`: this kernel does not say (`CONFIG_SCHED_INFO`), the process is
    /// gone, or there are too many threads to look at.
    pub fn scheduled(&self, pid: u32, threads: u64) -> Option<Vec<Scheduled>> {
        // The file of the process is that of its first thread alone.
        if threads == 1 {
            return Some(vec![parse_schedstat(pid, &fs::read(self.of(pid, "schedstat")).ok()?)?]);
        }
        if threads > THREADS_MAX {
            return None;
        }
        let entries = fs::read_dir(self.of(pid, "task")).ok()?;
        let of = |entry: fs::DirEntry| {
            let tid = entry.file_name().to_str()?.parse().ok()?;
            parse_schedstat(tid, &fs::read(entry.path().join("schedstat")).ok()?)
        };
        let told: Vec<Scheduled> = entries.filter_map(|entry| of(entry.ok()?)).collect();
        (!told.is_empty()).then_some(told)
    }

    /// Mounts as process 1 sees them; where that may not be read, as fluoro does.
    pub fn mountinfo(&self) -> Vec<u8> {
        let of = |pid: &str| fs::read(self.root.join(pid).join("mountinfo"));
        of("1").or_else(|_| of("self")).unwrap_or_default()
    }

    /// Where a process stands.
    pub fn working_directory(&self, pid: u32) -> Option<Vec<u8>> {
        fs::read_link(self.of(pid, "cwd")).ok().map(|path| path.into_os_string().into_vec())
    }

    /// Ids of all processes.
    pub fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// Inode of the network namespace of a process.
    pub fn netns(&self, pid: u32) -> Option<u32> {
        let link = fs::read_link(self.of(pid, "ns/net")).ok()?;
        bracketed(link.as_os_str(), b"net:")
    }

    /// Network namespaces in use, each with a process that is in it.
    pub fn namespaces(&self) -> HashMap<u32, u32> {
        let mut found = HashMap::new();
        for pid in self.pids() {
            if let Some(netns) = self.netns(pid) {
                found.entry(netns).or_insert(pid);
            }
        }
        found
    }

    /// Network namespaces that a process is in or that are held mounted (`ip netns`), each with a file that leads to it.
    pub fn namespace_files(&self) -> BTreeMap<u32, PathBuf> {
        let mountinfo = fs::read(self.root.join("proc/self/mountinfo")).unwrap_or_default();
        let mounted = mounts::namespaces(&mountinfo).into_iter();
        let mounted = mounted.map(|(netns, point)| (netns, PathBuf::from(OsString::from_vec(point))));
        // A mount may be hidden below another: processes go first.
        mounted
            .chain(self.namespaces().into_iter().map(|(netns, pid)| (netns, self.netns_file(pid))))
            .collect()
    }

    /// The file of a process's network namespace.
    pub fn netns_file(&self, pid: u32) -> PathBuf {
        self.of(pid, "ns/net")
    }

    /// Inodes of the UDP sockets in the network namespace of a process, by their ports.
    pub fn udp_ports(&self, pid: u32) -> Option<HashMap<u16, u64>> {
        let read = |file| fs::read_to_string(self.of(pid, file)).ok();
        let four = read("net/udp")?;
        let six = read("net/udp6").unwrap_or_default();
        Some(four.lines().chain(six.lines()).filter_map(parse_udp).collect())
    }

    /// Which process holds each socket open, by the socket's inode: the holder with the lowest pid.
    pub fn socket_holders(&self) -> HashMap<u64, u32> {
        self.socket_holders_among(self.pids())
    }

    /// The same, of these processes.
    pub fn socket_holders_among(&self, mut pids: Vec<u32>) -> HashMap<u64, u32> {
        let mut holders = HashMap::new();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            let Ok(entries) = fs::read_dir(self.of(pid, "fd")) else { continue };
            for entry in entries.flatten() {
                if let Ok(target) = fs::read_link(entry.path())
                    && let Some(inode) = bracketed(target.as_os_str(), b"socket:")
                {
                    holders.entry(inode).or_insert(pid);
                }
            }
        }
        holders
    }
}

/// Port and inode of a line of `net/udp`.
fn parse_udp(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_ascii_whitespace();
    // sl, local_address, .. inode is the tenth.
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, fields.nth(7)?.parse().ok()?))
}

/// `net:[4026531840]` and the like.
fn bracketed<T: std::str::FromStr>(text: &OsStr, prefix: &[u8]) -> Option<T> {
    let digits = text.as_bytes().strip_prefix(prefix)?.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// comm, parent and start of a `stat` file. comm may hold anything, `)` and newlines included: it ends at the last
/// parenthesis.
fn parse_stat(stat: &[u8]) -> Option<(Vec<u8>, u32, u64)> {
    let open = stat.iter().position(|&b| b == b'(')?;
    let close = stat.iter().rposition(|&b| b == b')')?;
    let comm = stat.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // After the name: state, ppid, .. starttime is the 22nd of all.
    let parent = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((comm, parent, start))
}

/// Time on a CPU, time on a run queue, and the number of turns.
fn parse_schedstat(tid: u32, text: &[u8]) -> Option<Scheduled> {
    let mut fields = std::str::from_utf8(text).ok()?.split_ascii_whitespace().map(str::parse);
    Some(Scheduled { tid, on_cpu_ns: fields.next()?.ok()?, waited_ns: fields.next()?.ok()? })
}

fn parse_usage(stat: &[u8]) -> Option<Usage> {
    let close = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let fields: Vec<u64> = rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    // From the state, which is the third of all: utime 14, stime 15, num_threads 20, rss 24.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Usage {
        cpu_ns: (field(14)? + field(15)?) * 10_000_000,
        resident_pages: field(24)?,
        threads: field(20)?,
    })
}

fn status_field(status: &[u8], name: &[u8]) -> Option<u32> {
    let line = status.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(name))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Arguments of a process, NUL-separated as the kernel gives them.
pub fn cmdline(root: &Path, pid: u32) -> Option<Vec<u8>> {
    fs::read(root.join("proc").join(pid.to_string()).join("cmdline")).ok()
}

/// Counts a kernel CPU list such as `0-3,8`: its highest number plus one.
pub fn cpu_count(list: &str) -> Option<usize> {
    list.trim().rsplit([',', '-']).next()?.parse::<usize>().ok().map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_newlines() {
        let stat = b"42 (a) b\n(c)) S 7 42 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        assert_eq!(parse_stat(stat), Some((b"a) b\n(c)".to_vec(), 7, 12345)));
    }

    #[test]
    fn a_line_of_udp_sockets_has_port_and_inode() {
        let line = " 4187: 0100007F:1B5A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 0 0";
        assert_eq!(parse_udp(line), Some((7002, 12345)));
        assert_eq!(parse_udp("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"), None);
    }

    #[test]
    fn what_the_scheduler_says_is_two_times() {
        let told = parse_schedstat(7, b"2500 1000 3\n");
        assert_eq!(told, Some(Scheduled { tid: 7, on_cpu_ns: 2500, waited_ns: 1000 }));
        assert_eq!(parse_schedstat(7, b"2500\n"), None);
    }

    #[test]
    fn a_stat_cut_short_is_no_process() {
        assert_eq!(parse_stat(b"42 (a) S 7"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn this_very_process_is_found_with_its_parent_and_executable() {
        let proc = Proc::new(Path::new("/"));
        let me = proc.process(std::process::id()).unwrap();
        assert_eq!(me.parent, std::os::unix::process::parent_id());
        assert_eq!(me.executable.unwrap(), std::env::current_exe().unwrap().into_os_string().into_vec());
    }

    #[test]
    fn a_fixture_folder_stands_for_a_machine() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("proc/9");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("stat"), "9 (x) S 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0").unwrap();
        fs::write(dir.join("status"), "Name:\tx\nTgid:\t9\nUid:\t1000\t0\t0\t0\n").unwrap();
        fs::write(dir.join("cgroup"), "0::/a\n").unwrap();
        let found = Proc::new(root.path()).process(9).unwrap();
        assert_eq!((found.parent, found.start, found.uid), (1, 77, 1000));
        assert_eq!(found.executable, None);
        assert_eq!(Proc::new(root.path()).process(10), None);
    }

    #[test]
    fn cpu_lists_give_their_highest_number() {
        assert_eq!(cpu_count("0-127\n"), Some(128));
        assert_eq!(cpu_count("0\n"), Some(1));
        assert_eq!(cpu_count("0-1,4\n"), Some(5));
        assert_eq!(cpu_count(""), None);
    }
}
