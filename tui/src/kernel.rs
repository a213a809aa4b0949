//! Facts of the running kernel: parsers over a root path, so that a test's folder can stand for the machine. Knows
//! neither aya nor models nor the screen.

pub mod addresses;
pub mod btf;
pub mod cgroup;
pub mod drop_reasons;
pub mod facts;
pub mod kallsyms;
pub mod mounts;
pub mod owner;
pub mod proc;
pub mod sock_diag;
pub mod users;
