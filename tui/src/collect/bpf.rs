//! The few bpf(2) calls that aya does not make: run-time statistics, how often the kernel skipped a program, whole maps
//! in a few calls.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{fs, io};

use crate::collect::unpreempted::Unpreempted;

const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_ENABLE_STATS: libc::c_long = 32;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Offsets in `struct bpf_prog_info` (include/uapi/linux/bpf.h), an append-only layout.
const ID: usize = 4;
const RUN_TIME_NS: usize = 192;
const RUN_COUNT: usize = 200;
const RECURSION_MISSES: usize = 208;
const VERIFIED_INSNS: usize = 216;
const PROG_INFO_LEN: usize = 232;

/// What the kernel says of one loaded program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgramInfo {
    pub id: u32,
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
    let word = |at: usize| word(&info, at);
    let known = |at: usize, size: usize| len >= at + size;
    Ok(ProgramInfo {
        id: half(&info, ID),
        run_time_ns: word(RUN_TIME_NS).unwrap_or(0),
        runs: word(RUN_COUNT).unwrap_or(0),
        recursion_misses: if known(RECURSION_MISSES, 8) { word(RECURSION_MISSES) } else { None },
        verified_insns: if known(VERIFIED_INSNS, 4) { word(VERIFIED_INSNS).map(|w| w as u32) } else { None },
    })
}

/// Hits of this process's kprobes that the kernel skipped before it came to any program, because another kprobe was
/// being handled on that CPU: by program id. Empty before 6.7, where it does not say (3acf8ace6823).
///
/// aya keeps the links to itself, and asking for them by id would take CAP_SYS_ADMIN: they are found among the
/// process's own descriptors. Only for the thread that attaches and detaches.
pub fn kprobe_misses() -> HashMap<u32, u64> {
    /// Offsets in `struct bpf_link_info`, and the values that say that it is a kprobe's.
    const LINK_KIND: usize = 0;
    const PROGRAM: usize = 8;
    const EVENT_KIND: usize = 16;
    const MISSED: usize = 48;
    const LINK_PERF_EVENT: u32 = 7;
    const EVENT_KPROBE: u32 = 3;
    let mut misses = HashMap::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let is_link = fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf_link"));
        let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        let Some(number) = number.filter(|_| is_link) else { continue };
        // SAFETY: links are closed by this thread alone.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let mut info = [0u8; 128];
        let known = object_info(fd, &mut info).unwrap_or(0);
        let kprobe = half(&info, LINK_KIND) == LINK_PERF_EVENT && half(&info, EVENT_KIND) == EVENT_KPROBE;
        if kprobe && known >= MISSED + 8 {
            *misses.entry(half(&info, PROGRAM)).or_default() += word(&info, MISSED).unwrap_or(0);
        }
    }
    misses
}

fn half(info: &[u8], at: usize) -> u32 {
    info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn word(info: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(info.get(at..at + 8)?.try_into().ok()?))
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

/// Sizes of a hash map's entries, as they are read: of a per-CPU map the value is all CPUs'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntrySize {
    pub key: usize,
    pub value: usize,
}

/// What the kernel says of a map's entries.
pub fn map_sizes(map: BorrowedFd<'_>) -> io::Result<EntrySize> {
    /// Offsets in `struct bpf_map_info`.
    const KEY: usize = 8;
    const VALUE: usize = 12;
    let mut info = [0_u8; 80];
    object_info(map, &mut info)?;
    let word = |at: usize| {
        let bytes = info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(bytes) as usize)
    };
    Ok(EntrySize { key: word(KEY), value: word(VALUE) })
}

/// Everything a hash map holds: keys and values, one behind the other. What changes meanwhile may be in it or not.
#[derive(Debug, Default)]
pub struct Dump {
    pub keys: Vec<u8>,
    pub values: Vec<u8>,
}

/// Entries asked for at a time; a hash bucket must fit.
const BATCH: usize = 1024;

/// Reads a hash map in batches (5.6), key by key where the kernel refuses that.
pub fn dump(map: BorrowedFd<'_>, size: EntrySize, into: &mut Dump) -> io::Result<()> {
    into.keys.clear();
    into.values.clear();
    match dump_in_batches(map, size, into) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP | NOT_SUPPORTED)) => {
            into.keys.clear();
            into.values.clear();
            dump_by_key(map, size, into)
        }
        outcome => outcome,
    }
}

/// `ENOTSUPP` of the kernel's inside, which leaks out of it.
const NOT_SUPPORTED: i32 = 524;

fn dump_in_batches(map: BorrowedFd<'_>, size: EntrySize, into: &mut Dump) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map: u32,
        element_flags: u64,
        flags: u64,
    }
    let (mut from, mut to) = ([0_u64; 1], [0_u64; 1]);
    let mut first = true;
    let mut room = BATCH;
    loop {
        let filled = into.keys.len() / size.key.max(1);
        into.keys.resize((filled + room) * size.key, 0);
        into.values.resize((filled + room) * size.value, 0);
        let (Some(keys), Some(values)) =
            (into.keys.get_mut(filled * size.key..), into.values.get_mut(filled * size.value..))
        else {
            return Ok(());
        };
        let mut attr = Attr {
            in_batch: if first { 0 } else { from.as_ptr() as u64 },
            out_batch: to.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            map: map.as_raw_fd().cast_unsigned(),
            element_flags: 0,
            flags: 0,
        };
        // Of each batch: between them who draws must have its turn.
        let unpreempted = Unpreempted::begin();
        // SAFETY: attr is laid out as the kernel expects; keys and values have room for `count` entries, and a hash
        // map's position is 4 bytes.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attr, size_of::<Attr>()) };
        let error = (result < 0).then(io::Error::last_os_error);
        drop(unpreempted);
        let code = error.as_ref().and_then(io::Error::raw_os_error);
        let got = if matches!(code, None | Some(libc::ENOENT)) { attr.count as usize } else { 0 };
        into.keys.truncate((filled + got) * size.key);
        into.values.truncate((filled + got) * size.value);
        match (code, error) {
            (None, _) => {
                from = to;
                first = false;
            }
            (Some(libc::ENOENT), _) => return Ok(()),
            // One bucket holds more.
            (Some(libc::ENOSPC), _) if room < 1 << 20 => room *= 2,
            (_, Some(error)) => return Err(error),
            (_, None) => return Ok(()),
        }
    }
}

fn dump_by_key(map: BorrowedFd<'_>, size: EntrySize, into: &mut Dump) -> io::Result<()> {
    let _unpreempted = Unpreempted::begin();
    let mut key = vec![0_u8; size.key];
    let mut next = vec![0_u8; size.key];
    let mut value = vec![0_u8; size.value];
    let mut first = true;
    loop {
        let from = if first { std::ptr::null() } else { key.as_ptr() };
        match element(BPF_MAP_GET_NEXT_KEY, map, from, next.as_mut_ptr()) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            outcome => outcome?,
        }
        // Deleted meanwhile: the walk goes on from where it was.
        if element(BPF_MAP_LOOKUP_ELEM, map, next.as_ptr(), value.as_mut_ptr()).is_ok() {
            into.keys.extend_from_slice(&next);
            into.values.extend_from_slice(&value);
        }
        std::mem::swap(&mut key, &mut next);
        first = false;
    }
}

/// How many entries a hash map has, at most `room`. What comes and goes meanwhile may be counted or not.
pub fn count_keys(map: BorrowedFd<'_>, room: u64) -> io::Result<u64> {
    let size = map_sizes(map)?.key;
    let (mut first, mut key, mut next) = (vec![], vec![0_u8; size], vec![0_u8; size]);
    let mut count = 0;
    while count < room {
        let from = if count == 0 { std::ptr::null() } else { key.as_ptr() };
        match element(BPF_MAP_GET_NEXT_KEY, map, from, next.as_mut_ptr()) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            outcome => outcome?,
        }
        if count == 0 {
            first.clone_from(&next);
        } else if next == first {
            // The key that was asked with is gone, and the kernel began anew: what was counted is near enough.
            break;
        }
        count += 1;
        std::mem::swap(&mut key, &mut next);
    }
    Ok(count)
}

/// Takes an entry out of a hash map; one that is not there is none.
pub fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    match element(BPF_MAP_DELETE_ELEM, map, key.as_ptr(), std::ptr::null_mut()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

/// Sets an entry; `value` is only read.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    element(BPF_MAP_UPDATE_ELEM, map, key.as_ptr(), value.as_ptr().cast_mut())
}

/// The commands on one element. `key` and `value` have the map's sizes.
fn element(command: libc::c_long, map: BorrowedFd<'_>, key: *const u8, value: *mut u8) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        map: u32,
        pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let attr =
        Attr { map: map.as_raw_fd().cast_unsigned(), pad: 0, key: key as u64, value: value as u64, flags: 0 };
    // SAFETY: attr is laid out as the kernel expects, and the callers' buffers have the map's sizes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
    // mov64 r0, 0; exit
    load_program(empty, &[0xb7, 0x95])
}

/// Loads a socket filter that notes a number where the next program finds it, and goes on with the first one of `next`.
pub fn load_noting(number: u32, next: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const SOCKET_FILTER: u32 = 1;
    /// `cb[0]` of `struct __sk_buff`.
    const NOTE: u64 = 48;
    const TAIL_CALL: u64 = 12;
    let with = |op: u64, destination: u64, source: u64, offset: u64, immediate: u32| {
        op | destination << 8 | source << 12 | offset << 16 | u64::from(immediate) << 32
    };
    let program = [
        // mov r2, number; *(u32 *)(r1 + 48) = r2: from a register, for before 6.4 no constant may be put there.
        with(0xb7, 2, 0, 0, number),
        with(0x63, 1, 2, NOTE, 0),
        // r2 = map; r3 = 0; tail call
        with(0x18, 2, 1, 0, next.as_raw_fd().cast_unsigned()),
        0,
        with(0xb7, 3, 0, 0, 0),
        with(0x85, 0, 0, 0, TAIL_CALL as u32),
        // Nothing for the queue.
        0xb7,
        0x95,
    ];
    load_program(Empty { prog_type: SOCKET_FILTER, ..Empty::default() }, &program)
}

fn load_program(kind: Empty, instructions: &[u64]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    /// `union bpf_attr` up to `attach_btf_id`, as far as 5.10 knows it.
    const ATTR_LEN: usize = 120;
    let licence = c"GPL";
    let mut attr = [0u8; ATTR_LEN];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = attr.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &kind.prog_type.to_ne_bytes());
    put(4, &(instructions.len() as u32).to_ne_bytes());
    put(8, &(instructions.as_ptr() as u64).to_ne_bytes());
    put(16, &(licence.as_ptr() as u64).to_ne_bytes());
    put(68, &kind.attach_type.to_ne_bytes());
    put(108, &kind.btf_id.to_ne_bytes());
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
