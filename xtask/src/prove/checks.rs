//! The book of one scenario: what was expected, what was observed, and a few examples where they differ.

use std::fmt::Display;

use super::Verdict;

const EXAMPLES: usize = 5;

#[derive(Debug, Default)]
pub struct Checks {
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Check { what: String, expected: String, observed: String, good: bool, examples: Vec<String> },
    Note(String),
}

impl Checks {
    pub fn equal<T: Display + PartialEq>(&mut self, what: impl Into<String>, expected: T, observed: T) {
        let good = expected == observed;
        self.that(what, expected, observed, good);
    }

    pub fn at_most<T: Display + PartialOrd + Copy>(&mut self, what: impl Into<String>, most: T, observed: T) {
        let good = observed <= most;
        self.that(what, format!("at most {most}"), observed, good);
    }

    pub fn at_least<T: Display + PartialOrd + Copy>(
        &mut self,
        what: impl Into<String>,
        least: T,
        observed: T,
    ) {
        let good = observed >= least;
        self.that(what, format!("at least {least}"), observed, good);
    }

    /// No more than expected, and short of it by what was missed at most.
    pub fn short(&mut self, what: impl Into<String>, expected: u64, missed: u64, observed: u64) {
        let told = match missed {
            0 => expected.to_string(),
            _ => format!("{expected}, less at most {missed} missed"),
        };
        self.that(what, told, observed, observed <= expected && observed + missed >= expected);
    }

    /// Of this kind no more should have been found than runs of hooks were missed; what was is shown.
    pub fn few(&mut self, what: impl Into<String>, missed: u64, found: &[String]) {
        let good = found.len() as u64 <= missed;
        self.push(what.into(), format!("at most {missed}"), found.len().to_string(), good, found);
    }

    /// Nothing of this kind should have been found; what was is shown.
    pub fn none(&mut self, what: impl Into<String>, found: &[String]) {
        self.push(what.into(), "0".to_owned(), found.len().to_string(), found.is_empty(), found);
    }

    pub fn that(
        &mut self,
        what: impl Into<String>,
        expected: impl Display,
        observed: impl Display,
        good: bool,
    ) {
        self.push(what.into(), expected.to_string(), observed.to_string(), good, &[]);
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.rows.push(Row::Note(text.into()));
    }

    fn push(&mut self, what: String, expected: String, observed: String, good: bool, found: &[String]) {
        let examples = found.iter().take(EXAMPLES).cloned().collect();
        self.rows.push(Row::Check { what, expected, observed, good, examples });
    }

    pub fn verdict(&self) -> Verdict {
        let failed: Vec<&str> = self
            .rows
            .iter()
            .filter_map(|row| match row {
                Row::Check { what, good: false, .. } => Some(what.as_str()),
                _ => None,
            })
            .collect();
        let checked = self.rows.iter().any(|row| matches!(row, Row::Check { .. }));
        match failed.as_slice() {
            [] if checked => Verdict::Passed,
            [] => Verdict::Failed("nothing was checked".to_owned()),
            some => Verdict::Failed(some.join("; ")),
        }
    }

    /// A line a check: `ok    what    expected    observed`.
    pub fn lines(&self) -> Vec<String> {
        let widest = |cell: fn(&str, &str) -> usize| {
            self.rows
                .iter()
                .filter_map(|row| match row {
                    Row::Check { what, expected, .. } => Some(cell(what, expected)),
                    Row::Note(_) => None,
                })
                .max()
                .unwrap_or(0)
                .min(70)
        };
        let (first, second) =
            (widest(|what, _| what.chars().count()), widest(|_, expected| expected.chars().count()));
        let mut lines = vec![format!("      {:first$}  {:second$}  observed", "check", "expected")];
        for row in &self.rows {
            match row {
                Row::Note(text) => lines.push(format!("      {text}")),
                Row::Check { what, expected, observed, good, examples } => {
                    let mark = if *good { "ok  " } else { "FAIL" };
                    lines.push(format!("{mark}  {what:first$}  {expected:second$}  {observed}"));
                    lines.extend(examples.iter().map(|example| format!("        {example}")));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_fails_and_is_named() {
        let mut checks = Checks::default();
        checks.equal("opens", 4, 4);
        checks.equal("closes", 4, 3);
        assert_eq!(checks.verdict(), Verdict::Failed("closes".to_owned()));
        assert!(checks.lines().iter().any(|line| line.starts_with("FAIL  closes")));
    }

    #[test]
    fn a_scenario_that_checked_nothing_does_not_pass() {
        let mut checks = Checks::default();
        checks.note("no check at all");
        assert!(matches!(checks.verdict(), Verdict::Failed(_)));
    }

    #[test]
    fn what_was_missed_may_be_missing_and_no_more() {
        let passes = |check: &dyn Fn(&mut Checks)| {
            let mut checks = Checks::default();
            check(&mut checks);
            checks.verdict() == Verdict::Passed
        };
        assert!(passes(&|checks| checks.short("a", 4, 0, 4)));
        assert!(passes(&|checks| checks.short("a", 4, 1, 3)));
        assert!(!passes(&|checks| checks.short("a", 4, 0, 3)));
        assert!(!passes(&|checks| checks.short("a", 4, 1, 2)));
        assert!(!passes(&|checks| checks.short("a", 4, 1, 5)));
        let found = ["one".to_owned()];
        assert!(passes(&|checks| checks.few("a", 1, &found)));
        assert!(!passes(&|checks| checks.few("a", 0, &found)));
    }

    #[test]
    fn few_examples_stand_for_many() {
        let mut checks = Checks::default();
        checks.none("strays", &vec!["one".to_owned(); 100]);
        assert_eq!(checks.lines().iter().filter(|line| line.trim() == "one").count(), EXAMPLES);
    }
}
