//! `process`: fork, exec and exit. All in process context, so the current task is the subject.

mod usage;

use aya_ebpf::{
    helpers::{
        bpf_get_current_uid_gid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
        generated::bpf_probe_read_user,
    },
    macros::{btf_tracepoint, kprobe, map, raw_tracepoint},
    maps::LruHashMap,
    programs::{BtfTracePointContext, ProbeContext, RawTracePointContext},
};
use fluoro_shared::{
    offsets::ABSENT,
    process::{
        ARGS_MAX, ExitKey, FLAG_OOM, FLAG_PATH_TRUNCATED, KIND_EXEC, KIND_EXIT, KIND_FORK, PATH_MAX,
        ProcessRecord,
    },
    record::{Header, Task},
};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    filter::{self, Verdict},
    ledger, machine,
    machine::offset,
    path::{self, Place},
    ring, task,
};

/// Processes that have been announced as ended: a set, never a number, so eviction harms nothing.
#[map]
static EXITED: LruHashMap<ExitKey, u8> = LruHashMap::with_max_entries(1024, 0);

/// `signal_struct.flags`: the whole group is ending by `group_exit_code`.
const SIGNAL_GROUP_EXIT: u32 = 4;

// sched_process_fork(struct task_struct *parent, struct task_struct *child)
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork_btf(ctx: BtfTracePointContext) -> i32 {
    on_fork::<Direct>(ctx.arg(1))
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork_raw(ctx: RawTracePointContext) -> i32 {
    on_fork::<Helper>(ctx.arg(1))
}

// void wake_up_new_task(struct task_struct *p), called by the parent right after the tracepoint.
#[kprobe(function = "wake_up_new_task")]
pub fn process_fork_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, on_fork::<Helper>) as u32
}

// sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec_btf(_ctx: BtfTracePointContext) -> i32 {
    on_exec::<Direct>()
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec_raw(_ctx: RawTracePointContext) -> i32 {
    on_exec::<Helper>()
}

// void security_bprm_committed_creds(struct linux_binprm *bprm): one signature on all kernels; the new memory map
// and name are in place. An exec that fails after it kills the process.
#[kprobe(function = "security_bprm_committed_creds")]
pub fn process_exec_kprobe(_ctx: ProbeContext) -> u32 {
    on_exec::<Helper>() as u32
}

// sched_process_exit(struct task_struct *p [, bool group_dead from 6.16])
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit_btf(ctx: BtfTracePointContext) -> i32 {
    let dead = if machine::exit_group_dead() == ABSENT { None } else { Some(ctx.arg::<u64>(1) & 1 != 0) };
    on_exit::<Direct>(dead)
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit_raw(ctx: RawTracePointContext) -> i32 {
    let dead = if machine::exit_group_dead() == ABSENT { None } else { Some(ctx.arg::<u64>(1) & 1 != 0) };
    on_exit::<Helper>(dead)
}

// void taskstats_exit(struct task_struct *tsk, int group_dead)
#[kprobe(function = "taskstats_exit")]
pub fn process_exit_kprobe(ctx: ProbeContext) -> u32 {
    let dead = ctx.arg::<u64>(1).map(|dead| dead as u32 != 0);
    on_exit::<Helper>(dead) as u32
}

#[inline(always)]
fn on_fork<A: Access>(child: Kptr) -> i32 {
    let tid: u32 = A::read(child, offset!(task_pid));
    let tgid: u32 = A::read(child, offset!(task_tgid));
    if tid == tgid {
        announce(task::child_of_current::<A>(child), KIND_FORK);
    }
    0
}

#[inline(always)]
fn on_exit<A: Access>(group_dead: Option<bool>) -> i32 {
    let current = A::Behind::current_task();
    let signal: Kptr = A::Behind::read(current, offset!(task_signal));
    let dead = match group_dead {
        Some(dead) => dead,
        // Two threads that leave together may both find no thread alive: the set below lets one through.
        None => A::Behind::read::<u32>(signal, offset!(signal_live)) == 0,
    };
    if !dead {
        return 0;
    }
    let subject = task::current::<A>();
    if group_dead.is_none() && A::Behind::read::<u32>(signal, offset!(signal_threads)) > 1 {
        let key = ExitKey { start_ns: subject.start_ns, tgid: u64::from(subject.tgid) };
        // BPF_NOEXIST: fails for the second one.
        if EXITED.insert(&key, &1, 1).is_err() {
            return 0;
        }
    }
    let status = if A::Behind::read::<u32>(signal, offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
        A::Behind::read(signal, offset!(signal_group_exit_code))
    } else {
        let leader: Kptr = A::Behind::read(current, offset!(task_leader));
        A::Behind::read(leader, offset!(task_exit_code))
    };
    let oom = offset!(signal_oom_mm) != ABSENT && A::Behind::read::<u64>(signal, offset!(signal_oom_mm)) != 0;
    if is_due(&subject) {
        let mut record = record(subject, KIND_EXIT, status);
        record.header.flags = if oom { FLAG_OOM } else { 0 };
        settle(ring::send((&raw const record).cast(), size_of::<ProcessRecord>() as u64, record.header.cpu));
    }
    0
}

#[inline(always)]
fn on_exec<A: Access>() -> i32 {
    let subject = task::current::<A>();
    if machine::read_kernel() == 0 {
        announce(subject, KIND_EXEC);
        return 0;
    }
    if !is_due(&subject) {
        return 0;
    }
    let Some(scratch) = path::claim::<A>() else {
        ledger::error();
        return 0;
    };
    let current = A::Behind::current_task();
    let mm: Kptr = A::Behind::read(current, offset!(task_mm));
    let file: Kptr = A::Behind::read(mm, offset!(mm_exe_file));
    let truncated = path::walk(scratch, Place::at(file.wrapping_add(offset!(file_path) as usize)));
    let mut record = record(subject, KIND_EXEC, 0);
    if truncated {
        record.header.flags = FLAG_PATH_TRUNCATED;
    }
    record.args_len = arguments::<A>(mm, path::tail(scratch));
    let behind = u64::from(record.args_len + 7) & (2 * ARGS_MAX as u64 - 8);
    // SAFETY: the tail has room for arguments and record.
    unsafe { path::put(path::tail(scratch).add(behind as usize), &record) };
    let len = behind + size_of::<ProcessRecord>() as u64;
    let sent = match path::start(scratch) {
        Some((bytes, path)) => ring::send(bytes, path + len, record.header.cpu),
        None => ring::send(path::tail(scratch), len, record.header.cpu),
    };
    path::release(scratch);
    settle(sent);
    0
}

/// Copies the arguments of the program that begins; how many bytes. Exec has just written them: they are resident.
#[inline(always)]
fn arguments<A: Access>(mm: Kptr, to: *mut u8) -> u32 {
    let from: u64 = A::Behind::read(mm, offset!(mm_arg_start));
    let len = A::Behind::read::<u64>(mm, offset!(mm_arg_end)).wrapping_sub(from);
    let len = if len < ARGS_MAX as u64 { len as u32 } else { ARGS_MAX as u32 } & (2 * ARGS_MAX as u32 - 1);
    // SAFETY: the tail has room for so many; the helper says whether it could read them.
    if from != 0 && unsafe { bpf_probe_read_user(to.cast(), len, from as *const _) } == 0 { len } else { 0 }
}

/// An event of fixed size.
#[inline(always)]
fn announce(subject: Task, kind: u16) {
    if is_due(&subject) {
        let record = record(subject, kind, 0);
        settle(ring::send((&raw const record).cast(), size_of::<ProcessRecord>() as u64, record.header.cpu));
    }
}

/// Counts the event; true when a record is wanted.
#[inline(always)]
fn is_due(subject: &Task) -> bool {
    ledger::seen();
    match filter::verdict(subject, None) {
        Verdict::Wanted => return true,
        Verdict::Filtered => ledger::filtered(),
        Verdict::Muted => ledger::muted(),
    }
    false
}

#[inline(always)]
fn settle(sent: bool) {
    if sent { ledger::submitted() } else { ledger::lost() }
}

#[inline(always)]
fn record(subject: Task, kind: u16, wait_status: u32) -> ProcessRecord {
    // SAFETY: no arguments.
    let (at_ns, cpu) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_smp_processor_id()) };
    let header = Header { at_ns, seq: ledger::next_seq(), cpu, kind, flags: 0 };
    let gid = (bpf_get_current_uid_gid() >> 32) as u32;
    ProcessRecord { header, task: subject, wait_status, gid, args_len: 0, pad: 0 }
}

const _: () = assert!(PATH_MAX.is_power_of_two() && 2 * ARGS_MAX + size_of::<ProcessRecord>() <= path::TAIL);
