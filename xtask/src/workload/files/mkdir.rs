//! A folder made in each of the ways in which its path may be told.

use std::env::set_current_dir;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::raw::call;
use super::{Words, bytes, join, text, voice};

/// Ways to make a folder below a directory.
pub const WAYS: &[&str] =
    &["absolute", "relative", "dirfd", "chroot", "private-mounts", "tmpfs", "overlay", "shell"];

/// Makes a folder twice in the way WAY below DIR when told `go`; says its path as it is seen from there.
pub fn play(words: &mut Words) -> Result<()> {
    let way = words.text("WAY")?;
    let below = PathBuf::from(words.text("DIR")?).join(format!("fluoro-mkdir-{}", std::process::id()));
    fs::create_dir_all(&below).with_context(|| format!("create {}", below.display()))?;
    let name = format!("made-{way}");
    let mut directory = below.clone();
    let mut at = i64::from(libc::AT_FDCWD);
    let mut given = bytes(&directory.join(&name)).to_vec();
    let opened;
    match way.as_str() {
        "absolute" | "shell" => {}
        "relative" => {
            set_current_dir(&directory)?;
            given = name.clone().into_bytes();
        }
        "dirfd" => {
            opened = fs::File::open(&directory)?;
            at = i64::from(opened.as_raw_fd());
            given = name.clone().into_bytes();
        }
        "chroot" => {
            fs::create_dir(directory.join("inside"))?;
            nix::unistd::chroot(&directory).context("chroot")?;
            set_current_dir("/")?;
            directory = PathBuf::from("/inside");
            given = join(b"inside", name.as_bytes());
        }
        "private-mounts" | "tmpfs" => {
            private()?;
            directory = below.join("mounted");
            fs::create_dir(&directory)?;
            if way == "tmpfs" {
                mounted("tmpfs", &directory, "")?;
            } else {
                let none = None::<&str>;
                mount(Some(&below), &directory, none, MsFlags::MS_BIND, none).context("bind mount")?;
            }
            set_current_dir(&directory)?;
            given = name.clone().into_bytes();
        }
        "overlay" => {
            private()?;
            mounted("tmpfs", &below, "")?;
            for part in ["lower", "upper", "work", "merged"] {
                fs::create_dir(below.join(part))?;
            }
            directory = below.join("merged");
            let part = |name: &str| below.join(name).display().to_string();
            let options =
                format!("lowerdir={},upperdir={},workdir={}", part("lower"), part("upper"), part("work"));
            if let Err(error) = mounted("overlay", &directory, &options) {
                voice::say(&json!({"pid": std::process::id(), "skipped": format!("{error:#}")}))?;
                return Ok(());
            }
            given = bytes(&directory.join(&name)).to_vec();
        }
        other => bail!("way {other}: unknown"),
    }
    let path = String::from_utf8(join(bytes(&directory), name.as_bytes()))?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let given = text(&given)?;
    let pid = std::process::id();
    if way == "shell" {
        let mut command = std::process::Command::new("mkdir");
        match command.arg(&path).spawn() {
            Ok(mut child) => {
                let pid = child.id();
                child.wait()?;
                voice::say(&json!({"pid": pid, "path": path, "results": [0]}))?;
            }
            Err(error) => voice::say(&json!({"pid": pid, "skipped": format!("no mkdir: {error}")}))?,
        }
    } else {
        let results = [call::mkdirat(at, &given, 0o755), call::mkdirat(at, &given, 0o755)];
        voice::say(&json!({"pid": pid, "path": path, "results": results}))?;
    }
    // In another mount namespace or root nobody else can, and it is gone with it.
    if !["chroot", "private-mounts", "tmpfs", "overlay"].contains(&way.as_str()) {
        fs::remove_dir_all(&below)?;
    }
    Ok(())
}

fn private() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make mounts private")
}

fn mounted(kind: &str, at: &Path, options: &str) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("mount {kind}"))
}

/// How many folders, one after the other, are made when told so: for the time until they are seen.
pub fn many(words: &mut Words) -> Result<()> {
    let directory = PathBuf::from(words.text("DIR")?).join(format!("fluoro-mkdirs-{}", std::process::id()));
    fs::create_dir(&directory)?;
    voice::say(&json!({"pid": std::process::id()}))?;
    let mut made = 0;
    while voice::wait_for("go").is_ok() {
        let path = text(bytes(&directory.join(format!("made-{made}"))))?;
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
        call::mkdir(&path, 0o755);
        made += 1;
        let at_ns = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
        voice::say(&json!({"at_ns": at_ns}))?;
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}
