//! `flow`: connections of the machine's sockets.

pub mod columns;
pub mod model;
pub mod probe;
pub mod row;
