//! A folder made in one terminal appears in the other, in whatever way its path was told, and so does the attempt to
//! make it once more.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::observer::{Keep, Observer};
use crate::workload::actor::Actor;
use crate::workload::files::mkdir::WAYS;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let directory = std::env::temp_dir();
    let directory = directory.to_str().context("the name of the temporary directory is no text")?;
    let mut actors = Vec::new();
    for way in WAYS {
        let actor = Actor::start(&place.xtask, &["mkdir", way, directory])?;
        let ready = actor.hear(place.patience(10))?;
        match ready.get("skipped").and_then(Value::as_str) {
            Some(why) => checks.note(format!("{way}: cannot be played here: {why}")),
            None => actors.push((*way, actor)),
        }
    }
    let watch = Observer::start(place, &["file"], &["-f", "event:file.mkdir"], Keep::Events)?;
    let mut made = Vec::new();
    for (way, mut actor) in actors {
        actor.tell("go")?;
        made.push((way, actor.conclusion(place.patience(20))?));
    }
    let observed = watch.finish()?;
    observed.check_books(checks, &["file"])?;
    checks.equal("lost", 0, observed.books("file")?.lost);
    for (way, told) in made {
        if let Some(why) = told.get("skipped").and_then(Value::as_str) {
            checks.note(format!("{way}: cannot be played here: {why}"));
            continue;
        }
        let pid = told.get("pid").and_then(Value::as_u64).context("no pid")? as u32;
        let path = told.get("path").and_then(Value::as_str).context("no path")?;
        let results: Vec<i64> = told
            .get("results")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64)
            .collect();
        let ours: Vec<&Event> = observed
            .events
            .iter()
            .filter(|event| event.pid == Some(pid) && event.path.as_deref() == Some(path.as_bytes()))
            .collect();
        let shown: Vec<i64> = ours.iter().filter_map(|event| event.result).collect();
        checks.equal(format!("{way}: results of mkdir {path}"), format!("{results:?}"), format!("{shown:?}"));
        for event in ours {
            let error = event.error.as_deref().unwrap_or("none");
            let expected = if event.result == Some(0) { "none" } else { "EEXIST" };
            checks.equal(format!("{way}: error"), expected, error);
        }
    }
    Ok(())
}
