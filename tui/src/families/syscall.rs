//! `syscall`: what each process asks of the kernel, and how long it waits.

pub mod columns;
mod decode;
pub mod model;
pub mod probe;
pub mod row;
