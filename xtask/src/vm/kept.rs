//! What a guest told when it was last played. It holds for as long as nothing that the guest is made of is another: its
//! programs, modules and kernel, QEMU and its arguments.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::{Guest, Told, boot};
use crate::ebpf::sha256;
use crate::prove::Verdict;
use crate::{tool, tree};

#[derive(Deserialize)]
struct Kept {
    made_of: String,
    told: Told,
}

/// What holds of this guest, and since when.
pub fn find(guest: &Guest) -> Option<(Told, Duration)> {
    let path = path(guest);
    let Kept { made_of, told } = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    let age =
        SystemTime::now().duration_since(fs::metadata(&path).ok()?.modified().ok()?).unwrap_or_default();
    (made_of == self::made_of(guest).ok()?).then_some((told, age))
}

/// Keeps it if all of it passed, and at once.
pub fn keep(guest: &Guest, told: &Told) -> Result<()> {
    let path = path(guest);
    if !is_worth_it(told) {
        let _ = fs::remove_file(path);
        return Ok(());
    }
    let kept = json!({ "made_of": made_of(guest)?, "told": told });
    fs::create_dir_all(tree::target("guests")).context("create target/guests")?;
    fs::write(&path, kept.to_string()).with_context(|| format!("write {}", path.display()))
}

fn is_worth_it(told: &Told) -> bool {
    told.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Passed && outcome.before.is_empty())
}

fn path(guest: &Guest) -> PathBuf {
    tree::target("guests").join(format!("{}.json", guest.label.replace(' ', "-")))
}

fn made_of(guest: &Guest) -> Result<String> {
    let emulator = boot::emulator(guest, 0);
    let version = tool::quietly(Command::new("qemu-system-x86_64").arg("--version"))?;
    let mut parts = format!("{emulator:?} {version}").into_bytes();
    for file in [&guest.kernel.image, &boot::archive(&guest.kernel)] {
        parts.extend(fs::read(file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(sha256(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::Outcome;

    #[test]
    fn only_what_passed_at_once_is_kept() {
        let told = |outcome| Told { outcomes: vec![outcome], ..Told::default() };
        let passed = Outcome::new("flows", Verdict::Passed, Vec::new());
        assert!(is_worth_it(&told(passed.clone())));
        assert!(!is_worth_it(&told(Outcome { before: vec!["lost".to_owned()], ..passed.clone() })));
        assert!(!is_worth_it(&told(Outcome {
            verdict: Verdict::Failed("lost".to_owned()),
            ..passed.clone()
        })));
        assert!(!is_worth_it(&told(Outcome { verdict: Verdict::Skipped("no QEMU".to_owned()), ..passed })));
    }
}
