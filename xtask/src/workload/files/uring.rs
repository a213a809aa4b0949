//! io_uring by its system calls alone: one request at a time.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

const ENTRIES: u32 = 8;
const SQE_BYTES: usize = 64;
const CQE_BYTES: usize = 16;
const ENTER_GETEVENTS: i64 = 1;

const OFF_SQ_RING: i64 = 0;
const OFF_CQ_RING: i64 = 0x800_0000;
const OFF_SQES: i64 = 0x1000_0000;

/// Opcodes that are used (include/uapi/linux/io_uring.h).
pub mod op {
    pub const NOP: u8 = 0;
    pub const FSYNC: u8 = 3;
    pub const OPENAT: u8 = 18;
    pub const READ: u8 = 22;
    pub const WRITE: u8 = 23;
    pub const RENAMEAT: u8 = 35;
    pub const UNLINKAT: u8 = 36;
    pub const MKDIRAT: u8 = 37;
    pub const SYMLINKAT: u8 = 38;
    pub const LINKAT: u8 = 39;
}

/// The next request begins when this one is over.
pub const LINK: u8 = 1 << 2;
/// Submitted to a worker thread at once.
pub const ASYNC: u8 = 1 << 4;
/// Does not complete unless it fails in the kernel's eyes.
const SKIP_SUCCESS: u8 = 1 << 6;
const FEATURE_SKIP: u32 = 1 << 11;
const REGISTER_FILES: u32 = 2;

/// `struct io_uring_sqe`, as far as it is used.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Request {
    pub opcode: u8,
    pub flags: u8,
    pub priority: u16,
    pub fd: i32,
    pub offset: u64,
    pub address: u64,
    pub len: u32,
    pub call_flags: u32,
    pub user_data: u64,
    pub rest: [u64; 3],
}

const _: () = assert!(size_of::<Request>() == SQE_BYTES);

/// `struct io_uring_params`: the head, and offsets in the rings.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread: [u32; 2],
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    /// head, tail, ring_mask, ring_entries, flags, dropped, array, ..
    sq: [u32; 10],
    /// head, tail, ring_mask, ring_entries, overflow, cqes, ..
    cq: [u32; 10],
}

pub struct Ring {
    ring: OwnedFd,
    sq: Mapped,
    cq: Mapped,
    sqes: Mapped,
    params: Params,
}

struct Mapped {
    at: *mut u8,
    len: usize,
}

impl Ring {
    /// `None`: the kernel has no io_uring, or none for us.
    pub fn new() -> Result<Option<Self>> {
        let mut params = Params::default();
        // SAFETY: params is as large as the kernel's structure.
        let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) };
        if ring < 0 {
            return match Errno::last() {
                Errno::ENOSYS | Errno::EPERM => Ok(None),
                error => Err(error).context("io_uring_setup"),
            };
        }
        // SAFETY: a descriptor that the kernel has just given.
        let ring = unsafe { OwnedFd::from_raw_fd(ring as i32) };
        let sq = Mapped::new(&ring, OFF_SQ_RING, params.sq[6] as usize + ENTRIES as usize * 4)?;
        let cq_len = params.cq[5] as usize + params.cq_entries as usize * CQE_BYTES;
        let cq = Mapped::new(&ring, OFF_CQ_RING, cq_len)?;
        let sqes = Mapped::new(&ring, OFF_SQES, params.sq_entries as usize * SQE_BYTES)?;
        Ok(Some(Self { ring, sq, cq, sqes, params }))
    }

    /// Submits one request and waits for its result.
    pub fn run(&self, request: Request) -> Result<i64> {
        self.run_all(&[request])?.pop().context("no result")
    }

    /// Submits requests together and waits for their results, which come in the order in which they are over.
    pub fn run_all(&self, requests: &[Request]) -> Result<Vec<i64>> {
        self.submit(requests, requests.len() as u32)
    }

    /// The kernel can be asked not to complete what succeeds (5.17).
    pub fn may_be_silent(&self) -> bool {
        self.params.features & FEATURE_SKIP != 0
    }

    /// Has a request done that asks for no completion: 0 when the next one is over, or the error if it completes all the
    /// same.
    pub fn run_silently(&self, request: Request) -> Result<i64> {
        let silent = Request { flags: request.flags | SKIP_SUCCESS | LINK, ..request };
        let next = Request { opcode: op::NOP, ..Request::default() };
        self.submit(&[silent, next], 1)?.pop().context("no result")
    }

    /// Makes room for one file that has no descriptor.
    pub fn register_slot(&self) -> Result<()> {
        let none = -1_i32;
        // SAFETY: one number.
        let registered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                REGISTER_FILES,
                &raw const none,
                1,
            )
        };
        ensure!(registered == 0, "io_uring_register: {}", Errno::last());
        Ok(())
    }

    fn submit(&self, requests: &[Request], completions: u32) -> Result<Vec<i64>> {
        let [_, tail, mask, .., array, _, _, _] = self.params.sq;
        let count = requests.len() as u32;
        ensure!(count <= ENTRIES, "a ring of {ENTRIES} has no room for {count} requests");
        let tail_at = self.sq.word(tail);
        let begin = tail_at.load(Ordering::Acquire);
        for (position, request) in (begin..).zip(requests) {
            let index = position & self.sq.word(mask).load(Ordering::Relaxed);
            // SAFETY: the index is below the number of entries, which the mapping holds.
            #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins with a page")]
            unsafe {
                self.sqes.at.cast::<Request>().add(index as usize).write_volatile(*request);
            }
            self.sq.word(array + index * 4).store(index, Ordering::Relaxed);
        }
        tail_at.store(begin.wrapping_add(count), Ordering::Release);
        // SAFETY: no pointers.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.ring.as_raw_fd(),
                count,
                completions,
                ENTER_GETEVENTS,
                std::ptr::null::<u8>(),
                0,
            )
        };
        ensure!(entered == i64::from(count), "io_uring_enter: {entered}, {}", Errno::last());
        let [head, tail, mask, _, _, cqes, ..] = self.params.cq;
        let head_at = self.cq.word(head);
        let begin = head_at.load(Ordering::Relaxed);
        let told = self.cq.word(tail).load(Ordering::Acquire).wrapping_sub(begin);
        ensure!(told == completions, "{told} completions of {count} requests, {completions} due");
        let results = (begin..).take(completions as usize).map(|position| {
            let index = position & self.cq.word(mask).load(Ordering::Relaxed);
            // user_data, res
            let result = self.cq.word(cqes + index * CQE_BYTES as u32 + 8).load(Ordering::Relaxed);
            i64::from(result.cast_signed())
        });
        let results = results.collect();
        head_at.store(begin.wrapping_add(completions), Ordering::Release);
        Ok(results)
    }

    pub fn at(&self, opcode: u8, dir: i64, path: &CStr, len: u32, call_flags: i32, flags: u8) -> Result<i64> {
        self.run(Request { flags, ..Request::at(opcode, dir, path, len, call_flags) })
    }

    pub fn both(&self, opcode: u8, dir: i64, from: &CStr, to: &CStr) -> Result<i64> {
        self.run(Request::both(opcode, dir, from, to))
    }
}

impl Request {
    /// On a path, which must outlive it.
    pub fn at(opcode: u8, dir: i64, path: &CStr, len: u32, call_flags: i32) -> Self {
        Self {
            opcode,
            fd: dir as i32,
            address: path.as_ptr() as u64,
            len,
            call_flags: call_flags.cast_unsigned(),
            ..Self::default()
        }
    }

    /// On two paths: `len` is the second directory, `offset` the second path.
    pub fn both(opcode: u8, dir: i64, from: &CStr, to: &CStr) -> Self {
        Self {
            opcode,
            fd: dir as i32,
            address: from.as_ptr() as u64,
            len: (dir as i32).cast_unsigned(),
            offset: to.as_ptr() as u64,
            ..Self::default()
        }
    }

    /// An open into the slot that a ring has, which gives no descriptor.
    pub fn into_slot(path: &CStr) -> Self {
        let open = Self::at(op::OPENAT, i64::from(libc::AT_FDCWD), path, 0, libc::O_RDONLY);
        // buf_index, personality; file_index, from 1
        Self { rest: [1 << 32, 0, 0], ..open }
    }
}

impl Mapped {
    fn new(ring: &OwnedFd, offset: i64, len: usize) -> Result<Self> {
        // SAFETY: a new mapping of the ring's memory, where the kernel chooses.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                ring.as_raw_fd(),
                offset,
            )
        };
        ensure!(at != libc::MAP_FAILED, "mmap of a ring: {}", Errno::last());
        Ok(Self { at: at.cast(), len })
    }

    /// The 32-bit number at this offset, which the kernel gave.
    fn word(&self, offset: u32) -> &AtomicU32 {
        assert!((offset as usize) + 4 <= self.len, "an offset outside the ring");
        // SAFETY: inside the mapping, aligned as the kernel aligns it, and shared with the kernel.
        unsafe { &*self.at.add(offset as usize).cast() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped above, and nobody holds a reference into it any more.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}
