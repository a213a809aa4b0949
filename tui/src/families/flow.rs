//! `flow`: connections of the machine's sockets.

pub mod probe;
