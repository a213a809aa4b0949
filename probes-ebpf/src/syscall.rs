//! `syscall`: every call into the kernel, counted when it returns; those that never return, when they begin. Attached
//! only while somebody looks: it slows every call of the machine. All in process context.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
        generated::bpf_probe_read_user_str,
    },
    macros::{btf_tracepoint, map, raw_tracepoint, tracepoint},
    maps::{Array, HashMap, PerCpuArray},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};
use fluoro_shared::{
    inflight::COMPAT,
    offsets::ABSENT,
    record::Header,
    syscall::{
        ABI_COMPAT, ABI_NATIVE, ABI_X32, Cell, CellKey, Control, FLAG_ENDLESS, FLAG_NO_ARGS, FLAG_UNTIMED,
        KIND_EXIT, NUMBER_OTHER, NUMBERS, RECORDS_PER_S, SyscallRecord, TEXT_ARGS, TEXT_MAX, TEXTS, X32_BIT,
        bucket, number,
    },
};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    filter::{self, Verdict},
    inflight, ledger, machine,
    machine::offset,
    path, ring, task,
};

/// Calls by process and kind.
#[map]
static CELLS: HashMap<CellKey, Cell> = HashMap::with_max_entries(1, 0);

/// The value of a cell that begins.
#[map]
static BLANK: Array<Cell> = Array::with_max_entries(1, 0);

#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// In the object, not in the code: the compiler would make a switch of it.
#[unsafe(no_mangle)]
static PATHS: [u8; 2 * NUMBERS as usize] = TEXT_ARGS;

/// Records sent in the second that runs.
#[repr(C)]
pub struct Window {
    second: u64,
    sent: u64,
}

#[map]
static WINDOW: PerCpuArray<Window> = PerCpuArray::with_max_entries(1, 0);

/// `thread_info.status`: the task is in a call of the 32-bit ABI.
const TS_COMPAT: u32 = 2;

// sys_enter(struct pt_regs *regs, long id)
#[btf_tracepoint(function = "sys_enter")]
pub fn syscall_enter_btf(ctx: BtfTracePointContext) -> i32 {
    on_enter::<Direct>(Regs::At(ctx.arg(0)), ctx.arg(1))
}

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn syscall_enter_raw(ctx: RawTracePointContext) -> i32 {
    on_enter::<Helper>(Regs::At(ctx.arg(0)), ctx.arg(1))
}

// raw_syscalls:sys_enter: long id; unsigned long args[6]
#[tracepoint]
pub fn syscall_enter_perf(ctx: TracePointContext) -> u32 {
    // SAFETY: inside the tracepoint's record.
    let id: i64 = unsafe { ctx.read_at(8) }.unwrap_or(-1);
    on_enter::<Helper>(Regs::None, id) as u32
}

// sys_exit(struct pt_regs *regs, long ret)
// From 7.0 on programs can be preempted, and what the next task does is skipped meanwhile: the spares run after the
// first and do it. They see it by the stamp, which is still there.
macro_rules! on_exits {
    ($($btf:ident, $raw:ident, $spare:literal;)+) => {
        $(#[btf_tracepoint(function = "sys_exit")]
        pub fn $btf(ctx: BtfTracePointContext) -> i32 {
            let regs: Kptr = ctx.arg(0);
            on_exit::<Direct>($spare, Regs::At(regs), Direct::read(regs, offset!(regs_orig_ax)), ctx.arg(1))
        }

        #[raw_tracepoint(tracepoint = "sys_exit")]
        pub fn $raw(ctx: RawTracePointContext) -> i32 {
            let regs: Kptr = ctx.arg(0);
            on_exit::<Helper>($spare, Regs::At(regs), Helper::read(regs, offset!(regs_orig_ax)), ctx.arg(1))
        })+
    };
}

on_exits! {
    syscall_exit_btf, syscall_exit_raw, false;
    syscall_exit_btf_spare1, syscall_exit_raw_spare1, true;
    syscall_exit_btf_spare2, syscall_exit_raw_spare2, true;
}

// raw_syscalls:sys_exit: long id; long ret
#[tracepoint]
pub fn syscall_exit_perf(ctx: TracePointContext) -> u32 {
    // SAFETY: inside the tracepoint's record.
    let (id, result) = unsafe { (ctx.read_at(8).unwrap_or(-1), ctx.read_at(16).unwrap_or(0)) };
    on_exit::<Helper>(false, Regs::None, id, result) as u32
}

/// Where the arguments are.
#[derive(Clone, Copy)]
enum Regs {
    At(Kptr),
    None,
}

#[inline(always)]
fn is_compat<A: Access>(task: Kptr) -> bool {
    offset!(task_status) != ABSENT && A::read::<u32>(task, offset!(task_status)) & TS_COMPAT != 0
}

#[inline(always)]
const fn is_endless(entered: u32) -> bool {
    if entered & COMPAT == 0 {
        entered == number::EXIT || entered == number::EXIT_GROUP
    } else {
        entered == number::compat::EXIT | COMPAT || entered == number::compat::EXIT_GROUP | COMPAT
    }
}

/// The first return of a new task comes out of the call that made it: in the parent, it is counted.
#[inline(always)]
const fn is_birth(entered: u32, result: i64) -> bool {
    if result != 0 {
        return false;
    }
    if entered & COMPAT == 0 {
        matches!(entered, number::CLONE | number::FORK | number::VFORK | number::CLONE3)
    } else {
        matches!(
            entered & !COMPAT,
            number::compat::CLONE | number::compat::FORK | number::compat::VFORK | number::CLONE3
        )
    }
}

#[inline(always)]
fn on_enter<A: Access>(regs: Regs, id: i64) -> i32 {
    let task = A::current_task();
    let entered = id as u32 & !COMPAT | if is_compat::<A>(task) { COMPAT } else { 0 };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if is_endless(entered) {
        count::<A>(task, entered, 0, None);
        trace::<A>(regs, entered, 0, None, now, FLAG_ENDLESS);
    } else {
        inflight::enter(bpf_get_current_pid_tgid() as u32, entered, now);
    }
    0
}

#[inline(always)]
fn on_exit<A: Access>(spare: bool, regs: Regs, id: i64, result: i64) -> i32 {
    let call = inflight::leave(bpf_get_current_pid_tgid() as u32, id);
    let timed = call.started_ns != 0;
    if spare {
        if !timed {
            return 0;
        }
        ledger::recovered(1);
    }
    let task = A::current_task();
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let (entered, duration_ns) = if timed {
        (call.number, Some(now.saturating_sub(call.started_ns)))
    } else {
        (id as u32 & !COMPAT | if is_compat::<A>(task) { COMPAT } else { 0 }, None)
    };
    if !timed && is_birth(entered, result) {
        return 0;
    }
    count::<A>(task, entered, result, duration_ns);
    trace::<A>(regs, entered, result, duration_ns, now, 0);
    0
}

#[inline(always)]
const fn errno(result: i64) -> u32 {
    if result < 0 && result >= -4095 { -result as u32 } else { 0 }
}

#[inline(always)]
const fn abi(entered: u32) -> u8 {
    if entered & COMPAT != 0 {
        ABI_COMPAT
    } else if entered & X32_BIT != 0 {
        ABI_X32
    } else {
        ABI_NATIVE
    }
}

/// Adds one call to its cell.
#[inline(always)]
fn count<A: Access>(task: Kptr, entered: u32, result: i64, duration_ns: Option<u64>) {
    let leader: Kptr = A::read(task, offset!(task_leader));
    let short = entered & !(COMPAT | X32_BIT);
    let key = CellKey {
        start_ns: A::read(leader, offset!(task_start)),
        tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        number: if short < NUMBER_OTHER as u32 { short as u16 } else { NUMBER_OTHER },
        abi: abi(entered),
        // SAFETY: no arguments.
        shard: (unsafe { bpf_get_smp_processor_id() } & machine::ring_mask()) as u8,
    };
    ledger::aggregate_seen();
    let cell = match CELLS.get_ptr_mut(&key) {
        Some(cell) => cell,
        None => {
            let Some(blank) = BLANK.get(0) else { return };
            // BPF_NOEXIST: another CPU may have made it.
            let _ = CELLS.insert(&key, blank, 1);
            let Some(cell) = CELLS.get_ptr_mut(&key) else {
                ledger::untracked();
                return;
            };
            cell
        }
    };
    ledger::counted();
    // SAFETY: the map's own memory; other CPUs add to it.
    unsafe {
        match duration_ns {
            None => ledger::add(&raw mut (*cell).untimed, 1),
            Some(ns) => {
                ledger::add(&raw mut (*cell).sum_ns, ns);
                let slot = (&raw mut (*cell).buckets).cast::<u32>().add(bucket(ns) & 255);
                ledger::add32(slot, 1);
                peak(cell, ns);
            }
        }
        let errno = errno(result);
        if errno != 0 {
            ledger::add(&raw mut (*cell).errors, 1);
            fail(cell, errno);
        }
    }
}

/// Keeps the longest call of the interval.
#[inline(always)]
unsafe fn peak(cell: *mut Cell, ns: u64) {
    let epoch = CONTROL.get(0).map_or(0, |control| control.epoch);
    // SAFETY: the caller's cell. Where CPUs share it, one that finds its longer call overwritten writes again.
    unsafe {
        let peak = (&raw mut (*cell).peaks).cast::<fluoro_shared::syscall::Peak>().add(epoch as usize & 1);
        if read_volatile(&raw const (*peak).epoch) != epoch {
            write_volatile(&raw mut (*peak).max_ns, ns);
            write_volatile(&raw mut (*peak).epoch, epoch);
        }
        for _ in 0..3 {
            if read_volatile(&raw const (*peak).max_ns) >= ns {
                return;
            }
            write_volatile(&raw mut (*peak).max_ns, ns);
        }
    }
}

/// Counts an error under its number while there is room.
#[inline(always)]
unsafe fn fail(cell: *mut Cell, errno: u32) {
    // SAFETY: the caller's cell. Two CPUs that share it may take the same free place once in its life.
    unsafe {
        let errnos = (&raw mut (*cell).errnos).cast::<fluoro_shared::syscall::ErrnoCount>();
        for index in 0..fluoro_shared::syscall::ERRNOS {
            let place = errnos.add(index);
            let held = read_volatile(&raw const (*place).errno);
            if held == 0 {
                write_volatile(&raw mut (*place).errno, errno);
            } else if held != errno {
                continue;
            }
            ledger::add32(&raw mut (*place).count, 1);
            return;
        }
    }
}

/// Sends a record where somebody wants one.
#[inline(always)]
fn trace<A: Access>(regs: Regs, entered: u32, result: i64, duration_ns: Option<u64>, now: u64, flags: u16) {
    ledger::seen();
    match filter::stance((bpf_get_current_pid_tgid() >> 32) as u32) {
        Verdict::Wanted => {}
        Verdict::Filtered => return ledger::filtered(),
        Verdict::Muted => return ledger::muted(),
    }
    let subject = task::current::<A>();
    if let Verdict::Filtered = filter::verdict(&subject, None) {
        return ledger::filtered();
    }
    if !is_within_rate(now) {
        return ledger::lost();
    }
    let Some(scratch) = path::claim::<A>() else { return ledger::error() };
    let (args, known) = arguments::<A>(regs, entered);
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let flags =
        flags | if duration_ns.is_none() { FLAG_UNTIMED } else { 0 } | if known { 0 } else { FLAG_NO_ARGS };
    let mut record = SyscallRecord {
        header: Header { at_ns: now, seq: ledger::next_seq(), cpu, kind: KIND_EXIT, flags },
        task: subject,
        args,
        result,
        duration_ns: duration_ns.unwrap_or(0),
        number: entered & !COMPAT,
        abi: abi(entered),
        pad: [0; 3],
        text_len: [0; TEXTS],
        text_arg: [0; TEXTS],
        pad_end: [0; 2],
    };
    let head = path::head(scratch);
    let mut len = size_of::<SyscallRecord>() as u64;
    if known && !is_replaced(entered, result) {
        len += texts(head, &mut record, entered);
    }
    // SAFETY: the scratch has room for a record and its texts.
    unsafe { path::put(head, &record) };
    let sent = ring::send(head, len & 0xfff, cpu);
    path::release(scratch);
    if sent { ledger::submitted() } else { ledger::lost() }
}

/// After exec the arguments are gone with the program that gave them.
#[inline(always)]
const fn is_replaced(entered: u32, result: i64) -> bool {
    use number::{EXECVE, EXECVEAT, compat};
    result == 0
        && if entered & COMPAT == 0 {
            matches!(entered, EXECVE | EXECVEAT)
        } else {
            matches!(entered & !COMPAT, compat::EXECVE | compat::EXECVEAT)
        }
}

/// Reads the paths among the arguments. The bytes they take behind the record.
#[inline(always)]
fn texts(head: *mut u8, record: &mut SyscallRecord, entered: u32) -> u64 {
    if record.number >= NUMBERS {
        return 0;
    }
    let row = record.number + if entered & COMPAT == 0 { 0 } else { NUMBERS };
    // SAFETY: the mask keeps it inside the table.
    let paths =
        unsafe { read_volatile((&raw const PATHS).cast::<u8>().add(row as usize & (PATHS.len() - 1))) };
    let (mut count, mut taken) = (0, 0);
    for (arg, &address) in record.args.iter().enumerate().take(5) {
        if paths & 1 << arg == 0 || count == TEXTS {
            continue;
        }
        let at = size_of::<SyscallRecord>() + count * TEXT_MAX;
        // SAFETY: inside the scratch; the helper reads user memory and says how much.
        let len =
            unsafe { bpf_probe_read_user_str(head.add(at).cast(), TEXT_MAX as u32, address as *const _) };
        if count == 0 {
            record.text_arg[0] = arg as u8;
        } else {
            record.text_arg[1] = arg as u8;
        }
        if len > 0 && len <= TEXT_MAX as i64 {
            taken = (count * TEXT_MAX) as u64 + len as u64;
            if count == 0 {
                record.text_len[0] = len as u16;
            } else {
                record.text_len[1] = len as u16;
            }
        }
        count += 1;
    }
    taken
}

#[inline(always)]
fn arguments<A: Access>(regs: Regs, entered: u32) -> ([u64; 6], bool) {
    let Regs::At(regs) = regs else { return ([0; 6], false) };
    let args = if entered & COMPAT == 0 {
        [
            A::read(regs, offset!(regs_di)),
            A::read(regs, offset!(regs_si)),
            A::read(regs, offset!(regs_dx)),
            A::read(regs, offset!(regs_r10)),
            A::read(regs, offset!(regs_r8)),
            A::read(regs, offset!(regs_r9)),
        ]
    } else {
        [
            A::read::<u32>(regs, offset!(regs_bx)).into(),
            A::read::<u32>(regs, offset!(regs_cx)).into(),
            A::read::<u32>(regs, offset!(regs_dx)).into(),
            A::read::<u32>(regs, offset!(regs_si)).into(),
            A::read::<u32>(regs, offset!(regs_di)).into(),
            A::read::<u32>(regs, offset!(regs_bp)).into(),
        ]
    };
    (args, true)
}

/// At most so many records a second from one CPU.
#[inline(always)]
fn is_within_rate(now: u64) -> bool {
    let Some(window) = WINDOW.get_ptr_mut(0) else { return false };
    // SAFETY: map memory of this CPU.
    unsafe {
        let second = now >> 30;
        if read_volatile(&raw const (*window).second) != second {
            write_volatile(&raw mut (*window).second, second);
            write_volatile(&raw mut (*window).sent, 0);
        }
        let sent = read_volatile(&raw const (*window).sent);
        if sent >= RECORDS_PER_S {
            return false;
        }
        write_volatile(&raw mut (*window).sent, sent + 1);
        true
    }
}
