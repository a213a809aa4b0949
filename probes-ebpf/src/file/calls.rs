//! Which system calls touch files, and where their arguments stand: by the numbers of x86-64 and of its 32-bit ABI.

use core::ptr::read_volatile;

use fluoro_shared::file::{
    KIND_CHMOD, KIND_CHOWN, KIND_COPY, KIND_CREATE, KIND_LINK, KIND_MKDIR, KIND_OPEN, KIND_READ, KIND_RENAME,
    KIND_RMDIR, KIND_SYMLINK, KIND_SYNC, KIND_TRUNCATE, KIND_UNLINK, KIND_WRITE,
};

/// What a call does and which of its arguments say with what; arguments count from 1, 0 is none.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    /// One of `KIND_*`; 0: nothing with files.
    pub kind: u8,
    /// Directory that the path begins from, or where there is no path the descriptor; of a copy, what it reads.
    pub dir: u8,
    pub path: u8,
    /// The same of what a rename or link begins from; of a copy, what it writes.
    pub from_dir: u8,
    pub from_path: u8,
    pub detail: u8,
    pub more: u8,
    /// `HOW`, ..
    pub special: u8,
}

/// `detail` points to a `struct open_how`.
pub const HOW: u8 = 1;
/// Without flags it creates, truncates and writes.
pub const CREAT: u8 = 2;
/// `detail` may say that a directory is meant.
pub const REMOVES: u8 = 3;
/// `from_path` is a text, not a path.
pub const TARGET: u8 = 4;
/// What is opened gets no descriptor.
pub const SLOT: u8 = 5;

const NUMBERS: usize = 512;

pub const NONE: Call = call(0, 0, 0);

const fn call(kind: u16, dir: u8, path: u8) -> Call {
    Call { kind: kind as u8, dir, path, from_dir: 0, from_path: 0, detail: 0, more: 0, special: 0 }
}

impl Call {
    /// It makes an event.
    #[inline(always)]
    pub const fn is_event(&self) -> bool {
        self.kind != 0 && self.kind < KIND_READ as u8
    }

    /// It moves bytes or waits until they are kept, and is only counted.
    #[inline(always)]
    pub const fn is_transfer(&self) -> bool {
        self.kind >= KIND_READ as u8
    }

    const fn from(mut self, dir: u8, path: u8) -> Self {
        self.from_dir = dir;
        self.from_path = path;
        self
    }

    const fn with(mut self, detail: u8, more: u8) -> Self {
        self.detail = detail;
        self.more = more;
        self
    }

    const fn special(mut self, special: u8) -> Self {
        self.special = special;
        self
    }
}

const fn table<const N: usize>(calls: [(usize, Call); N]) -> [Call; NUMBERS] {
    let mut table = [NONE; NUMBERS];
    let mut index = 0;
    while index < N {
        table[calls[index].0] = calls[index].1;
        index += 1;
    }
    table
}

const OPEN: Call = call(KIND_OPEN, 0, 1).with(2, 3);
const OPENAT: Call = call(KIND_OPEN, 1, 2).with(3, 4);
const OPENAT2: Call = call(KIND_OPEN, 1, 2).with(3, 0).special(HOW);
const OPEN_BY_HANDLE: Call = call(KIND_OPEN, 0, 0).with(3, 0);
const CREATE: Call = call(KIND_OPEN, 0, 1).with(0, 2).special(CREAT);
const UNLINKAT: Call = call(KIND_UNLINK, 1, 2).with(3, 0).special(REMOVES);
const RENAME: Call = call(KIND_RENAME, 0, 2).from(0, 1);
const RENAMEAT: Call = call(KIND_RENAME, 3, 4).from(1, 2);
const MKDIRAT: Call = at(KIND_MKDIR);
const FTRUNCATE: Call = descriptor(KIND_TRUNCATE);
const RENAMEAT2: Call = RENAMEAT.with(5, 0);
const LINK: Call = call(KIND_LINK, 0, 2).from(0, 1);
const LINKAT: Call = call(KIND_LINK, 3, 4).from(1, 2).with(5, 0);
const SYMLINK: Call = call(KIND_SYMLINK, 0, 2).from(0, 1).special(TARGET);
const SYMLINKAT: Call = call(KIND_SYMLINK, 2, 3).from(0, 1).special(TARGET);
const READ: Call = call(KIND_READ, 1, 0);
const WRITE: Call = call(KIND_WRITE, 1, 0);
const SYNC: Call = call(KIND_SYNC, 1, 0);
const SENDFILE: Call = call(KIND_COPY, 2, 0).from(1, 0);
/// splice and copy_file_range: descriptor, offset, descriptor, offset.
const COPY: Call = call(KIND_COPY, 1, 0).from(3, 0);

const fn path(kind: u16) -> Call {
    call(kind, 0, 1).with(2, 3)
}

const fn at(kind: u16) -> Call {
    call(kind, 1, 2).with(3, 4)
}

const fn descriptor(kind: u16) -> Call {
    call(kind, 1, 0).with(2, 3)
}

static CALLS: [Call; NUMBERS] = table([
    (0, READ),
    (1, WRITE),
    (2, OPEN),
    (17, READ),
    (18, WRITE),
    (19, READ),
    (20, WRITE),
    (40, SENDFILE),
    (44, WRITE),
    (45, READ),
    (46, WRITE),
    (47, READ),
    (74, SYNC),
    (75, SYNC),
    (76, path(KIND_TRUNCATE)),
    (77, FTRUNCATE),
    (82, RENAME),
    (83, path(KIND_MKDIR)),
    (84, path(KIND_RMDIR)),
    (85, CREATE),
    (86, LINK),
    (87, path(KIND_UNLINK)),
    (88, SYMLINK),
    (90, path(KIND_CHMOD)),
    (91, descriptor(KIND_CHMOD)),
    (92, path(KIND_CHOWN)),
    (93, descriptor(KIND_CHOWN)),
    (94, path(KIND_CHOWN)),
    (133, path(KIND_CREATE)),
    (257, OPENAT),
    (258, MKDIRAT),
    (259, at(KIND_CREATE)),
    (260, at(KIND_CHOWN)),
    (263, UNLINKAT),
    (264, RENAMEAT),
    (265, LINKAT),
    (266, SYMLINKAT),
    (268, at(KIND_CHMOD)),
    (275, COPY),
    (295, READ),
    (296, WRITE),
    (304, OPEN_BY_HANDLE),
    (316, RENAMEAT2),
    (326, COPY),
    (327, READ),
    (328, WRITE),
    (437, OPENAT2),
    (452, at(KIND_CHMOD)),
]);

static COMPAT_CALLS: [Call; NUMBERS] = table([
    (3, READ),
    (4, WRITE),
    (5, OPEN),
    (8, CREATE),
    (9, LINK),
    (10, path(KIND_UNLINK)),
    (14, path(KIND_CREATE)),
    (15, path(KIND_CHMOD)),
    (16, path(KIND_CHOWN)),
    (38, RENAME),
    (39, path(KIND_MKDIR)),
    (40, path(KIND_RMDIR)),
    (83, SYMLINK),
    (92, path(KIND_TRUNCATE)),
    (93, descriptor(KIND_TRUNCATE)),
    (94, descriptor(KIND_CHMOD)),
    (95, descriptor(KIND_CHOWN)),
    (118, SYNC),
    (145, READ),
    (146, WRITE),
    (148, SYNC),
    (180, READ),
    (181, WRITE),
    (182, path(KIND_CHOWN)),
    (187, SENDFILE),
    (193, path(KIND_TRUNCATE)),
    (194, descriptor(KIND_TRUNCATE)),
    (198, path(KIND_CHOWN)),
    (207, descriptor(KIND_CHOWN)),
    (212, path(KIND_CHOWN)),
    (239, SENDFILE),
    (295, OPENAT),
    (296, MKDIRAT),
    (297, at(KIND_CREATE)),
    (298, at(KIND_CHOWN)),
    (301, UNLINKAT),
    (302, RENAMEAT),
    (303, LINKAT),
    (304, SYMLINKAT),
    (306, at(KIND_CHMOD)),
    (313, COPY),
    (333, READ),
    (334, WRITE),
    (342, OPEN_BY_HANDLE),
    (353, RENAMEAT2),
    (369, WRITE),
    (370, WRITE),
    (371, READ),
    (372, READ),
    (377, COPY),
    (378, READ),
    (379, WRITE),
    (437, OPENAT2),
    (452, at(KIND_CHMOD)),
]);

/// Opcodes of io_uring (include/uapi/linux/io_uring.h).
pub mod op {
    pub const OPENAT: u8 = 18;
    pub const OPENAT2: u8 = 28;
    pub const RENAMEAT: u8 = 35;
    pub const UNLINKAT: u8 = 36;
    pub const MKDIRAT: u8 = 37;
    pub const SYMLINKAT: u8 = 38;
    pub const LINKAT: u8 = 39;
}

/// By opcode: READV, WRITEV, FSYNC, READ_FIXED, WRITE_FIXED, SENDMSG, RECVMSG, READ, WRITE, SEND, RECV, FTRUNCATE and
/// those above.
static REQUESTS: [Call; NUMBERS] = table([
    (1, READ),
    (2, WRITE),
    (3, SYNC),
    (4, READ),
    (5, WRITE),
    (9, WRITE),
    (10, READ),
    (op::OPENAT as usize, OPENAT),
    (22, READ),
    (23, WRITE),
    (26, WRITE),
    (27, READ),
    (op::OPENAT2 as usize, OPENAT),
    (op::RENAMEAT as usize, RENAMEAT2),
    (op::UNLINKAT as usize, UNLINKAT),
    (op::MKDIRAT as usize, MKDIRAT),
    (op::SYMLINKAT as usize, SYMLINKAT),
    (op::LINKAT as usize, LINKAT),
    (55, FTRUNCATE),
]);

/// The call that does what a request of io_uring does.
#[inline(always)]
pub fn of_request(opcode: u8) -> Call {
    load(&raw const REQUESTS, u64::from(opcode))
}

/// The call with this number.
#[inline(always)]
pub fn of(number: u64, compat: bool) -> Call {
    if number >= NUMBERS as u64 {
        return NONE;
    }
    load(if compat { &raw const COMPAT_CALLS } else { &raw const CALLS }, number)
}

#[inline(always)]
fn load(table: *const [Call; NUMBERS], number: u64) -> Call {
    // SAFETY: the number is inside the table; volatile, so that it stays one load.
    let bits = unsafe { read_volatile(table.cast::<u64>().add(number as usize)) };
    let byte = |index: u32| (bits >> (8 * index)) as u8;
    Call {
        kind: byte(0),
        dir: byte(1),
        path: byte(2),
        from_dir: byte(3),
        from_path: byte(4),
        detail: byte(5),
        more: byte(6),
        special: byte(7),
    }
}
