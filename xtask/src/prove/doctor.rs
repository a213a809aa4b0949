//! What `fluoro doctor` says about this place: a criterion that a forced or missing hook makes impossible by design is
//! read from here, so that nothing is passed over in silence.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::run::{self, Ran};

pub struct Doctor {
    pub ran: Ran,
    pub report: Value,
}

impl Doctor {
    pub fn ask(place: &Place, args: &[&str]) -> Result<Self> {
        let ran = run::to_the_end(
            &mut run::fluoro(place, &[&["doctor", "-o", "json"], args].concat()),
            place.patience(30),
        )?;
        let report = serde_json::from_str(&ran.stdout).with_context(|| {
            format!("doctor -o json (exit {}): {:?} {:?}", ran.ending(), ran.stdout, ran.stderr)
        })?;
        Ok(Self { ran, report })
    }

    /// All objects of the report that speak of a program.
    pub fn programs(&self) -> Vec<&Value> {
        let mut found = Vec::new();
        let mut open = vec![&self.report];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(object) => {
                    if object.contains_key("program") && state(value).is_some() {
                        found.push(value);
                    } else {
                        open.extend(object.values());
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Why a family cannot be observed here, if doctor knows a reason.
    pub fn why_not(&self, family: &str) -> Option<String> {
        self.programs()
            .into_iter()
            .filter(|entry| entry.get("family").and_then(Value::as_str) == Some(family))
            .find(|entry| state(entry) == Some("unsupported"))
            .map(|entry| entry.get("reason").and_then(Value::as_str).unwrap_or("no reason given").to_owned())
    }

    /// Why a program cannot run here, if it cannot.
    pub fn unsupported(&self, program: &str) -> Option<String> {
        let entry = self
            .programs()
            .into_iter()
            .find(|entry| entry.get("program").and_then(Value::as_str) == Some(program))?;
        (state(entry) == Some("unsupported"))
            .then(|| entry.get("reason").and_then(Value::as_str).unwrap_or("no reason given").to_owned())
    }
}

/// `live`, `degraded`, `unsupported` of a program's entry.
pub fn state(entry: &Value) -> Option<&str> {
    entry.get("state").or_else(|| entry.get("status")).and_then(Value::as_str)
}
