//! Records of the family `file`.

use fluoro_shared::file::{
    FAILED, FLAG_BARE, FLAG_COMPAT, FLAG_CREATED, FLAG_DELETED, FLAG_RESOLVED, FLAG_TRUNCATED, FileKey,
    FileRecord, KIND_CHMOD, KIND_CHOWN, KIND_CREATE, KIND_LINK, KIND_MKDIR, KIND_NAME, KIND_OPEN,
    KIND_OTHER_PATH, KIND_PATH, KIND_RENAME, KIND_RMDIR, KIND_SYMLINK, KIND_TRUNCATE, KIND_UNLINK, PATH_MAX,
    format,
};
use zerocopy::FromBytes;

use super::{BootTime, Malformed, Outside, ProcKey, StartTime, TaskFacts, Tgid};

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: BootTime,
    pub task: TaskFacts,
    pub what: What,
    /// Absolute as the process sees it, unless the base of a relative text was not known.
    pub path: Option<Outside>,
    pub resolved: bool,
    /// The head of the path is missing.
    pub truncated: bool,
    /// As the call returned it, negative errno included.
    pub result: i64,
    /// `None` when its beginning was not seen.
    pub duration_ns: Option<u64>,
    /// The open made the file.
    pub created: bool,
    /// The file that a descriptor leads to, or that there is none.
    pub file: FileId,
    pub detail: u64,
    pub more: u64,
    /// Which of the requests of io_uring that its process has under way; 0: a system call.
    pub request: u32,
    pub compat: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Op(Op),
    /// The other path of what the same thread does next. No event of its own.
    OtherPath,
    /// The path of a file that is counted. No event of its own.
    Name,
    /// The path, by the kernel's own dentries, of what the same thread does next, if it succeeds. No event of its own.
    Path,
}

/// What was asked of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Open,
    Create,
    Mkdir,
    Rmdir,
    Unlink,
    Rename,
    Link,
    Symlink,
    Truncate,
    Chmod,
    Chown,
}

impl What {
    /// Its resolved path is that of a descriptor's file, not of a name.
    const fn is_of_descriptor(self) -> bool {
        !matches!(self, Self::OtherPath | Self::Path)
    }
}

impl Op {
    pub const ALL: &'static [Self] = &[
        Self::Open,
        Self::Create,
        Self::Mkdir,
        Self::Rmdir,
        Self::Unlink,
        Self::Rename,
        Self::Link,
        Self::Symlink,
        Self::Truncate,
        Self::Chmod,
        Self::Chown,
    ];

    /// Name of its event.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Open => "file.open",
            Self::Create => "file.create",
            Self::Mkdir => "file.mkdir",
            Self::Rmdir => "file.rmdir",
            Self::Unlink => "file.unlink",
            Self::Rename => "file.rename",
            Self::Link => "file.link",
            Self::Symlink => "file.symlink",
            Self::Truncate => "file.truncate",
            Self::Chmod => "file.chmod",
            Self::Chown => "file.chown",
        }
    }

    const fn from_kind(kind: u16) -> Option<Self> {
        Some(match kind {
            KIND_OPEN => Self::Open,
            KIND_CREATE => Self::Create,
            KIND_MKDIR => Self::Mkdir,
            KIND_RMDIR => Self::Rmdir,
            KIND_UNLINK => Self::Unlink,
            KIND_RENAME => Self::Rename,
            KIND_LINK => Self::Link,
            KIND_SYMLINK => Self::Symlink,
            KIND_TRUNCATE => Self::Truncate,
            KIND_CHMOD => Self::Chmod,
            KIND_CHOWN => Self::Chown,
            _ => return None,
        })
    }
}

/// What tells a file from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    pub device: u32,
    pub inode: u64,
    pub kind: FileKind,
}

impl FileId {
    /// What stands for the path of a file that has none, in the way of /proc.
    pub fn nameless(self) -> Option<Outside> {
        let inode = self.inode;
        let name = match self.kind {
            FileKind::Socket => "socket:".to_owned(),
            FileKind::Fifo => format!("pipe:[{inode}]"),
            FileKind::Anonymous => format!("anon_inode:[{inode}]"),
            FileKind::None => return None,
            _ => format!("unnamed:[{inode}]"),
        };
        Some(Outside::from(name.as_str()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Character,
    Block,
    /// An inode without a file system: eventfd, epoll, timerfd, ..
    Anonymous,
    /// No file: what failed before there was one. The inode is the errno.
    None,
}

impl FileKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Character => "character",
            Self::Block => "block",
            Self::Anonymous => "anonymous",
            Self::None => "none",
        }
    }

    const fn from_format(bits: u32) -> Self {
        match bits {
            FAILED => Self::None,
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            format::FIFO => Self::Fifo,
            format::SOCKET => Self::Socket,
            0o020_000 => Self::Character,
            0o060_000 => Self::Block,
            _ => Self::Anonymous,
        }
    }
}

/// Whose use of which file a cell counts.
pub fn key(raw: &FileKey) -> (ProcKey, FileId) {
    let process = ProcKey { tgid: Tgid(raw.tgid), start: StartTime::from_boot_ns(raw.start_ns) };
    let kind = FileKind::from_format(raw.format);
    (process, FileId { device: raw.device, inode: raw.inode, kind })
}

impl Record {
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let size = Malformed::Size(bytes.len());
        let (raw, rest) = FileRecord::read_from_prefix(bytes).map_err(|_| size)?;
        let what = match raw.header.kind {
            KIND_OTHER_PATH => What::OtherPath,
            KIND_NAME => What::Name,
            KIND_PATH => What::Path,
            kind => What::Op(Op::from_kind(kind).ok_or(Malformed::Kind(kind))?),
        };
        let (base_len, text_len) = (usize::from(raw.base_len), usize::from(raw.text_len));
        // The fixed part is aligned to 8, the end of the base, too.
        let gap = (8 - base_len % 8) % 8;
        let base = rest.get(gap..gap + base_len).ok_or(size)?;
        let text = rest.get(gap + base_len..).filter(|text| text.len() == text_len).ok_or(size)?;
        if base_len > PATH_MAX || text_len > PATH_MAX {
            return Err(size);
        }
        let flag = |bit: u16| raw.header.flags & bit != 0;
        let resolved = flag(FLAG_RESOLVED);
        let file = file_id(&raw);
        let task = TaskFacts::decode(&raw.task).ok_or(size)?;
        Ok(Self {
            at: BootTime(raw.header.at_ns),
            task,
            what,
            path: if resolved
                && base.is_empty()
                && file.kind != FileKind::Directory
                && what.is_of_descriptor()
            {
                // A root that is none: pipes and the like are on mounts that nobody sees.
                file.nameless()
            } else {
                path(base, text, resolved, flag(FLAG_BARE), flag(FLAG_DELETED))
            },
            resolved,
            truncated: flag(FLAG_TRUNCATED),
            result: raw.result,
            duration_ns: (raw.duration_ns != 0).then_some(raw.duration_ns),
            created: flag(FLAG_CREATED),
            file,
            detail: raw.detail,
            more: raw.more,
            compat: flag(FLAG_COMPAT),
            request: raw.request,
        })
    }
}

fn file_id(raw: &FileRecord) -> FileId {
    if raw.inode == 0 && raw.device == 0 {
        let errno = raw.result.min(0).unsigned_abs();
        return FileId { device: 0, inode: errno, kind: FileKind::None };
    }
    let kind = FileKind::from_format(u32::from(raw.inode_mode) & format::MASK);
    FileId { device: raw.device, inode: raw.inode, kind }
}

/// A base by dentries is empty for the root.
fn path(base: &[u8], text: &[u8], resolved: bool, bare: bool, deleted: bool) -> Option<Outside> {
    let mut path = base.to_vec();
    if resolved && path.is_empty() {
        path.push(b'/');
    }
    if !text.is_empty() {
        if !bare && !text.starts_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(text);
    }
    if deleted {
        path.extend_from_slice(b" (deleted)");
    }
    (!path.is_empty()).then(|| Outside::new(&path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use fluoro_shared::record::Task;
    use zerocopy::{FromZeros, IntoBytes};

    fn record(kind: u16, flags: u16, base: &[u8], text: &[u8]) -> Vec<u8> {
        let mut raw = FileRecord::new_zeroed();
        raw.header.kind = kind;
        raw.header.flags = flags;
        raw.task = Task { start_ns: 120_000_000, tgid: 7, tid: 8, ..Task::NONE };
        (raw.base_len, raw.text_len) = (base.len() as u16, text.len() as u16);
        let mut bytes = raw.as_bytes().to_vec();
        bytes.extend(vec![0xee; (8 - base.len() % 8) % 8]);
        bytes.extend_from_slice(base);
        bytes.extend_from_slice(text);
        bytes
    }

    fn shown(flags: u16, base: &[u8], text: &[u8]) -> Vec<u8> {
        Record::decode(&record(KIND_MKDIR, flags, base, text)).unwrap().path.unwrap().bytes().to_vec()
    }

    #[test]
    fn a_path_is_joined_of_base_and_text() {
        assert_eq!(shown(0, b"/a/b", b"c\n\xff"), b"/a/b/c\n\xff");
        assert_eq!(shown(0, b"", b"/etc"), b"/etc");
        // In the root directory.
        assert_eq!(shown(0, b"", b"x"), b"/x");
        assert_eq!(shown(FLAG_BARE, b"", b"x"), b"x");
        assert_eq!(shown(FLAG_RESOLVED | FLAG_DELETED, b"/tmp/x", b""), b"/tmp/x (deleted)");
    }

    #[test]
    fn a_name_without_components_is_the_root_and_a_file_without_them_has_no_path() {
        let path = |kind| Record::decode(&record(kind, FLAG_RESOLVED, b"", b"")).unwrap().path;
        assert_eq!(path(KIND_PATH).unwrap().bytes(), b"/");
        assert_eq!(path(KIND_NAME), None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Record::decode(b"short"), Err(Malformed::Size(5)));
        assert_eq!(Record::decode(&record(99, 0, b"", b"")), Err(Malformed::Kind(99)));
        let mut long = record(KIND_OPEN, 0, b"/a", b"b");
        long.push(0);
        assert!(Record::decode(&long).is_err());
        long.truncate(130);
        assert!(Record::decode(&long).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = Record::decode(&bytes);
        }
    }
}
