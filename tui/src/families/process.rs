//! `process`: fork, exec and exit of whole processes.

pub mod columns;
pub mod model;
pub mod probe;
