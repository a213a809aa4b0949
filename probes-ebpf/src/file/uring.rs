//! What is asked of files through io_uring, which no system call shows: seen where a request completes. The texts of
//! paths are gone by then and kept from when it is submitted. Offloaded or not, the current task is of the process that
//! asked (from 5.12 on).

use aya_ebpf::{
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_probe_read_kernel_str},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::HashMap,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use fluoro_shared::file::{FLAG_URING, Submitted, URING_TEXT_MAX};

use super::{
    Ended, activity,
    calls::{self, op},
    event,
};
use crate::{
    access::{Access, Direct, Helper, Kptr},
    machine::{self, offset},
    path,
};

/// Requests on paths that are under way, by their address.
#[map]
static URING: HashMap<u64, Submitted> = HashMap::with_max_entries(1, 0);

// io_uring_submit_req(struct io_kiocb *req); before 6.3 io_uring_submit_sqe(struct io_kiocb *req, bool force_nonblock),
// before 5.19 without the request.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn file_submit_btf(ctx: BtfTracePointContext) -> i32 {
    on_submit(ctx.arg(0))
}

#[raw_tracepoint(tracepoint = "io_uring_submit_req")]
pub fn file_submit_raw(ctx: RawTracePointContext) -> i32 {
    on_submit(ctx.arg(0))
}

#[btf_tracepoint(function = "io_uring_submit_sqe")]
pub fn file_submit_sqe_btf(ctx: BtfTracePointContext) -> i32 {
    on_submit(ctx.arg(0))
}

#[raw_tracepoint(tracepoint = "io_uring_submit_sqe")]
pub fn file_submit_sqe_raw(ctx: RawTracePointContext) -> i32 {
    on_submit(ctx.arg(0))
}

// io_uring_complete(struct io_ring_ctx *ctx, void *req, u64 user_data, int res, ..);
// from 6.13 io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe);
// before 5.19 without the request.
#[btf_tracepoint(function = "io_uring_complete")]
pub fn file_complete_btf(ctx: BtfTracePointContext) -> i32 {
    on_complete::<Direct>(ctx.arg(1), ctx.arg(2), if machine::uring_complete() == 1 { ctx.arg(3) } else { 0 })
}

#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub fn file_complete_raw(ctx: RawTracePointContext) -> i32 {
    on_complete::<Helper>(ctx.arg(1), ctx.arg(2), if machine::uring_complete() == 1 { ctx.arg(3) } else { 0 })
}

#[btf_tracepoint(function = "io_uring_complete")]
pub fn file_transfer_btf(ctx: BtfTracePointContext) -> i32 {
    on_transfer::<Direct>(ctx.arg(1), ctx.arg(2), if machine::uring_complete() == 1 { ctx.arg(3) } else { 0 })
}

#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub fn file_transfer_raw(ctx: RawTracePointContext) -> i32 {
    on_transfer::<Helper>(ctx.arg(1), ctx.arg(2), if machine::uring_complete() == 1 { ctx.arg(3) } else { 0 })
}

/// Where a request keeps its names; 0: it has none.
struct Names {
    path: u32,
    other: u32,
}

#[inline(always)]
fn names(opcode: u8) -> Names {
    match opcode {
        op::OPENAT | op::OPENAT2 => Names { path: offset!(uring_open_name), other: 0 },
        op::MKDIRAT => Names { path: offset!(uring_mkdir_name), other: 0 },
        op::UNLINKAT => Names { path: offset!(uring_unlink_name), other: 0 },
        op::RENAMEAT => Names { path: offset!(uring_rename_new), other: offset!(uring_rename_old) },
        op::LINKAT | op::SYMLINKAT => Names { path: offset!(uring_link_new), other: offset!(uring_link_old) },
        _ => Names { path: 0, other: 0 },
    }
}

#[inline(always)]
fn on_submit(request: Kptr) -> i32 {
    // As a number: the request's own commands lie where its BTF type has something else.
    let request = request as u64 as Kptr;
    let opcode: u8 = Helper::read(request, offset!(req_opcode));
    if !calls::of_request(opcode).is_event() || calls::of_request(opcode).kind == 0 {
        return 0;
    }
    let Some(scratch) = path::claim::<Helper>() else { return 0 };
    let submitted: *mut Submitted = path::head(scratch).cast();
    let names = names(opcode);
    // SAFETY: the scratch has room for it.
    unsafe {
        (&raw mut (*submitted).at_ns).write_volatile(bpf_ktime_get_boot_ns());
        keep_arguments((&raw mut (*submitted).arguments).cast(), request, opcode);
        keep((&raw mut (*submitted).path).cast(), request, names.path);
        keep((&raw mut (*submitted).other).cast(), request, names.other);
        let _ = URING.insert(&(request as u64), &*submitted, 0);
    }
    path::release(scratch);
    0
}

/// Copies the text of a `struct filename`.
#[inline(always)]
unsafe fn keep(to: *mut u8, request: Kptr, at: u32) {
    let filename: Kptr = if at == 0 { core::ptr::null() } else { Helper::read(request, at) };
    let name: Kptr = Helper::read(filename, offset!(filename_name));
    // SAFETY: the caller's place has that much room.
    unsafe {
        to.write_volatile(0);
        if !filename.is_null() {
            bpf_probe_read_kernel_str(to.cast(), URING_TEXT_MAX as u32, name.cast());
        }
    }
}

/// A request is over. What it was, and its result.
#[inline(always)]
fn over(request: Kptr, cqe: Kptr, result: u64) -> Option<Ended> {
    if request.is_null() {
        return None;
    }
    let call = calls::of_request(Helper::read(request, offset!(req_opcode)));
    let result = if machine::uring_complete() == 1 {
        result as i32
    } else {
        Helper::read::<i32>(cqe as u64 as Kptr, offset!(cqe_res))
    };
    Some(Ended {
        call,
        arguments: [0; 6],
        file: if call.path == 0 { Helper::read(request, offset!(req_file)) } else { core::ptr::null() },
        result: i64::from(result),
        // SAFETY: no arguments.
        now_ns: unsafe { bpf_ktime_get_boot_ns() },
        duration_ns: 0,
        flags: FLAG_URING,
    })
}

#[inline(always)]
fn on_complete<A: Access>(request: Kptr, cqe: Kptr, result: u64) -> i32 {
    let request = request as u64 as Kptr;
    let Some(mut ended) = over(request, cqe, result) else { return 0 };
    if ended.call.kind == 0 || !ended.call.is_event() {
        return 0;
    }
    let key = request as u64;
    if let Some(kept) = URING.get_ptr_mut(&key) {
        // SAFETY: the map's own memory; the request is over only after this.
        unsafe {
            ended.duration_ns = ended.now_ns.wrapping_sub((&raw const (*kept).at_ns).read_volatile());
            let arguments = (&raw mut (*kept).arguments).cast::<u64>();
            let (path, other) = ((&raw const (*kept).path) as u64, (&raw const (*kept).other) as u64);
            // Through memory: the verifier then takes them for numbers, as all other arguments are.
            let (path_index, other_index) = match ended.call.path {
                4 => (3, 1),
                3 => (2, 0),
                2 => (1, 5),
                _ => (5, 5),
            };
            arguments.add(other_index).write_volatile(other);
            arguments.add(path_index).write_volatile(path);
            for index in 0..5 {
                ended.arguments[index] = arguments.add(index).read_volatile();
            }
        }
    }
    event::on_call::<A>(&ended);
    let _ = URING.remove(&key);
    0
}

#[inline(always)]
fn on_transfer<A: Access>(request: Kptr, cqe: Kptr, result: u64) -> i32 {
    let Some(ended) = over(request as u64 as Kptr, cqe, result) else { return 0 };
    if ended.call.kind != 0 && !ended.call.is_event() {
        activity::on_transfer::<A>(&ended);
    }
    0
}

/// The arguments that the same system call would have, but for the texts.
#[inline(always)]
unsafe fn keep_arguments(to: *mut u64, request: Kptr, opcode: u8) {
    macro_rules! keep {
        ($($index:literal: $kind:ty = $member:ident),+) => {
            // SAFETY: the caller's place has room for six.
            {$(unsafe { to.add($index).write_volatile(Helper::read::<$kind>(request, offset!($member)) as u64) };)+}
        };
    }
    match opcode {
        op::OPENAT | op::OPENAT2 => {
            keep!(0: i32 = uring_open_dir, 2: u64 = uring_open_flags, 3: u64 = uring_open_mode);
        }
        op::MKDIRAT => keep!(0: i32 = uring_mkdir_dir, 2: u16 = uring_mkdir_mode),
        op::UNLINKAT => keep!(0: i32 = uring_unlink_dir, 2: u32 = uring_unlink_flags),
        op::RENAMEAT => {
            keep!(0: i32 = uring_rename_old_dir, 2: i32 = uring_rename_new_dir, 4: u32 = uring_rename_flags)
        }
        op::LINKAT => {
            keep!(0: i32 = uring_link_old_dir, 2: i32 = uring_link_new_dir, 4: u32 = uring_link_flags)
        }
        op::SYMLINKAT => keep!(1: i32 = uring_link_new_dir),
        _ => keep!(1: u64 = uring_truncate_len),
    }
}
