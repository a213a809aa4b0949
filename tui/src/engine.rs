//! The engine: owns the threads that turn records into snapshots, and runs the questions of the faces.

mod collector;
mod core;
mod handle;
mod list;
mod loader;
mod own;
mod service;
mod signals;
mod world;

pub use collector::{Attachment, Collector, ProgramState};
pub use core::Core;
pub use handle::{Handle, Service};
pub use list::list;
pub use service::start;
pub use signals::Signals;
pub use world::World;
