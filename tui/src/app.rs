//! The console. `update` turns what happened into a new state and effects, `screen` turns a state into
//! a picture, `runtime` is the only part that touches the world; `actions` is the one table of keys.

mod actions;
mod chord;
mod copy;
mod editor;
mod keymap;
mod layout;
mod overlay;
mod pointer;
mod reference;
mod runtime;
mod screen;
mod state;
mod terminal;
mod typing;
mod update;

pub use actions::{Act, Action, Mode, actions};
pub use chord::Chord;
pub use keymap::{Wish, name_of, parse_key, remap, suggest};
pub use reference::keys_page;
pub use runtime::{Keep, Options, check_terminal, run};
pub use screen::{Picture, draw};
pub use state::{Layer, State};
pub use terminal::{Painter, TerminalError};
pub use update::{Effect, Msg, Signal, update};
