//! The ways in that fluoro has here, by doctor's word: each that works is played over, each that does not must be
//! refused for the reason that doctor gives.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::run;

pub struct Alternative {
    family: String,
    program: String,
    name: String,
    /// Why it does not work here.
    refused: Option<String>,
}

/// What `doctor --try-all` says of every alternative of every program: `[{"program", "alternative", "status", ..}]`.
///
/// Asked once for the same hooks: in an emulated guest it takes many seconds.
pub fn support(place: &Place) -> Result<Value> {
    static KNOWN: Mutex<BTreeMap<Vec<String>, Value>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(support) = known.get(&place.hooks) {
        return Ok(support.clone());
    }
    let ran =
        run::to_the_end(&mut run::fluoro(place, &["doctor", "-o", "json", "--try-all"]), place.patience(60))?;
    let report: Value = serde_json::from_str(&ran.stdout)
        .with_context(|| format!("doctor -o json --try-all: {:?}", ran.stderr))?;
    let support = report.get("alternatives").cloned().context("doctor --try-all lists no alternatives")?;
    known.insert(place.hooks.clone(), support.clone());
    Ok(support)
}

fn all(place: &Place) -> Result<Vec<Alternative>> {
    let list = support(place)?;
    let entries = list.as_array().into_iter().flatten();
    let alternatives = entries.map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        Some(Alternative {
            family: text("family")?,
            program: text("program")?,
            name: text("alternative")?,
            refused: (text("status")? != "live").then(|| text("reason").unwrap_or_default()),
        })
    });
    alternatives
        .collect::<Option<_>>()
        .context("an alternative without family, program, alternative or status")
}

/// Whether each of these `--hook` values names an alternative that works here.
pub fn all_work(place: &Place, hooks: &[String]) -> Result<bool> {
    let all = all(place)?;
    let works = |hook: &String| {
        all.iter().any(|a| a.refused.is_none() && hook.split_once('=') == Some((&a.program, &a.name)))
    };
    Ok(hooks.iter().all(works))
}

/// Sets of `--hook` values that together force every alternative that works, but for those that are chosen unasked.
pub fn rounds(place: &Place) -> Result<Vec<Vec<String>>> {
    let all = all(place)?;
    let mut rounds: Vec<Vec<String>> = Vec::new();
    let mut programs: Vec<&str> = all.iter().map(|alternative| alternative.program.as_str()).collect();
    programs.dedup();
    for program in programs {
        let working = all.iter().filter(|a| a.program == program && a.refused.is_none()).skip(1);
        for (round, alternative) in working.enumerate() {
            if rounds.len() == round {
                rounds.push(Vec::new());
            }
            if let Some(round) = rounds.get_mut(round) {
                round.push(format!("{program}={}", alternative.name));
            }
        }
    }
    Ok(rounds)
}

/// Scenario `hooks`: an alternative that cannot be is refused, when forced, for the reason that doctor gives; one that
/// can be is then the one chosen. The first of every program are forced together, then the second of every program, ..
pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let all = all(place)?;
    checks.at_least("alternatives that doctor knows", 10, all.len());
    let mut rounds: Vec<Vec<&Alternative>> = Vec::new();
    for alternative in &all {
        let same = |round: &&mut Vec<&Alternative>| !round.iter().any(|a| a.program == alternative.program);
        match rounds.iter_mut().find(same) {
            Some(round) => round.push(alternative),
            None => rounds.push(vec![alternative]),
        }
    }
    for round in rounds {
        let hooks: Vec<String> = round.iter().map(|a| format!("{}={}", a.program, a.name)).collect();
        let mut args = vec!["doctor", "-o", "json"];
        args.extend(hooks.iter().flat_map(|hook| ["--hook", hook]));
        let ran = run::to_the_end(&mut run::fluoro(place, &args), place.patience(30))?;
        let report: Value = serde_json::from_str(&ran.stdout)
            .with_context(|| format!("doctor --hook {}", hooks.join(" ")))?;
        for (alternative, hook) in round.into_iter().zip(&hooks) {
            compare(checks, alternative, hook, &report);
        }
    }
    Ok(())
}

fn compare(checks: &mut Checks, alternative: &Alternative, hook: &str, report: &Value) {
    let Alternative { family, program, name, refused } = alternative;
    let programs = report.pointer(&format!("/families/{family}/programs")).and_then(Value::as_array);
    let entry = programs.and_then(|programs| {
        programs.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(program))
    });
    let text = |key: &str| entry.and_then(|entry| entry.get(key)).and_then(Value::as_str).unwrap_or_default();
    let Some(reason) = refused else {
        checks.equal(format!("{hook}: chosen"), name.as_str(), text("alternative"));
        return;
    };
    checks.that(format!("{hook}: reason"), "not empty", reason, !reason.is_empty());
    checks.equal(format!("{hook}: status when forced"), "unsupported", text("status"));
    checks.that(
        format!("{hook}: refused for the same reason"),
        reason,
        text("reason"),
        text("reason").contains(reason.as_str()),
    );
}
