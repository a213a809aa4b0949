//! `file`: what programs do to the file system.

pub mod columns;
pub mod model;
pub mod probe;
pub mod row;
mod words;
