//! `cargo xtask test`: everything that must hold before a change is done. Ends with `N passed, N failed, N skipped`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::prove::{self, Outcome, Verdict};
use crate::{apt, binaries, report, tidy, tool, tree, vm};

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// What could not run must be able to: the machine that judges a change skips nothing.
    strict: bool,
    /// What failed, or did once, or was not played again. Said once more at the end: of a long run's output often no more than that is at hand.
    told: Vec<String>,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        let (mark, wrong) = match &outcome.verdict {
            Verdict::Passed => {
                self.passed += 1;
                ("again", &outcome.before)
            }
            Verdict::Skipped(_) if !self.strict => {
                self.skipped += 1;
                return;
            }
            Verdict::Failed(_) | Verdict::Skipped(_) => {
                self.failed += 1;
                ("FAIL ", &outcome.wrong())
            }
        };
        if let Some((why, lines)) = wrong.split_first() {
            self.told.push(format!("{mark} {}: {why}", outcome.name));
            self.told.extend_from_slice(lines);
        }
    }

    fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        let begin = Instant::now();
        let verdict = match step() {
            Ok(()) => Verdict::Passed,
            Err(error) => Verdict::Failed(format!("{error:#}")),
        };
        self.tell(&Outcome::new(
            format!("{name} ({:.0} s)", begin.elapsed().as_secs_f64()),
            verdict,
            Vec::new(),
        ));
    }

    fn skip(&mut self, name: &str, why: &str) {
        let verdict = Verdict::Skipped(why.to_owned());
        self.tell(&Outcome::new(name, verdict, Vec::new()));
    }

    fn tell(&mut self, outcome: &Outcome) {
        outcome.print();
        self.add(outcome);
    }
}

pub fn main(_: &[String]) -> Result<()> {
    let begin = Instant::now();
    let mut counts =
        Counts { strict: std::env::var_os("CI").is_some_and(|ci| ci == "true"), ..Counts::default() };
    counts.step("formatting", || tool::quietly(&mut cargo(&["fmt", "--all", "--check"])).map(drop));
    counts.step("tidy", || tidy::main(&[]));
    let privileged = nix::unistd::geteuid().is_root();
    // Comes over the network while this machine compiles.
    let coming = privileged.then(|| thread::spawn(provide));
    counts.step("clippy", || {
        tool::quietly(&mut cargo(&["clippy", "--quiet", "--locked", "--all-targets", "--", "-D", "warnings"]))
            .map(drop)
    });
    counts.step("the tests compile", || tool::quietly(cargo(UNIT).arg("--no-run")).map(drop));
    if let Some(coming) = coming {
        counts.step("the programs under test", || binaries::checked().map(drop));
        counts.step("programs that the tests use", || {
            coming.join().unwrap_or_else(|_| bail!("the thread that fetches them died"))
        });
        on_kernels(&mut counts)?;
    } else {
        unit(&mut counts)?;
        counts.skip("prove and kernel matrix", "need root: sudo -E cargo xtask test");
    }
    for line in &counts.told {
        println!("{line}");
    }
    println!("took {:.0} s", begin.elapsed().as_secs_f64());
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if counts.failed > 0 {
        bail!("{} failed", counts.failed);
    }
    Ok(())
}

/// Debian's packages that the tests use, and its kernels.
fn provide() -> Result<()> {
    apt::provide()?;
    // Who boots them finds out what is wrong, and says it.
    let _ = vm::provide();
    Ok(())
}

/// All that runs. The kernels of the matrix do when nothing else wants a CPU; so they begin when nothing is compiled any
/// more, and what is claimed of time on this machine holds beside them.
fn on_kernels(counts: &mut Counts) -> Result<()> {
    let boots = vm::Boots::Test { kept: !counts.strict };
    thread::scope(|scope| {
        let emulator = tool::find("qemu-system-x86_64");
        let matrix = emulator.map(|_| scope.spawn(move || vm::matrix(vm::SERIES, &[], boots)));
        unit(counts)?;
        host(counts)?;
        match matrix.map(|matrix| matrix.join().unwrap_or_else(|_| Err(anyhow!("its thread died")))) {
            Some(Ok(vm::Matrix { outcomes, kept })) => {
                for outcome in &outcomes {
                    counts.add(outcome);
                }
                if kept > 0 {
                    counts.told.push(format!(
                        "kept  {kept} that guests passed before this run; CI=true has all play"
                    ));
                }
            }
            Some(Err(error)) => counts.step("kernel matrix", || Err(error)),
            None => counts
                .skip("kernel matrix", "needs qemu-system-x86_64 (Debian: apt-get install qemu-system-x86)"),
        }
        Ok(())
    })
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args).current_dir(tree::root());
    command
}

/// Unit, scenario, screen and object tests: all that cargo runs.
const UNIT: &[&str] = &["test", "--quiet", "--locked", "--no-fail-fast"];

fn unit(counts: &mut Counts) -> Result<()> {
    read(counts, "cargo test", &mut cargo(UNIT), |counts, line| {
        if let Some((passed, failed, ignored)) = closing(line) {
            counts.passed += passed;
            counts.failed += failed;
            if failed > 0 {
                counts.told.push(format!("FAIL  cargo test: {line}"));
            }
            counts.skipped += ignored;
        }
        println!("{line}");
        Ok(())
    })
}

/// This machine's kernel, shown by the optimised xtask.
fn host(counts: &mut Counts) -> Result<()> {
    let mut prove = Command::new(binaries::checked()?.xtask);
    read(counts, "prove", prove.args(["prove", prove::REPORT]), |counts, line| {
        match report::heard(line).map(|value| report::outcome(&value)).transpose()?.flatten() {
            Some(outcome) => counts.tell(&outcome),
            None => println!("{line}"),
        }
        Ok(())
    })
}

/// Runs it, and counts what its lines say.
fn read(
    counts: &mut Counts,
    name: &str,
    command: &mut Command,
    mut count: impl FnMut(&mut Counts, &str) -> Result<()>,
) -> Result<()> {
    let before = counts.failed;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    for line in BufReader::new(child.stdout.take().context("no stdout")?).lines() {
        count(counts, &line?)?;
    }
    // Tests that do not compile, or a program that died, say nothing of it.
    if !child.wait()?.success() && counts.failed == before {
        counts.step(name, || bail!("it failed before its tests could"));
    }
    Ok(())
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; ..`
fn closing(line: &str) -> Option<(u64, u64, u64)> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = rest.split("; ").map(|part| part.split_whitespace().next()?.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::closing;

    #[test]
    fn the_closing_line_of_a_test_program_is_counted() {
        assert_eq!(
            closing(
                "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s"
            ),
            Some((12, 1, 2))
        );
        assert_eq!(closing("running 3 tests"), None);
    }
}
