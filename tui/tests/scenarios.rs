//! Scenarios: records, sweeps and time in, events, rows and books out. Each is a file in `scenarios/`, played through
//! the synthetic source and machine on the way that live records go. What a scenario says of an event or a row must be
//! so; `"-"` says that a key is absent. Every event and row must be named, and after each step the books must balance.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "scenarios/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fluoro::columns::{Listing, Row, Sheet};
use fluoro::engine::synthetic::{Clock, Described, Script, Shared};
use fluoro::engine::{Core, Sources, list};
use fluoro::families::Family;
use fluoro::families::flow::row::group::By;
use fluoro::json;
use fluoro::model::{Ledger, View};
use fluoro::records::{BootTime, WallOffset};
use script::{Expected, Scenario, Step};
use serde_json::Value;

#[test]
fn every_scenario_comes_out_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let failures: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(file).unwrap();
            let scenario: Scenario = toml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            play(&scenario).err().map(|error| format!("{name}: {error}"))
        })
        .collect();
    assert!(files.len() >= 20, "the scenarios were found");
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

struct Stage<'a> {
    scenario: &'a Scenario,
    clock: Clock,
    machine: Shared,
    core: Core,
    sources: Sources,
}

fn play(scenario: &Scenario) -> Result<(), String> {
    let clock = Clock::default();
    let machine = Shared::new(Described {
        clock: clock.clone(),
        offset: WallOffset(0),
        groups: scenario.group.iter().map(|g| (g.id, g.path.clone().into_bytes())).collect(),
        users: scenario.user.iter().map(|u| (u.uid, u.name.as_str().into())).collect(),
        ..Described::default()
    });
    // The scenario's clock may go backwards: records come by the number of their step.
    let turn = Clock::default();
    let mut sources = Sources::default();
    for &family in Family::ALL {
        let records = (0..).zip(&scenario.step).flat_map(|(number, step)| {
            step.records(family).map(move |record| (BootTime(number), record.bytes(step.at, &scenario.task)))
        });
        sources.open(family, Box::new(Script::new(family, turn.clone(), records)));
    }
    let mut core = Core::new(machine.clone());
    if let Some(room) = scenario.room {
        core.flow.keep_at_most(room);
    }
    core.flow.awaits_owners = scenario.awaits_owners;
    let mut stage = Stage { scenario, clock, machine, core, sources };
    for (number, step) in (0..).zip(&scenario.step) {
        turn.set(BootTime(number));
        stage.play(step).map_err(|error| {
            format!("step {} at {:?}: {error}", number + 1, Duration::from_nanos(step.at.0))
        })?;
    }
    Ok(())
}

impl Stage<'_> {
    fn play(&mut self, step: &Step) -> Result<(), String> {
        // Records of this step reach their rings now, and are old enough a moment later.
        self.clock.set(step.at);
        let tasks = &self.scenario.task;
        self.machine.with(|machine| {
            if let Some(running) = &step.running {
                machine.processes = running.iter().map(|name| tasks[name].facts(self.scenario)).collect();
            }
            if let Some(sockets) = &step.sockets {
                machine.sockets = Some(sockets.iter().map(|socket| socket.facts(tasks)).collect());
            }
        });
        self.core.drain(&mut self.sources);
        self.clock.set(BootTime(step.at.0 + 3_000_000));
        self.core.drain(&mut self.sources);
        self.core.flush();
        for deed in &step.then {
            match deed.as_str() {
                "prime" => self.core.prime(true),
                "sweep" => self.core.sweep(),
                "sweep processes" => self.core.sweep_processes(),
                "tick" => self.core.tick(Duration::from_secs(1)),
                "tick of no length" => self.core.tick(Duration::ZERO),
                "finish" => self.core.finish(),
                other => return Err(format!("nothing is called {other:?}")),
            }
        }
        self.compare(step)
    }

    fn compare(&mut self, step: &Step) -> Result<(), String> {
        let events: Vec<Value> = self
            .core
            .take_events()
            .iter()
            .map(|event| {
                let mut line = Vec::new();
                json::event_line(&mut line, event);
                parse(&line)
            })
            .collect();
        fits("events", &events, &step.events)?;
        if let Some(expected) = &step.flows {
            fits("flows", &rows(self.core.flow_rows(step.of_interval), "flow.id"), expected)?;
        }
        if let Some(expected) = &step.processes {
            fits("processes", &rows(self.core.process_rows(step.of_interval), "process.pid"), expected)?;
        }
        if let Some(expected) = &step.failures {
            fits("failures", &rows(self.core.failure_rows(step.of_interval), "failure.total"), expected)?;
        }
        if let Some(expected) = &step.by_process {
            let groups = self.core.flow.groups(By::Process, &self.core.flow_rows(step.of_interval), true);
            fits("by_process", &rows(groups, "flow.group.connections"), expected)?;
        }
        let totals: BTreeMap<_, _> = self.core.totals(View::Flows).into_iter().collect();
        for (name, expected) in &step.totals {
            let actual = totals.get(name.as_str()).copied().flatten();
            if actual != Some(*expected) {
                return Err(format!("totals.{name} is {actual:?}, not {expected}"));
            }
        }
        for &family in Family::ALL {
            let ledger = self.sources.ledger(family);
            if !ledger.balances() {
                return Err(format!("the books of {} do not balance: {ledger:?}", family.stem()));
            }
            for (name, expected) in step.ledger.get(family.stem()).into_iter().flatten() {
                let actual = book(&ledger, name);
                if actual != Some(*expected) {
                    return Err(format!("{}.{name} is {actual:?}, not {expected}", family.stem()));
                }
            }
        }
        Ok(())
    }
}

fn book(ledger: &Ledger, name: &str) -> Option<u64> {
    Some(match name {
        "seen" => ledger.seen,
        "submitted" => ledger.submitted,
        "filtered" => ledger.filtered,
        "error" => ledger.error,
        _ => return None,
    })
}

/// Rows as `top` prints them, in the order of an identifying key; `ended` says whether a console dims them.
fn rows<R: Row>(rows: Vec<std::sync::Arc<R>>, by: &str) -> Vec<Value> {
    let (listing, _): (Listing<R>, _) = list(rows, None, None, |_| false);
    let mut line = Vec::new();
    let all = usize::MAX;
    json::top_object(&mut line, fluoro::records::WallTime(0), Duration::ZERO, &[], 0, &listing, all);
    let mut rows: Vec<Value> = parse(&line)["rows"].as_array().unwrap().clone();
    for (index, row) in rows.iter_mut().enumerate() {
        row["ended"] = Value::Bool(listing.ended(index));
    }
    rows.sort_by_key(|row| {
        let key = find(row, by).unwrap();
        key.as_u64().or_else(|| key.as_str()?.parse().ok()).unwrap()
    });
    rows
}

fn parse(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

fn fits(what: &str, actual: &[Value], expected: &[Expected]) -> Result<(), String> {
    if actual.len() != expected.len() {
        let names: Vec<String> = actual.iter().map(ToString::to_string).collect();
        return Err(format!("{} {what}, not {}:\n  {}", actual.len(), expected.len(), names.join("\n  ")));
    }
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        for (path, wanted) in expected.leaves() {
            let found = find(actual, &path);
            let fits = match (&wanted, found) {
                (Value::String(mark), None) => mark == "-",
                // 2.0 and 2 are one number.
                (Value::Number(a), Some(Value::Number(b))) => a.as_f64() == b.as_f64(),
                (wanted, Some(found)) => *wanted == *found,
                (_, None) => false,
            };
            if !fits {
                let found = found.map_or_else(|| "absent".to_owned(), ToString::to_string);
                return Err(format!("{what}[{index}]: {path} is {found}, not {wanted}\n  {actual}"));
            }
        }
    }
    Ok(())
}
