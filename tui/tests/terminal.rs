//! What the console does to its terminal, seen from the other end of a pseudo-terminal: the modes before
//! are the modes after, however it ends, and it ends within a second.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Leaving may take this long, as DESIGN promises; the rest is for a machine that is busy with other tests.
const PROMISED: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(2);
/// A busy machine may take its time to show something.
const PATIENCE: Duration = Duration::from_secs(20);

/// The demonstration consoles; built once by the cargo that runs the tests, because `--test` alone builds no examples. Of
/// the whole workspace, as `cargo test` builds them: alone they would have dependencies with other features.
fn example(name: &str) -> PathBuf {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    let folder = EXAMPLES.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut profile = std::env::current_exe().unwrap();
        profile.pop();
        profile.pop();
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--workspace"]);
        build.args(["--example", "console_demo", "--example", "console_storm"]);
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        profile.join("examples")
    });
    folder.join(name)
}

struct Session {
    master: Option<std::fs::File>,
    slave: OwnedFd,
    child: Child,
    before: Termios,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

impl Session {
    /// Without a terminal of its own the process gets no SIGHUP, ctrl-C or ctrl-Z.
    fn start(program: &str, environment: &[(&str, &str)], owning: bool) -> Self {
        // A master that another test's child inherits keeps the terminal from ever going away.
        static FORKING: Mutex<()> = Mutex::new(());
        let _alone = FORKING.lock().unwrap_or_else(PoisonError::into_inner);
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        for fd in [&master, &slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let before = tcgetattr(&slave).unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new(example(program));
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        command.env("TERM", "xterm").env("LANG", "C.UTF-8").env_remove("LC_ALL").env_remove("NO_COLOR");
        command.envs(environment.iter().copied());
        // SAFETY: setsid and ioctl are async-signal-safe; nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(move || {
                nix::unistd::setsid()?;
                if owning && nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let screen = vt100::Parser::new(24, 80, 0);
        Self { master: Some(master.into()), slave, child, before, screen, raw: vec![] }
    }

    fn shown(environment: &[(&str, &str)]) -> Self {
        Self::shown_as(environment, true)
    }

    fn shown_as(environment: &[(&str, &str)], owning: bool) -> Self {
        let mut session = Self::start("console_demo", environment, owning);
        session.until("1,204 flows");
        session
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Reads what has been written, waiting a little for it.
    fn read(&mut self) {
        let master = self.master.as_mut().unwrap();
        let mut asked = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut asked, PollTimeout::from(20_u16)).unwrap() > 0
            && asked[0].revents().unwrap().contains(PollFlags::POLLIN)
        {
            let mut bytes = [0; 8192];
            let n = master.read(&mut bytes).unwrap_or(0);
            self.screen.process(&bytes[..n]);
            self.raw.extend_from_slice(&bytes[..n]);
        }
    }

    fn until(&mut self, text: &str) {
        let began = Instant::now();
        while !self.screen.screen().contents().contains(text) {
            assert!(began.elapsed() < PATIENCE, "{text:?} never came:\n{}", self.screen.screen().contents());
            self.read();
        }
    }

    fn keys(&mut self, keys: &str) {
        self.master.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Has the whole screen painted again and again until the terminal takes no more.
    fn fill(&mut self) {
        let written = |pid| {
            let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
            io.lines().find_map(|l| l.strip_prefix("wchar: ")).unwrap().parse::<u64>().unwrap()
        };
        let began = Instant::now();
        let mut before = 0;
        // Wake-ups between threads are a few bytes of writing too; a picture is thousands.
        while written(self.pid()) - before > 1000 {
            assert!(began.elapsed() < PATIENCE, "the terminal never fills");
            before = written(self.pid());
            for _ in 0..5 {
                self.keys("\x0c");
                std::thread::sleep(Duration::from_millis(60));
            }
        }
    }

    /// Waits for the end, reading on if `reading`; says how long it took.
    fn end(&mut self, reading: bool) -> (ExitStatus, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let took = began.elapsed();
                for _ in 0..3 {
                    if reading {
                        self.read();
                    }
                }
                return (status, took);
            }
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end");
            }
            if reading && self.master.is_some() {
                self.read();
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// The terminal is what it was: line settings, screen, cursor, mouse, paste.
    fn assert_restored(&self) {
        assert_eq!(tcgetattr(&self.slave).unwrap(), self.before, "the line settings are back");
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left");
        assert!(!screen.hide_cursor(), "the cursor is visible");
        assert!(!screen.bracketed_paste(), "paste is plain");
        assert_eq!(
            screen.mouse_protocol_mode(),
            vt100::MouseProtocolMode::None,
            "the mouse is the terminal's"
        );
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_prompt(took: Duration) {
    assert!(took < PROMISED + SLACK, "leaving took {took:?}");
}

#[test]
fn leaving_by_key_gives_the_terminal_back() {
    for key in ["q", "\x03"] {
        let mut session = Session::shown(&[]);
        assert!(session.screen.screen().alternate_screen());
        session.keys(key);
        let (status, took) = session.end(true);
        assert!(status.success());
        assert_prompt(took);
        session.assert_restored();
    }
}

#[test]
fn termination_by_signal_gives_the_terminal_back() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut session = Session::shown(&[]);
        kill(session.pid(), signal).unwrap();
        let (status, took) = session.end(true);
        assert_eq!(status.signal(), None, "{signal}: it leaves by itself");
        assert_prompt(took);
        session.assert_restored();
    }
}

#[test]
fn a_panic_of_any_thread_gives_the_terminal_back_before_its_message() {
    for thread in ["collector", "draw"] {
        let mut session = Session::shown(&[("FLUORO_DEMO_PANIC", thread)]);
        let (status, _) = session.end(true);
        assert!(!status.success());
        session.assert_restored();
        let all = String::from_utf8_lossy(&session.raw).into_owned();
        let (left, message) = (all.rfind("\x1b[?1049l").unwrap(), all.find("something impossible").unwrap());
        assert!(left < message, "the message is readable on the ordinary screen");
        assert!(!all[message..].contains("\x1b[?"), "nothing is drawn after it");
    }
}

#[test]
fn the_shipped_console_panics_when_a_test_asks_for_it_and_leaves_the_terminal_clean() {
    let mut session = Session::start("console_demo", &[("FLUORO_TEST_PANIC", "1")], true);
    let (status, _) = session.end(true);
    assert_eq!(status.code(), Some(101));
    session.assert_restored();
    let all = String::from_utf8_lossy(&session.raw).into_owned();
    let (left, message) = (all.rfind("\x1b[?1049l").unwrap(), all.find("asks for a panic").unwrap());
    assert!(left < message);
}

#[test]
fn a_filter_given_at_the_start_is_shown_and_asked() {
    let mut session = Session::start("console_demo", &[("FLUORO_DEMO_FILTER", "proc:nginx")], true);
    session.until("proc:nginx");
    session.until("3 of 1,204");
    session.keys("q");
    assert!(session.end(true).0.success());
}

#[test]
fn ascii_is_obeyed_where_the_locale_has_more() {
    let mut session = Session::shown(&[("FLUORO_DEMO_ASCII", "1"), ("LC_ALL", "C.UTF-8")]);
    session.keys("q");
    assert!(session.end(true).0.success());
    assert!(session.raw.is_ascii());
    let mut session = Session::shown(&[("LC_ALL", "C.UTF-8")]);
    session.keys("q");
    assert!(session.end(true).0.success());
    assert!(!session.raw.is_ascii(), "otherwise the locale decides");
}

#[test]
fn names_from_outside_send_nothing_but_letters_to_the_terminal() {
    let mut session = Session::shown(&[]);
    session.keys("5");
    session.until("family");
    session.keys("j\r");
    session.until("Details");
    // Its own question for the background, asked once, is the only one that is no CSI sequence.
    let all = String::from_utf8_lossy(&session.raw).replacen("\x1b]11;?\x1b\\", "", 1);
    let commands: Vec<&str> = all.split('\x1b').skip(1).collect();
    assert!(commands.iter().all(|c| c.starts_with('[')), "only CSI sequences, no OSC, DCS or C1");
    let allowed = |c: &&str| {
        let end = c.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        matches!(c.as_bytes()[end], b'm' | b'H' | b'h' | b'l') || c.starts_with("[2J") || c.starts_with("[J")
    };
    assert!(commands.iter().all(allowed), "only colours, cursor moves, modes and the first clearing");
    assert_eq!(all.matches("\x1b[2J").count(), 1, "the name that clears the screen did not");
    let hidden =
        |c: char| ('\u{80}'..='\u{9f}').contains(&c) || matches!(c, '\u{202e}' | '\u{200d}' | '\x07');
    assert!(!all.contains(hidden));
}

#[test]
fn a_terminal_that_reads_nothing_delays_nobody() {
    let mut session = Session::shown(&[]);
    session.fill();
    kill(session.pid(), Signal::SIGTERM).unwrap();
    let (status, took) = session.end(false);
    assert!(status.success(), "{status:?}");
    assert_prompt(took);
    assert_eq!(tcgetattr(&session.slave).unwrap(), session.before, "the line settings are back");
    for _ in 0..50 {
        session.read();
    }
    session.assert_restored();
}

#[test]
fn a_terminal_that_reads_nothing_costs_no_event_of_two_hundred_thousand_a_second() {
    let told = std::env::temp_dir().join(format!("fluoro-storm-{}", std::process::id()));
    let _ = std::fs::remove_file(&told);
    let mut session = Session::start("console_storm", &[("FLUORO_STORM_TOLD", told.to_str().unwrap())], true);
    session.until("fluoro");
    session.fill();
    // Opens Events, and with it the storm.
    session.keys("6");
    let began = Instant::now();
    while !told.exists() {
        assert!(began.elapsed() < PATIENCE, "the storm does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = std::fs::read_to_string(&told).unwrap();
    std::fs::remove_file(&told).unwrap();
    let figure = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    };
    assert_eq!(figure("seen"), 800_000, "{text}");
    assert_eq!(figure("seen"), figure("submitted") + figure("lost"), "{text}");
    assert_eq!((figure("told"), figure("error")), (figure("submitted"), 0), "what was let through: {text}");
    assert!(figure("told") > 10 * figure("ring"), "the ring was emptied all the time: {text}");
    assert!(figure("kib_most") - figure("kib_before") < 200 << 10, "memory is bounded: {text}");
    kill(session.pid(), Signal::SIGTERM).unwrap();
    let (status, took) = session.end(false);
    assert!(status.success(), "{status:?}");
    assert_prompt(took);
    for _ in 0..50 {
        session.read();
    }
    session.assert_restored();
    println!("{text}");
}

#[test]
fn a_terminal_that_has_gone_ends_the_process() {
    let mut session = Session::shown(&[]);
    session.master = None;
    let (_, took) = session.end(false);
    assert_prompt(took);
}

#[test]
fn a_terminal_that_goes_without_a_hangup_signal_ends_the_process_too() {
    let mut session = Session::shown_as(&[], false);
    session.master = None;
    let (_, took) = session.end(false);
    assert_prompt(took);
}

#[test]
fn a_terminal_that_goes_while_a_picture_waits_for_it_ends_the_process_too() {
    let mut session = Session::shown_as(&[], false);
    session.fill();
    session.master = None;
    let (_, took) = session.end(false);
    assert_prompt(took);
}

#[test]
fn control_z_gives_the_terminal_back_and_continuing_takes_it_again() {
    let mut session = Session::shown(&[]);
    session.keys("\x1a");
    let began = Instant::now();
    loop {
        session.read();
        match waitpid(session.pid(), Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::Stopped(..) => break,
            _ => assert!(began.elapsed() < PATIENCE, "it does not stop"),
        }
    }
    for _ in 0..3 {
        session.read();
    }
    session.assert_restored();
    kill(session.pid(), Signal::SIGCONT).unwrap();
    session.until("1,204 flows");
    assert!(session.screen.screen().alternate_screen());
    assert_ne!(tcgetattr(&session.slave).unwrap(), session.before);
    session.keys("q");
    let (status, _) = session.end(true);
    assert!(status.success());
    session.assert_restored();
}

#[test]
fn a_new_size_is_drawn_at_once() {
    let mut session = Session::shown(&[]);
    let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize from the pointer, which is valid for the call.
    unsafe {
        assert_eq!(
            nix::libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&session.slave), nix::libc::TIOCSWINSZ, &size),
            0
        );
    }
    session.screen.screen_mut().set_size(40, 120);
    session.until("LOCAL");
}

#[test]
fn an_idle_console_writes_few_bytes() {
    let mut session = Session::shown(&[]);
    session.keys("8");
    session.until("flow_accept");
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(1500) {
        session.read();
    }
    let before = session.raw.len();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        session.read();
    }
    let bytes = session.raw.len() - before;
    assert_eq!(bytes, 0, "nothing changed, nothing is written");
}
