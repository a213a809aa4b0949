//! Names from outside drive nothing: a million of them as paths, names of processes and arguments, through the lines of
//! `observe`, and through the console, whose bytes are read as a terminal reads them.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::checks::Checks;
use super::session::{Key, Session};
use super::{Place, run};
use crate::workload::actor::Actor;
use crate::workload::hostile::name;

const NAMES: u32 = 1_000_000;
/// Of them, typed as filters.
const FILTERS: u64 = 60;
const ROWS: u16 = 50;
const COLUMNS: u16 = 160;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let names = place.scaled(NAMES, 20_000);
    lines(place, checks, names)?;
    console(place, checks, names / 4)
}

/// `observe` as text.
fn lines(place: &Place, checks: &mut Checks, names: u32) -> Result<()> {
    let mut actor = Actor::start(&place.xtask, &["hostile", &names.to_string(), "150", "50"])?;
    actor.hear(place.patience(10))?;
    let mut child = run::fluoro(place, &["observe", "file", "process", "--args", "-o", "table"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start fluoro")?;
    let mut errors = BufReader::new(child.stderr.take().context("no stderr")?);
    let mut ready = String::new();
    errors.read_line(&mut ready).context("read stderr")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let reading = thread::spawn(move || {
        let mut found = Found::default();
        for line in BufReader::with_capacity(1 << 20, stdout).split(b'\n').map_while(Result::ok) {
            found.lines += 1;
            found.names += u64::from(line.windows(6).any(|window| window == b"ENOENT"));
            found.look(&line);
        }
        found
    });
    actor.tell("go")?;
    actor.conclusion(place.patience(60))?;
    run::send(child.id(), Signal::SIGINT)?;
    let ended = run::await_end(&mut child, place.patience(20), || ())?;
    let found = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    let mut said = String::new();
    errors.read_to_string(&mut said).context("read stderr")?;
    checks.note(format!("observe: {} lines; {}", found.lines, said.lines().last().unwrap_or_default()));
    checks.that(
        "observe: ending",
        "0",
        ended.map_or_else(|| "still there".to_owned(), |(status, _)| status.to_string()),
        ended.is_some_and(|(status, _)| status.success()),
    );
    checks.at_least(
        "observe: names shown, of those there were, at least half",
        u64::from(names) / 2,
        found.names,
    );
    checks.none("observe: lines with characters that could drive or hide", &found.harmful);
    Ok(())
}

#[derive(Default)]
struct Found {
    lines: u64,
    names: u64,
    harmful: Vec<String>,
}

impl Found {
    fn look(&mut self, line: &[u8]) {
        let harm = match std::str::from_utf8(line) {
            Ok(text) => text.chars().find(|c| is_harmful(*c)).map(|c| format!("{c:?} in {text:?}")),
            Err(error) => Some(format!("{error} in {line:?}")),
        };
        self.harmful.extend(harm.filter(|_| self.harmful.len() < 20));
    }
}

/// C0, DEL and C1; what turns text around; what takes no room.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The views that show names, one after the other, while names come; filters made of them.
fn console(place: &Place, checks: &mut Checks, names: u32) -> Result<()> {
    let within = place.patience(20);
    let mut session = Session::start(place, &[], ROWS, COLUMNS)?;
    session.until("the overview", within, |text| text.contains("Network"))?;
    let (mut seen, mut crooked) = (0, Vec::new());
    for view in ['6', '3', '5', '1'] {
        let mut actor = Actor::start(&place.xtask, &["hostile", &(names / 4).to_string(), "50", "20"])?;
        actor.hear(within)?;
        session.press(&[Key::Char(view)])?;
        session.until("the view", within, |text| {
            (view == '1' || text.contains("PROCESS")) && !text.contains("Attaching what")
        })?;
        actor.tell("go")?;
        let talking = thread::scope(|scope| {
            let ended = scope.spawn(|| actor.conclusion(place.patience(60)));
            while !ended.is_finished() {
                seen += u64::from(session.text().contains("ENOENT"));
                crooked.extend(gaps(session.screen()));
                thread::sleep(std::time::Duration::from_millis(30));
            }
            ended.join()
        });
        talking.map_err(|_| anyhow::anyhow!("the reader of the workload panicked"))??;
    }
    checks.at_least("console: pictures with such names", 3, seen);
    checks.none("console: text between the columns", &crooked);

    session.press(&Key::all("`6`")?)?;
    for number in 0..FILTERS {
        let mut paste = b"/\x1b[200~".to_vec();
        // The end of a paste is the terminal's to find: it cannot be part of one.
        paste.extend(name(number, 80).into_iter().filter(|byte| *byte != 0x1b));
        paste.extend(b"\x1b[201~");
        session.console.press(&paste)?;
        session.until("a filter", within, |text| text.contains("Esc restore"))?;
        session.press(&[Key::Esc])?;
        session.until("no filter", within, |text| text.contains("all events"))?;
    }
    session.console.press(b"\x03")?;
    let ended = session.console.await_end(within)?;
    checks.that(
        "console: ending",
        "0",
        ended.map_or_else(|| "still there".to_owned(), |(status, _)| status.to_string()),
        ended.is_some_and(|(status, _)| status.success()),
    );
    let driven = session.console.with_screen(|screen| foreign(&screen.bytes));
    checks.none("console: commands to the terminal that are not fluoro's own", &driven);
    checks.none("console: terminal modes left behind", &session.console.left_behind()?);
    Ok(())
}

/// What stands in the gap left of a heading: columns keep their places whatever their cells hold.
fn gaps(screen: &vt100::Screen) -> Vec<String> {
    let (rows, columns) = screen.size();
    let line = |row: u16| -> Vec<String> {
        let cell = |column| screen.cell(row, column);
        (0..columns)
            .map(|column| match cell(column) {
                // The second half of a wide character is as little a gap as the first.
                Some(cell) if cell.is_wide_continuation() => "half".to_owned(),
                Some(cell) if cell.has_contents() => cell.contents().to_owned(),
                _ => " ".to_owned(),
            })
            .collect()
    };
    let Some(heads) = (0..rows.min(8)).find(|row| line(*row).concat().contains("PROCESS ")) else {
        return Vec::new();
    };
    let heading = line(heads);
    let blank = |cells: &[String], at: usize| cells.get(at).is_none_or(|cell| cell == " ");
    // A heading at the left of its column begins behind two blanks; those at the right end with their column.
    let places: Vec<usize> = heading
        .iter()
        .enumerate()
        .filter(|(at, cell)| *at > 2 && *cell != " " && blank(&heading, at - 1) && blank(&heading, at - 2))
        .map(|(at, _)| at)
        .filter(|at| {
            let rest = heading.get(*at..).unwrap_or_default().concat();
            LEFT.iter().any(|title| rest.starts_with(title))
        })
        .collect();
    (heads + 1..rows.saturating_sub(3))
        .map(line)
        .filter(|cells| places.iter().any(|at| !blank(cells, at - 1)))
        .map(|cells| cells.concat())
        // A row names its process; what is said in place of rows stands in no columns.
        .filter(|line| line.contains('(') && line.contains(')'))
        .take(3)
        .collect()
}

/// Headings that stand at the left of their columns.
const LEFT: [&str; 5] = ["PROCESS", "OWNER", "USER", "PATH", "EVENT"];

/// Escape sequences that fluoro has no use for, and characters that are no text.
fn foreign(bytes: &[u8]) -> Vec<String> {
    // It asks for the background once.
    let text = String::from_utf8_lossy(bytes).replacen("\x1b]11;?\x1b\\", "", 1);
    let mut found = Vec::new();
    let mut parts = text.split('\x1b');
    let mut plain = |text: &str| {
        let harm = text.chars().find(|c| is_harmful(*c) && !matches!(c, '\r' | '\n'));
        found.extend(harm.map(|c| format!("{c:?} in {text:?}")).filter(|_| found.len() < 20));
    };
    parts.next().map(&mut plain);
    let mut wrong = Vec::new();
    for part in parts {
        let end = part.find(|c: char| ('@'..='~').contains(&c) && c != '[');
        let (command, rest) = part.split_at(end.map_or(part.len(), |end| end + 1));
        let known = command.starts_with('[') && command.ends_with(['m', 'H', 'h', 'l', 'J']);
        if !known && wrong.len() < 20 {
            wrong.push(format!("{command:?}"));
        }
        plain(rest);
    }
    wrong.extend(found);
    wrong
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn only_colours_cursor_and_modes_are_fluoros_own() {
        assert!(foreign(b"\x1b[?1049h\x1b[2J\x1b[1;1Htext\x1b[0m\x1b[?1049l").is_empty());
        assert_eq!(foreign(b"a\x1b]0;title\x07").len(), 2);
        assert_eq!(foreign("a\u{9b}b".as_bytes()).len(), 1);
        assert_eq!(foreign("\x1b[31ma\u{202e}b".as_bytes()).len(), 1);
    }
}
