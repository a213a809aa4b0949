//! The pages of docs/ against the tables in the code that they describe.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use fluoro::families::Family;
use fluoro::filter::{Filter, Keys};

const FILTER: &str = include_str!("../../docs/filter.md");
const DNS: &str = include_str!("../../docs/dns.md");
const DROP: &str = include_str!("../../docs/drop.md");
const FILE: &str = include_str!("../../docs/file.md");
const FLOW: &str = include_str!("../../docs/flow.md");
const SYSCALL: &str = include_str!("../../docs/syscall.md");
const PROCESS: &str = include_str!("../../docs/process.md");

const fn page(family: Family) -> &'static str {
    match family {
        Family::File => FILE,
        Family::Flow => FLOW,
        Family::Syscall => SYSCALL,
        Family::Dns => DNS,
        Family::Drop => DROP,
        Family::Process => PROCESS,
    }
}

fn keys(families: &[Family]) -> Keys {
    let infos: Vec<_> = families.iter().flat_map(|family| family.infos()).copied().collect();
    Keys::of(&infos)
}

/// Contents of the fenced blocks of one kind.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    page.split(&format!("```{kind}\n")).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_filter_on_the_page_parses() {
    let known = keys(Family::ALL);
    let examples: Vec<&str> = blocks(FILTER, "filter").into_iter().flat_map(str::lines).collect();
    assert!(examples.len() > 10);
    for example in examples {
        let (expression, meaning) = example.split_once("   ").unwrap();
        assert!(!meaning.trim().is_empty(), "{example}");
        if let Err(error) = Filter::parse(expression, &known) {
            panic!("{error}");
        }
    }
}

#[test]
fn the_error_on_the_page_is_what_fluoro_says() {
    let errors = blocks(FILTER, "error");
    assert_eq!(errors.len(), 1);
    for error in errors {
        let (expression, message) = error.split_once('\n').unwrap();
        let said = Filter::parse(expression, &keys(Family::ALL)).unwrap_err().to_string();
        assert_eq!(said, message.trim_end());
    }
}

#[test]
fn the_table_of_keys_is_the_keys_of_each_family() {
    let mut told: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let table = FILTER.split("| key | in | looks at |").nth(1).unwrap();
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let (names, families) = (cells.next().unwrap(), cells.next().unwrap());
        for key in quoted(names) {
            let all = Family::ALL.iter().map(|family| family.stem());
            let families = match families {
                "all" => all.collect::<Vec<_>>(),
                some => some.split(", ").collect(),
            };
            for family in families {
                assert!(told.entry(key).or_default().insert(family), "{key} of {family} stands there twice");
            }
        }
    }
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for &family in Family::ALL {
        for key in keys(&[family]).names() {
            known.entry(key).or_default().insert(family.stem());
        }
    }
    assert_eq!(told, known);
}

#[test]
fn a_family_page_names_its_columns_programs_and_hooks() {
    for &family in Family::ALL {
        let page = page(family);
        let shared: BTreeSet<&str> = quoted(PROCESS).collect();
        let own: BTreeSet<&str> = quoted(page).collect();
        for info in family.infos() {
            // Who did it is told once for all families.
            assert!(own.contains(info.id) || shared.contains(info.id), "{}: {}", family.stem(), info.id);
        }
        for program in family.programs() {
            let section = page.split(&format!("### `{}`", program.name)).nth(1).unwrap();
            let section = section.split("\n#").next().unwrap();
            let flat = section.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(program.without), "{}: {}", program.name, program.without);
            let told: Vec<&str> = section
                .lines()
                .filter(|line| line.starts_with("| `"))
                .filter_map(|line| quoted(line).next())
                .collect();
            let names: Vec<&str> = program.alternatives.iter().map(|a| a.name).collect();
            assert_eq!(told, names, "{}: alternatives in order", program.name);
            for blind in program.alternatives.iter().filter_map(|a| a.blind) {
                assert!(section.contains(blind), "{}: {blind}", program.name);
            }
            for alternative in program.alternatives {
                for target in
                    alternative.hook.describe().split_whitespace().skip(1).filter(|word| *word != "+")
                {
                    assert!(quoted(section).any(|word| word == target), "{}: {target}", program.name);
                }
            }
        }
    }
}
