//! `fluoro doctor`: what this kernel and these privileges allow, and why.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::run::{self, CANNOT, DEGRADED, FINE, Stage};
use super::{Common, Doctor, Output};
use crate::collect::ground::{Ground, read_btf};
use crate::collect::loader::{Attached, Standing, Trial, try_all};
use crate::collect::taps::KernelFilter;
use crate::collect::tools::Tools;
use crate::collect::{attach_types, machine, object};
use crate::families::Family;
use crate::kernel::facts::Facts;
use crate::records::Shown;

struct Report {
    standings: Vec<(Family, Result<Vec<Standing>, String>)>,
    trials: Option<Vec<(Family, &'static str, Trial)>>,
}

pub fn run(options: &Doctor, common: &Common) -> ExitCode {
    let Stage { facts, ground, world } = run::prepare(common);
    let mut tools = Tools::new(&ground);
    let report = Report {
        standings: Family::ALL.iter().map(|&family| (family, stand(family, &mut tools))).collect(),
        trials: options.try_all.then(|| trials(&mut tools)),
    };
    let btf = ground.btf.as_deref().and_then(|file| read_btf(file).ok());
    let types = attach_types::check(btf.as_deref());
    let missing = if ground.btf.is_some() { machine::missing(&ground.offsets) } else { Vec::new() };
    let cgroups = world.describe_cgroups();
    let text = match options.output {
        Output::Json => format!("{}\n", as_json(&facts, &ground, &report, &types, &missing, &cgroups)),
        Output::Table => as_text(&facts, &ground, &report, &types, &missing, &cgroups),
    };
    let _ = run::print(&mut std::io::stdout().lock(), text.as_bytes());
    ExitCode::from(report.code())
}

fn stand(family: Family, tools: &mut Tools<'_>) -> Result<Vec<Standing>, String> {
    // Attached for as long as it takes to say so.
    Attached::attach(family, tools, &KernelFilter::default())
        .map(|(attached, _)| attached.standings())
        .map_err(|e| e.to_string())
}

fn trials(tools: &mut Tools<'_>) -> Vec<(Family, &'static str, Trial)> {
    Family::ALL
        .iter()
        .flat_map(|&family| {
            try_all(family, tools).unwrap_or_default().into_iter().flat_map(move |(program, trials)| {
                trials.into_iter().map(move |trial| (family, program.name, trial))
            })
        })
        .collect()
}

impl Report {
    /// 0 all live, 3 degraded, 1 nothing can run.
    fn code(&self) -> u8 {
        let all = || self.standings.iter().filter_map(|(_, s)| s.as_ref().ok()).flatten();
        let attached = all().filter(|s| s.status.hook().is_some()).count();
        let programs: usize = self.standings.iter().map(|(family, _)| family.programs().len()).sum();
        let clean = all().filter(|s| s.status.word() == "live").count();
        if attached == 0 {
            CANNOT
        } else if clean == programs {
            FINE
        } else {
            DEGRADED
        }
    }
}

fn as_json(
    facts: &Facts,
    ground: &Ground,
    report: &Report,
    types: &[attach_types::Checked],
    missing: &[&str],
    cgroups: &str,
) -> Json {
    let families: serde_json::Map<String, Json> = report
        .standings
        .iter()
        .map(|(family, standings)| {
            let value = match standings {
                Err(reason) => json!({ "status": "unsupported", "reason": reason, "programs": [] }),
                Ok(standings) => {
                    json!({ "programs": standings.iter().map(standing_json).collect::<Vec<_>>() })
                }
            };
            (family.stem().to_owned(), value)
        })
        .collect();
    let mut report_json = json!({
        "schema": crate::json::SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "object": object::fingerprint(),
        "kernel": {
            "release": facts.release,
            "possible_cpus": facts.possible_cpus,
            "online_cpus": facts.online_cpus,
            "lockdown": facts.lockdown,
            "lsm": facts.lsm,
            "jit": facts.jit,
            "unprivileged_bpf_disabled": facts.unprivileged_bpf_disabled,
            "perf_event_paranoid": facts.perf_event_paranoid,
        },
        "btf": {
            "present": ground.btf.is_some(),
            "reason": (!ground.btf_reason.is_empty()).then_some(&ground.btf_reason),
            "missing_members": missing,
        },
        "capabilities": { "present": facts.present(), "missing": facts.lacking() },
        "cgroup": { "mode": cgroups },
        "tracefs": { "usable": ground.tracefs, "mounted_by_system": facts.tracefs },
        "attach_types": types
            .iter()
            .map(|checked| json!({ "type": checked.name, "allowed": checked.allowed, "reason": checked.reason }))
            .collect::<Vec<_>>(),
        "families": families,
    });
    if let (Some(trials), Some(object)) = (&report.trials, report_json.as_object_mut()) {
        let list = trials
            .iter()
            .map(|(family, program, trial)| {
                let (status, reason, insns) = match &trial.outcome {
                    Ok(insns) => ("live", None, *insns),
                    Err(reason) => ("refused", Some(reason), None),
                };
                json!({ "family": family.stem(), "program": program, "alternative": trial.alternative,
                        "status": status, "reason": reason, "insns": insns })
            })
            .collect::<Vec<_>>();
        object.insert("alternatives".to_owned(), Json::Array(list));
    }
    report_json
}

fn standing_json(standing: &Standing) -> Json {
    json!({
        "name": standing.program.name,
        "essential": standing.program.essential,
        "status": standing.status.word(),
        "hook": standing.status.hook(),
        "alternative": standing.alternative.map(|alternative| alternative.name),
        "reason": standing.status.reason(),
        "alternatives": standing.program.alternatives.iter().map(|a| a.name).collect::<Vec<_>>(),
        "refused": standing
            .trials
            .iter()
            .filter_map(|trial| Some(json!({ "alternative": trial.alternative, "reason": trial.outcome.as_ref().err()? })))
            .collect::<Vec<_>>(),
    })
}

fn as_text(
    facts: &Facts,
    ground: &Ground,
    report: &Report,
    types: &[attach_types::Checked],
    missing: &[&str],
    cgroups: &str,
) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "{name:<13} {}", Shown::own(value).as_str());
    };
    line("fluoro", &format!("{} (kernel object {})", env!("CARGO_PKG_VERSION"), object::fingerprint()));
    line("kernel", &facts.release);
    line("cpus", &format!("{} online, {} possible", facts.online_cpus, facts.possible_cpus));
    let btf = if ground.btf.is_some() { "present" } else { &ground.btf_reason };
    line("btf", btf);
    if !missing.is_empty() {
        line("", &format!("members this kernel does not have: {}", missing.join(", ")));
    }
    line("lockdown", &facts.lockdown);
    let lacking = facts.lacking();
    line("capabilities", &format!("present: {}", none_or(&facts.present().join(", "))));
    line("", &format!("missing: {}", none_or(&lacking.join(", "))));
    line("cgroup", cgroups);
    let tracefs = match (&facts.tracefs, ground.tracefs) {
        (_, false) if facts.lockdown_confidentiality() => {
            "empty under lockdown=confidentiality: boot with lockdown=integrity".to_owned()
        }
        (Some(at), _) => format!("mounted at {at}"),
        (None, true) => "not mounted; fluoro mounts its own, for itself alone".to_owned(),
        (None, false) => "not mounted and cannot be: run as root (CAP_SYS_ADMIN)".to_owned(),
    };
    line("tracefs", &tracefs);
    out.push_str("\nAttach types\n");
    for checked in types {
        let verdict = if checked.allowed { "yes" } else { "no" };
        let _ =
            writeln!(out, "  {:<14} {verdict:<4} {}", checked.name, checked.reason.as_deref().unwrap_or(""));
    }
    for (family, standings) in &report.standings {
        let _ = writeln!(out, "\n{}", family.stem());
        match standings {
            Err(reason) => {
                let _ = writeln!(out, "  unsupported   {reason}");
            }
            Ok(standings) => {
                for standing in standings {
                    let hook = standing.status.hook().unwrap_or("-");
                    let _ = writeln!(
                        out,
                        "  {:<14} {:<11} {hook}",
                        standing.program.name,
                        standing.status.word()
                    );
                    if let Some(reason) = standing.status.reason() {
                        let _ = writeln!(out, "  {:<14} {reason}", "");
                    }
                }
            }
        }
    }
    if let Some(trials) = &report.trials {
        out.push_str("\nEvery alternative\n");
        for (_, program, trial) in trials {
            let verdict = match &trial.outcome {
                Ok(Some(insns)) => format!("works ({insns} instructions verified)"),
                Ok(None) => "works".to_owned(),
                Err(reason) => reason.clone(),
            };
            let _ = writeln!(out, "  {program:<14} {:<11} {verdict}", trial.alternative);
        }
    }
    out
}

fn none_or(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
