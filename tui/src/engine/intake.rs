//! Where records wait, decoded, until it is their turn: an older one may still be on its way in another CPU's ring.

use crate::families::Family;
use crate::records::{self, BootTime, Malformed};

/// Decoded records by family.
#[derive(Default)]
pub struct Intake {
    pub(super) process: Vec<records::process::Record>,
    pub(super) flow: Vec<records::flow::Record>,
    pub(super) syscall: Vec<records::syscall::Record>,
    pub(super) dns: Vec<records::dns::Record>,
    pub(super) drop: Vec<records::drop::Record>,
    pub(super) file: Vec<records::file::Record>,
}

/// How many records of each family it is the turn of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub process: usize,
    pub flow: usize,
    pub syscall: usize,
    pub dns: usize,
    pub drop: usize,
    pub file: usize,
}

impl Intake {
    /// Decodes one record and keeps it.
    pub fn take(&mut self, family: Family, bytes: &[u8]) -> Result<(), Malformed> {
        match family {
            Family::Process => self.process.push(records::process::Record::decode(bytes)?),
            Family::Flow => self.flow.push(records::flow::Record::decode(bytes)?),
            Family::Syscall => self.syscall.push(records::syscall::Record::decode(bytes)?),
            Family::Dns => self.dns.push(records::dns::Record::decode(bytes)?),
            Family::Drop => self.drop.push(records::drop::Record::decode(bytes)?),
            Family::File => self.file.push(records::file::Record::decode(bytes)?),
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.process.is_empty()
            && self.flow.is_empty()
            && self.file.is_empty()
            && self.dns.is_empty()
            && self.drop.is_empty()
            && self.syscall.is_empty()
    }

    /// Brings the records into the order in which they happened. How many of each family are due at `until`.
    pub(super) fn order(&mut self, until: BootTime) -> Due {
        self.process.sort_by_key(|record| record.at);
        self.flow.sort_by_key(|record| record.at);
        self.dns.sort_by_key(|record| record.at);
        self.drop.sort_by_key(|record| record.at);
        self.syscall.sort_by_key(|record| record.at);
        self.file.sort_by_key(|record| record.at);
        Due {
            process: self.process.partition_point(|record| record.at <= until),
            flow: self.flow.partition_point(|record| record.at <= until),
            dns: self.dns.partition_point(|record| record.at <= until),
            drop: self.drop.partition_point(|record| record.at <= until),
            syscall: self.syscall.partition_point(|record| record.at <= until),
            file: self.file.partition_point(|record| record.at <= until),
        }
    }
}

/// Hands out the first `count` records where they lie: they are large, and moving one takes longer than decoding it.
pub(super) fn hand_out<T>(records: &mut Vec<T>, count: usize, take: impl FnMut(&T)) {
    records.iter().take(count).for_each(take);
    records.drain(..count);
}

/// The way into an [`Intake`] for one family: concrete, so that a source costs one dynamic call a drain and none a
/// record.
pub struct Inlet<'a> {
    pub(super) family: Family,
    pub(super) intake: &'a mut Intake,
    pub(super) malformed: u64,
}

impl Inlet<'_> {
    /// Takes one record in; what is malformed is counted.
    pub fn take(&mut self, bytes: &[u8]) {
        self.malformed += u64::from(self.intake.take(self.family, bytes).is_err());
    }
}
