//! `cargo xtask`: what a contributor runs.

mod bench;
mod prove;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().context("one of prove, workload, bench")?;
    let rest: Vec<String> = args.collect();
    let xtask = std::env::current_exe()?;
    let place = prove::Place {
        fluoro: std::env::var_os("FLUORO").map_or_else(|| xtask.with_file_name("fluoro"), PathBuf::from),
        xtask,
        divide: std::env::var("DIVIDE").ok().and_then(|d| d.parse().ok()).unwrap_or(1),
        hooks: std::env::var("HOOKS")
            .map(|h| h.split_whitespace().map(ToOwned::to_owned).collect())
            .unwrap_or_default(),
        guest: std::env::var("GUEST").ok(),
    };
    match command.as_str() {
        "workload" => workload::main(rest),
        "bench" => bench::run(&rest, &place),
        "prove" => {
            let outcomes = prove::run(&rest, &place);
            let mut failed = 0;
            for outcome in &outcomes {
                println!("{}: {:?}", outcome.name, outcome.verdict);
                for line in &outcome.lines {
                    println!("    {line}");
                }
                failed += u32::from(matches!(outcome.verdict, prove::Verdict::Failed(_)));
            }
            if failed > 0 {
                bail!("{failed} failed");
            }
            Ok(())
        }
        other => bail!("{other}: not a command; one of prove, workload, bench"),
    }
}
