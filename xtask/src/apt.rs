//! Debian's packages, fetched and unpacked without installing them: an apt of our own below target/, with a sources
//! list of its own whose mirror is the machine's.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{tool, tree};

/// Where kernels of every series of the matrix and rustc's sources are.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports"];

/// Lists older than this are fetched again.
const FRESH: Duration = Duration::from_hours(24);

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Reads the package lists of all suites, at most once a day.
    pub fn open() -> Result<Self> {
        ensure!(tool::find("apt-get").is_some(), "apt-get is not here: this needs a Debian machine");
        let apt = Self { folder: tree::target("apt") };
        for folder in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(apt.folder.join(folder)).context("create target/apt")?;
        }
        let stamp = apt.folder.join("updated");
        let fresh = fs::metadata(&stamp)
            .and_then(|m| m.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < FRESH));
        if !fresh {
            fs::write(apt.folder.join("sources.list"), sources()?)?;
            fs::write(apt.folder.join("status"), "")?;
            tool::quietly(apt.command("apt-get").arg("update")).context("fetch the package lists")?;
            fs::write(stamp, "")?;
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.folder.join(name).display().to_string();
        for option in [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("")),
            format!("Dir::Cache::archives={}", at("archives")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// Names of all packages that begin so.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = tool::quietly(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(ToOwned::to_owned).collect())
    }

    /// Versions of a package, newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = tool::quietly(self.command("apt-cache").args(["madison", package]))?;
        Ok(table.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect())
    }

    /// Fetches a package (`name` or `name=version`) and unpacks it into `folder`.
    pub fn unpack(&self, package: &str, folder: &Path) -> Result<()> {
        let download = self.folder.join("download").join(package.replace(['=', '~', ':'], "_"));
        let _ = fs::remove_dir_all(&download);
        fs::create_dir_all(&download)?;
        tool::quietly(self.command("apt-get").args(["download", package]).current_dir(&download))
            .with_context(|| format!("fetch {package}"))?;
        let archive = fs::read_dir(&download)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension() == Some(OsStr::new("deb")))
            .with_context(|| format!("apt-get download {package} left no package"))?;
        tool::quietly(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(folder))?;
        fs::remove_dir_all(&download)?;
        Ok(())
    }
}

/// The sources list: our suites on the mirror that this machine uses.
fn sources() -> Result<String> {
    let told =
        tool::quietly(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI) $(SUITE)"]))?;
    let mirror = told
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|address| address.trim_end_matches('/').ends_with("/debian"))
        .context("this machine's apt knows no Debian archive; run apt-get update first")?;
    let trust = if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
    Ok(SUITES.map(|suite| format!("deb [arch=amd64{trust}] {mirror} {suite} main\n")).concat())
}

/// Programs that tests use beside cargo, and the packages of the machine's own Debian that bring them.
const PROGRAMS: &[(&str, &str)] = &[("qemu-system-x86_64", "qemu-system-x86"), ("bpftool", "bpftool")];

/// Installs what is missing of [`PROGRAMS`] where that can be done; else names it.
pub fn provide() -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| tool::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing).with_context(|| format!("missing: {}; install them", missing.join(", ")))
}

fn install(missing: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=120"]);
        command
    };
    tool::quietly(apt().arg("update"))?;
    tool::quietly(apt().args(["install", "--yes", "--no-install-recommends"]).args(missing))?;
    Ok(())
}
