//! `cargo xtask`: what a contributor runs.

mod apt;
mod bench;
mod binaries;
mod ebpf;
mod guest;
mod prove;
mod report;
mod screens;
mod shot;
mod test;
mod tidy;
mod tool;
mod tree;
mod vm;
mod workload;

use std::process::ExitCode;

use anyhow::Result;

type Run = fn(&[String]) -> Result<()>;

/// Name, arguments, what it does, body.
const COMMANDS: &[(&str, &str, &str, Run)] = &[
    ("test", "", "everything that must hold before a change is done", test::main),
    ("tidy", "", "layers point down, the tree is in order", tidy::main),
    (
        "ebpf",
        "build|check",
        "build the kernel object; check that the committed one is what the sources make",
        ebpf::main,
    ),
    ("prove", "[--hook P=A] [--divide N] [NAME ..]", "play scenarios on this machine", prove::main),
    (
        "vm",
        "[--special] [--kernel SERIES ..] [--hook P=A ..] [NAME ..]",
        "play scenarios on Debian's kernels in QEMU",
        vm::main,
    ),
    (
        "screens",
        "",
        "take the pictures of the pages in a guest: assets/screens, docs/workflows.md",
        screens::main,
    ),
    ("bench", "[--kernel SERIES] [NAME ..]", "measure what is budgeted", bench::main),
    ("workload", "NAME ..", "one of the programs that scenarios observe", workload::main),
];

fn main() -> ExitCode {
    // What a workload is called with may be anything.
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if std::process::id() == 1 {
        guest::main(&args);
    }
    let (name, rest) = args.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let Some((.., run)) = COMMANDS.iter().find(|(known, ..)| *known == name) else {
        eprintln!("cargo xtask COMMAND");
        for (name, usage, what, _) in COMMANDS {
            eprintln!("  {:45} {what}", format!("{name} {usage}"));
        }
        return ExitCode::from(2);
    };
    match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
