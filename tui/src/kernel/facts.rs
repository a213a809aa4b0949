//! What kind of machine this is and what it allows: the first half of `fluoro doctor`.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use crate::kernel::proc::cpu_count;

/// Capabilities that fluoro uses, by number (include/uapi/linux/capability.h), and whether it can do without.
const CAPABILITIES: &[(u32, &str, Need)] = &[
    (1, "CAP_DAC_OVERRIDE", Need::Useful("reading other users' /proc entries")),
    (12, "CAP_NET_ADMIN", Need::Useful("sock_diag details of other users' sockets")),
    (19, "CAP_SYS_PTRACE", Need::Useful("executables and sockets of other users' processes")),
    (21, "CAP_SYS_ADMIN", Need::Useful("mounting tracefs, other network namespaces, run-time statistics")),
    (24, "CAP_SYS_RESOURCE", Need::Useful("map memory on kernels before 5.11")),
    (38, "CAP_PERFMON", Need::Essential),
    (39, "CAP_BPF", Need::Essential),
];

/// CAP_SYS_ADMIN stands for both essential ones.
const SYS_ADMIN: u32 = 21;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Essential,
    /// For what.
    Useful(&'static str),
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub release: String,
    pub host: String,
    pub possible_cpus: usize,
    pub online_cpus: usize,
    /// No thread id reaches it.
    pub pid_max: u32,
    /// `none`, `integrity`, `confidentiality`, or `unknown` where securityfs is not mounted.
    pub lockdown: String,
    pub lsm: Option<String>,
    /// Where tracefs is mounted already.
    pub tracefs: Option<String>,
    pub jit: Option<bool>,
    pub unprivileged_bpf_disabled: Option<i64>,
    pub perf_event_paranoid: Option<i64>,
    capabilities: u64,
    config: HashMap<String, bool>,
}

/// Keys of the kernel's configuration that explain refusals.
const CONFIG: &[&str] = &[
    "CONFIG_KPROBES",
    "CONFIG_BPF_EVENTS",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
];

impl Facts {
    /// Reads them below `root`.
    pub fn gather(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
        let number = |path: &str| text(path).and_then(|text| text.parse::<i64>().ok());
        let release = text("proc/sys/kernel/osrelease").unwrap_or_default();
        let status = text("proc/self/status").unwrap_or_default();
        let capabilities = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0);
        let online = text("sys/devices/system/cpu/online").map_or(1, |list| count_listed(&list));
        Self {
            config: read_config(root, &release),
            release,
            host: text("proc/sys/kernel/hostname").unwrap_or_default(),
            possible_cpus: text("sys/devices/system/cpu/possible")
                .and_then(|list| cpu_count(&list))
                .unwrap_or(1),
            online_cpus: online,
            pid_max: number("proc/sys/kernel/pid_max").and_then(|n| u32::try_from(n).ok()).unwrap_or(1 << 15),
            lockdown: lockdown(root),
            lsm: text("sys/kernel/security/lsm"),
            tracefs: mounted_tracefs(root),
            jit: number("proc/sys/net/core/bpf_jit_enable").map(|jit| jit > 0),
            unprivileged_bpf_disabled: number("proc/sys/kernel/unprivileged_bpf_disabled"),
            perf_event_paranoid: number("proc/sys/kernel/perf_event_paranoid"),
            capabilities,
        }
    }

    const fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 != 0
    }

    /// Capabilities without which nothing can be loaded.
    pub fn missing_capabilities(&self) -> Vec<&'static str> {
        if self.has(SYS_ADMIN) {
            return Vec::new();
        }
        self.absent(|need| need == Need::Essential).map(|(name, _)| name).collect()
    }

    /// Capabilities that are not there, with what is lost.
    pub fn lacking(&self) -> Vec<String> {
        self.absent(|_| true)
            .map(|(name, need)| match need {
                Need::Essential => name.to_owned(),
                Need::Useful(what) => format!("{name} ({what})"),
            })
            .collect()
    }

    pub fn present(&self) -> Vec<&'static str> {
        CAPABILITIES.iter().filter(|(bit, ..)| self.has(*bit)).map(|&(_, name, _)| name).collect()
    }

    fn absent(&self, wanted: impl Fn(Need) -> bool) -> impl Iterator<Item = (&'static str, Need)> {
        CAPABILITIES
            .iter()
            .filter(move |(bit, _, need)| !self.has(*bit) && wanted(*need))
            .map(|&(_, name, need)| (name, need))
    }

    /// A key of the kernel's configuration, where that can be read.
    pub fn config(&self, key: &str) -> Option<bool> {
        self.config.get(key).copied()
    }

    pub fn lockdown_confidentiality(&self) -> bool {
        self.lockdown == "confidentiality"
    }
}

/// CPUs in a list such as `0-2,5`.
fn count_listed(list: &str) -> usize {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            Some(last.saturating_sub(first) + 1)
        })
        .sum::<usize>()
        .max(1)
}

/// The word in brackets of `none [integrity] confidentiality`.
fn lockdown(root: &Path) -> String {
    let Ok(text) = fs::read_to_string(root.join("sys/kernel/security/lockdown")) else {
        // Without securityfs the boot command line is the only hint.
        let command_line = fs::read_to_string(root.join("proc/cmdline")).unwrap_or_default();
        return command_line
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix("lockdown="))
            .unwrap_or("unknown")
            .to_owned();
    };
    let open = text.find('[').map_or(0, |at| at + 1);
    let close = text.find(']').unwrap_or(text.len());
    text.get(open..close).unwrap_or("unknown").trim().to_owned()
}

fn mounted_tracefs(root: &Path) -> Option<String> {
    let mounts = fs::read_to_string(root.join("proc/mounts")).ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "tracefs").then(|| at.to_owned())
    })
}

fn read_config(root: &Path, release: &str) -> HashMap<String, bool> {
    let packed = fs::File::open(root.join("proc/config.gz")).ok().and_then(|file| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).take(4 << 20).read_to_string(&mut text).ok().map(|_| text)
    });
    let text = packed
        .or_else(|| fs::read_to_string(root.join(format!("boot/config-{release}"))).ok())
        .unwrap_or_default();
    if text.is_empty() {
        return HashMap::new();
    }
    CONFIG
        .iter()
        .map(|key| {
            let set = text.lines().any(|line| {
                line.strip_prefix(key)
                    .and_then(|rest| rest.strip_prefix('='))
                    .is_some_and(|value| value != "n")
            });
            ((*key).to_owned(), set)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn lockdown_is_the_word_in_brackets_or_the_boot_command_line() {
        let root = machine(&[("sys/kernel/security/lockdown", "none integrity [confidentiality]\n")]);
        assert!(Facts::gather(root.path()).lockdown_confidentiality());
        let root = machine(&[("proc/cmdline", "quiet lockdown=integrity\n")]);
        assert_eq!(Facts::gather(root.path()).lockdown, "integrity");
        assert_eq!(Facts::gather(machine(&[]).path()).lockdown, "unknown");
    }

    #[test]
    fn missing_capabilities_are_named_and_admin_stands_for_all() {
        let none = machine(&[("proc/self/status", "CapEff:\t0000000000000000\n")]);
        assert_eq!(Facts::gather(none.path()).missing_capabilities(), ["CAP_PERFMON", "CAP_BPF"]);
        let admin = machine(&[("proc/self/status", "CapEff:\t0000000000200000\n")]);
        assert!(Facts::gather(admin.path()).missing_capabilities().is_empty());
    }

    #[test]
    fn a_key_that_is_not_set_is_off_and_without_a_configuration_nothing_is_known() {
        let root = machine(&[
            ("proc/sys/kernel/osrelease", "6.1\n"),
            ("boot/config-6.1", "# CONFIG_KPROBES is not set\nCONFIG_BPF_EVENTS=y\n"),
        ]);
        let facts = Facts::gather(root.path());
        assert_eq!(
            (facts.config("CONFIG_KPROBES"), facts.config("CONFIG_BPF_EVENTS")),
            (Some(false), Some(true))
        );
        assert_eq!(Facts::gather(machine(&[]).path()).config("CONFIG_KPROBES"), None);
    }

    #[test]
    fn possible_cpus_are_not_online_cpus() {
        let root = machine(&[
            ("sys/devices/system/cpu/possible", "0-127\n"),
            ("sys/devices/system/cpu/online", "0-1\n"),
        ]);
        let facts = Facts::gather(root.path());
        assert_eq!((facts.possible_cpus, facts.online_cpus), (128, 2));
    }
}
