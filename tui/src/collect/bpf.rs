//! The few bpf(2) calls that aya does not make: run-time statistics and how often the kernel skipped a program.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_ENABLE_STATS: libc::c_long = 32;

/// Offsets in `struct bpf_prog_info` (include/uapi/linux/bpf.h), an append-only layout.
const RUN_TIME_NS: usize = 192;
const RUN_COUNT: usize = 200;
const RECURSION_MISSES: usize = 208;
const VERIFIED_INSNS: usize = 216;
const PROG_INFO_LEN: usize = 232;

/// What the kernel says of one loaded program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgramInfo {
    pub run_time_ns: u64,
    pub runs: u64,
    /// Runs skipped because a program was already running on that CPU; `None` before 5.12.
    pub recursion_misses: Option<u64>,
    /// Instructions the verifier processed; `None` before 5.16.
    pub verified_insns: Option<u32>,
}

/// Reads what the kernel says of the program behind `fd`.
pub fn program_info(fd: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut info = [0u8; PROG_INFO_LEN];
    let len = object_info(fd, &mut info)?;
    let word = |at: usize| {
        let bytes = info.get(at..at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let known = |at: usize, size: usize| len >= at + size;
    Ok(ProgramInfo {
        run_time_ns: word(RUN_TIME_NS).unwrap_or(0),
        runs: word(RUN_COUNT).unwrap_or(0),
        recursion_misses: if known(RECURSION_MISSES, 8) { word(RECURSION_MISSES) } else { None },
        verified_insns: if known(VERIFIED_INSNS, 4) { word(VERIFIED_INSNS).map(|w| w as u32) } else { None },
    })
}

/// Fills `info`; the length that the kernel knows.
fn object_info(fd: BorrowedFd<'_>, info: &mut [u8]) -> io::Result<usize> {
    #[repr(C)]
    struct Attr {
        fd: u32,
        len: u32,
        info: u64,
    }
    let mut attr =
        Attr { fd: fd.as_raw_fd().cast_unsigned(), len: info.len() as u32, info: info.as_mut_ptr() as u64 };
    // SAFETY: attr is laid out as the kernel expects and info is writable for its length.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw mut attr, size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attr.len as usize) }
}

/// Turns run-time statistics on until the descriptor is closed, by whatever end of the process (5.8).
pub fn enable_statistics() -> io::Result<OwnedFd> {
    const BPF_STATS_RUN_TIME: u32 = 0;
    let attr = BPF_STATS_RUN_TIME;
    // SAFETY: attr is the one 32-bit member of this command.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_ENABLE_STATS, &raw const attr, size_of::<u32>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just given.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits until every program that was running when a link was closed has ended.
pub fn wait_for_running_programs() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers. The kernel implements it as synchronize_rcu; where it does not know the call, the sleep
    // below is longer than any program.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    std::thread::sleep(std::time::Duration::from_millis(5));
}

/// A program that returns 0 at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty {
    pub prog_type: u32,
    pub attach_type: u32,
    /// Type it attaches to, where the program type asks for one.
    pub btf_id: u32,
}

/// Loads an empty program.
pub fn load_empty(empty: Empty) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    /// `union bpf_attr` up to `attach_btf_id`, as far as 5.10 knows it.
    const ATTR_LEN: usize = 120;
    // mov64 r0, 0; exit
    let instructions: [u64; 2] = [0xb7, 0x95];
    let licence = c"GPL";
    let mut attr = [0u8; ATTR_LEN];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = attr.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &empty.prog_type.to_ne_bytes());
    put(4, &(instructions.len() as u32).to_ne_bytes());
    put(8, &(instructions.as_ptr() as u64).to_ne_bytes());
    put(16, &(licence.as_ptr() as u64).to_ne_bytes());
    put(68, &empty.attach_type.to_ne_bytes());
    put(108, &empty.btf_id.to_ne_bytes());
    // SAFETY: attr is laid out as the kernel expects; what it points to lives until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, attr.as_ptr(), attr.len()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just given.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a raw tracepoint, or a program that knows its target itself. Closing the descriptor detaches it.
pub fn open_raw_tracepoint(program: &OwnedFd, name: Option<&std::ffi::CStr>) -> io::Result<OwnedFd> {
    const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
    #[repr(C)]
    struct Attr {
        name: u64,
        program: u32,
        pad: u32,
    }
    let attr = Attr {
        name: name.map_or(0, |name| name.as_ptr() as u64),
        program: program.as_raw_fd().cast_unsigned(),
        pad: 0,
    };
    // SAFETY: attr is laid out as the kernel expects; the name lives until the call returns.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &raw const attr, size_of::<Attr>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just given.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
