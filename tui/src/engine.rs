//! The engine: owns the threads that turn records into snapshots, and runs the questions of the faces.

mod collector;
mod core;
mod details;
mod handle;
mod history;
mod intake;
mod list;
mod loader;
mod machine;
mod overview;
mod own;
mod picture;
mod recent;
mod service;
mod signals;
mod source;
pub mod synthetic;
mod usage;
mod world;

pub use collector::{Attachment, Collector, ProgramState};
pub use core::Core;
pub use handle::{Handle, Service};
pub use intake::{Inlet, Intake};
pub use list::list;
pub use machine::{Machine, SocketPart};
pub use service::start;
pub use signals::Signals;
pub use source::{Frame, Source, Sources};
pub use usage::{Depth, of_all};
pub use world::World;
