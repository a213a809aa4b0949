//! `cargo xtask bench [--kernel SERIES] [NAME ..]`: the budgets that apply so far, measured side by side: runs with and
//! without fluoro take turns, medians are compared. A table on stdout, the same as JSON in target/bench.json. In a guest
//! everything is emulated: only ratios say something there. Never a test: nothing here fails.

mod calls;
mod console;
mod decode;
mod files;
mod foreign;
mod load;
mod median;
mod on_demand;
mod peers;
mod scale;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::prove::Place;
use crate::{binaries, vm};

type Benchmark = fn(&Place, &mut Report) -> Result<()>;

const BENCHMARKS: &[(&str, Benchmark)] = &[
    ("storm", load::storm),
    ("calls", calls::play),
    ("on-demand", on_demand::play),
    ("bulk", load::bulk),
    ("datagrams", load::datagrams),
    ("iperf", foreign::iperf),
    ("wrk", foreign::wrk),
    ("decode", decode::play),
    ("files", files::opens),
    ("mkdir", files::mkdir),
    ("console", console::standing),
    ("keys", console::keys),
    ("scale", scale::play),
    ("start", console::start),
    ("exit", console::exit),
];

/// Rows of the table, in the order measured.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    who: String,
    what: String,
    unit: &'static str,
    /// Median, least, most.
    figures: [f64; 3],
    budget: Option<f64>,
}

impl Report {
    /// A series of the same measurement; `budget` is what its median should not exceed.
    fn add(
        &mut self,
        who: &str,
        what: impl Into<String>,
        unit: &'static str,
        series: &[f64],
        budget: Option<f64>,
    ) {
        if let Some(figures) = median::of(series) {
            let row = Row { who: who.to_owned(), what: what.into(), unit, figures, budget };
            println!("{}", row.line());
            self.rows.push(row);
        }
    }

    fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let [median, least, most] = row.figures;
            json!({
                "who": row.who, "what": row.what, "unit": row.unit, "median": median, "least": least, "most": most,
                "budget": row.budget, "within": row.within(),
            })
        });
        json!({ "rows": rows.collect::<Vec<_>>() })
    }
}

impl Row {
    fn within(&self) -> Option<bool> {
        let [median, ..] = self.figures;
        self.budget.map(|budget| median <= budget)
    }

    fn line(&self) -> String {
        let Self { who, what, unit, figures: [median, least, most], budget } = self;
        let verdict = match (budget, self.within()) {
            (Some(budget), Some(true)) => format!("{budget:>9} {unit}  within"),
            (Some(budget), _) => format!("{budget:>9} {unit}  OVER"),
            (None, _) => String::new(),
        };
        format!("{who:10} {what:44} {median:>10.3} ({least:.3} - {most:.3}) {unit:8} {verdict}")
    }
}

pub fn main(words: &[String]) -> Result<()> {
    let (kernel, names) = match words {
        [flag, series, names @ ..] if flag == "--kernel" => (Some(series), names),
        names => (None, names),
    };
    if let Some(unknown) = names.iter().find(|name| !BENCHMARKS.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
        bail!("{unknown}: no such benchmark; there are {}", known.join(", "));
    }
    println!("{:10} {:44} {:>10} (least - most)          budget", "who", "what", "median");
    if let Some(series) = kernel {
        return vm::bench(series, names);
    }
    binaries::become_optimised()?;
    let place = &Place::host(binaries::released()?);
    let report = measure(names, place)?;
    let target =
        place.xtask.ancestors().find(|folder| folder.ends_with("target")).unwrap_or(Path::new("target"));
    let path = target.join("bench.json");
    fs::write(&path, format!("{:#}\n", report.to_json()))
        .with_context(|| format!("write {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

fn measure(names: &[String], place: &Place) -> Result<Report> {
    let mut report = Report::default();
    for (name, benchmark) in BENCHMARKS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            benchmark(place, &mut report).with_context(|| format!("bench {name}"))?;
        }
    }
    Ok(report)
}

/// The first of a guest's words, when the others are benchmarks.
pub const WORD: &str = "bench";

/// In a guest: the lines of the table.
pub fn lines(names: &[String], place: &Place) -> Result<Vec<String>> {
    Ok(measure(names, place)?.rows.iter().map(Row::line).collect())
}
