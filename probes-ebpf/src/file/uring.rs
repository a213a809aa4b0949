//! What is asked of files through io_uring, which no system call shows: seen where a request completes, or where it was
//! done, if it asked for no completion. The texts of paths are gone by then and kept from when it is submitted. Offloaded
//! or not, the current task is of the process that asked (from 5.12 on).

use core::ptr::null;

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_probe_read_kernel_str},
    macros::{btf_tracepoint, fexit, kprobe, map, raw_tracepoint},
    maps::{Array, HashMap, LruHashMap},
    programs::{BtfTracePointContext, FExitContext, ProbeContext, RawTracePointContext},
};
use fluoro_shared::{
    file::{KIND_OPEN, KIND_SYNC, RequestKey, Requests, Submitted, URING_TEXT_MAX},
    offsets::{ABSENT, URING_COMPLETION, URING_RESULT, URING_USER_DATA},
};

use super::{
    Ended, activity,
    calls::{self, Call, op},
    event,
};
use crate::{
    access::{Access, Direct, Helper, Kptr},
    ledger,
    machine::{self, offset},
    path,
};

/// Requests on paths that are under way, by their address. Not every end is told, so the oldest make room.
#[map]
static URING: LruHashMap<u64, Submitted> = LruHashMap::with_max_entries(1, 0);

/// All requests that are under way, where a completion does not tell which one it is of.
#[map]
static REQUESTS: HashMap<RequestKey, Requests> = HashMap::with_max_entries(1, 0);

/// Not 0: what requests do that do not complete is seen.
#[map]
static SILENT_SEEN: Array<u32> = Array::with_max_entries(1, 0);

/// The task works for a ring (include/linux/sched.h).
const PF_IO_WORKER: u32 = 0x10;
/// A request does not complete; where it is to complete because it failed, the kernel takes this away
/// (include/linux/io_uring_types.h).
const REQ_F_CQE_SKIP: u32 = 1 << 6;
const ECANCELED: i32 = 125;
/// More completions of the same request follow (include/uapi/linux/io_uring.h).
const IORING_CQE_F_MORE: u64 = 1 << 1;

// io_uring_submit_req(struct io_kiocb *req); before 6.3 io_uring_submit_sqe(struct io_kiocb *req, bool force_nonblock),
// before 5.19 io_uring_submit_sqe(void *ctx, void *req, u8 opcode, ..), at first without the request.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn file_submit_btf(ctx: BtfTracePointContext) -> i32 {
    on_submit(argument(&ctx, 0))
}

#[raw_tracepoint(tracepoint = "io_uring_submit_req")]
pub fn file_submit_raw(ctx: RawTracePointContext) -> i32 {
    on_submit(argument(&ctx, 0))
}

#[btf_tracepoint(function = "io_uring_submit_sqe")]
pub fn file_submit_sqe_btf(ctx: BtfTracePointContext) -> i32 {
    on_submit(submitted(&ctx))
}

#[raw_tracepoint(tracepoint = "io_uring_submit_sqe")]
pub fn file_submit_sqe_raw(ctx: RawTracePointContext) -> i32 {
    on_submit(submitted(&ctx))
}

#[inline(always)]
fn submitted(ctx: &impl EbpfContext) -> u64 {
    let (first, second) = (argument(ctx, 0), argument(ctx, 1));
    if machine::uring_request() == 0 { first } else { second }
}

#[btf_tracepoint(function = "io_uring_complete")]
pub fn file_complete_btf(ctx: BtfTracePointContext) -> i32 {
    on_complete::<Direct>(&ctx)
}

#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub fn file_complete_raw(ctx: RawTracePointContext) -> i32 {
    on_complete::<Helper>(&ctx)
}

// io_uring_complete(struct io_ring_ctx *ctx, void *req, u64 user_data, int res, ..);
// from 6.13 io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe);
// before 5.19 io_uring_complete(void *ctx, u64 user_data, int res, unsigned cflags).
/// The request that is over, null where that is not known, and its result.
#[inline(always)]
fn over(ctx: &impl EbpfContext) -> (Kptr, i32) {
    let (first, second, third) = (argument(ctx, 0), argument(ctx, 1), argument(ctx, 2));
    match machine::uring_complete() {
        URING_RESULT => (second as Kptr, argument(ctx, 3) as i32),
        URING_COMPLETION => (second as Kptr, Helper::read(third as Kptr, offset!(cqe_res))),
        _ => {
            let key = RequestKey { context: first, user_data: second };
            (look_up(&key, argument(ctx, 3)), third as i32)
        }
    }
}

/// As a number: a request's own commands lie where its BTF type has something else. Volatile, each where it stands: of
/// two loads the compiler would make one of an address that the verifier refuses.
#[inline(always)]
fn argument(ctx: &impl EbpfContext, index: usize) -> u64 {
    // SAFETY: the verifier checks it against the tracepoint's prototype.
    unsafe { ctx.as_ptr().cast::<u64>().add(index).read_volatile() }
}

/// The request that the current task works on as one of its ring's workers; null: it is none.
#[inline(always)]
pub fn of_worker() -> Kptr {
    let task = Helper::current_task();
    if Helper::read::<u32>(task, offset!(task_flags)) & PF_IO_WORKER == 0 {
        return null();
    }
    let worker: Kptr = Helper::read(task, offset!(task_io_worker));
    let work: Kptr = Helper::read(worker, offset!(worker_work));
    if work.is_null() { work } else { work.wrapping_sub(offset!(req_work) as usize) }
}

/// A request for user space: its address, as far as it tells apart those of one process.
#[inline(always)]
pub fn id(request: Kptr) -> u32 {
    (request as u64 >> 6) as u32
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
fn on_submit(request: u64) -> i32 {
    let request = request as Kptr;
    let opcode: u8 = Helper::read(request, offset!(req_opcode));
    let call = calls::of_request(opcode);
    if machine::uring_complete() == URING_USER_DATA && !enter(request, call.kind != 0) {
        return 0;
    }
    if call.kind != 0 && is_silent(request) && !SILENT_SEEN.get(0).is_some_and(|&seen| seen != 0) {
        if call.is_event() {
            ledger::seen();
            ledger::error();
        } else {
            ledger::aggregate_seen();
            ledger::untracked();
        }
    }
    if !call.is_event() {
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

/// Keeps which request it is for its completion. False: that will not tell it from another.
#[inline(always)]
fn enter(request: Kptr, files: bool) -> bool {
    let key = key_of(request);
    let one = Requests { address: request as u64, count: 1, files: u32::from(files) };
    if let Some(held) = REQUESTS.get_ptr_mut(&key) {
        // SAFETY: the map's own memory; a ring takes one submission at a time.
        unsafe {
            let before = (*held).address;
            // A request whose end was not told leaves its place to the next.
            if before == 0 || (before != one.address && is_same(&key_of(before as Kptr), &key)) {
                (*held).address = 0;
                ledger::add32(&raw mut (*held).count, 1);
                (*held).files |= one.files;
                let _ = URING.remove(&before);
                return false;
            }
        }
    }
    if REQUESTS.insert(&key, &one, 0).is_err() && files {
        ledger::seen();
        ledger::error();
    }
    true
}

#[inline(always)]
fn key_of(request: Kptr) -> RequestKey {
    RequestKey {
        context: Helper::read(request, offset!(req_context)),
        user_data: Helper::read(request, offset!(req_user_data)),
    }
}

#[inline(always)]
fn is_same(a: &RequestKey, b: &RequestKey) -> bool {
    a.context == b.context && a.user_data == b.user_data
}

/// The request that a completion is of; null where it cannot be told.
#[inline(always)]
fn look_up(key: &RequestKey, flags: u64) -> Kptr {
    let Some(held) = REQUESTS.get_ptr_mut(key) else { return null() };
    // SAFETY: the map's own memory.
    let Requests { address, count, files } = unsafe { held.read_volatile() };
    if flags & IORING_CQE_F_MORE == 0 {
        if count > 1 {
            // SAFETY: as above.
            ledger::add32(unsafe { &raw mut (*held).count }, u32::MAX);
        } else {
            let _ = REQUESTS.remove(key);
        }
    }
    if address == 0 && files != 0 {
        ledger::seen();
        ledger::error();
    }
    address as Kptr
}

/// Copies the text of a `struct filename`.
#[inline(always)]
unsafe fn keep(to: *mut u8, request: Kptr, at: u32) {
    let filename: Kptr = if at == 0 { null() } else { Helper::read(request, at) };
    let name: Kptr = Helper::read(filename, offset!(filename_name));
    // SAFETY: the caller's place has that much room.
    unsafe {
        to.write_volatile(0);
        if !filename.is_null() {
            bpf_probe_read_kernel_str(to.cast(), URING_TEXT_MAX as u32, name.cast());
        }
    }
}

#[inline(always)]
fn on_complete<A: Access>(ctx: &impl EbpfContext) -> i32 {
    let (request, result) = over(ctx);
    if request.is_null() {
        return 0;
    }
    let call = call_of(request);
    if call.is_event() {
        on_event::<A>(request, call, result);
    } else if call.is_transfer() {
        activity::on_transfer::<A>(&ended(request, call, result));
    }
    0
}

// int io_issue_sqe(struct io_kiocb *req, unsigned int issue_flags): whatever is not in flight or in vain.
#[fexit(function = "io_issue_sqe")]
pub fn file_silent_issue(ctx: FExitContext) -> i32 {
    let (request, call) = issued(&ctx);
    if call.is_event() {
        if let Some(result) = silent_result(request) {
            on_event::<Direct>(request, call, result);
        }
    } else if call.kind as u16 == KIND_SYNC {
        on_silent_transfer(request, call);
    }
    0
}

// int io_read(struct io_kiocb *req, unsigned int issue_flags), io_write likewise: they tell what is in flight.
#[fexit(function = "io_read")]
pub fn file_silent_read(ctx: FExitContext) -> i32 {
    let (request, call) = issued(&ctx);
    on_silent_transfer(request, call)
}

#[fexit(function = "io_write")]
pub fn file_silent_write(ctx: FExitContext) -> i32 {
    let (request, call) = issued(&ctx);
    on_silent_transfer(request, call)
}

// void io_req_rw_complete(struct io_kiocb *req, ..): what was in flight.
#[fexit(function = "io_req_rw_complete")]
pub fn file_silent_landed(ctx: FExitContext) -> i32 {
    let request = first(&ctx);
    on_silent_transfer(request, call_of(request))
}

// io_wq_free_work(struct io_wq_work *work): a worker of the ring is at the end of it. What was cancelled completes later.
#[kprobe]
pub fn file_silent_kprobe(ctx: ProbeContext) -> u32 {
    let work: u64 = ctx.arg(0).unwrap_or(0);
    let request = (work as Kptr).wrapping_sub(offset!(req_work) as usize);
    let call = call_of(request);
    if call.is_event()
        && let Some(result) = silent_result(request)
        && result != -ECANCELED
    {
        on_event::<Helper>(request, call, result);
    }
    0
}

/// The request that a function has worked on, and what is asked; of none where it is not done.
#[inline(always)]
fn issued(ctx: &FExitContext) -> (Kptr, Call) {
    let request = first(ctx);
    // What is returned stands behind the arguments.
    let done = argument(ctx, 2) as i32 == 0;
    (request, if done { call_of(request) } else { calls::NONE })
}

/// The first argument, by the helper: the verifier takes it for a number then, with which one may reckon.
#[inline(always)]
fn first(ctx: &FExitContext) -> Kptr {
    Helper::read::<u64>(ctx.as_ptr().cast(), 0) as Kptr
}

#[inline(always)]
fn call_of(request: Kptr) -> Call {
    calls::of_request(Helper::read(request, offset!(req_opcode)))
}

/// What came of a request that is done and does not complete. None: its completion tells.
#[inline(always)]
fn silent_result(request: Kptr) -> Option<i32> {
    is_silent(request).then(|| Helper::read(request, offset!(req_result)))
}

/// Its completion is not to be told. Before 5.19, where requests do not keep their result, the flag may be another.
#[inline(always)]
fn is_silent(request: Kptr) -> bool {
    offset!(req_result) != ABSENT && Helper::read::<u32>(request, offset!(req_flags)) & REQ_F_CQE_SKIP != 0
}

#[inline(always)]
fn on_silent_transfer(request: Kptr, call: Call) -> i32 {
    if call.is_transfer()
        && let Some(result) = silent_result(request)
    {
        activity::on_transfer::<Direct>(&ended(request, call, result));
    }
    0
}

#[inline(always)]
fn ended(request: Kptr, call: Call, result: i32) -> Ended {
    Ended {
        call,
        arguments: [0; 6],
        file: if call.path == 0 { Helper::read(request, offset!(req_file)) } else { null() },
        result: i64::from(result),
        // SAFETY: no arguments.
        now_ns: unsafe { bpf_ktime_get_boot_ns() },
        duration_ns: 0,
        flags: 0,
        request: id(request),
    }
}

#[inline(always)]
fn on_event<A: Access>(request: Kptr, call: Call, result: i32) {
    let mut ended = ended(request, call, result);
    if call.kind as u16 == KIND_OPEN && matches!(Helper::read(request, offset!(uring_open_slot)), 1_u32..) {
        ended.call.special = calls::SLOT;
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
