//! Where records come from: the taps of a loaded family, or a list of made-up records. Everything from here on is the
//! same for both.

use std::collections::BTreeMap;
use std::io;

use aya::maps::MapError;
use fluoro_shared::process::ThreadUse;

use crate::collect::taps::{KernelFilter, Taps};
use crate::engine::intake::{Inlet, Intake};
use crate::families::dns::model::Surplus;
use crate::families::{Family, dns, drop, file, flow, syscall};
use crate::model::{Books, Ledger, MapFill};

/// What a family's maps hold at one moment.
#[derive(Debug, Clone)]
pub enum Frame {
    Flow(flow::model::Frame),
    Syscall(syscall::model::Frame),
    Dns(dns::model::Frame),
    Drop(drop::model::Frame),
    File(file::model::Frame),
}

impl Frame {
    pub const fn family(&self) -> Family {
        match self {
            Self::Flow(_) => Family::Flow,
            Self::Syscall(_) => Family::Syscall,
            Self::Dns(_) => Family::Dns,
            Self::Drop(_) => Family::Drop,
            Self::File(_) => Family::File,
        }
    }
}

/// The records and books of one family.
pub trait Source: Send {
    /// Hands over every waiting record. How many there were.
    fn drain(&mut self, inlet: &mut Inlet<'_>) -> usize;

    /// What was counted so far.
    fn books(&self) -> Result<Books, MapError>;

    /// Tells the source what to leave out.
    fn set_filter(&mut self, wanted: &KernelFilter) -> Result<(), MapError>;

    /// What is counted beside the records; `None` where nothing is.
    fn frame(&mut self) -> io::Result<Option<Frame>> {
        Ok(None)
    }

    /// Once a tick where no frame is read: what has come since may have to be looked into.
    fn refresh(&mut self) {}

    /// What every thread uses; `None` where nothing can tell.
    fn threads(&mut self) -> io::Result<Option<Vec<ThreadUse>>> {
        Ok(None)
    }

    /// Takes entries out of the map `name`; `keys` stand one behind the other.
    fn forget(&mut self, _name: &'static str, _keys: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// Bytes of all its maps.
    fn map_bytes(&self) -> u64;

    /// How full those of its maps are that it reads.
    fn fills(&self) -> Vec<MapFill> {
        vec![]
    }
}

impl Source for Taps {
    fn drain(&mut self, inlet: &mut Inlet<'_>) -> usize {
        Self::drain(self, |record| inlet.take(record))
    }

    fn books(&self) -> Result<Books, MapError> {
        Self::books(self)
    }

    fn set_filter(&mut self, wanted: &KernelFilter) -> Result<(), MapError> {
        Self::set_filter(self, wanted)
    }

    fn frame(&mut self) -> io::Result<Option<Frame>> {
        Ok(match self.family {
            Family::Process => None,
            Family::Dns => Some(Frame::Dns(dns::probe::frame(&mut self.maps, self.elsewhere.as_ref())?)),
            Family::Flow => Some(Frame::Flow(flow::probe::frame(&mut self.maps)?)),
            Family::Syscall => Some(Frame::Syscall(syscall::probe::frame(&mut self.maps)?)),
            Family::Drop => Some(Frame::Drop(drop::probe::frame(&mut self.maps)?)),
            Family::File => Some(Frame::File(file::probe::frame(&mut self.maps)?)),
        })
    }

    fn refresh(&mut self) {
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.refresh();
        }
    }

    fn threads(&mut self) -> io::Result<Option<Vec<ThreadUse>>> {
        Self::threads(self)
    }

    fn forget(&mut self, name: &'static str, keys: &[u8]) -> io::Result<()> {
        self.maps.forget(name, keys)
    }

    fn map_bytes(&self) -> u64 {
        self.map_bytes
    }

    fn fills(&self) -> Vec<MapFill> {
        Self::fills(self)
    }
}

/// The sources that are open, and what user space adds to their books.
#[derive(Default)]
pub struct Sources {
    open: BTreeMap<Family, Box<dyn Source>>,
    /// Books of sources that were closed.
    closed: BTreeMap<Family, Books>,
    /// Lines that user space refused.
    refused: BTreeMap<Family, u64>,
    /// Of them, those whose process nobody knew.
    ownerless: BTreeMap<Family, u64>,
    /// Records that could not be decoded.
    malformed: BTreeMap<Family, u64>,
    /// Lines of `dns` that there are beyond its records.
    surplus: Surplus,
}

impl Sources {
    /// Opens a source; the one that the family had before is closed, its books stay.
    pub fn open(&mut self, family: Family, source: Box<dyn Source>) {
        self.close(family);
        self.open.insert(family, source);
    }

    /// Closes the family's source, which gives its maps back; its books stay.
    pub fn close(&mut self, family: Family) {
        let Some(source) = self.open.remove(&family) else { return };
        let last = source.books().unwrap_or_default();
        let sum = self.closed.entry(family).or_default();
        sum.ledger = sum.ledger.plus(&last.ledger);
        sum.supplements_lost += last.supplements_lost;
    }

    pub fn get(&self, family: Family) -> Option<&dyn Source> {
        self.open.get(&family).map(AsRef::as_ref)
    }

    pub fn families(&self) -> impl Iterator<Item = Family> {
        self.open.keys().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = &dyn Source> {
        self.open.values().map(AsRef::as_ref)
    }

    /// Takes every waiting record in. How many there were.
    pub fn drain(&mut self, intake: &mut Intake) -> usize {
        let mut records = 0;
        for (&family, source) in &mut self.open {
            let mut inlet = Inlet { family, intake, malformed: 0 };
            records += source.drain(&mut inlet);
            if inlet.malformed > 0 {
                *self.malformed.entry(family).or_default() += inlet.malformed;
            }
        }
        records
    }

    /// Has every open source look into what has come since.
    pub fn refresh(&mut self) {
        self.open.values_mut().for_each(|source| source.refresh());
    }

    /// What every open source counts, or only that of one family. A map that cannot be read says so in the log, and its
    /// numbers stand still.
    pub fn frames(&mut self, only: Option<Family>) -> Vec<Frame> {
        let read = |(family, source): (&Family, &mut Box<dyn Source>)| {
            source
                .frame()
                .inspect_err(|error| {
                    crate::log::line(&format!("{}: cannot read its maps: {error}", family.stem()));
                })
                .ok()
                .flatten()
        };
        let asked = |(family, _): &(&Family, &mut Box<dyn Source>)| only.is_none_or(|only| only == **family);
        self.open.iter_mut().filter(asked).filter_map(read).collect()
    }

    /// What every thread uses. Where it cannot be read the log says so.
    pub fn threads(&mut self) -> Option<Vec<ThreadUse>> {
        let source = self.open.get_mut(&Family::Process)?;
        source
            .threads()
            .inspect_err(|error| crate::log::line(&format!("process: cannot read its iterator: {error}")))
            .ok()
            .flatten()
    }

    /// Takes entries out of a map of the family's source, if it is open.
    pub fn forget(&mut self, family: Family, name: &'static str, keys: &[u8]) {
        if let Some(source) = self.open.get_mut(&family)
            && let Err(error) = source.forget(name, keys)
        {
            crate::log::line(&format!("{}: cannot forget in {name}: {error}", family.stem()));
        }
    }

    /// Tells the family's source, if it is open, what to leave out.
    pub fn set_filter(&mut self, family: Family, wanted: &KernelFilter) -> Result<(), MapError> {
        self.open.get_mut(&family).map_or(Ok(()), |source| source.set_filter(wanted))
    }

    /// A line of `family` that user space refused although the source let it through.
    pub fn refuse(&mut self, family: Family, ownerless: bool) {
        *self.refused.entry(family).or_default() += 1;
        *self.ownerless.entry(family).or_default() += u64::from(ownerless);
    }

    /// Some records of `dns` made more lines than one, or none.
    pub const fn add_surplus(&mut self, more: Surplus) {
        self.surplus.lines += more.lines;
        self.surplus.filtered += more.filtered;
        self.surplus.muted += more.muted;
    }

    /// The books of a family: what user space refused stands in `filtered`, what it could not read in `error`.
    /// A line that was refused because the record that names its process was lost is itself lost.
    pub fn ledger(&self, family: Family) -> Ledger {
        self.ledger_with(family, 0)
    }

    /// The same with lines that no record stands for.
    pub fn ledger_with(&self, family: Family, made: u64) -> Ledger {
        let told = self.get(family).and_then(|source| source.books().ok());
        let told = told.unwrap_or_default();
        let before = self.closed.get(&family).copied().unwrap_or_default();
        let mut ledger = before.ledger.plus(&told.ledger);
        ledger.seen += made;
        ledger.submitted += made;
        let supplements_lost = before.supplements_lost + told.supplements_lost;
        let of = |counts: &BTreeMap<Family, u64>| counts.get(&family).copied().unwrap_or(0);
        if family == Family::Dns {
            let Surplus { lines, filtered, muted } = self.surplus;
            ledger.seen = ledger.seen.saturating_add_signed(lines + filtered + muted);
            ledger.submitted = ledger.submitted.saturating_add_signed(lines);
            ledger.filtered = ledger.filtered.saturating_add_signed(filtered);
            ledger.muted = ledger.muted.saturating_add_signed(muted);
        }
        let malformed = of(&self.malformed).min(ledger.submitted);
        ledger.submitted -= malformed;
        ledger.error += malformed;
        ledger.refuse(of(&self.refused));
        let unjudged = of(&self.ownerless).min(supplements_lost).min(ledger.filtered);
        ledger.filtered -= unjudged;
        ledger.lost += unjudged;
        ledger
    }
}
