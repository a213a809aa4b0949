//! How many events a second one core decodes and models, by the example that does nothing else.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Report;
use crate::prove::Place;
use crate::tree;

const ROUNDS: usize = 3;
const MILLIONS: &str = "4";
/// Of one event: two million a second.
const BUDGET_NS: f64 = 500.0;

pub fn play(_: &Place, report: &mut Report) -> Result<()> {
    let mut each = Vec::new();
    for _ in 0..ROUNDS {
        let output = Command::new("cargo")
            .args(["run", "--quiet", "--locked", "--release", "--package", "fluoro"])
            .args(["--example", "decode_bench", MILLIONS])
            .current_dir(tree::root())
            .output()
            .context("run the example decode_bench")?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "decode_bench: {}", String::from_utf8_lossy(&output.stderr));
        each.push(nanoseconds(&told).with_context(|| format!("what decode_bench says: {told}"))?);
    }
    report.add("fluoro", "decode and model an event", "ns", &each, Some(BUDGET_NS));
    Ok(())
}

/// `.., 480 ns each`
fn nanoseconds(told: &str) -> Option<f64> {
    told.lines().next()?.strip_suffix(" ns each")?.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_read_off_the_last_words() {
        let told = "4000000 events in 1.92 s: 2.08 million a second, 480 ns each\n";
        assert_eq!(nanoseconds(told), Some(480.0));
        assert_eq!(nanoseconds("nothing"), None);
    }
}
