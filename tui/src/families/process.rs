//! `process`: fork, exec and exit of whole processes.

pub mod probe;
