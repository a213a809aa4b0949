//! Arguments and results of calls on files in words.

use crate::model::errno_name;
use crate::records::file::{Op, Record};

/// What a call was told beside its paths.
#[derive(Default)]
pub struct Arguments {
    pub flags: Option<String>,
    pub mode: Option<String>,
    pub size: Option<u64>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
}

/// Flags of open(2) beside the access mode, asm-generic as on x86-64; those that contain others first.
const OPEN_FLAGS: &[(u64, &str)] = &[
    (0o20_200_000, "O_TMPFILE"),
    (0o4_010_000, "O_SYNC"),
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1_000, "O_TRUNC"),
    (0o2_000, "O_APPEND"),
    (0o4_000, "O_NONBLOCK"),
    (0o10_000, "O_DSYNC"),
    (0o20_000, "O_ASYNC"),
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
];

const RENAME_FLAGS: &[(u64, &str)] =
    &[(1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE"), (4, "RENAME_WHITEOUT")];

const LINK_FLAGS: &[(u64, &str)] = &[(0x400, "AT_SYMLINK_FOLLOW"), (0x1000, "AT_EMPTY_PATH")];

const O_ACCMODE: u64 = 3;
const O_CREAT: u64 = 0o100;
const O_TMPFILE: u64 = 0o20_000_000;

impl Arguments {
    pub fn of(op: Op, record: &Record) -> Self {
        let mode = |mode: u64| Some(format!("{:04o}", mode & 0o7777));
        let detail = record.detail;
        match op {
            Op::Open => Self {
                flags: Some(open_flags(detail)),
                mode: (detail & (O_CREAT | O_TMPFILE) != 0 && record.more != 0)
                    .then(|| mode(record.more))
                    .flatten(),
                ..Self::default()
            },
            Op::Rename => Self { flags: named(detail, RENAME_FLAGS), ..Self::default() },
            Op::Link => Self { flags: named(detail, LINK_FLAGS), ..Self::default() },
            Op::Create | Op::Mkdir | Op::Chmod => Self { mode: mode(detail), ..Self::default() },
            Op::Truncate => Self { size: Some(detail), ..Self::default() },
            // -1 leaves it as it is.
            Op::Chown => Self {
                owner: Some(detail as u32).filter(|&id| id != u32::MAX),
                group: Some(record.more as u32).filter(|&id| id != u32::MAX),
                ..Self::default()
            },
            Op::Rmdir | Op::Unlink | Op::Symlink => Self::default(),
        }
    }
}

fn open_flags(flags: u64) -> String {
    let access = match flags & O_ACCMODE {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    };
    match named(flags & !O_ACCMODE, OPEN_FLAGS) {
        Some(rest) => format!("{access}|{rest}"),
        None => access.to_owned(),
    }
}

/// Bits by name, what has none in hexadecimal; `None` for 0.
fn named(bits: u64, names: &[(u64, &str)]) -> Option<String> {
    let mut left = bits;
    let mut words: Vec<String> = Vec::new();
    for &(bit, name) in names {
        if left & bit == bit {
            words.push(name.to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        words.push(format!("{left:#x}"));
    }
    (!words.is_empty()).then(|| words.join("|"))
}

/// errno of a result.
pub fn error(result: i64) -> Option<&'static str> {
    (-4095..0).contains(&result).then(|| errno_name(-result as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_are_named_once() {
        assert_eq!(open_flags(0o2_000_000), "O_RDONLY|O_CLOEXEC");
        assert_eq!(open_flags(0o1101), "O_WRONLY|O_CREAT|O_TRUNC");
        assert_eq!(open_flags(0o20_200_002), "O_RDWR|O_TMPFILE");
        assert_eq!(open_flags(0o4_010_001), "O_WRONLY|O_SYNC");
        assert_eq!(open_flags(1 << 40), "O_RDONLY|0x10000000000");
    }

    #[test]
    fn errors_have_names_and_results_have_none() {
        assert_eq!((error(3), error(-2), error(-512)), (None, Some("ENOENT"), Some("ERESTARTSYS")));
    }
}
