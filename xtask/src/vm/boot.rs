//! One guest from power on to power off: QEMU in software emulation, a cpio archive with two static programs, and the
//! serial console as the way back.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::kernels::Kernel;
use super::{Guest, Told};
use crate::binaries::Binaries;
use crate::guest::BEAT;
use crate::prove::{Outcome, Verdict};
use crate::{report, tree};

/// Tries before a guest that the emulator kills counts as failed.
const BOOTS: usize = 5;
/// Other work on the machine goes first.
const BOOT_WITHIN: Duration = Duration::from_mins(4);
const PLAY_WITHIN: Duration = Duration::from_mins(25);
/// A guest that says nothing for so long stands still.
const SILENCE: Duration = Duration::from_secs(8 * BEAT.as_secs());
/// Lines of the console that a failure quotes.
const QUOTED: usize = 25;

/// The archive with everything that guests of this kernel have.
pub fn archive(kernel: &Kernel) -> PathBuf {
    kernel.image.with_file_name("initramfs.cpio")
}

/// Writes it.
pub fn pack(kernel: &Kernel, binaries: &Binaries) -> Result<()> {
    let mut archive = Vec::new();
    for folder in ["dev", "etc", "proc", "sys", "tmp", "run", "root", "usr", "usr/bin", "var", "modules"] {
        archive = entry(archive, folder, 0o040_755, &[])?;
    }
    let users = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
    archive = entry(archive, "etc/passwd", 0o100_644, users)?;
    archive = entry(archive, "init", 0o100_755, &fs::read(&binaries.xtask)?)?;
    archive = entry(archive, "fluoro", 0o100_755, &fs::read(&binaries.fluoro)?)?;
    for module in tree::files(&kernel.modules)? {
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive = entry(archive, &format!("modules/{name}"), 0o100_644, &fs::read(&module)?)?;
    }
    fs::write(self::archive(kernel), cpio::newc::trailer(archive)?).context("write the initramfs")
}

fn entry(archive: Vec<u8>, name: &str, mode: u32, content: &[u8]) -> Result<Vec<u8>> {
    let size =
        u32::try_from(content.len()).with_context(|| format!("{name} is too large for an initramfs"))?;
    let mut writer = cpio::newc::Builder::new(name).mode(mode).write(archive, size);
    writer.write_all(content)?;
    Ok(writer.finish()?)
}

/// Boots and listens to the end. Whatever goes wrong is an outcome; but a machine that is gone, or stands still, without a
/// word from its kernel is booted again and plays what is left.
pub fn play(guest: &Guest) -> Told {
    let begin = Instant::now();
    let mut told = Told::default();
    let mut tail = Vec::new();
    for boot in 1..=BOOTS {
        tail.clear();
        told.release = None;
        told.shots.clear();
        let ended = listen(guest, &mut told, &mut tail);
        let again = boot < BOOTS && (told.release.is_none() || !has_said_why(&tail));
        let problem = match ended {
            Ok(End::Done) => None,
            Ok(End::Gone(how)) if again => {
                println!("void  {}: gone without a word from its kernel ({how}); booted again", guest.label);
                continue;
            }
            Err(_) if told.release.is_none() && again => continue,
            Ok(End::Gone(how)) => Some(format!("the guest ended before it was done ({how})")),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(problem) = problem {
            tell(guest, &mut told, failure("guest", problem, &tail));
        }
        break;
    }
    println!("      {}: {:.0} s", guest.label, begin.elapsed().as_secs_f64());
    told
}

/// What the kernel says before it panics whatever its log level.
fn has_said_why(tail: &[String]) -> bool {
    tail.iter().any(|line| ["panic", "BUG", "Oops"].iter().any(|word| line.contains(word)))
}

/// How a boot ended.
enum End {
    Done,
    /// The machine is off; how the emulator ended.
    Gone(String),
}

fn failure(name: &str, problem: String, tail: &[String]) -> Outcome {
    Outcome::new(name, Verdict::Failed(problem), tail.to_vec())
}

fn tell(guest: &Guest, told: &mut Told, outcome: Outcome) {
    let outcome = Outcome { name: format!("{}: {}", guest.label, outcome.name), ..outcome };
    outcome.print();
    told.outcomes.push(outcome);
}

/// One boot, which plays what no boot before it has.
fn listen(guest: &Guest, told: &mut Told, tail: &mut Vec<String>) -> Result<End> {
    let mut command = emulator(guest, told.outcomes.len());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut machine = Machine(command.spawn().context("start qemu-system-x86_64")?);
    let lines = machine.lines()?;
    let begin = Instant::now();
    loop {
        let limit = if told.release.is_none() { BOOT_WITHIN } else { PLAY_WITHIN };
        let left = limit.saturating_sub(begin.elapsed());
        let line = match lines.recv_timeout(left.min(SILENCE)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) if left > SILENCE => {
                return Ok(End::Gone(format!("it said nothing for {} s", SILENCE.as_secs())));
            }
            Err(RecvTimeoutError::Timeout) => anyhow::bail!("not done after {} s", limit.as_secs()),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(End::Gone(machine.0.wait().context("wait for QEMU")?.to_string()));
            }
        };
        let Some(value) = report::heard(&line) else {
            tail.push(line);
            let surplus = tail.len().saturating_sub(QUOTED);
            tail.drain(..surplus);
            continue;
        };
        if let Some(outcome) = report::outcome(&value)? {
            tell(guest, told, outcome);
        } else if let Some(release) = value.get("ready").and_then(Value::as_str) {
            told.release = Some(release.to_owned());
        } else if let Some(support) = value.get("support") {
            told.support = Some(support.clone());
        } else if let Some(shot) = value.get("shot") {
            told.shots.push(serde_json::from_value(shot.clone()).context("a shot")?);
        } else if let Some(problem) = value.get("failed").and_then(Value::as_str) {
            tell(guest, told, failure("guest", problem.to_owned(), tail));
        } else if value.get("end").is_some() {
            return Ok(End::Done);
        }
    }
}

/// QEMU for this guest, which passes over the scenarios that have been played.
pub fn emulator(guest: &Guest, played: usize) -> Command {
    let parameters = format!(
        "console=ttyS0 quiet loglevel=0 panic=-1 random.trust_cpu=on {} -- --played {played} {}",
        guest.parameters,
        guest.scenarios.join(" ")
    );
    // After whatever else runs on the machine: guests have patience. One thread for all CPUs: with a thread for each,
    // QEMU now and then runs a breakpoint (int3) that the kernel has already taken back while it attaches programs; the
    // kernel panics, and at log level 0 without a word. Without erms the kernel copies by words: the emulator copies a byte
    // as slowly as a word. Without la57 it walks four levels of page tables, not five.
    let mut command = Command::new("chrt");
    command
        .args(["--idle", "0", "qemu-system-x86_64"])
        .args(["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max,-erms,-la57", "-m", "1024"])
        .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-net", "none"])
        .arg("-smp")
        .arg(format!("2{}", guest.cpus))
        .arg("-kernel")
        .arg(&guest.kernel.image)
        .arg("-initrd")
        .arg(archive(&guest.kernel))
        .args(["-append", &parameters]);
    command
}

/// Turned off when dropped.
struct Machine(Child);

impl Machine {
    fn lines(&mut self) -> Result<Receiver<String>> {
        let (say, said) = mpsc::channel();
        let errors = self.0.stderr.take().context("no stderr")?;
        let console = self.0.stdout.take().context("no stdout")?;
        forward(errors, say.clone());
        forward(console, say);
        Ok(said)
    }
}

fn forward(from: impl std::io::Read + Send + 'static, to: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(std::result::Result::ok) {
            if to.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
