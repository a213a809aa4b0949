//! Records of the family `process`.

use fluoro_shared::process::{
    FLAG_OOM, FLAG_PATH_TRUNCATED, KIND_EXEC, KIND_EXIT, KIND_FORK, PATH_MAX, ProcessRecord,
};
use zerocopy::FromBytes;

use super::{BootTime, Gid, Malformed, Outside, TaskFacts};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: BootTime,
    pub task: TaskFacts,
    pub gid: Gid,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Fork,
    /// The executable, where the kernel side could walk its path; its head may be missing.
    Exec {
        executable: Option<Outside>,
        truncated: bool,
        /// Each argument with its NUL; the last may be cut.
        args: Option<Outside>,
    },
    Exit {
        exit: Exit,
        /// The kernel chose it when it ran out of memory.
        oom: bool,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    /// Killed by this signal.
    Signal(u8),
}

impl Exit {
    /// As wait(2) gives it.
    pub const fn from_wait_status(status: u32) -> Self {
        match (status & 0x7f) as u8 {
            0 => Self::Code((status >> 8) as u8),
            signal => Self::Signal(signal),
        }
    }
}

impl Record {
    /// The path, if any, stands before the fixed part.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let size = Malformed::Size(bytes.len());
        let (front, fixed) = ProcessRecord::read_from_suffix(bytes).map_err(|_| size)?;
        let args_len = fixed.args_len as usize;
        let path_len = front.len().checked_sub(args_len.next_multiple_of(8)).ok_or(size)?;
        let (path, args) = front.split_at_checked(path_len).ok_or(size)?;
        let args = args.get(..args_len).ok_or(size)?;
        if path.len() > PATH_MAX {
            return Err(size);
        }
        let what = match fixed.header.kind {
            KIND_FORK => What::Fork,
            KIND_EXEC => What::Exec {
                executable: (!path.is_empty()).then(|| Outside::new(path)),
                truncated: fixed.header.flags & FLAG_PATH_TRUNCATED != 0,
                args: (!args.is_empty()).then(|| Outside::new(args)),
            },
            KIND_EXIT => What::Exit {
                exit: Exit::from_wait_status(fixed.wait_status),
                oom: fixed.header.flags & FLAG_OOM != 0,
            },
            kind => return Err(Malformed::Kind(kind)),
        };
        let task = TaskFacts::decode(&fixed.task).ok_or(size)?;
        Ok(Self { at: BootTime(fixed.header.at_ns), task, gid: Gid(fixed.gid), what })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use fluoro_shared::record::{Header, Task};
    use zerocopy::IntoBytes;

    fn fixed(kind: u16, wait_status: u32) -> ProcessRecord {
        ProcessRecord {
            header: Header { at_ns: 5, seq: 1, cpu: 0, kind, flags: 0 },
            task: Task { start_ns: 120_000_000, tgid: 7, tid: 7, ..Task::NONE },
            wait_status,
            gid: 0,
            args_len: 0,
            pad: 0,
        }
    }

    #[test]
    fn an_exec_carries_its_path_before_the_fixed_part() {
        let mut bytes = b"/usr/bin/\xffx".to_vec();
        bytes.extend_from_slice(fixed(KIND_EXEC, 0).as_bytes());
        let record = Record::decode(&bytes).unwrap();
        let executable = Some(Outside::new(b"/usr/bin/\xffx"));
        assert_eq!(record.what, What::Exec { executable, truncated: false, args: None });
        assert_eq!(record.task.key.start.0, 12);
    }

    #[test]
    fn arguments_stand_between_path_and_fixed_part() {
        let mut bytes = b"/bin/ls".to_vec();
        bytes.extend_from_slice(b"ls\0-l\0junk!");
        bytes.truncate(7 + 8);
        bytes.extend_from_slice(ProcessRecord { args_len: 6, ..fixed(KIND_EXEC, 0) }.as_bytes());
        let (executable, args) = (Some(Outside::from("/bin/ls")), Some(Outside::new(b"ls\0-l\0")));
        assert_eq!(Record::decode(&bytes).unwrap().what, What::Exec { executable, truncated: false, args });
        let long = ProcessRecord { args_len: u32::MAX, ..fixed(KIND_EXEC, 0) };
        assert!(Record::decode(long.as_bytes()).is_err());
    }

    #[test]
    fn exits_tell_codes_from_signals() {
        let exit = |status| match Record::decode(fixed(KIND_EXIT, status).as_bytes()).unwrap().what {
            What::Exit { exit, oom: false } => exit,
            other => panic!("{other:?}"),
        };
        assert_eq!(exit(3 << 8), Exit::Code(3));
        assert_eq!(exit(9), Exit::Signal(9));
        // Core dumped.
        assert_eq!(exit(0x8b), Exit::Signal(11));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Record::decode(b"short"), Err(Malformed::Size(5)));
        assert_eq!(Record::decode(fixed(99, 0).as_bytes()), Err(Malformed::Kind(99)));
        let long = vec![b'a'; PATH_MAX + 200];
        assert!(Record::decode(&long).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = Record::decode(&bytes);
        }
    }
}
