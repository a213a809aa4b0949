//! The compiler and the linker of the kernel object. Everything is put below target/ebpf; nothing of the user's is
//! touched. rustc's own LLVM links: no LLVM, clang or nightly compiler is needed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::clean;
use crate::apt::Apt;
use crate::{tool, tree};

/// The compiler whose output is committed.
const RUST: &str = "1.95.0";
const LINKER: &str = "0.13.0";

pub struct Toolchain {
    /// A rustc that finds the sources of `core`.
    rustc: PathBuf,
    cargo: PathBuf,
    linker: PathBuf,
    /// Folder of rustc's libraries, LLVM among them.
    libraries: PathBuf,
}

impl Toolchain {
    /// Uses what is there, fetches what is not.
    pub fn provision() -> Result<Self> {
        let folder = tree::target("ebpf");
        fs::create_dir_all(&folder).context("create target/ebpf")?;
        let (rustc, cargo, sysroot) = compiler(&folder)?;
        let libraries = sysroot.join("lib");
        let linker = linker(&folder, &rustc, &cargo, &libraries)?;
        Ok(Self { rustc, cargo, linker, libraries })
    }

    /// cargo, set up to compile for the kernel.
    pub fn cargo(&self) -> Command {
        let mut cargo = clean(&self.cargo);
        let folders = self.linker.parent().into_iter().map(Path::to_path_buf);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).unwrap_or(path);
        cargo
            .env("RUSTC", &self.rustc)
            // `-Z build-std` is not stable; it changes nothing of the code generated.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env("PATH", path);
        cargo
    }

    /// What the object depends on beside the sources.
    pub fn describe(&self) -> Result<Vec<String>> {
        let rustc = tool::quietly(clean(&self.rustc).arg("--version"))?;
        Ok(vec![rustc.trim().to_owned(), format!("bpf-linker {LINKER}")])
    }
}

/// rustc and cargo of the pinned version with the sources of `core`, and their sysroot.
fn compiler(folder: &Path) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let by_rustup = folder.join("rustup");
    let installed = || find_installed(&by_rustup);
    if let Some(found) = installed() {
        return Ok(found);
    }
    let mut failed = Vec::new();
    // The user's own compiler, if it is the pinned one and has the sources.
    let user = user_compiler();
    if let Ok((rustc, cargo, sysroot)) = &user
        && has_core(sysroot)
    {
        return Ok((rustc.clone(), cargo.clone(), sysroot.clone()));
    }
    if tool::find("rustup").is_some() {
        let outcome = tool::quietly(
            clean("rustup")
                .env("RUSTUP_HOME", &by_rustup)
                .args(["toolchain", "install", RUST, "--profile", "minimal", "--component", "rust-src"])
                .arg("--no-self-update"),
        );
        match (outcome, installed()) {
            (Ok(_), Some(found)) => return Ok(found),
            (Ok(_), None) => failed.push("rustup installed no rust-src".to_owned()),
            (Err(error), _) => failed.push(format!("{error:#}")),
        }
        let _ = fs::remove_dir_all(&by_rustup);
    }
    let debian = user.and_then(|(rustc, cargo, sysroot)| {
        let libraries = sysroot.clone();
        with_debian_sources(folder, &rustc, &sysroot).map(|wrapper| (wrapper, cargo, libraries))
    });
    debian.map_err(|error| {
        failed.push(format!("{error:#}"));
        anyhow::anyhow!("no Rust {RUST} with the sources of core: {}", failed.join("; "))
    })
}

fn has_core(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists()
}

fn find_installed(rustup: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let toolchains = fs::read_dir(rustup.join("toolchains")).ok()?;
    let sysroot = toolchains.flatten().map(|entry| entry.path()).find(|sysroot| has_core(sysroot))?;
    Some((sysroot.join("bin/rustc"), sysroot.join("bin/cargo"), sysroot))
}

fn user_compiler() -> Result<(PathBuf, PathBuf, PathBuf)> {
    let version = tool::quietly(clean("rustc").arg("--version"))?;
    if version.split_whitespace().nth(1) != Some(RUST) {
        bail!("the object is built by Rust {RUST}, here is {}", version.trim());
    }
    let sysroot = PathBuf::from(tool::quietly(clean("rustc").args(["--print", "sysroot"]))?.trim());
    Ok((sysroot.join("bin/rustc"), sysroot.join("bin/cargo"), sysroot))
}

/// A rustc whose sysroot is the user's, with the sources from Debian's package beside it.
fn with_debian_sources(folder: &Path, rustc: &Path, sysroot: &Path) -> Result<PathBuf> {
    let unpacked = folder.join("rust-src");
    let library = unpacked.join(format!("usr/src/rustc-{RUST}/library"));
    if !library.exists() {
        let apt = Apt::open()?;
        let wanted = format!("{RUST}+");
        let versions = apt.versions("rust-src")?;
        let version = versions.iter().find(|version| version.starts_with(&wanted));
        let version = version
            .with_context(|| format!("Debian has no rust-src {RUST}; it has {}", versions.join(", ")))?;
        apt.unpack(&format!("rust-src={version}"), &unpacked)?;
    }
    let own = folder.join("sysroot");
    let _ = fs::remove_dir_all(&own);
    // The same tree, made of links, but for one folder of our own.
    mirror(sysroot, &own, &["lib", "rustlib"])?;
    let sources = own.join("lib/rustlib/src/rust");
    fs::create_dir_all(&sources)?;
    symlink(&library, sources.join("library"))?;
    let wrapper = folder.join("rustc");
    fs::write(
        &wrapper,
        format!("#!/bin/sh\nexec '{}' --sysroot '{}' \"$@\"\n", rustc.display(), own.display()),
    )?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(wrapper)
}

/// Links to everything in `from`; the folders on `path` are made anew so that something can be added to the last.
fn mirror(from: &Path, to: &Path, path: &[&str]) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))?.flatten() {
        let name = entry.file_name();
        let inner = path.split_first().filter(|(first, _)| **first == name.to_string_lossy());
        match inner {
            Some((_, rest)) => mirror(&entry.path(), &to.join(&name), rest)?,
            None if path.is_empty() && name == "src" => {}
            None => symlink(entry.path(), to.join(&name))?,
        }
    }
    Ok(())
}

/// bpf-linker against the LLVM that rustc itself uses.
fn linker(folder: &Path, rustc: &Path, cargo: &Path, libraries: &Path) -> Result<PathBuf> {
    let root = folder.join(format!("bpf-linker-{LINKER}"));
    let linker = root.join("bin/bpf-linker");
    if linker.exists() {
        return Ok(linker);
    }
    let llvm = folder.join("llvm/lib");
    let _ = fs::remove_dir_all(&llvm);
    fs::create_dir_all(&llvm)?;
    let shipped = fs::read_dir(libraries)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libLLVM.so.")))
        .context("rustc's sysroot has no libLLVM.so")?;
    for name in ["libLLVM.so", "libLLVM-22.so", "libLLVM.so.22.1"] {
        symlink(&shipped, llvm.join(name))?;
    }
    eprintln!("xtask: building bpf-linker {LINKER} once");
    tool::quietly(
        clean(cargo)
            .args(["install", "--quiet", "--locked", "bpf-linker", "--version", LINKER])
            .args(["--no-default-features", "--features", "llvm-22"])
            // What takes time is LLVM's, which is built: this part is built quickly rather than well.
            .args(["--debug", "--config", "profile.dev.debug=false", "--root"])
            .arg(&root)
            .arg("--target-dir")
            .arg(folder.join("bpf-linker-build"))
            .env("RUSTC", rustc)
            .env("LLVM_PREFIX", folder.join("llvm"))
            .env("LD_LIBRARY_PATH", libraries)
            .current_dir(folder),
    )
    .context("build bpf-linker")?;
    let _ = fs::remove_dir_all(folder.join("bpf-linker-build"));
    Ok(linker)
}
