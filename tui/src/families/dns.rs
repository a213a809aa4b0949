//! `dns`: questions and answers about names, by process, with how long the answer took.

pub mod columns;
pub mod decode;
pub mod model;
pub mod probe;
pub mod row;
