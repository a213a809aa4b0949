//! Records of the family `syscall`.

use fluoro_shared::syscall::{
    ABI_COMPAT, ABI_NATIVE, ABI_X32, FLAG_ENDLESS, FLAG_NO_ARGS, FLAG_UNTIMED, KIND_EXIT, SyscallRecord,
    TEXT_MAX,
};
use zerocopy::FromBytes;

use super::{BootTime, Malformed, Outside, TaskFacts};

/// A call that was traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: BootTime,
    pub task: TaskFacts,
    pub abi: Abi,
    pub number: u32,
    /// `None`: the hook in use does not see them.
    pub args: Option<[u64; 6]>,
    /// Paths and names among the arguments, by their position.
    pub texts: Vec<(u8, Outside)>,
    /// `None`: the call does not return.
    pub result: Option<i64>,
    /// `None`: it began before fluoro looked.
    pub duration_ns: Option<u64>,
}

/// Which table a number is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abi {
    X86_64,
    /// 32-bit programs.
    I386,
    X32,
}

impl Abi {
    pub const fn from_wire(abi: u8) -> Option<Self> {
        match abi {
            ABI_NATIVE => Some(Self::X86_64),
            ABI_COMPAT => Some(Self::I386),
            ABI_X32 => Some(Self::X32),
            _ => None,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::X32 => "x32",
        }
    }
}

impl Record {
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let size = Malformed::Size(bytes.len());
        let (fixed, behind) = SyscallRecord::read_from_prefix(bytes).map_err(|_| size)?;
        if fixed.header.kind != KIND_EXIT {
            return Err(Malformed::Kind(fixed.header.kind));
        }
        let has = |flag: u16| fixed.header.flags & flag != 0;
        let mut texts = Vec::new();
        for ((&len, &arg), from) in fixed.text_len.iter().zip(&fixed.text_arg).zip([0, TEXT_MAX]) {
            if len > 0 {
                let text = behind.get(from..from + usize::from(len)).ok_or(size)?;
                texts.push((arg, Outside::from_padded(text)));
            }
        }
        Ok(Self {
            at: BootTime(fixed.header.at_ns),
            task: TaskFacts::decode(&fixed.task).ok_or(size)?,
            abi: Abi::from_wire(fixed.abi).ok_or(size)?,
            number: fixed.number,
            args: (!has(FLAG_NO_ARGS)).then_some(fixed.args),
            texts,
            result: (!has(FLAG_ENDLESS)).then_some(fixed.result),
            duration_ns: (!has(FLAG_UNTIMED)).then_some(fixed.duration_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use fluoro_shared::record::{Header, Task};
    use zerocopy::IntoBytes;

    fn fixed() -> SyscallRecord {
        SyscallRecord {
            header: Header { at_ns: 5, seq: 1, cpu: 0, kind: KIND_EXIT, flags: 0 },
            task: Task { start_ns: 120_000_000, tgid: 7, tid: 8, ..Task::NONE },
            args: [1, 2, 3, 4, 5, 6],
            result: -2,
            duration_ns: 900,
            number: 257,
            abi: ABI_NATIVE,
            pad: [0; 3],
            text_len: [0; 2],
            text_arg: [0; 2],
            pad_end: [0; 2],
        }
    }

    #[test]
    fn texts_stand_behind_the_fixed_part() {
        let record = SyscallRecord { text_len: [5, 3], text_arg: [1, 3], ..fixed() };
        let mut bytes = record.as_bytes().to_vec();
        bytes.extend_from_slice(b"/a/b\0");
        bytes.resize(size_of::<SyscallRecord>() + TEXT_MAX, 0);
        bytes.extend_from_slice(b"/c\0");
        let decoded = Record::decode(&bytes).unwrap();
        assert_eq!(decoded.texts, [(1, Outside::from("/a/b")), (3, Outside::from("/c"))]);
        assert_eq!((decoded.result, decoded.duration_ns), (Some(-2), Some(900)));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let mut record = fixed();
        record.header.flags = FLAG_ENDLESS | FLAG_UNTIMED | FLAG_NO_ARGS;
        let decoded = Record::decode(record.as_bytes()).unwrap();
        assert_eq!((decoded.result, decoded.duration_ns, decoded.args), (None, None, None));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Record::decode(b"short"), Err(Malformed::Size(5)));
        let mut record = fixed();
        record.header.kind = 9;
        assert_eq!(Record::decode(record.as_bytes()), Err(Malformed::Kind(9)));
        assert!(Record::decode(SyscallRecord { abi: 7, ..fixed() }.as_bytes()).is_err());
        assert!(Record::decode(SyscallRecord { text_len: [9, 0], ..fixed() }.as_bytes()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2300)) {
            let _ = Record::decode(&bytes);
        }
    }
}
