//! docs/kernel-support.md: what each kernel of the matrix said of each alternative.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Told;
use crate::prove::{Outcome, Verdict};
use crate::tree;

const PAGE: &str = "docs/kernel-support.md";

/// What worked when the page was written must work: an alternative that is refused has a reason, too, and nothing else
/// would notice.
pub fn compare(all: &[(String, Told)]) -> Result<Vec<Outcome>> {
    let page = fs::read_to_string(tree::root().join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    Ok(all.iter().filter_map(|(label, told)| Some(judge(&page, label, told.support.as_ref()?))).collect())
}

fn judge(page: &str, label: &str, support: &Value) -> Outcome {
    let table = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut rows = table.map(|line| line.split(" | ").collect::<Vec<_>>());
    let (series, special) = label.split_once(' ').unwrap_or((label, ""));
    let is_of = |release: &&str| {
        let (version, remark) = release.split_once(' ').unwrap_or((release, ""));
        version.starts_with(&format!("{series}.")) && remark == special
    };
    let column = rows.next().and_then(|head| head.iter().position(is_of));
    let works = |row: &Vec<&str>| {
        column.and_then(|column| row.get(column)).is_some_and(|cell| cell.starts_with("works"))
    };
    let worked: Vec<(String, String)> = rows
        .filter(works)
        .filter_map(|row| Some(((*row.first()?).to_owned(), (*row.get(1)?).to_owned())))
        .collect();
    let mut lines = Vec::new();
    for entry in support.as_array().into_iter().flatten() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (program, alternative) = (text("program"), text("alternative"));
        if text("status") != "live" && worked.contains(&(program.clone(), alternative.clone())) {
            lines.push(format!("{program}={alternative}: {}", text("reason")));
        }
    }
    let verdict = match (worked.is_empty(), lines.is_empty()) {
        (true, _) => Verdict::Failed(format!("{PAGE} has no column for it")),
        (_, true) => Verdict::Passed,
        _ => Verdict::Failed(format!("{} worked before", lines.len())),
    };
    let outcome = Outcome::new(format!("{label}: as {PAGE}"), verdict, lines);
    outcome.print();
    outcome
}

/// The page, from the boots that told.
pub fn write(all: &[(String, Told)]) -> Result<()> {
    let told: Vec<(String, &Value)> = all
        .iter()
        .filter_map(|(label, told)| {
            let special =
                label.split_once(' ').map_or_else(String::new, |(_, special)| format!(" {special}"));
            Some((format!("{}{special}", told.release.as_deref()?), told.support.as_ref()?))
        })
        .collect();
    let path = tree::root().join(PAGE);
    fs::write(&path, page(&told)).with_context(|| format!("write {}", path.display()))
}

fn page(told: &[(String, &Value)]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let mut rows: BTreeMap<(usize, String, String), Vec<String>> = BTreeMap::new();
    for (column, (_, support)) in told.iter().enumerate() {
        for (position, entry) in support.as_array().into_iter().flatten().enumerate() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let cell = if text("status") == "live" {
                match entry.get("insns").and_then(Value::as_u64) {
                    Some(count) => format!("works, {count}"),
                    None => "works".to_owned(),
                }
            } else {
                // It begins with the hook, which the row says.
                let reason = text("reason");
                let reason = reason.split_once(": ").map_or(reason.clone(), |(_, why)| why.to_owned());
                let known = reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
                    reasons.push(reason);
                    reasons.len() - 1
                });
                format!("no [{}]", known + 1)
            };
            let cells = rows
                .entry((position, text("program"), text("alternative")))
                .or_insert_with(|| vec!["-".to_owned(); told.len()]);
            if let Some(place) = cells.get_mut(column) {
                *place = cell;
            }
        }
    }
    let mut page = String::from(
        "# What works on which kernel\n\n\
         Written by `cargo xtask vm`: each way in (alternative) of each program was loaded and attached on each kernel.\n\
         The number is what the verifier read, in instructions. Alternatives stand in the order in which fluoro tries them.\n\n",
    );
    let releases: Vec<&str> = told.iter().map(|(release, _)| release.as_str()).collect();
    let _ = writeln!(page, "| program | alternative | {} |", releases.join(" | "));
    let _ = writeln!(page, "|---|---|{}", "---|".repeat(releases.len()));
    for ((_, program, alternative), cells) in &rows {
        let _ = writeln!(page, "| {program} | {alternative} | {} |", cells.join(" | "));
    }
    for (index, reason) in reasons.iter().enumerate() {
        let _ = write!(page, "\n[{}] {reason}\n", index + 1);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_worked_must_work() {
        let page = "| program | alternative | 6.1.9-amd64 | 6.12.9-amd64 | 6.12.9-amd64 under lockdown |\n\
                    |---|---|---|---|---|\n\
                    | flow | kprobe | works, 9 | works, 9 | no [1] |\n";
        let refused =
            json!([{"program": "flow", "alternative": "kprobe", "status": "unsupported", "reason": "so"}]);
        let judged = |label| matches!(judge(page, label, &refused).verdict, Verdict::Passed);
        assert!(!judged("6.1") && !judged("6.12") && !judged("7"));
        assert!(matches!(judge(page, "6.1", &json!([])).verdict, Verdict::Passed));
        let Verdict::Failed(why) = judge(page, "6.12 under lockdown", &refused).verdict else { return };
        assert_eq!(why, format!("{PAGE} has no column for it"));
    }

    #[test]
    fn a_refusal_is_a_numbered_reason() {
        let one = json!([
            {"program": "p", "alternative": "tp_btf", "status": "live", "insns": 12},
            {"program": "p", "alternative": "kprobe", "status": "refused", "reason": "kprobe f: no kprobes"},
        ]);
        let page = page(&[("6.18".to_owned(), &one)]);
        assert!(page.contains("| p | tp_btf | works, 12 |"));
        assert!(page.contains("| p | kprobe | no [1] |"));
        assert!(page.contains("[1] no kprobes"));
    }
}
