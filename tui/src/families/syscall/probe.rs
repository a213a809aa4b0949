//! The programs of `syscall` and their ways in, and its maps.

use std::io;

use fluoro_shared::inflight::Stamp;
use fluoro_shared::syscall::{Cell, CellKey, Control};

use super::model::Frame;
use crate::collect::maps::{Budget, ELEMENT, MapSize, Maps};
use crate::collect::program::{Alternative, Hook, Program};

const NO_ARGUMENTS: &str = "arguments and paths of traced calls are not seen";

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "syscall_enter",
        essential: true,
        without: "calls are counted, but not timed",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "syscall_enter_btf",
                hook: Hook::BtfTracepoint("sys_enter"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "syscall_enter_raw",
                hook: Hook::RawTracepoint("sys_enter"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "syscall_enter_perf",
                hook: Hook::Tracepoint(&[("raw_syscalls", "sys_enter")]),
                spares: &[],
                blind: Some(NO_ARGUMENTS),
            },
        ],
    },
    Program {
        name: "syscall_exit",
        essential: true,
        without: "calls are not seen",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "syscall_exit_btf",
                hook: Hook::BtfTracepoint("sys_exit"),
                spares: &["syscall_exit_btf_spare1", "syscall_exit_btf_spare2"],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "syscall_exit_raw",
                hook: Hook::RawTracepoint("sys_exit"),
                spares: &["syscall_exit_raw_spare1", "syscall_exit_raw_spare2"],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "syscall_exit_perf",
                hook: Hook::Tracepoint(&[("raw_syscalls", "sys_exit")]),
                spares: &[],
                blind: Some(NO_ARGUMENTS),
            },
        ],
    },
];

/// Cells of the programs, as many as three sixteenths of the budget hold; a stamp for each thread id.
pub fn maps(budget: &Budget) -> Vec<MapSize> {
    let cell = (size_of::<CellKey>() + size_of::<Cell>()) as u64 + ELEMENT;
    vec![
        MapSize {
            name: "CELLS",
            entries: budget.entries(3, cell, 1 << 16),
            entry_bytes: cell,
            counted: true,
        },
        MapSize {
            name: "STAMPS",
            entries: budget.stamps,
            entry_bytes: size_of::<Stamp>() as u64,
            counted: false,
        },
        MapSize {
            name: "COLLISIONS",
            entries: 1,
            entry_bytes: 8 * budget.possible_cpus as u64,
            counted: true,
        },
        MapSize { name: "CONTROL", entries: 1, entry_bytes: size_of::<Control>() as u64, counted: true },
        MapSize::scratch(budget),
    ]
}

/// What was counted. The interval's longest calls are kept apart from the next one's: told first, read then.
pub fn frame(maps: &mut Maps) -> io::Result<Frame> {
    use zerocopy::IntoBytes;
    let told: Vec<(u32, Control)> = maps.read("CONTROL", |first, _| first)?;
    let epoch = told.first().map_or(0, |(_, control)| control.epoch);
    maps.write("CONTROL", &0_u32.to_ne_bytes(), Control { epoch: epoch + 1 }.as_bytes())?;
    let cells: Vec<(CellKey, Cell)> = maps.read("CELLS", |first, _| first)?;
    let collisions: Vec<(u32, u64)> = maps.read("COLLISIONS", |a, b| a + b)?;
    Ok(Frame { epoch, cells, collisions: collisions.first().map_or(0, |(_, count)| *count) })
}
