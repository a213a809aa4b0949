//! `cargo xtask tidy`: layers use what is below them, never what is above; the tree is in order.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::tree;

/// The layers of `tui/src` from the top. A module may use those of its own line and of the lines below.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["engine"],
    &["views", "families/*/view", "families"],
    &["json", "widgets", "table", "theme"],
    &["families/*/columns"],
    &[
        "filter",
        "model",
        "families/*/model",
        "families/*/row",
        "families/*/words",
        "families/*/decode",
        "families/identity",
        "columns",
        "fmt",
        "wording",
        "collect",
        "families/*/probe",
    ],
    &["kernel", "records", "log"],
];

/// The table of families names its parts, and anybody may name a family.
const TABLE: &str = "families";

/// What only the engine and the command line may use: everything that touches the world.
const WORLDLY: &[&str] = &["collect", "kernel"];
const WORLDLY_FOR: &[&str] = &["cli", "engine", "collect", "families/*/probe", "families", "kernel"];

pub fn main(_: &[String]) -> Result<()> {
    let mut wrong = Vec::new();
    let source = tree::root().join("tui/src");
    for file in tree::files(&source)? {
        let name = file.strip_prefix(&source).unwrap_or(&file).to_string_lossy().into_owned();
        let is_module = file.extension().is_some_and(|extension| extension == "rs");
        if !is_module || matches!(name.as_str(), "main.rs" | "lib.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("read {name}"))?;
        wrong.extend(arrows(&name, &text));
        if name.ends_with("/mod.rs") {
            wrong.push(format!("{name}: modules are foo.rs + foo/, not mod.rs"));
        }
    }
    if !wrong.is_empty() {
        bail!("{} arrows point up:\n  {}", wrong.len(), wrong.join("\n  "));
    }
    Ok(())
}

/// Uses in `text` that its layer does not allow.
fn arrows(name: &str, text: &str) -> Vec<String> {
    let from = layer_of(name.trim_end_matches(".rs"));
    let Some(height) = height(&from) else { return vec![format!("{name}: stands in no layer")] };
    // Tests may build what they test from anything.
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    if name.ends_with("/tests.rs") {
        return Vec::new();
    }
    uses(code)
        .into_iter()
        .filter(|used| layer_of(used) != TABLE)
        .filter_map(|used| {
            let to = layer_of(&used);
            let depth = self::height(&to)?;
            let worldly = WORLDLY.contains(&to.as_str()) && !WORLDLY_FOR.contains(&from.as_str());
            (depth < height || worldly).then(|| format!("{name} uses {used}"))
        })
        .collect()
}

fn height(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&layer))
}

/// `families/flow/model/tests` is in `families/*/model`.
fn layer_of(path: &str) -> String {
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("families"), Some("Family") | None, _) => TABLE.to_owned(),
        (Some("families"), Some("identity"), _) => "families/identity".to_owned(),
        (Some("families"), Some(_), Some(part)) => format!("families/*/{part}"),
        (Some(first), ..) => first.to_owned(),
        _ => String::new(),
    }
}

/// Modules that `crate::..` paths name, braces unfolded.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in code.split("crate::").skip(1) {
        let end = statement.find([';', '(', ')', '<', '>', ' ', ',', '}']).unwrap_or(statement.len());
        let head = statement.get(..end).unwrap_or_default();
        let open = statement.find('{').filter(|at| *at <= end);
        let base = head.split('{').next().unwrap_or_default();
        let tails: Vec<&str> = match open {
            Some(at) => {
                let inner = statement.get(at + 1..).unwrap_or_default();
                inner
                    .split([';'])
                    .next()
                    .unwrap_or_default()
                    .trim_end()
                    .trim_end_matches('}')
                    .split(',')
                    .collect()
            }
            None => vec![""],
        };
        for tail in tails {
            found.push(format!("{base}{}", tail.trim()).replace("::", "/"));
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_up_is_found_in_any_form() {
        assert!(!arrows("model/event.rs", "use crate::app::state;").is_empty());
        assert!(
            !arrows("families/flow/model.rs", "use crate::{\n    engine::World,\n    records::Tgid,\n};")
                .is_empty()
        );
        assert!(!arrows("views/flows.rs", "let x = crate::kernel::proc::Proc::new();").is_empty());
        assert_eq!(
            arrows("engine/core.rs", "use crate::families::flow::model::FlowModel;"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        assert!(!arrows("util.rs", "").is_empty());
    }
}
