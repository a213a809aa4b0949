//! The programs that are run: fluoro and xtask, optimised and static, so that they run in a guest that has nothing else.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{tool, tree};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

pub struct Binaries {
    pub fluoro: PathBuf,
    pub xtask: PathBuf,
}

/// With their arithmetic checked: what is tested.
pub fn checked() -> Result<Binaries> {
    build("proof", &["fluoro", "xtask"])?;
    Ok(Binaries { fluoro: path("proof", "fluoro"), xtask: path("proof", "xtask") })
}

/// fluoro as it is installed: what is measured.
pub fn released() -> Result<Binaries> {
    build("release", &["fluoro"])?;
    // The very xtask that `checked` builds: alone it would have dependencies with other features.
    Ok(Binaries { fluoro: path("release", "fluoro"), ..checked()? })
}

/// Goes on as the optimised xtask: one that reads every line that fluoro prints in a storm, and times it, must be.
pub fn become_optimised() -> Result<()> {
    let Binaries { xtask, .. } = checked()?;
    let is_here = |xtask| std::env::current_exe().is_ok_and(|here| here == xtask);
    if fs::canonicalize(&xtask).is_ok_and(is_here) {
        return Ok(());
    }
    let error = Command::new(&xtask).args(std::env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("start {}", xtask.display()))
}

fn build(profile: &str, packages: &[&str]) -> Result<()> {
    tool::quietly(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--profile", profile, "--target", TRIPLE])
            .args(packages.iter().flat_map(|package| ["--package", package]))
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .current_dir(tree::root()),
    )
    .map(drop)
    .with_context(|| format!("build {}", packages.join(" and ")))
}

fn path(profile: &str, program: &str) -> PathBuf {
    tree::target(TRIPLE).join(profile).join(program)
}
