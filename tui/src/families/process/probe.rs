//! The programs of `process` and their ways in.

use crate::collect::maps::{Budget, ELEMENT, MapSize};
use crate::collect::program::{Alternative, Hook, Program};

pub fn maps(budget: &Budget) -> Vec<MapSize> {
    vec![
        MapSize { name: "EXITED", entries: 1024, entry_bytes: 16 + ELEMENT, counted: false },
        MapSize::scratch(budget),
    ]
}

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "process_fork",
        essential: true,
        without: "new processes are seen only when they exec",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "process_fork_btf",
                hook: Hook::BtfTracepoint("sched_process_fork"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "process_fork_raw",
                hook: Hook::RawTracepoint("sched_process_fork"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "process_fork_kprobe",
                hook: Hook::Kprobe(&["wake_up_new_task"]),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "process_exec",
        essential: true,
        without: "executables are read from /proc, which is too late for short-lived processes",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "process_exec_btf",
                hook: Hook::BtfTracepoint("sched_process_exec"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "process_exec_raw",
                hook: Hook::RawTracepoint("sched_process_exec"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "process_exec_kprobe",
                hook: Hook::Kprobe(&["security_bprm_committed_creds"]),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "process_exit",
        essential: true,
        without: "exits, their codes and signals are not seen",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "process_exit_btf",
                hook: Hook::BtfTracepoint("sched_process_exit"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "process_exit_raw",
                hook: Hook::RawTracepoint("sched_process_exit"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "process_exit_kprobe",
                hook: Hook::Kprobe(&["taskstats_exit"]),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "process_usage",
        essential: false,
        without: "what processes use is read from /proc, of each of them where an order, a filter or a sum asks for it",
        alternatives: &[Alternative {
            name: "iter",
            entry: "process_usage_iter",
            hook: Hook::Iterator("task"),
            spares: &[],
            blind: None,
        }],
    },
];
