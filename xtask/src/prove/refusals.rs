//! Where fluoro cannot or must not run: one clear message, the right exit code, and the remedy in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::doctor::Doctor;
use super::identity::Scratch;
use super::observer::{Keep, Observer};
use super::run::{self, Ran};
use crate::workload::actor::Actor;

/// The user with the fewest rights there is.
const NOBODY: u32 = 65_534;

/// A copy of fluoro that everybody may run, run by somebody without rights.
fn unprivileged(place: &Place, scratch: &Scratch, args: &[&str]) -> Result<Ran> {
    let copy = scratch.path.join("fluoro");
    if !copy.exists() {
        fs::copy(&place.fluoro, &copy).context("copy fluoro")?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).context("chmod fluoro")?;
    }
    let mut command = Command::new(&copy);
    command.args(args).uid(NOBODY).gid(NOBODY).current_dir("/");
    run::die_with_parent(&mut command);
    run::to_the_end(&mut command, place.patience(20))
}

/// Messages on stderr: lines that are not indented continue none.
fn messages(ran: &Ran) -> usize {
    ran.stderr.lines().filter(|line| !line.is_empty() && !line.starts_with([' ', '\t'])).count()
}

fn quoted(ran: &Ran) -> String {
    format!("{:?}", ran.stderr.trim_end())
}

pub fn no_privileges(place: &Place, checks: &mut Checks) -> Result<()> {
    let scratch = Scratch::new("no-privileges")?;
    for args in [
        ["observe", "flow", "-o", "json", "--duration", "1s"].as_slice(),
        &["observe", "process", "--duration", "1s"],
        &["top", "flows", "--count", "1"],
    ] {
        let ran = unprivileged(place, &scratch, args)?;
        let what = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        checks.equal(format!("{what}: exit code"), "1", &ran.ending());
        checks.that(
            format!("{what}: messages"),
            1,
            format!("{} {}", messages(&ran), quoted(&ran)),
            messages(&ran) == 1,
        );
        checks.that(
            format!("{what}: names what is missing"),
            "a capability, or root",
            quoted(&ran),
            ["CAP_BPF", "CAP_SYS_ADMIN", "root"].iter().any(|word| ran.stderr.contains(word)),
        );
        checks.that(format!("{what}: names a remedy"), "sudo, or setcap", quoted(&ran), {
            ran.stderr.contains("sudo") || ran.stderr.contains("setcap")
        });
        checks.equal(format!("{what}: lines on stdout"), 0, ran.stdout.lines().count());
    }
    let ran = unprivileged(place, &scratch, &["doctor", "-o", "json"])?;
    checks.equal("doctor: exit code", "1", &ran.ending());
    let report: Value =
        serde_json::from_str(&ran.stdout).with_context(|| format!("doctor -o json: {:?}", ran.stdout))?;
    checks.that(
        "doctor: names what is missing",
        "CAP_BPF",
        "",
        report.to_string().to_uppercase().contains("BPF"),
    );
    let ran = unprivileged(place, &scratch, &["doctor"])?;
    checks.equal("doctor as text: exit code", "1", &ran.ending());
    for args in [["--version"], ["--help"]] {
        let ran = unprivileged(place, &scratch, &args)?;
        checks.equal(format!("{}: exit code", args.join(" ")), "0", &ran.ending());
    }
    Ok(())
}

pub fn no_btf(place: &Place, checks: &mut Checks) -> Result<()> {
    // Forced hooks may need what is taken away here.
    let place = Place { hooks: Vec::new(), ..place.clone() };
    let doctor = Doctor::ask(&place, &["--btf", "none"])?;
    let unsupported = doctor.count("unsupported");
    let named = doctor.programs.iter().filter(|program| program.reason.contains("BTF")).count();
    checks.that(
        "programs that are unsupported, and reasons that name BTF",
        "as many reasons at least",
        format!("{unsupported} and {named}"),
        named >= unsupported,
    );
    for (family, refusal) in as_doctor_says(&place, checks, &doctor, &["--btf", "none"])? {
        checks.that(
            format!("observe {family} --btf none: names BTF and a remedy"),
            "BTF, --btf",
            quoted(&refusal),
            refusal.stderr.contains("BTF") && refusal.stderr.contains("--btf"),
        );
    }
    Ok(())
}

/// Whatever this kernel allows: doctor's word, its exit code and what `observe` then does are one.
pub fn doctor(place: &Place, checks: &mut Checks) -> Result<()> {
    let doctor = Doctor::ask(place, &[])?;
    as_doctor_says(place, checks, &doctor, &[])?;
    let text = run::to_the_end(&mut run::fluoro(place, &["doctor"]), place.patience(30))?;
    checks.equal("doctor as text: exit code", doctor.ran.ending(), text.ending());
    let silent: Vec<String> = doctor
        .programs
        .iter()
        .map(|program| program.name.clone())
        .filter(|name| !text.stdout.contains(name))
        .collect();
    checks.none("programs that the text does not name", &silent);
    Ok(())
}

/// What cannot be, by doctor's word, must be refused with one message; what can be must work. Returns the refusals.
fn as_doctor_says(
    place: &Place,
    checks: &mut Checks,
    doctor: &Doctor,
    args: &[&str],
) -> Result<Vec<(&'static str, Ran)>> {
    let (live, degraded, unsupported) =
        (doctor.count("live"), doctor.count("degraded"), doctor.count("unsupported"));
    checks.at_least("programs that doctor speaks of", 2, doctor.programs.len());
    let code = match (live, degraded, unsupported) {
        (_, 0, 0) => "0",
        (0, 0, _) => "1",
        _ => "3",
    };
    checks.that(
        format!("doctor's exit code for {live} live, {degraded} degraded, {unsupported} unsupported"),
        code,
        doctor.ran.ending(),
        doctor.ran.ending() == code,
    );
    let silent: Vec<String> = doctor
        .programs
        .iter()
        .filter(|program| program.status != "live" && program.reason.is_empty())
        .map(|program| program.name.clone())
        .collect();
    checks.none("programs that are not live, without a reason", &silent);

    let mut refusals = Vec::new();
    for family in ["process", "flow"] {
        let what = format!("observe {family}");
        if let Ok(watch) = Observer::start(place, &[family], args, Keep::Counts) {
            let actor = Actor::start(&place.xtask, &["exit", "0"])?;
            actor.rest(place.patience(10))?;
            let actor = Actor::start(&place.xtask, &["hold", "3", "100"])?;
            actor.hear(place.patience(10))?;
            drop(actor);
            let observed = watch.finish()?;
            checks.note(format!("{what}: runs"));
            observed.check_books(checks, &[family])?;
            checks.at_least(format!("{what}: lines"), 3, observed.shown());
            continue;
        }
        let args = [&["observe", family, "--duration", "1s"], args].concat();
        let ran = run::to_the_end(&mut run::fluoro(place, &args), place.patience(20))?;
        checks.equal(format!("{what}: exit code"), "1", &ran.ending());
        checks.that(
            format!("{what}: messages"),
            1,
            format!("{} {}", messages(&ran), quoted(&ran)),
            messages(&ran) == 1,
        );
        let word = doctor.why_not(family);
        checks.that(
            format!("{what}: refused, and doctor says so"),
            "a program of it is unsupported",
            word.clone().unwrap_or_else(|| "doctor knows of no reason".to_owned()),
            word.is_some(),
        );
        refusals.push((family, ran));
    }
    Ok(refusals)
}

pub fn not_a_terminal(place: &Place, checks: &mut Checks) -> Result<()> {
    let ran = run::to_the_end(&mut run::fluoro(place, &[]), place.patience(20))?;
    checks.equal("exit code", "2", &ran.ending());
    for hint in ["observe", "top"] {
        checks.that(format!("hints at {hint}"), hint, quoted(&ran), ran.stderr.contains(hint));
    }
    checks.equal("bytes on stdout", 0, ran.stdout.len());
    checks.that("escape sequences", "none", quoted(&ran), !ran.stderr.contains('\x1b'));
    Ok(())
}

pub fn usage(place: &Place, checks: &mut Checks) -> Result<()> {
    let scratch = Scratch::new("usage")?;
    // By somebody without rights: the expression is judged before them.
    for filter in ["port:", "(pid:1", "port:80,x", "nosuchkey:1", "path~["] {
        for subject in [["observe", "flow"], ["top", "flows"]] {
            let ran = unprivileged(place, &scratch, &[&subject[..], &["-f", filter]].concat())?;
            let what = format!("{} -f '{filter}'", subject.join(" "));
            checks.equal(format!("{what}: exit code"), "2", &ran.ending());
            let points = ran.stderr.contains('^') && ran.stderr.contains(filter);
            checks.that(
                format!("{what}: points at the character"),
                "the expression and ^ below",
                quoted(&ran),
                points,
            );
        }
    }
    for args in [["observe", "nosuchfamily"], ["top", "nosuchsubject"], ["observe", "--nosuchoption"]] {
        let ran = unprivileged(place, &scratch, &args)?;
        checks.equal(format!("{}: exit code", args.join(" ")), "2", &ran.ending());
    }
    Ok(())
}
