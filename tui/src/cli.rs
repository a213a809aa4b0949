//! Arguments, and what each command does with them. Bad arguments are refused before any privilege is needed.

mod config;
mod console;
mod doctor;
mod generated;
mod observe;
mod outlet;
mod run;
mod top;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::collect::ground::{BtfChoice, Choices, parse_hook};
use crate::collect::object;
use crate::families::Family;
use crate::families::{file, flow};

pub use run::main;

/// A live X-ray of this machine: connections and processes as they happen.
#[derive(Debug, Parser)]
#[command(name = "fluoro", version = version(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    console: Console,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print one line an event
    Observe(Observe),
    /// Print the tables, one object an interval
    Top(Top),
    /// The configuration of the console
    Config(Configuration),
    /// Print what makes a shell complete fluoro's options
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
    /// Say what this kernel and these privileges allow, and why
    Doctor(Doctor),
}

/// Options of every command.
#[derive(Debug, Args)]
struct Common {
    /// Force a hook: PROGRAM=ALTERNATIVE, repeatable (doctor prints the names)
    #[arg(long = "hook", value_name = "PROGRAM=ALTERNATIVE", value_parser = parse_hook, global = true)]
    hooks: Vec<(String, String)>,
    /// Kernel types from FILE (raw BTF or an ELF file), or `none`
    #[arg(long, value_name = "FILE|none", global = true)]
    btf: Option<String>,
    /// Memory that all maps together may take, MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(2..=4096), global = true)]
    map_budget: Option<u64>,
    /// See packets in every network namespace, not only in fluoro's own: names (dns) and what passes through
    #[arg(long, global = true)]
    all_netns: bool,
    /// Append diagnostics to FILE (created readable by its owner alone)
    #[arg(long, value_name = "FILE", global = true)]
    log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Console {
    /// Colours: auto obeys NO_COLOR
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    /// Only plain ASCII on the screen
    #[arg(long)]
    ascii: bool,
    /// The configuration, or `none` [default: $XDG_CONFIG_HOME/fluoro/config.toml]
    #[arg(long, value_name = "FILE|none")]
    config: Option<PathBuf>,
    /// Leave the mouse to the terminal
    #[arg(long)]
    no_mouse: bool,
    /// Start with this filter on the flows
    #[arg(short = 'f', long = "filter", value_name = "EXPR")]
    filter: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Args)]
struct Configuration {
    /// Print a file that says what holds without one, with every setting and key
    #[arg(long)]
    print_default: bool,
}

#[derive(Debug, Args)]
struct Observe {
    /// Families to observe [default: process flow file drop]
    #[arg(value_name = "FAMILY", value_parser = parse_family)]
    families: Vec<Family>,
    /// Only events that match
    #[arg(short = 'f', long = "filter", value_name = "EXPR")]
    filter: Option<String>,
    /// Output format [default: table on a terminal, json otherwise]
    #[arg(short = 'o', long, value_enum)]
    output: Option<Output>,
    /// Stop after this time: 10s, 5m, 1h
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Stop after N lines
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print the ledger as the last JSON line
    #[arg(long)]
    stats: bool,
    /// Print the arguments of processes: they may hold secrets
    #[arg(long)]
    args: bool,
    /// Exit with 4 when anything was lost
    #[arg(long)]
    fail_on_loss: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    Flows,
    Files,
    Syscalls,
    Processes,
    Failures,
    Dns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Grouping {
    Process,
    Owner,
    Peer,
    Port,
    Directory,
    Mount,
}

impl Grouping {
    /// Of connections.
    const fn flows(self) -> Option<flow::row::group::By> {
        use flow::row::group::By;
        match self {
            Self::Process => Some(By::Process),
            Self::Owner => Some(By::Owner),
            Self::Peer => Some(By::Peer),
            Self::Port => Some(By::Port),
            Self::Directory | Self::Mount => None,
        }
    }

    /// Of the use of files.
    const fn files(self) -> Option<file::row::group::By> {
        use file::row::group::By;
        match self {
            Self::Directory => Some(By::Directory),
            Self::Process => Some(By::Process),
            Self::Mount => Some(By::Mount),
            Self::Owner | Self::Peer | Self::Port => None,
        }
    }
}

#[derive(Debug, Args)]
struct Top {
    /// The table
    #[arg(value_enum)]
    table: Table,
    /// Take rows together: flows by process, owner, peer or port; files by directory, process or mount; processes by
    /// owner
    #[arg(long, value_enum)]
    by: Option<Grouping>,
    /// Only rows that match; with --by what is taken together is what matches
    #[arg(short = 'f', long = "filter", value_name = "EXPR")]
    filter: Option<String>,
    /// Sort by this column, largest first; -COL reverses
    #[arg(long, value_name = "COL", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Rows an interval
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// Print the arguments of processes: they may hold secrets
    #[arg(long)]
    args: bool,
    /// Time between tables
    #[arg(short = 'd', long, value_name = "D", default_value = "1s", value_parser = parse_duration)]
    interval: Duration,
    /// Stop after N tables
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Output format [default: table on a terminal, json otherwise]
    #[arg(short = 'o', long, value_enum)]
    output: Option<Output>,
}

#[derive(Debug, Args)]
struct Doctor {
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Try every alternative of every program, not only until one works
    #[arg(long)]
    try_all: bool,
}

impl Common {
    fn choices(&self) -> Choices {
        Choices {
            btf: match self.btf.as_deref() {
                None => BtfChoice::Kernel,
                Some("none") => BtfChoice::None,
                Some(file) => BtfChoice::File(file.into()),
            },
            hooks: self.hooks.iter().cloned().collect(),
            map_budget: self.map_budget.map(|mib| mib << 20),
            all_netns: self.all_netns,
        }
    }
}

/// Version of the program and fingerprint of the kernel object inside it.
fn version() -> &'static str {
    use std::sync::OnceLock;
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{} (kernel object {})", env!("CARGO_PKG_VERSION"), object::fingerprint()))
}

fn parse_family(text: &str) -> Result<Family, String> {
    Family::from_stem(text).ok_or_else(|| {
        format!("known families: {}", Family::ALL.iter().map(|f| f.stem()).collect::<Vec<_>>().join(", "))
    })
}

/// `500ms`, `10s`, `5m`, `1h`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 =
        digits.parse().map_err(|_| "expected a time such as 500ms, 10s, 5m or 1h".to_owned())?;
    let scale = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit {other}: use ms, s, m or h")),
    };
    let seconds = number * scale;
    if !(0.01..=31_536_000.0).contains(&seconds) {
        return Err("between 10ms and 8760h".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_take_units_and_refuse_nonsense() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("2").unwrap(), Duration::from_secs(2));
        assert_eq!(parse_duration("1h").unwrap(), Duration::from_hours(1));
        for bad in ["", "s", "-1s", "5x", "nan", "inf", "0"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
