//! The questions of docs/workflows.md, answered by the keys that stand there: on a console in a terminal of its own,
//! while programs do what is asked about. The page is where the keys are; here is what the screen must say after each
//! step, and how many keys an answer may take.

mod load;
mod page;

use anyhow::{Context, Result, ensure};

use super::Place;
use super::checks::Checks;
use super::session::Session;
use crate::shot::Shot;
pub use load::Load;
use page::{Flow, shape};
pub use page::{PAGE, with_screens};

/// Of the terminal; the screens on the page have it, too.
pub const ROWS: u16 = 30;
pub const COLUMNS: u16 = 100;

/// What the screen must say after a step.
type Seen = Box<dyn Fn(&str) -> bool>;

/// One question.
struct Question {
    title: &'static str,
    /// Keys that it may take.
    most: usize,
    /// Before the first key.
    ready: Seen,
    /// After each step of the page.
    steps: Vec<Seen>,
}

fn has(words: &[&str]) -> Seen {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Box::new(move |text| words.iter().all(|word| text.contains(word.as_str())))
}

/// A line has all of these.
fn line(words: &[&str]) -> Seen {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Box::new(move |text| text.lines().any(|line| words.iter().all(|word| line.contains(word.as_str()))))
}

/// The line that says what part of everything is shown, and the first row of the table, have these.
fn first(chips: &[&str], row: &[&str]) -> Seen {
    let (chips, row) = (has(chips), has(row));
    Box::new(move |text| {
        let mut lines = text.lines().skip(2);
        let scope = lines.next().unwrap_or_default();
        // A line is left empty where there is room; below the headings.
        let top = lines.filter(|line| !line.trim().is_empty()).nth(1).unwrap_or_default();
        chips(scope) && row(top)
    })
}

/// Of one process of that name there are its exec, its refused connection and its exit.
fn whole_run(text: &str, name: &str) -> bool {
    let names_of = |event: &str| -> Vec<&str> {
        text.lines()
            .filter(|line| line.contains(event))
            .filter_map(|line| line.split_whitespace().find(|word| word.starts_with(name)))
            .collect()
    };
    let (began, refused) = (names_of("process.exec"), names_of("flow.fail"));
    names_of("process.exit").iter().any(|ended| began.contains(ended) && refused.contains(ended))
}

fn questions(load: &Load) -> Vec<Question> {
    let Load { backup, shop, agent, deploy, reader, .. } = load;
    let chip = |name: &str| format!("process {name}");
    vec![
        Question {
            title: "Who uses my bandwidth?",
            most: 3,
            // Network is the panel at the top left: its first row, when it is known how much that moves.
            ready: {
                let name = backup.name.clone();
                let moves = move |line: &str| {
                    let network: String = line.chars().take(usize::from(COLUMNS) / 2).collect();
                    network.contains(&name) && network.contains("MB/s")
                };
                Box::new(move |text| text.lines().nth(5).is_some_and(&moves))
            },
            steps: vec![line(&["▸", &backup.name]), has(&[&chip(&backup.name)]), {
                // Both ends are its own: each is the other's peer.
                let end = |port: u64| line(&[&backup.name, &format!("127.0.0.1:{port} "), "MB"]);
                let (sender, receiver) = (end(load.sender), end(load.receiver));
                let only = first(&[&chip(&backup.name)], &[&backup.name, "MB"]);
                Box::new(move |text| sender(text) && receiver(text) && only(text))
            }],
        },
        Question {
            title: "Why is this service slow?",
            most: 11,
            ready: has(&["Network"]),
            steps: vec![
                line(&["all processes"]),
                first(&["/ shop"], &[&shop.name]),
                {
                    let (connect, read) = (line(&["connect ", "p50", "p99"]), line(&["read ", "p50", "p99"]));
                    Box::new(move |text| connect(text) && read(text))
                },
                has(&[&chip(&shop.name)]),
                first(&[&chip(&shop.name)], &[&shop.name, "stock.pipe"]),
            ],
        },
        Question {
            title: "What keeps failing?",
            most: 4,
            ready: has(&["Network"]),
            steps: vec![
                first(&["all failures"], &["ECONNREFUSED", &agent.name]),
                has(&[&chip(&agent.name)]),
                first(&[&chip(&agent.name)], &["flow.fail", "ECONNREFUSED"]),
            ],
        },
        Question {
            title: "What did that short-lived process do?",
            most: 13,
            ready: has(&["Network"]),
            steps: vec![
                line(&["all events"]),
                {
                    // A run from its start to its end: whoever began before processes are observed has no parents.
                    let filtered = first(&["/ migrate"], &["migrate("]);
                    Box::new(move |text: &str| filtered(text) && whole_run(text, "migrate("))
                },
                has(&["PAUSED"]),
                {
                    let line_of_descent = format!("{} › migrate(", deploy.name);
                    let made_by = move |text: &str| {
                        // A long line of descent goes on in the next row, wherever that begins.
                        let words: Vec<&str> = text.split_whitespace().collect();
                        text.contains("PAUSED") && words.join(" ").contains(&line_of_descent)
                    };
                    let ended = line(&["process.exit", "migrate("]);
                    Box::new(move |text: &str| made_by(text) && ended(text))
                },
            ],
        },
        Question {
            title: "Who touches /etc?",
            most: 14,
            ready: has(&["Network"]),
            steps: vec![line(&["all files"]), line(&[&reader.name, "/etc/passwd"])],
        },
    ]
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let load = Load::start(place)?;
    answer(place, &load, Some(checks), &mut |_| ())
}

/// Asks every question; `tell` gets the screen with each answer, named as on the page.
pub fn answer(
    place: &Place,
    load: &Load,
    mut checks: Option<&mut Checks>,
    tell: &mut dyn FnMut(Shot),
) -> Result<()> {
    let page = page::flows(PAGE)?;
    let questions = questions(load);
    ensure!(
        page.iter().map(|flow| flow.title.as_str()).eq(questions.iter().map(|question| question.title)),
        "docs/workflows.md has other questions than are known here"
    );
    for (question, flow) in questions.iter().zip(&page) {
        let title = question.title;
        let asked = ask(place, question, flow).with_context(|| title.to_owned());
        let (keys, shot) = match (asked, &mut checks) {
            (Ok(answer), _) => answer,
            (Err(error), None) => return Err(error),
            (Err(error), Some(checks)) => {
                checks.that(title, "answered", format!("{error:#}"), false);
                continue;
            }
        };
        if let Some(checks) = &mut checks {
            checks.at_most(format!("{title} Keys"), question.most, keys);
            for (what, on_page, on_screen) in shape(&flow.screen, &shot.text()) {
                checks.equal(format!("{title} {what}, as on the page"), on_page, on_screen);
            }
        }
        tell(shot);
    }
    Ok(())
}

fn ask(place: &Place, question: &Question, flow: &Flow) -> Result<(usize, Shot)> {
    let within = place.patience(15);
    ensure!(
        question.steps.len() == flow.steps.len(),
        "{} steps on the page, {} are known here",
        flow.steps.len(),
        question.steps.len()
    );
    let mut session = Session::start(place, &[], ROWS, COLUMNS)?;
    session.until("before the first key", within, |text| (question.ready)(text))?;
    for (keys, seen) in flow.steps.iter().zip(&question.steps) {
        session.press(keys)?;
        session.until(&format!("after {keys:?}"), within, |text| seen(text))?;
    }
    let shot = session.shot(question.title);
    session.console.press(b"q")?;
    session.console.await_end(within)?.context("the console did not end on q")?;
    Ok((session.keys, shot))
}
