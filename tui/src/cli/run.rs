//! From arguments to an exit code: 0 fine, 1 cannot, 2 wrong usage, 3 degraded (doctor), 4 loss.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use super::{Cli, Command, Common, console, doctor, generated, observe, top};
use crate::collect::ground::{self, Choices, Ground};
use crate::engine::World;
use crate::kernel::cgroup::Hierarchy;
use crate::kernel::facts::Facts;

pub const FINE: u8 = 0;
pub const CANNOT: u8 = 1;
pub const USAGE: u8 = 2;
pub const DEGRADED: u8 = 3;
pub const LOSS: u8 = 4;

/// Everything a live command stands on.
pub struct Stage {
    pub facts: Facts,
    pub ground: Arc<Ground>,
    pub world: World,
}

/// The binary's main.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(path) = &cli.common.log
        && let Err(error) = crate::log::open(path)
    {
        return fail(CANNOT, &format!("cannot write the log {}: {error}", path.display()));
    }
    match &cli.command {
        Some(Command::Observe(options)) => observe::run(options, &cli.common),
        Some(Command::Top(options)) => top::run(options, &cli.common),
        Some(Command::Config(options)) => generated::config(options),
        Some(Command::Completions { shell }) => generated::completions(*shell),
        Some(Command::Man) => generated::manual(),
        Some(Command::Doctor(options)) => doctor::run(options, &cli.common),
        None => console::run(&cli),
    }
}

/// Prepares mounts, limits and facts. Before any thread starts.
pub fn prepare(common: &Common) -> Stage {
    prepare_with(&common.choices())
}

fn prepare_with(choices: &Choices) -> Stage {
    let root = std::path::Path::new("/");
    ground::give_memory_back();
    // Before anything is mounted: doctor tells what the system has.
    let facts = Facts::gather(root);
    ground::raise_memlock();
    let tracefs = ground::prepare_mounts(&facts);
    let hierarchy = Hierarchy::detect(root);
    let ground = Arc::new(ground::survey(choices, &facts, hierarchy.as_ref(), tracefs));
    let world = World::live(root, hierarchy).with_words(ground.drop_reasons.clone(), ground.text);
    Stage { facts, ground, world }
}

/// Says why on stderr and gives the code.
pub fn fail(code: u8, message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "fluoro: {message}");
    ExitCode::from(code)
}

/// Standard output whose reader has gone away ends the program quietly.
pub enum Printed {
    Yes,
    ReaderGone,
}

pub fn print(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<Printed> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Printed::Yes),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Printed::ReaderGone),
        Err(error) => Err(error),
    }
}
