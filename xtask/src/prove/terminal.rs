//! A terminal that gives trouble while the machine is busy: it reads nothing for ten seconds, its window changes size
//! without end. Collecting goes on, the ledger balances, and leaving takes no longer than promised.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::checks::Checks;
use super::session::{Key, Session};
use super::{Place, on_demand, run};
use crate::workload::actor::Actor;

const ROWS: u16 = 40;
const COLUMNS: u16 = 100;
/// How long the terminal reads nothing.
const STUCK: u64 = 10;
/// The same while files are opened.
const STUCK_OPENS: u64 = 5;
/// Events that arrive in each second of it.
const A_SECOND: f64 = 200_000.0;
const PROMISED: Duration = Duration::from_secs(1);

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let within = place.patience(20);
    let mut session = Session::start(place, &[], ROWS, COLUMNS)?;
    session.press(&[Key::Char('6')])?;
    // A quiet machine has nothing to tell by itself.
    session.until("the stream", within, |text| {
        text.contains("file.open") || text.contains("Nothing has happened since")
    })?;
    let mut first = storm(place, 1)?;
    first.tell("go")?;
    session.until("calls in the stream", within, |text| text.contains("file.open"))?;
    first.conclusion(within)?;

    let opens = stuck(place, checks, &mut session)?;
    balances(place, checks, &mut session, opens)?;
    counted(place, checks, &mut session)?;
    resized(place, checks, &mut session)?;

    // Busy and stuck again, and told to go.
    session.press(&[Key::Char('6')])?;
    let mut storm = storm(place, 30)?;
    session.console.stick(true);
    storm.tell("go")?;
    // Long enough for the terminal to be full.
    thread::sleep(Duration::from_secs(1));
    run::send(session.console.pid(), Signal::SIGTERM)?;
    let ended = session.console.await_end(within)?;
    drop(storm);
    let (status, took) = ended.context("the console did not end on SIGTERM")?;
    checks.equal("exit code after SIGTERM", "0".to_owned(), run::ending(status.code(), None));
    let promised = place.patience(PROMISED.as_secs()).as_secs_f64();
    checks.at_most("seconds from SIGTERM to the end, stuck and busy", promised, took.as_secs_f64());
    session.console.stick(false);
    checks.none("terminal modes left behind", &session.console.left_behind()?);
    Ok(())
}

fn storm(place: &Place, seconds: u64) -> Result<Actor> {
    let actor =
        Actor::start(&place.xtask, &["file-storm", "1000000000", "/proc/self/comm", &seconds.to_string()])?;
    actor.hear(place.patience(10))?;
    Ok(actor)
}

/// Opens as fast as they go while nothing is read from the terminal; how many there were.
fn stuck(place: &Place, checks: &mut Checks, session: &mut Session) -> Result<u64> {
    session.console.stick(true);
    let mut actors = [storm(place, STUCK_OPENS)?, storm(place, STUCK_OPENS)?];
    let begin = Instant::now();
    for actor in &mut actors {
        actor.tell("go")?;
    }
    let mut opens = 0;
    for actor in actors {
        let told = actor.conclusion(place.patience(STUCK_OPENS + 20))?;
        opens += told.get("opens").and_then(Value::as_u64).context("no opens")?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    checks.note(format!("{opens} opens in {seconds:.1} s: {:.0} a second", opens as f64 / seconds));
    checks.at_least("seconds that the terminal read nothing", STUCK_OPENS as f64, seconds);
    session.console.stick(false);
    Ok(opens)
}

/// Two processes make one call as fast as it goes while nothing is read from the terminal, and know how often; then
/// the details of that call of each of them say the same.
fn counted(place: &Place, checks: &mut Checks, session: &mut Session) -> Result<()> {
    let within = place.patience(20);
    session.press(&Key::all("`4` `/syscall:getppid` Enter")?)?;
    let caller = format!("({})", std::process::id());
    session.until("that calls are counted", within, |text| {
        // Again with each picture: the table may be older than the programs.
        on_demand::getppid();
        text.lines().any(|line| line.contains(&caller) && line.contains("getppid"))
    })?;
    let mut actors = Vec::new();
    for _ in 0..2 {
        let actor = Actor::start(&place.xtask, &["parents", &STUCK.to_string()])?;
        let pid = actor.hear(within)?.get("pid").and_then(Value::as_u64).context("no pid")?;
        actors.push((actor, pid));
    }
    session.console.stick(true);
    let begin = Instant::now();
    for (actor, _) in &mut actors {
        actor.tell("go")?;
    }
    let mut made = Vec::new();
    for (actor, pid) in &actors {
        let told = actor.hear(place.patience(STUCK + 20))?;
        made.push((*pid, told.get("calls").and_then(Value::as_u64).context("no calls")?));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let calls: u64 = made.iter().map(|(_, calls)| calls).sum();
    checks.at_least("seconds that the terminal read nothing, calls", STUCK as f64, seconds);
    checks.at_least("calls a second meanwhile", A_SECOND, calls as f64 / seconds);
    session.console.stick(false);
    for (pid, calls) in made {
        session.press(&[Key::Esc])?;
        session.until("no filter", within, |text| text.contains("all calls"))?;
        session.press(&Key::all(&format!("`/pid:{pid}` Space `syscall:getppid` Enter"))?)?;
        session.until("its call", within, |text| text.contains(" 1 of "))?;
        session.press(&Key::all("`j` Enter")?)?;
        let whose = format!("({pid})");
        let total = |text: &str| {
            let (_, pane) = text.split_once(" Details ").filter(|(_, pane)| pane.contains(&whose))?;
            let mut words = pane.split_whitespace().skip_while(|word| *word != "total");
            words.nth(1)?.replace(',', "").parse::<u64>().ok()
        };
        // What was counted last comes with the next tick.
        let met = session.until("every call of it", within, |text| total(text) >= Some(calls));
        let counted = total(&session.text()).unwrap_or(0);
        checks.equal(format!("calls of {pid}: made, counted"), calls, counted);
        met?;
        session.press(&[Key::Esc])?;
        session.until("no details", within, |text| !text.contains(" Details "))?;
    }
    actors.iter_mut().try_for_each(|(actor, _)| actor.end(within))
}

/// The books of `file`, off the details of one of its programs.
fn balances(place: &Place, checks: &mut Checks, session: &mut Session, opens: u64) -> Result<()> {
    session.press(&Key::all("`8`")?)?;
    session.until("the programs", place.patience(20), |text| text.contains("PROGRAM"))?;
    session.press(&Key::all("`/file_` Enter `j` Enter")?)?;
    session.until("the books, whole and balanced", place.patience(20), |text| {
        Books::read(text).is_some_and(|books| books.seen >= opens && books.balances())
    })?;
    let books = Books::read(&session.text()).context("no books")?;
    let Books { seen, submitted, lost, .. } = books;
    checks.that(
        "seen = submitted + muted + filtered + lost + error",
        "balanced",
        format!("{books:?}"),
        books.balances(),
    );
    checks.at_least("events seen: the opens, and others'", opens, seen);
    // Rings hold a fraction of a second of this: had nobody read them for ten seconds, nearly all were lost.
    checks.at_most("events lost, of those seen", seen / 2, lost);
    checks.note(format!("submitted {submitted}, lost {lost} of {seen}"));
    session.press(&Key::all("Esc Esc")?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Books {
    seen: u64,
    submitted: u64,
    muted: u64,
    filtered: u64,
    lost: u64,
    error: u64,
}

impl Books {
    fn read(text: &str) -> Option<Self> {
        let (_, pane) = text.split_once(" Details ")?;
        let words: Vec<&str> = pane.split_whitespace().collect();
        let figure = |label: &str| {
            let at = words.iter().position(|word| *word == label)?;
            words.get(at + 1)?.replace(',', "").parse().ok()
        };
        Some(Self {
            seen: figure("seen")?,
            submitted: figure("submitted")?,
            muted: figure("muted")?,
            filtered: figure("filtered")?,
            lost: figure("lost")?,
            error: figure("error")?,
        })
    }

    const fn balances(&self) -> bool {
        self.seen == self.submitted + self.muted + self.filtered + self.lost + self.error
    }
}

/// Two hundred sizes one after the other; then the screen is whole at the last.
fn resized(place: &Place, checks: &mut Checks, session: &mut Session) -> Result<()> {
    for turn in 0..200_u16 {
        session.console.resize(5 + turn * 7 % 60, 10 + turn * 13 % 240)?;
    }
    let (rows, columns) = (30, 90);
    session.resize(rows, columns)?;
    let text = session.until("the last size", place.patience(10), |text| {
        let lines: Vec<&str> = text.lines().collect();
        lines.first().is_some_and(|line| line.starts_with("fluoro"))
            && lines.get(usize::from(rows) - 1).is_some_and(|line| line.contains("? help"))
    })?;
    let long: Vec<String> =
        text.lines().filter(|line| line.chars().count() > usize::from(columns)).map(str::to_owned).collect();
    checks.none("lines longer than the window after 200 changes of its size", &long);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Books;

    #[test]
    fn books_are_read_off_the_details() {
        let text =
            "lost 7\n── Details ──\n seen  1,012  submitted 1,000\n muted 2 filtered 3 lost 7 error 0\n";
        let books = Books::read(text);
        assert_eq!(books.map(|books| (books.seen, books.lost)), Some((1_012, 7)));
        assert!(books.is_some_and(|books| books.balances()));
        assert_eq!(Books::read("no pane"), None);
    }
}
