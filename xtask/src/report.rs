//! How a process that plays scenarios tells the one that started it: marked lines of JSON among all else that it prints.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::prove::Outcome;

/// Begins every line that is meant to be read.
const MARK: &str = "@fluoro ";

pub fn say(value: &Value) {
    println!("{MARK}{value}");
}

pub fn say_outcome(outcome: &Outcome) {
    say(&json!({ "outcome": outcome }));
}

/// What a line says, if it is a marked one. On a console something may stand before the mark.
pub fn heard(line: &str) -> Option<Value> {
    serde_json::from_str(line.split_once(MARK)?.1.trim()).ok()
}

/// The outcome that was heard, if it is one.
pub fn outcome(value: &Value) -> Result<Option<Outcome>> {
    let outcome = value.get("outcome").map(|outcome| serde_json::from_value(outcome.clone()));
    outcome.transpose().context("an outcome")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::prove::Verdict;

    #[test]
    fn only_marked_lines_are_heard() {
        assert_eq!(heard("{\"end\":true}"), None);
        assert_eq!(heard("[    1.5] noise @fluoro {\"end\":true}\r"), Some(json!({ "end": true })));
        let told = json!({ "outcome": Outcome::new("flows", Verdict::Passed, Vec::new()) });
        let heard = heard(&format!("{MARK}{told}")).unwrap();
        assert_eq!(outcome(&heard).unwrap().unwrap().name, "flows");
        assert!(outcome(&json!({ "outcome": 1 })).is_err());
    }
}
