//! `file`: what programs do to the file system.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{Header, Task};

pub const KIND_OPEN: u16 = 1;
/// mknod(2).
pub const KIND_CREATE: u16 = 2;
pub const KIND_MKDIR: u16 = 3;
pub const KIND_RMDIR: u16 = 4;
pub const KIND_UNLINK: u16 = 5;
pub const KIND_RENAME: u16 = 6;
pub const KIND_LINK: u16 = 7;
pub const KIND_SYMLINK: u16 = 8;
pub const KIND_TRUNCATE: u16 = 9;
pub const KIND_CHMOD: u16 = 10;
pub const KIND_CHOWN: u16 = 11;
/// Not an event: the other path of the event that the same thread makes next: what a rename or a link began from, the
/// text of a symbolic link.
pub const KIND_OTHER_PATH: u16 = 12;
/// Not an event: the path of a file that is counted.
pub const KIND_NAME: u16 = 13;
/// Not an event: the path, by the kernel's own dentries, of the event that the same thread makes next, if it succeeds.
/// [`KIND_OTHER_PATH`] with [`FLAG_RESOLVED`] is what it began from.
pub const KIND_PATH: u16 = 14;

/// Calls that are counted and make no event.
pub const KIND_READ: u16 = 32;
pub const KIND_WRITE: u16 = 33;
/// From one descriptor to another.
pub const KIND_COPY: u16 = 34;
pub const KIND_SYNC: u16 = 35;

/// The open made the file (`FMODE_CREATED`).
pub const FLAG_CREATED: u16 = 1 << 0;
/// The file has no name any more.
pub const FLAG_DELETED: u16 = 1 << 1;
/// The path has more components or bytes than the walk takes: its head is missing.
pub const FLAG_TRUNCATED: u16 = 1 << 2;
/// The path is the kernel's own, by dentries; otherwise base directory and text as passed.
pub const FLAG_RESOLVED: u16 = 1 << 3;
/// Asked for by the 32-bit ABI.
pub const FLAG_COMPAT: u16 = 1 << 4;
/// The text stands alone: where it begins from is not known, or it is no path.
pub const FLAG_BARE: u16 = 1 << 5;

/// Longest base and longest text of a record, each.
pub const PATH_MAX: usize = 4096;

/// The fixed beginning of a record. Behind it stand `base_len` bytes of a path by dentries and `text_len` bytes as
/// passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileRecord {
    pub header: Header,
    pub task: Task,
    /// From entering the kernel to leaving it; 0 when the entry was not seen.
    pub duration_ns: u64,
    /// As the call returned it, negative errno included.
    pub result: i64,
    /// Of the file that a descriptor leads to; 0 where there is none.
    pub inode: u64,
    /// Flags of open and rename, mode of mkdir, mknod and chmod, length of truncate, owner of chown.
    pub detail: u64,
    /// Mode of open with O_CREAT, group of chown.
    pub more: u64,
    pub device: u32,
    /// `i_mode` of the file that a descriptor leads to.
    pub inode_mode: u16,
    pub base_len: u16,
    pub text_len: u16,
    pub pad: u16,
    /// Which of the requests of io_uring that its process has under way; 0: a system call.
    pub request: u32,
}

const _: () = assert!(size_of::<FileRecord>() == 128);

/// A file as one process uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileKey {
    /// `start_boottime` of the process, ns.
    pub start_ns: u64,
    /// Of a failed open: its errno. Of sockets: 0, all of a process are one.
    pub inode: u64,
    /// `dev_t` as the kernel keeps it; 0: of a failed open, or of sockets.
    pub device: u32,
    pub tgid: u32,
    /// `i_mode & S_IFMT`, or 0: an anonymous inode; [`FAILED`].
    pub format: u32,
    pub pad: u32,
}

/// Of [`FileKey::format`]: opens that led to no file.
pub const FAILED: u32 = u32::MAX;

const _: () = assert!(size_of::<FileKey>() == 32);

/// What a process did with a file, of one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileCell {
    pub opens: u64,
    pub reads: u64,
    pub writes: u64,
    pub syncs: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub errors: u64,
    /// Time in these calls, and the longest.
    pub busy_ns: u64,
    pub max_ns: u64,
}

const _: () = assert!(size_of::<FileCell>() == 72);

impl FileKey {
    /// What of the process its histograms are about.
    pub const fn subject(&self) -> u64 {
        self.inode ^ (self.device as u64) << 40 ^ (self.format as u64) << 20 | 1 << 63
    }
}

impl FileCell {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            opens: self.opens + other.opens,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            syncs: self.syncs + other.syncs,
            read_bytes: self.read_bytes + other.read_bytes,
            write_bytes: self.write_bytes + other.write_bytes,
            errors: self.errors + other.errors,
            busy_ns: self.busy_ns + other.busy_ns,
            max_ns: self.max_ns.max(other.max_ns),
        }
    }
}

/// `i_mode & S_IFMT` as the bodies name it.
pub mod format {
    pub const MASK: u32 = 0o170_000;
    pub const FIFO: u32 = 0o010_000;
    pub const SOCKET: u32 = 0o140_000;
}

/// Longest text of a path that is kept of an io_uring request, with its NUL.
pub const URING_TEXT_MAX: usize = 4096;

/// A request of io_uring on paths, from its submission to its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Submitted {
    pub at_ns: u64,
    /// Those that the same system call would have, but for the texts.
    pub arguments: [u64; 6],
    /// Ends with a NUL; empty where it could not be read.
    pub path: [u8; URING_TEXT_MAX],
    /// What a rename or link begins from, the text of a symbolic link.
    pub other: [u8; URING_TEXT_MAX],
}

const _: () = assert!(size_of::<Submitted>() == 56 + 2 * URING_TEXT_MAX);

/// By what a completion of io_uring is told before 5.19: its ring, and what its program gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequestKey {
    pub context: u64,
    pub user_data: u64,
}

/// Requests under way that are told apart by nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Requests {
    /// Where it is; 0: there are several, and which of them is over cannot be told.
    pub address: u64,
    pub count: u32,
    /// Not 0: one of them is about files.
    pub files: u32,
}

/// What histograms tell apart.
pub const WHAT_OPEN: u16 = 1;
pub const WHAT_READ: u16 = 2;
pub const WHAT_WRITE: u16 = 3;
pub const WHAT_SYNC: u16 = 4;
