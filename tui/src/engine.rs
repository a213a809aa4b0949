//! The engine: owns the threads that turn records into snapshots, and runs the questions of the faces.

mod handle;

pub use handle::{Handle, Service};
