//! The only part of the console that touches the world: keys, signals, snapshots and the clock in; pictures,
//! questions and job control out.

mod background;
mod keys;
mod panic;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::Event;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::actions::{Act, Action};
use crate::app::runtime::background::{Background, Heard};
use crate::app::screen::draw_onto;
use crate::app::state::State;
use crate::app::terminal::{self, Terminal, TerminalError, Tty};
use crate::app::update::{Effect, Msg, Signal, act, update};
use crate::engine::Handle;
use crate::filter::Filter;
use crate::model::{Timing, View};
use crate::theme::{ColorChoice, Theme, ThemeChoice};

/// How the console begins.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub color: ColorChoice,
    pub mouse: bool,
    pub view: View,
    /// Of the first view, with its text as it was given.
    pub filter: Option<(String, Arc<Filter>)>,
    /// Only plain ASCII, whatever the locale says.
    pub ascii: bool,
    /// Shown when the console opens: what the reader should know before the first number.
    pub remark: Option<String>,
    pub theme: ThemeChoice,
    /// The table of actions, where its keys are not the usual ones.
    pub keys: Option<Vec<Action>>,
    /// The reader's columns by view, and how they are kept for the next time.
    pub columns: HashMap<View, Vec<String>>,
    pub keep_columns: Keep,
}

/// Keeps the columns of a view, or `None` for those that it begins with; says what went wrong.
#[derive(Clone)]
pub struct Keep(pub Arc<KeepColumns>);

type KeepColumns = dyn Fn(View, Option<&[String]>) -> Result<(), String> + Send + Sync;

impl Default for Keep {
    fn default() -> Self {
        Self(Arc::new(|_, _| Ok(())))
    }
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keep")
    }
}

/// At most so many pictures a second.
const FRAME: Duration = Duration::from_millis(33);
/// How often the clock is looked at when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// Whether there is a terminal that the console can use.
pub fn check_terminal() -> Result<(), TerminalError> {
    let _ = Tty::open()?;
    let _ = Tty::input()?;
    match std::env::var("TERM").unwrap_or_default() {
        term if term.is_empty() || term == "dumb" => {
            Err(TerminalError::Dumb(if term.is_empty() { "not set".to_owned() } else { term }))
        }
        _ => Ok(()),
    }
}

/// Runs the console until the reader leaves, the terminal goes or the machine asks. The engine is told to
/// stop; the terminal is as it was, whatever happened.
pub fn run(handle: Handle, options: Options) -> Result<(), TerminalError> {
    check_terminal()?;
    be_prompt();
    let refused = |source| TerminalError::Io { operation: "wait for", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let panicked = panic::restore_terminal_on_panic();
    let engine = handle.clone();
    let result = runtime.block_on(async {
        let terminal = Terminal::open(options.mouse)?;
        let result = tokio::select! {
            result = console(handle, options, &terminal) => result,
            () = terminal.gone() => Err(TerminalError::Gone),
            () = panicked.notified() => Err(TerminalError::Panicked),
        };
        // Told first: detaching and giving the terminal back go on side by side.
        engine.stop();
        result
    });
    engine.stop();
    runtime.shutdown_background();
    result
}

/// This thread and those that it starts, which read keys and write pictures, come before ordinary programs: they need
/// little, and that at once, the more so where a machine has no CPU to spare. Where it is not allowed, they wait.
fn be_prompt() {
    const NICE: nix::libc::c_int = -10;
    // SAFETY: no pointer; 0 is the calling thread.
    unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, NICE) };
}

async fn console(handle: Handle, options: Options, terminal: &Terminal) -> Result<(), TerminalError> {
    let refused = |source| TerminalError::Io { operation: "watch the signals of", source };
    let listen = |kind| signal(kind).map_err(refused);
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut resize = listen(SignalKind::window_change())?;
    let mut stop = listen(SignalKind::from_raw(nix::libc::SIGTSTP))?;
    let mut proceed = listen(SignalKind::from_raw(nix::libc::SIGCONT))?;
    let mut keys = keys::read()?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);

    let began = Instant::now();
    let chosen = Theme::choose(options.color, |name| std::env::var(name).ok());
    let mut theme = Theme { unicode: chosen.unicode && !options.ascii, ..chosen };
    let mut asked = None;
    match options.theme {
        ThemeChoice::Fixed(palette) => theme.palette = palette,
        ThemeChoice::Auto
            if theme.color && Background::can_be_asked(&std::env::var("TERM").unwrap_or_default()) =>
        {
            terminal.aside(background::QUESTION);
            asked = Some(Instant::now());
        }
        ThemeChoice::Auto => {}
    }
    let mut background = Background::asked(asked);
    let mut state = State::new(terminal::size(), options.view, options.mouse);
    if let Some(remark) = &options.remark {
        state.remark(remark);
    }
    state.columns.clone_from(&options.columns);
    if let Some(keys) = options.keys.clone() {
        // Once a run: the table lives as long as the console.
        state.keys = keys.leak();
    }
    if let Some((text, filter)) = options.filter.clone() {
        let place = state.place_mut();
        place.filter_text = text;
        place.filter = Some(filter);
    }
    let mut drawn: Option<Instant> = None;
    let mut frames = Timing::new("frames");
    let mut pending = act(&mut state, Act::Show(options.view));
    loop {
        for effect in std::mem::take(&mut pending) {
            match effect {
                Effect::Ask(query) => handle.ask(query),
                Effect::Copy(text) => terminal.copy(&text),
                Effect::KeepColumns(view, columns) => {
                    if let Err(problem) = (options.keep_columns.0)(view, columns.as_deref()) {
                        state.remark(&problem);
                    }
                }
                Effect::Quit => return Ok(()),
                Effect::Redraw => terminal.afresh(),
                Effect::Suspend => {
                    terminal.suspend();
                    stop_here();
                    terminal.resume()?;
                    state.resumed();
                    state.dirty = true;
                }
            }
        }
        let due = drawn.map_or_else(Instant::now, |at| at + FRAME);
        let now = Instant::now();
        if state.dirty && now >= due {
            terminal.show(draw_onto(&state, theme, terminal.spare(state.size)), state.mouse);
            state.dirty = false;
            drawn = Some(Instant::now());
            frames.add(now.elapsed());
            panic::if_asked_for();
        }
        let msg = tokio::select! {
            biased;
            _ = hangup.recv() => return Ok(()),
            _ = terminate.recv() => Some(Msg::Signal(Signal::Terminate)),
            _ = interrupt.recv() => Some(Msg::Signal(Signal::Terminate)),
            _ = stop.recv() => Some(Msg::Signal(Signal::Stop)),
            _ = proceed.recv() => {
                terminal.resume()?;
                Some(Msg::Signal(Signal::Continue))
            }
            _ = resize.recv() => {
                let (columns, lines) = terminal::size();
                Some(Msg::Resize(columns, lines))
            }
            event = keys.recv() => match event {
                Some(event) => match background.hear(event, Instant::now()) {
                    Heard::Event(event) => translate(event),
                    Heard::Part => None,
                    Heard::Answer(palette) => {
                        theme.palette = palette.unwrap_or(theme.palette);
                        state.dirty = true;
                        None
                    }
                },
                None => return Err(TerminalError::Gone),
            },
            () = handle.published() => handle.take().map(Msg::Snapshot),
            () = tokio::time::sleep_until(due.into()), if state.dirty => None,
            _ = tick.tick() => None,
        };
        let _ = update(&mut state, Msg::Tick(began.elapsed()));
        let spent = matches!(msg, Some(Msg::Snapshot(_))).then(|| state.newest.clone()).flatten();
        pending.extend(msg.into_iter().flat_map(|msg| update(&mut state, msg)));
        if let Some(spent) = spent {
            handle.give_back(spent);
        }
        // Takes in every key that waits: a burst costs one picture.
        while let Ok(event) = keys.try_recv() {
            match background.hear(event, Instant::now()) {
                Heard::Event(event) => {
                    pending.extend(translate(event).into_iter().flat_map(|msg| update(&mut state, msg)));
                }
                Heard::Part => {}
                Heard::Answer(palette) => {
                    theme.palette = palette.unwrap_or(theme.palette);
                    state.dirty = true;
                }
            }
        }
    }
}

fn translate(event: Event) -> Option<Msg> {
    match event {
        Event::Key(key) => Some(Msg::Key(key)),
        Event::Mouse(mouse) => Some(Msg::Mouse(mouse)),
        Event::Paste(text) => Some(Msg::Paste(text)),
        Event::Resize(..) | Event::FocusGained | Event::FocusLost => None,
    }
}

/// Stops the process as ctrl-Z would have, and comes back when the shell lets it continue. Raised on this
/// thread, so that not one more line runs before the stop: the next would take the terminal again.
fn stop_here() {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
}
