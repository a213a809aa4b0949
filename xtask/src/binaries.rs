//! The programs under test: fluoro and xtask, optimised, arithmetic checked, static, so that they run in a guest that
//! has nothing else.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{tool, tree};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

pub struct Binaries {
    pub fluoro: PathBuf,
    pub xtask: PathBuf,
}

pub fn build() -> Result<Binaries> {
    tool::quietly(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--profile", "proof", "--target", TRIPLE])
            .args(["--package", "fluoro", "--package", "xtask"])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .current_dir(tree::root()),
    )
    .context("build the programs under test")?;
    let folder = tree::target(TRIPLE).join("proof");
    Ok(Binaries { fluoro: folder.join("fluoro"), xtask: folder.join("xtask") })
}
