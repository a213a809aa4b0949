//! Which kinds of hooks this kernel allows, tried with a program that returns at once.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::collect::bpf::{self, Empty};
use crate::collect::iterator;
use crate::kernel::btf::Btf;

/// One kind of hook.
pub struct Checked {
    pub name: &'static str,
    pub allowed: bool,
    pub reason: Option<String>,
}

/// Numbers of `enum bpf_prog_type` and `enum bpf_attach_type` (include/uapi/linux/bpf.h).
const SOCKET_FILTER: u32 = 1;
const KPROBE: u32 = 2;
const SCHED_CLS: u32 = 3;
const TRACEPOINT: u32 = 5;
const XDP: u32 = 6;
const PERF_EVENT: u32 = 7;
const CGROUP_SKB: u32 = 8;
const RAW_TRACEPOINT: u32 = 17;
const TRACING: u32 = 26;
const LSM: u32 = 29;
const TRACE_RAW_TP: u32 = 23;
const TRACE_FENTRY: u32 = 24;
const LSM_MAC: u32 = 27;

/// Tries them all. Attached for a moment where attaching is what may be refused.
pub fn check(btf: Option<&[u8]>) -> Vec<Checked> {
    let btf = btf.and_then(|bytes| Btf::parse(bytes).ok());
    let id = |name: &str| btf.as_ref().and_then(|btf| btf.id(name));
    let plain = |prog_type| bpf::load_empty(Empty { prog_type, ..Empty::default() }).map(drop);
    let typed = |prog_type, attach_type, target: &str| {
        let Some(btf_id) = id(target) else {
            return Err(io::Error::other(format!("no {target} in the kernel's BTF")));
        };
        bpf::load_empty(Empty { prog_type, attach_type, btf_id })
            .and_then(|program| bpf::open_raw_tracepoint(&program, None).map(drop))
    };
    let iterated = || {
        let btf_id =
            id("bpf_iter_task").ok_or_else(|| io::Error::other("no bpf_iter_task in the kernel's BTF"))?;
        let program =
            bpf::load_empty(Empty { prog_type: TRACING, attach_type: iterator::TRACE_ITER, btf_id })?;
        iterator::link(program.as_fd()).map(drop)
    };
    let dynamic = |prog_type, source: &str| {
        if Path::new("/sys/bus/event_source/devices").join(source).exists() {
            plain(prog_type)
        } else {
            Err(io::Error::other(format!("the kernel has no dynamic probes ({source} is off)")))
        }
    };
    [
        ("tp_btf", typed(TRACING, TRACE_RAW_TP, "btf_trace_sched_process_exec")),
        (
            "raw_tp",
            bpf::load_empty(Empty { prog_type: RAW_TRACEPOINT, ..Empty::default() }).and_then(|program| {
                bpf::open_raw_tracepoint(&program, Some(c"sched_process_exec")).map(drop)
            }),
        ),
        ("fentry", typed(TRACING, TRACE_FENTRY, "security_sock_graft")),
        ("lsm", typed(LSM, LSM_MAC, "bpf_lsm_sb_umount")),
        ("kprobe", dynamic(KPROBE, "kprobe")),
        ("uprobe", dynamic(KPROBE, "uprobe")),
        ("tracepoint", plain(TRACEPOINT)),
        ("perf_event", plain(PERF_EVENT)),
        ("xdp", plain(XDP)),
        ("tc", plain(SCHED_CLS)),
        ("cgroup", plain(CGROUP_SKB)),
        ("socket_filter", plain(SOCKET_FILTER)),
        ("iter", iterated()),
    ]
    .into_iter()
    .map(|(name, outcome)| Checked {
        name,
        allowed: outcome.is_ok(),
        reason: outcome.err().map(|error| match error.raw_os_error() {
            Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
            None => error.to_string(),
        }),
    })
    .collect()
}
