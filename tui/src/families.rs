//! The families: one subject the kernel is asked about, under one name in every layer. Adding one adds a folder
//! and a line in [`Family::ALL`].

pub mod dns;
pub mod drop;
pub mod failure;
pub mod file;
pub mod flow;
pub mod identity;
pub mod process;
pub mod syscall;

use crate::collect::maps::{Budget, MapSize};
use crate::collect::program::Program;
use crate::columns::{Column, Info, infos};

/// One family. The order is the order in which records are fed to models: identities first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Process,
    Dns,
    Flow,
    Drop,
    Syscall,
    File,
}

impl Family {
    pub const ALL: &'static [Self] =
        &[Self::Process, Self::Flow, Self::File, Self::Drop, Self::Dns, Self::Syscall];

    /// Families that contribute to the table of failures.
    pub const FAILING: &'static [Self] = &[Self::Flow, Self::File, Self::Drop];

    /// Programs whose skipped runs are no events that were missed: what they tell supplements others.
    pub const fn supplements(self) -> &'static [&'static str] {
        match self {
            Self::Process | Self::Syscall => &[],
            Self::File => &["file_path"],
            Self::Flow => &["flow_receive", "flow_send", "flow_udp_send", "flow_udp_close"],
            Self::Drop => &["drop_owner", "drop_udp", "drop_queue"],
            Self::Dns => &["dns_owner", "dns_sender"],
        }
    }

    /// Its name in every layer, on the command line and in JSON.
    pub const fn stem(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Flow => "flow",
            Self::Syscall => "syscall",
            Self::Drop => "drop",
            Self::File => "file",
            Self::Dns => "dns",
        }
    }

    /// So dear that it is attached only where it is asked for by name.
    pub const fn on_demand(self) -> bool {
        matches!(self, Self::Syscall)
    }

    /// Observed where none is named.
    pub const fn by_default(self) -> bool {
        !matches!(self, Self::Syscall | Self::Dns)
    }

    pub fn from_stem(stem: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.stem() == stem)
    }

    /// Its programs with their hook alternatives.
    pub const fn programs(self) -> &'static [Program] {
        match self {
            Self::Process => process::probe::PROGRAMS,
            Self::Flow => flow::probe::PROGRAMS,
            Self::Drop => drop::probe::PROGRAMS,
            Self::Syscall => syscall::probe::PROGRAMS,
            Self::File => file::probe::PROGRAMS,
            Self::Dns => dns::probe::PROGRAMS,
        }
    }

    /// What it adds to the rows of processes and of their owners.
    pub fn contributes<R: process::model::Gifted>(self) -> Vec<Column<R>> {
        match self {
            Self::Process | Self::Dns => Vec::new(),
            Self::Flow => flow::columns::contributed(),
            Self::File => file::columns::contributed(),
            Self::Drop => drop::columns::contributed(),
            Self::Syscall => syscall::columns::contributed(),
        }
    }

    /// Whether any of the columns that it adds to the rows of processes is asked for.
    pub fn contributes_to(self, asked: impl Fn(&Info) -> bool) -> bool {
        self.contributes::<process::model::ProcessRow>().iter().any(|column| asked(&column.info))
    }

    /// Its maps whose size depends on the machine.
    pub fn maps(self, budget: &Budget) -> Vec<MapSize> {
        match self {
            Self::Process => process::probe::maps(budget),
            Self::Flow => flow::probe::maps(budget),
            Self::Syscall => syscall::probe::maps(budget),
            Self::Drop => drop::probe::maps(budget),
            Self::File => file::probe::maps(budget),
            Self::Dns => dns::probe::maps(budget),
        }
    }

    /// The columns of its rows.
    pub fn infos(self) -> &'static [Info] {
        match self {
            Self::Process => infos::<process::model::ProcessRow>(),
            Self::Flow => infos::<flow::model::FlowRow>(),
            Self::Syscall => infos::<syscall::model::SyscallRow>(),
            Self::Drop => infos::<drop::row::DropRow>(),
            Self::File => infos::<file::model::FileRow>(),
            Self::Dns => infos::<dns::row::DnsRow>(),
        }
    }
}
