//! `cargo xtask ebpf build|check`: the kernel object, built by a toolchain of our own below target/, and the proof
//! that the committed object is what the sources make.

mod functions;
mod manifest;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{tool, tree};
use manifest::Manifest;
pub use manifest::sha256;
use toolchain::Toolchain;

const TARGET: &str = "bpfel-unknown-none";

pub fn main(args: &[String]) -> Result<()> {
    match args {
        [word] if word == "build" => build(),
        [word] if word == "check" => check(),
        _ => bail!("cargo xtask ebpf build | check"),
    }
}

fn object_path() -> PathBuf {
    tree::root().join("assets/bpf/fluoro.bpf.o")
}

/// Compiles the kernel programs and writes object and manifest into assets.
fn build() -> Result<()> {
    let toolchain = Toolchain::provision()?;
    let object = compile(&toolchain)?;
    let manifest = Manifest::of(&object, &toolchain.describe()?)?;
    fs::write(object_path(), &object).context("write the object")?;
    manifest.write()?;
    println!("{} bytes, sha256 {}", object.len(), manifest.object);
    Ok(())
}

/// Rebuilds and compares: the committed object must be the bytes that these sources make.
fn check() -> Result<()> {
    let committed = fs::read(object_path()).context("read the committed object")?;
    let stated = Manifest::read()?;
    ensure!(
        manifest::sha256(&committed) == stated.object,
        "the committed object is not the one its manifest describes: run `cargo xtask ebpf build` and commit both"
    );
    let sources = manifest::sources()?;
    ensure!(
        sources == stated.sources,
        "sources differ: the kernel sources have changed since the object was built: run `cargo xtask ebpf build` and commit the result"
    );
    let toolchain = Toolchain::provision()?;
    let built_by = toolchain.describe()?;
    ensure!(
        built_by == stated.toolchain,
        "toolchain differs: the object was built by {}, here is {}; use that toolchain, or rebuild by `cargo xtask ebpf build`",
        stated.toolchain.join(", "),
        built_by.join(", ")
    );
    let object = compile(&toolchain)?;
    ensure!(
        object == committed,
        "same sources, same toolchain, other bytes ({} here, {} committed): the build is not reproducible here",
        manifest::sha256(&object),
        stated.object
    );
    println!("the committed object is what the sources make: sha256 {}", stated.object);
    Ok(())
}

fn compile(toolchain: &Toolchain) -> Result<Vec<u8>> {
    let folder = tree::target("ebpf/build");
    let mut cargo = toolchain.cargo();
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "fluoro-probes-ebpf",
            "-Z",
            "build-std=core",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&folder)
        .current_dir(tree::root())
        // Every setting that shapes the object, so that neither the user's nor the workspace's does.
        // In order would be byte for byte, by a loop that the verifier walks.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Clink-arg=--disable-expand-memcpy-in-order")
        .env("CARGO_PROFILE_RELEASE_LTO", "thin")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    tool::quietly(&mut cargo).context("compile probes-ebpf")?;
    functions::describe(&read(&folder.join(TARGET).join("release/fluoro-probes-ebpf"))?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// A command that no setting of the calling cargo reaches.
fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("CARGO_PROFILE")
            || text.starts_with("CARGO_BUILD")
            || text.starts_with("CARGO_PKG");
        if ours
            || [
                "RUSTFLAGS",
                "RUSTC",
                "RUSTDOC",
                "RUSTC_WRAPPER",
                "RUSTUP_TOOLCHAIN",
                "CARGO",
                "CARGO_MANIFEST_DIR",
                "CARGO_MANIFEST_PATH",
            ]
            .contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
    command
}
