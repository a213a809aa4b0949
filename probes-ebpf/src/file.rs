//! `file`: what programs do to the file system, seen where system calls end and where io_uring completes. All in the
//! context of the task that asked.

mod activity;
mod calls;
mod event;
mod resolved;
mod uring;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};
use fluoro_shared::{file::FLAG_COMPAT, inflight::COMPAT};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    file::calls::Call,
    inflight, ledger,
    machine::offset,
};

/// `thread_info.status`: the system call came by the 32-bit ABI (arch/x86/include/asm/thread_info.h).
const TS_COMPAT: u32 = 2;

// sys_enter(struct pt_regs *regs, long id)
#[btf_tracepoint(function = "sys_enter")]
pub fn file_enter_btf(ctx: BtfTracePointContext) -> i32 {
    on_enter::<Direct>(ctx.arg(1))
}

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn file_enter_raw(ctx: RawTracePointContext) -> i32 {
    on_enter::<Helper>(ctx.arg(1))
}

// raw_syscalls:sys_enter and sys_exit by perf event: a hidden pointer, the number, and the arguments or the result.
// Their programs are not preempted, nor is another skipped meanwhile: see the order of the alternatives.
#[tracepoint(category = "raw_syscalls", name = "sys_enter")]
pub fn file_enter_perf(ctx: TracePointContext) -> u32 {
    on_enter::<Direct>(field(&ctx, 1)) as u32
}

#[tracepoint(category = "raw_syscalls", name = "sys_exit")]
pub fn file_exit_perf(ctx: TracePointContext) -> u32 {
    // SAFETY: the current task; its registers are where it entered the kernel (5.15).
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as Kptr;
    on_exit::<Direct>(false, regs, field(&ctx, 2) as i64) as u32
}

#[inline(always)]
fn field(ctx: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the verifier checks it against the tracepoint's record.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(index)) }
}

// sys_exit(struct pt_regs *regs, long ret)
// From 7.0 on programs can be preempted, and what the next task does is skipped meanwhile: the spares run after the
// first and do it. They see it by the stamp, which is still there.
macro_rules! on_exits {
    ($($btf:ident, $raw:ident, $spare:literal;)+) => {
        $(#[btf_tracepoint(function = "sys_exit")]
        pub fn $btf(ctx: BtfTracePointContext) -> i32 {
            on_exit::<Direct>($spare, ctx.arg(0), ctx.arg::<u64>(1) as i64)
        }

        #[raw_tracepoint(tracepoint = "sys_exit")]
        pub fn $raw(ctx: RawTracePointContext) -> i32 {
            on_exit::<Helper>($spare, ctx.arg(0), ctx.arg::<u64>(1) as i64)
        })+
    };
}

on_exits! {
    file_exit_btf, file_exit_raw, false;
    file_exit_btf_spare1, file_exit_raw_spare1, true;
    file_exit_btf_spare2, file_exit_raw_spare2, true;
}

/// A call that has ended.
pub struct Ended {
    call: Call,
    arguments: [u64; 6],
    /// What it was done to, where no descriptor says that.
    file: Kptr,
    result: i64,
    now_ns: u64,
    duration_ns: u64,
    flags: u16,
    /// Which request of io_uring; 0: a system call.
    request: u32,
}

impl Ended {
    /// The argument with this number, from 1; 0 for none.
    #[inline(always)]
    fn argument(&self, number: u8) -> u64 {
        match number {
            1 => self.arguments[0],
            2 => self.arguments[1],
            3 => self.arguments[2],
            4 => self.arguments[3],
            5 => self.arguments[4],
            6 => self.arguments[5],
            _ => 0,
        }
    }
}

#[inline(always)]
fn is_compat<A: Access>() -> bool {
    A::read::<u32>(A::current_task(), offset!(task_status)) & TS_COMPAT != 0
}

#[inline(always)]
fn on_enter<A: Access>(number: u64) -> i32 {
    let compat = is_compat::<A>();
    if calls::of(number, compat).kind != 0 {
        let sealed = number as u32 | if compat { COMPAT } else { 0 };
        // SAFETY: no arguments.
        inflight::enter(bpf_get_current_pid_tgid() as u32, sealed, unsafe { bpf_ktime_get_boot_ns() });
    }
    0
}

#[inline(always)]
fn on_exit<A: Access>(spare: bool, regs: Kptr, result: i64) -> i32 {
    let compat = is_compat::<A>();
    let number: u64 = A::read(regs, offset!(regs_orig_ax));
    let call = calls::of(number, compat);
    if call.kind == 0 {
        return 0;
    }
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    // 0 and not `None`: what is not set the compiler would compute with, and discard the result.
    let began_ns = inflight::leave(bpf_get_current_pid_tgid() as u32, number as i64).started_ns;
    if spare {
        if began_ns == 0 {
            return 0;
        }
        ledger::recovered(1);
    }
    let ended = Ended {
        call,
        arguments: arguments::<A>(regs, compat),
        file: core::ptr::null(),
        result,
        now_ns,
        duration_ns: if began_ns == 0 { 0 } else { now_ns.wrapping_sub(began_ns) },
        flags: if compat { FLAG_COMPAT } else { 0 },
        request: 0,
    };
    if call.is_event() {
        event::on_call::<A>(&ended);
    } else {
        activity::on_transfer::<A>(&ended);
    }
    0
}

/// They stay in the registers' places until the call has ended.
#[inline(always)]
fn arguments<A: Access>(regs: Kptr, compat: bool) -> [u64; 6] {
    macro_rules! read {
        ($($register:ident)+) => { [$(A::read::<u64>(regs, offset!($register))),+] };
    }
    if compat {
        read!(regs_bx regs_cx regs_dx regs_si regs_di regs_bp).map(|argument| argument & 0xffff_ffff)
    } else {
        read!(regs_di regs_si regs_dx regs_r10 regs_r8 regs_r9)
    }
}

/// The open file behind a descriptor of the current task; null where there is none.
#[inline(always)]
fn file_of<A: Access>(descriptor: u64) -> Kptr {
    (if A::IS_DIRECT { file_direct(descriptor) } else { file_helper(descriptor) }) as Kptr
}

/// A global function: see ARCHITECTURE.md.
#[unsafe(export_name = "file_direct/1")]
#[inline(never)]
extern "C" fn file_direct(descriptor: u64) -> u64 {
    find_file::<Direct>(descriptor)
}

#[unsafe(export_name = "file_helper/1")]
#[inline(never)]
extern "C" fn file_helper(descriptor: u64) -> u64 {
    find_file::<Helper>(descriptor)
}

#[inline(always)]
fn find_file<A: Access>(descriptor: u64) -> u64 {
    let files: Kptr = A::read(A::current_task(), offset!(task_files));
    let table: Kptr = A::read(files, offset!(files_fdt));
    let descriptor = descriptor as u32;
    if descriptor >= A::read::<u32>(table, offset!(fdtable_max)) {
        return 0;
    }
    let descriptors: Kptr = A::read(table, offset!(fdtable_fd));
    Helper::read(descriptors.wrapping_add(descriptor as usize * 8), 0)
}

/// What tells a file from all others.
pub struct Inode {
    number: u64,
    device: u32,
    mode: u16,
}

#[inline(always)]
fn inode_of(file: Kptr) -> Inode {
    let inode: Kptr = Helper::read(file, offset!(file_inode));
    let sb: Kptr = Helper::read(inode, offset!(inode_sb));
    Inode {
        number: Helper::read(inode, offset!(inode_number)),
        device: Helper::read(sb, offset!(sb_dev)),
        mode: Helper::read(inode, offset!(inode_mode)),
    }
}
