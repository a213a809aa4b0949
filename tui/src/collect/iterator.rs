//! Iterators: programs that visit every one of a kind when a file is read, and write what is known of it into that file.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;

/// Number in `enum bpf_attach_type` (include/uapi/linux/bpf.h).
pub const TRACE_ITER: u32 = 28;

/// A link to the program, by which it can be read as often as wanted. aya's turns into one file, which is read once.
pub fn link(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // Program, target, attach type, flags.
    call(BPF_LINK_CREATE, [program.as_raw_fd().cast_unsigned(), 0, TRACE_ITER, 0])
}

/// Has everything visited, and appends what the program wrote.
pub fn read(link: BorrowedFd<'_>, into: &mut Vec<u8>) -> io::Result<()> {
    let file = call(BPF_ITER_CREATE, [link.as_raw_fd().cast_unsigned(), 0, 0, 0])?;
    File::from(file).read_to_end(into).map(drop)
}

fn call(command: libc::c_long, attr: [u32; 4]) -> io::Result<OwnedFd> {
    // SAFETY: of both commands the attributes are numbers alone, as many as these at most.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(&attr)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just given.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
