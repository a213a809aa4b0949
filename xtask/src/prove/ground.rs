//! What fluoro says of the machine it stands on, and what it takes of the kernel's memory there.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::observer::{Keep, Observer};
use super::{run, witness};

const MIB: u64 = 1 << 20;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let ran = run::to_the_end(&mut run::fluoro(place, &["doctor", "-o", "json"]), place.patience(30))?;
    let report: Value = serde_json::from_str(&ran.stdout).context("doctor -o json")?;
    let word = |at: &str| report.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();

    checks.equal("kernel release", file("/proc/sys/kernel/osrelease"), word("/kernel/release"));
    let possible = possible_cpus(&file("/sys/devices/system/cpu/possible")).context("no possible CPUs")?;
    let said = report.pointer("/kernel/possible_cpus").and_then(Value::as_u64).unwrap_or(0);
    checks.equal("possible CPUs", possible, said);
    let lockdown = file("/sys/kernel/security/lockdown");
    if let Some(word_in_brackets) = lockdown.split(['[', ']']).nth(1) {
        checks.equal("lockdown", word_in_brackets.to_owned(), word("/kernel/lockdown"));
    }
    let has_btf = fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false);
    checks.that("BTF", has_btf, report.pointer("/btf/present").cloned().unwrap_or_default(), {
        report.pointer("/btf/present") == Some(&Value::Bool(has_btf))
    });

    let families = ["process", "flow"];
    let observer = Observer::start(place, &families, &[], Keep::Counts)?;
    let taken = witness::map_bytes_held(observer.pid());
    let budget = if possible > 2 { 256 * MIB } else { 64 * MIB };
    checks.at_least("bytes of maps, by the descriptors' own account", 1, taken);
    checks.at_most("bytes of maps, by the descriptors' own account", budget, taken);
    observer.finish()?;
    Ok(())
}

/// `0-127` is 128.
fn possible_cpus(text: &str) -> Option<u64> {
    let (_, last) = text.rsplit_once(['-', ',']).unwrap_or(("", text));
    Some(last.parse::<u64>().ok()? + 1)
}

#[cfg(test)]
mod tests {
    use super::possible_cpus;

    #[test]
    fn the_list_of_possible_cpus_counts_from_zero() {
        assert_eq!(possible_cpus("0-127"), Some(128));
        assert_eq!(possible_cpus("0"), Some(1));
        assert_eq!(possible_cpus(""), None);
    }
}
