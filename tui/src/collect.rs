//! Everything that touches the kernel: loading and attaching, rings, maps, ledgers, run-time statistics.

mod attach;
pub mod attach_types;
pub mod bpf;
pub mod elsewhere;
pub mod fill;
pub mod ground;
pub mod iterator;
pub mod loader;
pub mod machine;
pub mod maps;
pub mod object;
pub mod packets;
pub mod program;
mod ring;
pub mod socket_group;
pub mod taps;
pub mod tools;
mod unpreempted;
