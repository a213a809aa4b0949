//! The console as a guest: what it costs while it stands there, how soon it shows something, how soon it is gone.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Report;
use crate::prove::pty::Console;
use crate::prove::witness::{self, BpfKind};
use crate::prove::{Place, fluoro_command};
use crate::workload::actor::Actor;

/// Programs of the same trade, measured the same way where they are installed.
pub const PEERS: &[(&str, &[&str])] = &[
    ("bandwhich", &["-i", "lo"]),
    ("rustnet", &["-i", "lo"]),
    ("nethogs", &["-a", "lo"]),
    ("iftop", &["-i", "lo"]),
    ("htop", &[]),
    ("btop", &[]),
];

pub const ROWS: u16 = 50;
pub const COLUMNS: u16 = 200;
const ROUNDS: usize = 5;
/// What draws little by little may never paint a frame that is told from its parts.
const PEER: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(30);

/// More than modes and a clearing: something stands on the screen.
const FRAME: usize = 1_000;

pub fn installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

/// Live flows, and the budgets: CPU in percent, resident memory in MiB, bytes a second to the terminal.
const CROWDS: &[(u32, [Option<f64>; 3])] = &[
    (0, [Some(0.5), Some(30.0), Some(200.0)]),
    (1_000, [Some(1.0), Some(35.0), Some(800.0)]),
    (10_000, [Some(4.0), Some(60.0), Some(1_000.0)]),
    (50_000, [Some(15.0), Some(120.0), None]),
    (100_000, [None, Some(200.0), None]),
];

/// Longer than what no view needs any more stays attached.
pub const LINGER: Duration = Duration::from_secs(12);

pub fn standing(place: &Place, report: &mut Report) -> Result<()> {
    for &(flows, budgets) in CROWDS {
        let _crowd = crowd(place, flows, 0.0)?;
        let what = if flows == 0 { "idle".to_owned() } else { format!("{flows} flows") };
        let mut console = Console::run(fluoro_command(place, &[]), ROWS, COLUMNS)?;
        let pid = console.pid();
        console.wait_until("programs are attached", LIMIT, |_| attached(pid))?;
        console.press(b"2").context("choose the view Flows")?;
        // What the overview needs is let go.
        thread::sleep(LINGER);
        measure(report, "fluoro", &what, &console, budgets)?;
        drop(console);
        for (peer, args) in PEERS.iter().filter(|(peer, _)| installed(peer)) {
            let mut command = Command::new(peer);
            command.args(*args);
            measure(report, peer, &what, &Console::run(command, ROWS, COLUMNS)?, [None; 3])?;
        }
    }
    Ok(())
}

/// Processes that hold so many sockets together, of which this share carries something each second (and a few in any
/// case); no process may have as many descriptors as the largest crowd needs.
pub fn crowd(place: &Place, flows: u32, talking: f64) -> Result<Vec<Actor>> {
    const EACH: u32 = 18_000;
    let mut actors = Vec::new();
    let mut left = flows;
    while left > 0 {
        let some = left.min(EACH);
        let pairs = (some / 2).to_string();
        let talk = ((f64::from(some / 2) * talking) as u32).max(20).to_string();
        actors.push(Actor::start(&place.xtask, &["crowd", &pairs, &talk])?);
        left -= some;
    }
    for actor in &actors {
        actor.hear(LIMIT)?;
    }
    Ok(actors)
}

fn measure(
    report: &mut Report,
    who: &str,
    what: &str,
    console: &Console,
    budgets: [Option<f64>; 3],
) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(3);
    // The first pictures and the priming are the matter of `start`.
    thread::sleep(Duration::from_secs(3));
    let pid = console.pid();
    let (mut shares, mut resident, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let look = || Some((witness::run_time(pid)?, console.with_screen(|screen| screen.bytes.len())));
        let (time, bytes) = look().with_context(|| format!("{who} is gone: {}", console.tail()))?;
        thread::sleep(WINDOW);
        let (later, more) = look().with_context(|| format!("{who} is gone: {}", console.tail()))?;
        shares.push(100.0 * later.saturating_sub(time).as_secs_f64() / WINDOW.as_secs_f64());
        rates.push((more - bytes) as f64 / WINDOW.as_secs_f64());
        resident.push(witness::resident_kib(pid).context("no VmRSS")? as f64 / 1024.0);
    }
    let [cpu, memory, bytes] = budgets;
    report.add(who, format!("{what}: CPU"), "%", &shares, cpu);
    report.add(who, format!("{what}: resident"), "MiB", &resident, memory);
    report.add(who, format!("{what}: to the terminal"), "B/s", &rates, bytes);
    Ok(())
}

pub fn attached(pid: u32) -> bool {
    witness::bpf_ids_held(pid).iter().any(|(kind, _)| *kind == BpfKind::Link)
}

/// From exec to the first painted frame, and to the first row of a connection that was there before.
pub fn start(place: &Place, report: &mut Report) -> Result<()> {
    let actor = Actor::start(&place.xtask, &["hold", "1", "1000"])?;
    let held = actor.hear(LIMIT)?;
    let port = held.get("port").and_then(Value::as_u64).context("no port")?.to_string();
    let (mut frames, mut rows) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut console = Console::run(fluoro_command(place, &[]), ROWS, COLUMNS)?;
        console.wait_until("the first frame", LIMIT, |console| arrival(console, b"Flows").is_some())?;
        console.press(b"2")?;
        console.wait_until("the row of a connection", LIMIT, |console| {
            arrival(console, port.as_bytes()).is_some()
        })?;
        frames.extend(arrival(&console, b"Flows").map(|after| after.as_secs_f64() * 1e3));
        rows.extend(arrival(&console, port.as_bytes()).map(|after| after.as_secs_f64() * 1e3));
    }
    report.add("fluoro", "exec to the first frame", "ms", &frames, Some(50.0));
    report.add("fluoro", "exec to the first live row", "ms", &rows, Some(500.0));
    for (peer, args) in PEERS.iter().filter(|(peer, _)| installed(peer)) {
        let mut frames = Vec::new();
        for _ in 0..ROUNDS {
            let mut command = Command::new(peer);
            command.args(*args);
            let mut console = Console::run(command, ROWS, COLUMNS)?;
            let first = |console: &Console| {
                console
                    .with_screen(|screen| screen.arrivals.iter().find(|(_, bytes)| *bytes > FRAME).copied())
            };
            if console.wait_until("the first frame", PEER, |console| first(console).is_some()).is_err() {
                eprintln!("{peer}: no frame of more than {FRAME} bytes within {} s", PEER.as_secs());
                break;
            }
            frames.extend(first(&console).map(|(after, _)| after.as_secs_f64() * 1e3));
        }
        report.add(peer, "exec to the first frame", "ms", &frames, None);
    }
    Ok(())
}

/// From a key to the picture that answers it, with 10,000 flows and a CPU that opens files as fast as it can.
pub fn keys(place: &Place, report: &mut Report) -> Result<()> {
    const FLOWS: u32 = 10_000;
    let _crowd = crowd(place, FLOWS, 0.0)?;
    let mut storm = Actor::start(&place.xtask, &["file-storm", "1000000000", "/proc/self/comm", "600"])?;
    storm.hear(LIMIT)?;
    let what = format!("{FLOWS} flows, a busy CPU: key to paint");
    let mut console = Console::run(fluoro_command(place, &[]), ROWS, COLUMNS)?;
    let pid = console.pid();
    console.wait_until("programs are attached", LIMIT, |_| attached(pid))?;
    console.press(b"2").context("choose the view Flows")?;
    storm.tell("go")?;
    // The first press only marks a row: in the midst of the table each key after it moves the marker.
    console.press(&[b'j'; 30])?;
    // Where the marker is painted the key was heard: a tick that only changes figures does not paint it.
    paint(report, "fluoro", &what, &mut console, [b"j", b"k"], "▸".as_bytes())?;
    drop(console);
    for (peer, args) in PEERS.iter().filter(|(peer, _)| installed(peer)) {
        let mut command = Command::new(peer);
        command.args(*args);
        let mut console = Console::run(command, ROWS, COLUMNS)?;
        paint(report, peer, &what, &mut console, [b"\x1b[B", b"\x1b[A"], b"\x1b[")?;
    }
    Ok(())
}

fn paint(
    report: &mut Report,
    who: &str,
    what: &str,
    console: &mut Console,
    keys: [&[u8]; 2],
    answer: &[u8],
) -> Result<()> {
    const PRESSES: usize = 100;
    /// What has not been answered by then never will be.
    const PATIENCE: Duration = Duration::from_secs(3);
    /// So many may have none, of all of them; they are told.
    const UNANSWERED: usize = 5;
    thread::sleep(Duration::from_secs(3));
    let (mut medians, mut worst) = (Vec::new(), Vec::new());
    let mut unanswered = 0;
    for _ in 0..ROUNDS {
        let mut took = Vec::new();
        for turn in 0..PRESSES {
            // Not in step with ticks.
            thread::sleep(Duration::from_millis(37));
            let Some(key) = keys.get(turn % 2) else { continue };
            let from = console.with_screen(|screen| screen.bytes.len());
            let pressed = console.age();
            console.press(key)?;
            let painted = |console: &Console| {
                console.with_screen(|screen| {
                    let new = screen.bytes.get(from..)?;
                    let at = from + new.windows(answer.len()).position(|window| window == answer)?;
                    screen.arrivals.iter().find(|(_, so_far)| *so_far > at).map(|(after, _)| *after)
                })
            };
            if console.wait_until("an answer", PATIENCE, |console| painted(console).is_some()).is_err() {
                // Where the table has moved the marked row to its edge, the key has nowhere to go.
                unanswered += 1;
                if unanswered > UNANSWERED {
                    println!("{who}: no answer to {unanswered} keys");
                    return Ok(());
                }
                continue;
            }
            took.extend(painted(console).map(|after| after.saturating_sub(pressed).as_secs_f64() * 1e3));
        }
        took.sort_by(f64::total_cmp);
        medians.extend(took.get(took.len() / 2));
        worst.extend(took.get(took.len() * 99 / 100));
    }
    if unanswered > 0 {
        println!("{who}: no answer to {unanswered} of {} keys", ROUNDS * PRESSES);
    }
    report.add(who, format!("{what}, median"), "ms", &medians, None);
    report.add(who, format!("{what}, p99"), "ms", &worst, None);
    Ok(())
}

/// When the terminal had received this text.
fn arrival(console: &Console, text: &[u8]) -> Option<Duration> {
    console.with_screen(|screen| {
        let at = screen.bytes.windows(text.len()).position(|window| window == text)? + text.len();
        screen.arrivals.iter().find(|(_, so_far)| *so_far >= at).map(|(after, _)| *after)
    })
}

/// How the console is made to end.
#[derive(Clone, Copy)]
enum How {
    Key,
    Signal(Signal),
    /// Its terminal goes, as when a connection drops.
    Gone,
}

pub fn exit(place: &Place, report: &mut Report) -> Result<()> {
    for (name, how) in [
        ("q", How::Key),
        ("INT", How::Signal(Signal::SIGINT)),
        ("TERM", How::Signal(Signal::SIGTERM)),
        ("HUP", How::Signal(Signal::SIGHUP)),
        ("terminal gone", How::Gone),
    ] {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let mut console = Console::run(fluoro_command(place, &[]), ROWS, COLUMNS)?;
            let pid = console.pid();
            console.wait_until("programs are attached", LIMIT, |_| attached(pid))?;
            thread::sleep(Duration::from_millis(300));
            match how {
                How::Key => console.press(b"q")?,
                How::Signal(signal) => kill(Pid::from_raw(pid.cast_signed()), signal).context("kill")?,
                How::Gone => console.hang_up(),
            }
            let (_, after) =
                console.await_end(LIMIT)?.with_context(|| format!("{name}: fluoro did not end"))?;
            took.push(after.as_secs_f64() * 1e3);
        }
        report.add("fluoro", format!("exit on {name}"), "ms", &took, Some(1_000.0));
    }
    Ok(())
}
