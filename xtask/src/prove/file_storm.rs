//! Opens at full speed on all cores: every one is counted and in the ledger, which balances exactly.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::observer::{Keep, Observer};
use crate::workload::actor::Actor;

const OPENS: u32 = 300_000;
const PROCESSES: u32 = 4;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let each = place.scaled(OPENS, 2_000) / PROCESSES;
    let count = each.to_string();
    let mut actors = Vec::new();
    for _ in 0..PROCESSES {
        let actor = Actor::start(&place.xtask, &["file-storm", &count, "/proc/self/comm"])?;
        actor.hear(place.patience(10))?;
        actors.push(actor);
    }
    let pids: Vec<String> = actors.iter().map(|actor| actor.pid().to_string()).collect();
    let watch = Observer::start(place, &["file"], &["-f", &format!("pid:{}", pids.join(","))], Keep::Counts)?;
    for actor in &mut actors {
        actor.tell("go")?;
    }
    let (mut opens, mut longest) = (0, 0);
    for actor in actors {
        let told = actor.conclusion(place.patience(60))?;
        let number = |key: &str| told.get(key).and_then(Value::as_u64).with_context(|| format!("no {key}"));
        opens += number("opens")?;
        longest = longest.max(number("elapsed_ns")?);
    }
    let observed = watch.finish()?;
    let seconds = longest as f64 / 1e9;
    checks.note(format!("{opens} opens in {seconds:.2} s: {:.0} a second", opens as f64 / seconds));
    observed.check_books(checks, &["file"])?;
    let books = observed.books("file")?;
    checks.equal("error", 0, books.error);
    // Kernels before 5.12 do not say.
    checks.equal("missed", 0, books.missed.unwrap_or(0));
    checks.equal("seen - filtered = opens", opens, books.seen - books.filtered);
    let shown = observed.counts.get("file.open").copied().unwrap_or(0);
    checks.equal("shown + lost + muted = opens", opens, shown + books.lost + books.muted);
    let aggregate = |key: &str| {
        observed
            .stats
            .pointer(&format!("/families/file/aggregates/{key}"))
            .and_then(Value::as_u64)
            .with_context(|| format!("no aggregates.{key}"))
    };
    checks.equal("untracked", 0, aggregate("untracked")?);
    // Each process hears a word and says something beside.
    let beside = aggregate("counted")?.saturating_sub(opens);
    checks.at_least("counted beside opens: what processes hear and say", u64::from(PROCESSES), beside);
    checks.at_most("counted beside opens: what processes hear and say", u64::from(PROCESSES) * 4, beside);
    checks.note(format!("fluoro used {:.2} s of CPU", observed.cpu.as_secs_f64()));
    Ok(())
}
