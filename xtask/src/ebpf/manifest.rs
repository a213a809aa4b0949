//! What the committed object was made of: assets/bpf/manifest.json.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{tool, tree};

#[derive(Debug, PartialEq, Eq)]
pub struct Manifest {
    /// SHA-256 of the object.
    pub object: String,
    /// SHA-256 over names and contents of all sources, and the versions of what they depend on.
    pub sources: String,
    /// Compiler, linker.
    pub toolchain: Vec<String>,
}

impl Manifest {
    pub fn of(object: &[u8], toolchain: &[String]) -> Result<Self> {
        Ok(Self { object: sha256(object), sources: sources()?, toolchain: toolchain.to_vec() })
    }

    fn path() -> PathBuf {
        tree::root().join("assets/bpf/manifest.json")
    }

    pub fn read() -> Result<Self> {
        let text = fs::read_to_string(Self::path()).context("read assets/bpf/manifest.json")?;
        let value: Value = serde_json::from_str(&text).context("assets/bpf/manifest.json")?;
        let field = |name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            text.map(ToOwned::to_owned).with_context(|| format!("assets/bpf/manifest.json has no {name}"))
        };
        let toolchain =
            value.get("toolchain").and_then(Value::as_array).context("manifest.json has no toolchain")?;
        Ok(Self {
            object: field("object_sha256")?,
            sources: field("sources_sha256")?,
            toolchain: toolchain.iter().filter_map(|part| Some(part.as_str()?.to_owned())).collect(),
        })
    }

    pub fn write(&self) -> Result<()> {
        let value = json!({
            "object": "fluoro.bpf.o",
            "object_sha256": self.object,
            "sources_sha256": self.sources,
            "toolchain": self.toolchain,
        });
        fs::write(Self::path(), format!("{value:#}\n")).context("write assets/bpf/manifest.json")
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// The hash of what the object is made of. The compiled-in settings are in `ebpf.rs`; who changes them rebuilds.
pub fn sources() -> Result<String> {
    let root = tree::root();
    let mut hash = Sha256::new();
    for folder in ["shared", "probes-ebpf"] {
        for file in tree::files(&root.join(folder))? {
            let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
            let content = fs::read(&file).with_context(|| format!("read {name}"))?;
            hash.update(format!("{name} {}\n", content.len()));
            hash.update(content);
        }
    }
    for dependency in dependencies()? {
        hash.update(format!("{dependency}\n"));
    }
    Ok(hex(hash.finalize().as_slice()))
}

/// Name and version of everything the kernel side is compiled from.
fn dependencies() -> Result<BTreeSet<String>> {
    let tree = tool::quietly(
        Command::new("cargo")
            .args([
                "tree",
                "--locked",
                "--package",
                "fluoro-probes-ebpf",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
            ])
            .args(["--format", "{p}"])
            .current_dir(tree::root()),
    )?;
    // Packages of the workspace come with their folder, which differs between machines.
    Ok(tree.lines().filter_map(|line| Some(line.split(" (").next()?.to_owned())).collect())
}
