//! As much of io_uring as accepting, sending and receiving takes, one request at a time.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use anyhow::{Context, Result};
use nix::errno::Errno;

/// `struct io_uring_params` (include/uapi/linux/io_uring.h): words up to the two tables of offsets.
#[repr(C)]
#[derive(Default)]
struct Params {
    head: [u32; 10],
    submission: [u32; 10],
    completion: [u32; 10],
}

const OFF_SQ_RING: i64 = 0;
const OFF_CQ_RING: i64 = 0x800_0000;
const OFF_SQES: i64 = 0x1000_0000;
const OP_ACCEPT: u8 = 13;
const OP_SEND: u8 = 26;
const OP_RECV: u8 = 27;
const ENTER_GETEVENTS: u32 = 1;
const SQE: usize = 64;
const PAGE: usize = 4096;

pub struct Ring {
    fd: OwnedFd,
    submissions: *mut u8,
    completions: *mut u8,
    entries: *mut u8,
    params: Params,
}

impl Ring {
    pub fn new() -> Result<Self> {
        let mut params = Params::default();
        // SAFETY: the kernel fills in the parameters it is given.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, &raw mut params) };
        let fd = Errno::result(fd).context("io_uring_setup")?;
        // SAFETY: a descriptor that the kernel has just given.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let map = |offset| {
            // SAFETY: a new mapping of the ring; each part of a ring of four fits into a page.
            let at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    PAGE,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_POPULATE,
                    fd.as_raw_fd(),
                    offset,
                )
            };
            if at == libc::MAP_FAILED {
                Err(Errno::last()).context("map a ring")
            } else {
                Ok(at.cast::<u8>())
            }
        };
        let (submissions, completions, entries) = (map(OFF_SQ_RING)?, map(OFF_CQ_RING)?, map(OFF_SQES)?);
        Ok(Self { fd, submissions, completions, entries, params })
    }

    /// The next connection of a listener.
    pub fn accept(&mut self, listener: BorrowedFd<'_>) -> Result<OwnedFd> {
        let fd = self.one(OP_ACCEPT, listener, 0, 0).context("io_uring accept")?;
        // SAFETY: a descriptor that the kernel has just given.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    pub fn send(&mut self, socket: BorrowedFd<'_>, data: &[u8]) -> Result<usize> {
        self.one(OP_SEND, socket, data.as_ptr() as u64, data.len()).context("io_uring send")
    }

    pub fn recv(&mut self, socket: BorrowedFd<'_>, room: &mut [u8]) -> Result<usize> {
        self.one(OP_RECV, socket, room.as_mut_ptr() as u64, room.len()).context("io_uring recv")
    }

    /// One request, waited for.
    #[expect(clippy::cast_ptr_alignment, reason = "the kernel aligns what it lays out, and a page is")]
    fn one(&mut self, operation: u8, socket: BorrowedFd<'_>, address: u64, length: usize) -> Result<usize> {
        let [head, tail, mask, _, _, _, array, ..] = self.params.submission;
        let [done_head, done_tail, done_mask, _, _, done_entries, ..] = self.params.completion;
        // SAFETY: offsets that the kernel gave, inside the pages mapped; one thread uses the ring.
        unsafe {
            let word = |ring: *mut u8, at: u32| &*ring.add(at as usize).cast::<AtomicU32>();
            let _ = word(self.submissions, head);
            let tail = word(self.submissions, tail);
            let next = tail.load(Ordering::Relaxed);
            let index = next & word(self.submissions, mask).load(Ordering::Relaxed);
            let entry = self.entries.add(index as usize * SQE);
            entry.write_bytes(0, SQE);
            entry.write(operation);
            entry.add(4).cast::<i32>().write(socket.as_raw_fd());
            entry.add(16).cast::<u64>().write(address);
            entry.add(24).cast::<u32>().write(length as u32);
            self.submissions.add(array as usize + index as usize * 4).cast::<u32>().write(index);
            tail.store(next.wrapping_add(1), Ordering::Release);
            fence(Ordering::SeqCst);
            let nothing = std::ptr::null::<u8>();
            let fd = self.fd.as_fd().as_raw_fd();
            Errno::result(libc::syscall(libc::SYS_io_uring_enter, fd, 1, 1, ENTER_GETEVENTS, nothing, 0))
                .context("io_uring_enter")?;
            let head = word(self.completions, done_head);
            while head.load(Ordering::Relaxed) == word(self.completions, done_tail).load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let at = head.load(Ordering::Relaxed);
            let slot = at & word(self.completions, done_mask).load(Ordering::Relaxed);
            let result =
                self.completions.add(done_entries as usize + slot as usize * 16 + 8).cast::<i32>().read();
            head.store(at.wrapping_add(1), Ordering::Release);
            if result < 0 { Err(Errno::from_raw(-result).into()) } else { Ok(result as usize) }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for at in [self.submissions, self.completions, self.entries] {
            // SAFETY: mapped by `new`.
            unsafe { libc::munmap(at.cast(), PAGE) };
        }
    }
}
