//! What `fluoro doctor` says about this place: a criterion that a forced or missing hook makes impossible by design is
//! read from here, so that nothing is passed over in silence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;

use super::run::{self, Ran};
use super::{Place, alternatives};

pub struct Doctor {
    pub ran: Ran,
    pub programs: Vec<Program>,
}

/// A program as doctor describes it. A family that cannot even be loaded stands here as one program without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub family: String,
    pub name: String,
    /// `live`, `degraded`, `unsupported`.
    pub status: String,
    pub reason: String,
    /// The way in that it has; empty: none.
    pub alternative: String,
}

impl Doctor {
    pub fn ask(place: &Place, args: &[&str]) -> Result<Self> {
        let args = [&["doctor", "-o", "json"], args].concat();
        let ran = run::to_the_end(&mut run::fluoro(place, &args), place.patience(30))?;
        let programs = programs(&ran)?;
        Ok(Self { ran, programs })
    }

    /// As it was said here before, over the same hooks: a run of doctor loads every program, which takes seconds in an
    /// emulated guest.
    pub fn known(place: &Place) -> Result<Arc<Self>> {
        static KNOWN: Mutex<BTreeMap<Vec<String>, Arc<Doctor>>> = Mutex::new(BTreeMap::new());
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(doctor) = known().get(&place.hooks) {
            return Ok(Arc::clone(doctor));
        }
        let doctor = Arc::new(match Self::forced(place)? {
            Some(doctor) => doctor,
            None => Self::ask(place, &[])?,
        });
        known().insert(place.hooks.clone(), Arc::clone(&doctor));
        Ok(doctor)
    }

    /// What it says where working ways in are forced, by what it says unasked; scenario `hooks` holds it to that.
    fn forced(place: &Place) -> Result<Option<Self>> {
        let plain = Place { hooks: Vec::new(), ..place.clone() };
        if place.hooks.is_empty() || !alternatives::all_work(&plain, &place.hooks)? {
            return Ok(None);
        }
        let unasked = Self::known(&plain)?;
        let mut programs = unasked.programs.clone();
        for (program, alternative) in place.hooks.iter().filter_map(|hook| hook.split_once('=')) {
            for entry in &mut programs {
                if entry.name == program && entry.alternative != alternative {
                    *entry = Program {
                        status: "degraded".to_owned(),
                        reason: "forced by --hook".to_owned(),
                        alternative: alternative.to_owned(),
                        ..entry.clone()
                    };
                }
            }
        }
        Ok(Some(Self { ran: unasked.ran.clone(), programs }))
    }

    pub fn count(&self, status: &str) -> usize {
        self.programs.iter().filter(|program| program.status == status).count()
    }

    /// Why a family cannot be observed here, if doctor knows a reason.
    pub fn why_not(&self, family: &str) -> Option<String> {
        self.programs
            .iter()
            .find(|program| program.family == family && program.status == "unsupported")
            .map(|program| program.reason.clone())
    }

    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// Why a program cannot run here, if it cannot.
    pub fn unsupported(&self, program: &str) -> Option<String> {
        self.programs
            .iter()
            .find(|entry| entry.name == program && entry.status == "unsupported")
            .map(|entry| entry.reason.clone())
    }
}

/// The programs of a report, `{"families":{"flow":{"programs":[..]}, ..}}`.
pub fn programs(ran: &Ran) -> Result<Vec<Program>> {
    let report: Value = serde_json::from_str(&ran.stdout).with_context(|| {
        format!("doctor -o json (exit {}): {:?} {:?}", ran.ending(), ran.stdout, ran.stderr)
    })?;
    let families =
        report.get("families").and_then(Value::as_object).context("doctor tells of no families")?;
    let mut programs = Vec::new();
    for (family, told) in families {
        let text =
            |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let program = |entry: &Value| Program {
            family: family.clone(),
            name: text(entry, "name"),
            status: text(entry, "status"),
            reason: text(entry, "reason"),
            alternative: text(entry, "alternative"),
        };
        if told.get("status").is_some() {
            programs.push(program(told));
        }
        programs.extend(told.get("programs").and_then(Value::as_array).into_iter().flatten().map(program));
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn programs_and_families_without_programs_are_both_understood() {
        let stdout = r#"{"families":{
            "flow":{"programs":[{"name":"flow_state","status":"live","reason":null},
                {"name":"flow_accept","status":"unsupported","reason":"no kprobes"}]},
            "process":{"status":"unsupported","reason":"no BTF","programs":[]}}}"#;
        let ran = Ran { code: Some(3), signal: None, stdout: stdout.to_owned(), stderr: String::new() };
        let doctor = Doctor { programs: programs(&ran).unwrap(), ran };
        assert_eq!(doctor.unsupported("flow_accept").as_deref(), Some("no kprobes"));
        assert_eq!(doctor.unsupported("flow_state"), None);
        assert_eq!(doctor.why_not("process").as_deref(), Some("no BTF"));
        assert_eq!(doctor.count("unsupported"), 2);
    }
}
