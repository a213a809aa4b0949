//! Preparing the ground before threads start: a private mount namespace with tracefs, memory limits, and the facts
//! that loading needs.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use fluoro_shared::offsets::{Machine, Offsets};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::collect::machine;
use crate::collect::program::Hook;
use crate::families::Family;
use crate::kernel::btf::{Btf, Target};
use crate::kernel::cgroup::Hierarchy;
use crate::kernel::facts::Facts;
use crate::kernel::{drop_reasons, kallsyms};

/// What loading needs to know of the machine, gathered once.
pub struct Ground {
    pub offsets: Offsets,
    pub machine: Machine,
    /// File with the BTF of the running kernel; without it only hooks that need no kernel type remain.
    pub btf: Option<PathBuf>,
    /// Why there is none.
    pub btf_reason: String,
    /// What of it programs are attached to.
    pub targets: Vec<Target>,
    pub possible_cpus: usize,
    /// `--hook PROGRAM=ALTERNATIVE`.
    pub forced: HashMap<String, String>,
    /// Bytes that all maps of fluoro together may take.
    pub map_budget: u64,
    /// Packet sockets in other network namespaces, too.
    pub all_netns: bool,
    /// Tracepoints by perf event can be reached (tracefs is mounted for this process).
    pub tracefs: bool,
    /// What a refusal by this kernel most likely comes from, by kind of hook.
    pub refusals: Refusals,
    /// The kernel's words for the values of its `enum skb_drop_reason`.
    pub drop_reasons: HashMap<u32, String>,
    /// Address of `_stext`; `None` where addresses are hidden.
    pub text: Option<u64>,
}

/// Known causes for which a kind of hook is refused here, said instead of a bare errno.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    pub kprobe: Option<String>,
    pub trampoline: Option<String>,
    pub privilege: Option<String>,
    pub read_kernel: Option<String>,
}

/// `--btf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BtfChoice {
    /// /sys/kernel/btf/vmlinux
    #[default]
    Kernel,
    File(PathBuf),
    None,
}

/// What the command line decides about loading.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    pub btf: BtfChoice,
    /// `--hook PROGRAM=ALTERNATIVE`.
    pub hooks: HashMap<String, String>,
    /// `--map-budget`, bytes; by default it follows the possible CPUs.
    pub map_budget: Option<u64>,
    /// `--all-netns`: packet sockets in other network namespaces, too.
    pub all_netns: bool,
}

const MIB: u64 = 1 << 20;

/// Where aya looks for tracefs first.
const TRACEFS: &str = "/sys/kernel/tracing";

/// Gives this process mounts of its own and mounts tracefs in them where the system has not. Later mounts of the
/// host still arrive; nothing that happens here leaves. Must run before threads start. True: tracefs can be read.
///
/// Under lockdown=confidentiality tracefs is empty, and nothing else holds it mounted: giving the mount back is a BUG in
/// the kernel (6.12.117: list_del corruption in tracefs_destroy_inode).
pub fn prepare_mounts(facts: &Facts) -> bool {
    let mounted = || Path::new(TRACEFS).join("events").is_dir();
    if mounted() {
        return true;
    }
    if facts.lockdown_confidentiality() {
        return false;
    }
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).is_ok()
        && mount(Some("tracefs"), TRACEFS, Some("tracefs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, none)
            .is_ok()
        && mounted()
}

/// Has memory that was needed for a moment (the kernel's types: tens of megabytes) go back to the system. Left alone,
/// glibc raises both thresholds to the largest block that was ever freed, and keeps as much in each thread's arena.
pub fn give_memory_back() {
    // SAFETY: no pointers; before threads start.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 512 << 10);
    }
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; raising it takes CAP_SYS_RESOURCE and is not needed later.
pub fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
    {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}

/// Gathers what loading needs.
pub fn survey(choices: &Choices, facts: &Facts, hierarchy: Option<&Hierarchy>, tracefs: bool) -> Ground {
    let (file, bytes, btf_reason) = find_btf(&choices.btf);
    let (parsed, btf_reason) = match bytes.as_deref().map(Btf::parse) {
        Some(Ok(btf)) => (Some(btf), btf_reason),
        Some(Err(error)) => (None, format!("the BTF cannot be read: {error}; try --btf FILE")),
        None => (None, btf_reason),
    };
    let possible_cpus = facts.possible_cpus;
    let refusals = refusals(facts);
    let subsys = hierarchy.and_then(Hierarchy::subsys);
    let offsets = parsed.as_ref().map_or(Offsets::ABSENT, |btf| machine::offsets(Some(btf)));
    let map_budget = choices.map_budget.unwrap_or_else(|| default_budget(possible_cpus));
    let stamps = machine::stamps(facts.pid_max, map_budget);
    let read_kernel = refusals.read_kernel.is_none();
    let text = kallsyms::base(Path::new("/"));
    let mut machine =
        machine::machine(parsed.as_ref(), subsys, possible_cpus, stamps, read_kernel, text.unwrap_or(0));
    machine.all_netns = u32::from(choices.all_netns);
    // What comes while the reader makes up its mind has room seven times over.
    machine.ring_bell = machine::ring_bytes(possible_cpus, map_budget) / 8;
    let drop_reasons = parsed.as_ref().map(drop_reasons::read).unwrap_or_default();
    if text.is_none() {
        crate::log::line(kallsyms::HIDDEN);
    }
    let targets = parsed.as_ref().map(targets).unwrap_or_default();
    let usable = parsed.is_some();
    drop(parsed);
    Ground {
        offsets,
        machine,
        btf: file.filter(|_| usable),
        btf_reason,
        targets,
        possible_cpus,
        forced: choices.hooks.clone(),
        map_budget,
        all_netns: choices.all_netns,
        tracefs,
        refusals,
        drop_reasons,
        text,
    }
}

/// What any program of any family may be attached to.
fn targets(btf: &Btf<'_>) -> Vec<Target> {
    let programs = Family::ALL.iter().flat_map(|family| family.programs());
    let hooks = programs.flat_map(|program| program.alternatives).map(|alternative| alternative.hook);
    let names: BTreeSet<String> = hooks.flat_map(Hook::targets).collect();
    names.iter().flat_map(|name| btf.targets(name)).collect()
}

/// 64 MiB on 2 possible CPUs, 256 MiB on 128.
fn default_budget(possible_cpus: usize) -> u64 {
    (64 + (possible_cpus.saturating_sub(2) as u64 * 192) / 126).min(256) * MIB
}

fn find_btf(choice: &BtfChoice) -> (Option<PathBuf>, Option<Vec<u8>>, String) {
    let path = match choice {
        BtfChoice::Kernel => Path::new("/sys/kernel/btf/vmlinux"),
        BtfChoice::File(path) => path,
        BtfChoice::None => {
            return (
                None,
                None,
                "no kernel BTF (--btf none): leave the flag out, or give --btf FILE".to_owned(),
            );
        }
    };
    match read_btf(path) {
        Ok(bytes) => (Some(path.to_owned()), Some(bytes), String::new()),
        Err(reason) => (None, None, reason),
    }
}

/// Raw BTF out of the kernel's file or another: megabytes that nobody should keep.
pub fn read_btf(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| {
        format!(
            "no kernel BTF ({}: {error}): use a kernel with CONFIG_DEBUG_INFO_BTF, or --btf FILE",
            path.display()
        )
    })?;
    crate::kernel::btf::extract(bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn refusals(facts: &Facts) -> Refusals {
    let missing = facts.missing_capabilities();
    Refusals {
        privilege: (!missing.is_empty()).then(|| {
            format!("missing {}: run with sudo, or grant them with setcap", missing.join(", "))
        }),
        kprobe: (facts.config("CONFIG_KPROBES") == Some(false))
            .then(|| "CONFIG_KPROBES is off in this kernel".to_owned()),
        trampoline: Some("this kernel denies trampolines (fentry) although BTF is there".to_owned()),
        read_kernel: facts.lockdown_confidentiality().then(|| {
            "lockdown=confidentiality forbids reading kernel memory by helper: boot with lockdown=integrity".to_owned()
        }),
    }
}

/// Every `--hook` names a program and one of its alternatives; the first that does not is an error that lists them.
pub fn parse_hook(text: &str) -> Result<(String, String), String> {
    let (program, alternative) =
        text.split_once('=').ok_or_else(|| "expected PROGRAM=ALTERNATIVE; doctor lists them".to_owned())?;
    let programs = || Family::ALL.iter().flat_map(|family| family.programs());
    let known = programs().find(|p| p.name == program).ok_or_else(|| {
        format!("no program {program}; known: {}", programs().map(|p| p.name).collect::<Vec<_>>().join(", "))
    })?;
    if known.alternatives.iter().all(|a| a.name != alternative) {
        let names: Vec<_> = known.alternatives.iter().map(|a| a.name).collect();
        return Err(format!("{program} has no alternative {alternative}; known: {}", names.join(", ")));
    }
    Ok((program.to_owned(), alternative.to_owned()))
}
