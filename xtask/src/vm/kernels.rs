//! Debian's kernels: the newest of each series, fetched but not installed, kept below target/kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::apt::{self, Apt};
use crate::{tool, tree};

/// Names the modules that were kept.
const LIST: &str = "modules.list";

/// After this time a newer one is looked for.
const FRESH: Duration = Duration::from_hours(7 * 24);

#[derive(Debug, Clone)]
pub struct Kernel {
    pub series: String,
    pub image: PathBuf,
    /// Folder of the modules that a guest loads at its start.
    pub modules: PathBuf,
}

/// What sock_diag, nftables and overlay mounts need, in the order of loading. No kernel has all of them.
const MODULES: &[&str] =
    &["inet_diag", "tcp_diag", "crc32c_generic", "libcrc32c", "nfnetlink", "nf_tables", "overlay"];

/// Kernels of these series, and what boots them.
pub fn provision(series: &[&str]) -> Result<Vec<Kernel>> {
    if tool::find("qemu-system-x86_64").is_none() {
        apt::provide()?;
    }
    series.iter().map(|series| one(series).with_context(|| format!("kernel {series}"))).collect()
}

fn one(series: &str) -> Result<Kernel> {
    let folder = tree::target("kernels").join(series);
    let image = folder.join("vmlinuz");
    let fresh = fs::metadata(&image)
        .and_then(|m| m.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < FRESH))
        && fs::read_to_string(folder.join(LIST)).is_ok_and(|list| list == MODULES.join(" "));
    if !fresh && let Err(error) = fetch(series, &folder, &image) {
        if !image.exists() {
            return Err(error);
        }
        eprintln!("xtask: kernel {series}: keeping the one that is here: {error:#}");
    }
    Ok(Kernel { series: series.to_owned(), image, modules: folder.join("modules") })
}

fn fetch(series: &str, folder: &Path, image: &Path) -> Result<()> {
    let apt = Apt::open()?;
    // From 7.1 on the image is in a package of its own, which the other only depends on.
    let mut found = Vec::new();
    for kind in ["linux-image-", "linux-binary-", "linux-modules-"] {
        let names = apt.names(&format!("{kind}{series}."))?;
        found.extend(names.into_iter().filter(|name| name.ends_with("-cloud-amd64")).filter_map(|name| {
            let version = numbers(name.strip_prefix(kind)?);
            Some((version, name))
        }));
    }
    found.sort();
    let newest = found.last().map(|(version, _)| version.clone()).context("Debian has no package of it")?;
    let unpacked = folder.join("unpacked");
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(&unpacked)?;
    for (_, name) in found.iter().filter(|(version, _)| *version == newest) {
        apt.unpack(name, &unpacked)?;
    }
    let inside = tree::files(&unpacked)?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
        .context("no vmlinuz in the package")?;
    keep_modules(&unpacked, &folder.join("modules"))?;
    fs::copy(inside, image)?;
    fs::remove_dir_all(&unpacked)?;
    fs::write(folder.join(LIST), MODULES.join(" ")).context("write the list of modules")
}

/// Copies the wanted modules, uncompressed. Built into the kernel, they are not in the package.
fn keep_modules(unpacked: &Path, kept: &Path) -> Result<()> {
    fs::create_dir_all(kept)?;
    for path in tree::files(unpacked)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((stem, packing)) = name.split_once(".ko") else { continue };
        let Some(order) = MODULES.iter().position(|wanted| *wanted == stem) else { continue };
        let copy = kept.join(format!("{order}-{stem}.ko"));
        match packing {
            "" => fs::copy(&path, &copy).map(drop)?,
            ".xz" => {
                let plain = Command::new("xz").args(["-dc"]).arg(&path).output().context("start xz")?;
                anyhow::ensure!(plain.status.success(), "xz -dc {name}: {}", plain.status);
                fs::write(&copy, plain.stdout)?;
            }
            other => anyhow::bail!("{name}: packed as {other}, which this does not know"),
        }
    }
    Ok(())
}

/// The numbers of a version, for comparing.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("5.10.0-32-cloud-amd64") > numbers("5.10.0-9-cloud-amd64"));
        assert!(numbers("7.3.4+deb13-cloud-amd64") > numbers("7.2.12+deb13-cloud-amd64"));
    }
}
