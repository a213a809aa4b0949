//! A terminal of one's own with fluoro's console in it: keys in, bytes out, and the modes that are left behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::setsid;

use super::{Place, run};

/// What the terminal has received, with the time of each piece.
#[derive(Default)]
pub struct Screen {
    pub bytes: Vec<u8>,
    /// Time since the start, bytes so far.
    pub arrivals: Vec<(Duration, usize)>,
}

pub struct Console {
    pub child: Child,
    begin: Instant,
    keys: Option<File>,
    /// Kept open so that the modes can be asked for after the end.
    slave: Option<OwnedFd>,
    before: Termios,
    screen: Arc<Mutex<Screen>>,
    stop: Arc<AtomicBool>,
    /// The terminal takes nothing meanwhile.
    stuck: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
}

impl Console {
    /// `fluoro ARGS` in a terminal of this size.
    pub fn start(
        place: &Place,
        args: &[&str],
        environment: &[(&str, &str)],
        rows: u16,
        columns: u16,
    ) -> Result<Self> {
        let mut command = Command::new(&place.fluoro);
        command.args(args).args(place.hook_args()).envs(environment.iter().copied());
        Self::run(command, rows, columns)
    }

    /// Any program in a terminal of this size.
    pub fn run(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).context("openpty")?;
        // The console must not hold the other end of its own terminal open.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("fcntl F_SETFD")?;
        }
        let before = tcgetattr(&pty.slave).context("tcgetattr")?;
        let end = || pty.slave.try_clone().map(Stdio::from).context("dup");
        command.stdin(end()?).stdout(end()?).stderr(end()?);
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        // SAFETY: these three system calls are async-signal-safe and touch nothing of the parent.
        unsafe {
            command.pre_exec(|| {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                setsid()?;
                Errno::result(libc::ioctl(0, libc::TIOCSCTTY as _, 0))?;
                Ok(())
            })
        };
        let begin = Instant::now();
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        drop(command);

        let screen = Arc::new(Mutex::new(Screen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let master = File::from(pty.master);
        let from = master.try_clone().context("dup")?;
        let stuck = Arc::new(AtomicBool::new(false));
        let (received, told, waits) = (Arc::clone(&screen), Arc::clone(&stop), Arc::clone(&stuck));
        let reading = thread::spawn(move || read_all(from, &received, &told, &waits, begin));
        Ok(Self {
            child,
            begin,
            keys: Some(master),
            slave: Some(pty.slave),
            before,
            screen,
            stop,
            stuck,
            reading: Some(reading),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("wait")?.is_none())
    }

    pub fn press(&mut self, keys: &[u8]) -> Result<()> {
        self.keys.as_mut().context("the terminal is gone")?.write_all(keys).context("write to the terminal")
    }

    /// Reads what has come so far.
    pub fn with_screen<T>(&self, read: impl FnOnce(&Screen) -> T) -> T {
        read(&self.screen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is true of the console; how long after its start that was.
    pub fn wait_until(
        &mut self,
        what: &str,
        within: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<Duration> {
        let deadline = Instant::now() + within;
        loop {
            if is_so(self) {
                return Ok(self.begin.elapsed());
            }
            if let Some(status) = self.child.try_wait().context("wait")? {
                bail!("the console ended with {status} before {what}: {}", self.tail());
            }
            if Instant::now() > deadline {
                bail!("{what}: not within {within:?}: {}", self.tail());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// How it ended and how long that took.
    pub fn await_end(&mut self, within: Duration) -> Result<Option<(ExitStatus, Duration)>> {
        run::await_end(&mut self.child, within, || ())
    }

    /// The last that it wrote, readable.
    pub fn tail(&self) -> String {
        self.with_screen(|screen| {
            let from = screen.bytes.len().saturating_sub(300);
            String::from_utf8_lossy(screen.bytes.get(from..).unwrap_or_default()).escape_debug().collect()
        })
    }

    /// Time since it was started.
    pub fn age(&self) -> Duration {
        self.begin.elapsed()
    }

    /// A terminal that reads nothing for a while, as a stopped tmux or a dead line.
    pub fn stick(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// Another size of the window.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let slave = self.slave.as_ref().context("the terminal is gone")?;
        // SAFETY: TIOCSWINSZ reads one winsize, which lives through the call.
        let done = unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        Errno::result(done).context("ioctl TIOCSWINSZ").map(drop)
    }

    /// Takes the terminal away, as when an SSH connection drops.
    pub fn hang_up(&mut self) {
        self.slave = None;
        self.stop_reading();
        self.keys = None;
    }

    /// What is not as it was: modes of the line and of the screen. Ask after the end.
    pub fn left_behind(&mut self) -> Result<Vec<String>> {
        // What was written last may still be on its way.
        thread::sleep(Duration::from_millis(100));
        let slave = self.slave.as_ref().context("the terminal is gone")?;
        let after = tcgetattr(slave).context("tcgetattr")?;
        let mut left = self.with_screen(|screen| private_modes_left(&screen.bytes));
        if after != self.before {
            left.push(format!(
                "line modes: {:?} before, {:?} after",
                self.before.local_flags, after.local_flags
            ));
        }
        Ok(left)
    }

    fn stop_reading(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.stop_reading();
    }
}

fn read_all(mut from: File, screen: &Mutex<Screen>, stop: &AtomicBool, stuck: &AtomicBool, begin: Instant) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if stuck.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let mut waiting = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::from(50_u8)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        let Ok(read) = from.read(&mut buffer) else { return };
        let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.bytes.extend(buffer.iter().take(read));
        let so_far = screen.bytes.len();
        screen.arrivals.push((begin.elapsed(), so_far));
    }
}

/// DEC private modes (`CSI ? n h` and `CSI ? n l`) whose last setting is not the one of a fresh terminal.
fn private_modes_left(bytes: &[u8]) -> Vec<String> {
    /// On in a fresh terminal: wrapping, the cursor and its blinking where a program leaves it on.
    const ON_AT_FIRST: [u32; 3] = [7, 12, 25];
    let mut last: BTreeMap<u32, bool> = BTreeMap::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(3).position(|three| three == b"\x1b[?") {
        rest = rest.get(at + 3..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        let on = match rest.get(length) {
            Some(b'h') => true,
            Some(b'l') => false,
            _ => continue,
        };
        let numbers = String::from_utf8_lossy(rest.get(..length).unwrap_or_default()).into_owned();
        last.extend(
            numbers.split(';').filter_map(|number| number.parse().ok()).map(|number: u32| (number, on)),
        );
    }
    last.into_iter()
        .filter(|(mode, on)| *on != ON_AT_FIRST.contains(mode) && *mode != 12)
        .map(|(mode, on)| format!("screen mode {mode} left {}", if on { "on" } else { "off" }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_that_is_restored_leaves_nothing() {
        let tidy = b"\x1b[?1049h\x1b[?25l\x1b[?1000;1006hhello\x1b[?1000;1006l\x1b[?25h\x1b[?1049l";
        assert!(private_modes_left(tidy).is_empty());
    }

    #[test]
    fn each_mode_that_is_left_is_named() {
        let left = private_modes_left(b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1000l");
        assert_eq!(left, ["screen mode 25 left off", "screen mode 1049 left on"]);
    }
}
