//! The programs of `file` and their ways in, and its maps.

use fluoro_shared::file::{FileCell, FileKey, RequestKey, Requests, Submitted};
use fluoro_shared::histogram::HistogramKey;
use fluoro_shared::inflight::Stamp;

use super::model::Frame;
use crate::collect::maps::{Budget, ELEMENT, MapSize, Maps};
use crate::collect::program::{Alternative, Hook, Program};

const FILES: &str = "FILES";
const HISTOGRAMS: &str = "HISTOGRAMS";

pub fn maps(budget: &Budget) -> Vec<MapSize> {
    let cells = size_of::<FileCell>() as u64 * budget.possible_cpus as u64;
    let file = size_of::<FileKey>() as u64 + cells + ELEMENT;
    let bucket = size_of::<HistogramKey>() as u64 + 8 + ELEMENT;
    let requests = (size_of::<RequestKey>() + size_of::<Requests>()) as u64 + ELEMENT;
    let submitted = 8 + size_of::<Submitted>() as u64 + ELEMENT;
    vec![
        MapSize { name: FILES, entries: budget.entries(3, file, 65_536), entry_bytes: file, counted: true },
        MapSize {
            name: HISTOGRAMS,
            entries: budget.entries(2, bucket, 65_536),
            entry_bytes: bucket,
            counted: true,
        },
        MapSize {
            name: "STAMPS",
            entries: budget.stamps,
            entry_bytes: size_of::<Stamp>() as u64,
            counted: false,
        },
        MapSize {
            name: "URING",
            entries: budget.entries(1, submitted, 256),
            entry_bytes: submitted,
            counted: false,
        },
        MapSize {
            name: "REQUESTS",
            entries: budget.entries(1, requests, 4096),
            entry_bytes: requests,
            counted: false,
        },
        MapSize::scratch(budget),
    ]
}

/// What the kernel side has counted so far.
pub fn frame(maps: &mut Maps) -> std::io::Result<Frame> {
    Ok(Frame {
        files: maps.read(FILES, FileCell::plus)?,
        room: maps.entries(FILES),
        histograms: maps.read(HISTOGRAMS, |a: u64, b| a + b)?,
    })
}

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "file_enter",
        essential: false,
        without: "how long calls take is not known",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "file_enter_btf",
                hook: Hook::BtfTracepoint("sys_enter"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "file_enter_raw",
                hook: Hook::RawTracepoint("sys_enter"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "file_enter_perf",
                hook: Hook::Tracepoint(&[("raw_syscalls", "sys_enter")]),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "file_exit",
        essential: true,
        without: "what system calls do to files is not seen",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "file_exit_btf",
                hook: Hook::BtfTracepoint("sys_exit"),
                spares: &["file_exit_btf_spare1", "file_exit_btf_spare2"],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "file_exit_raw",
                hook: Hook::RawTracepoint("sys_exit"),
                spares: &["file_exit_raw_spare1", "file_exit_raw_spare2"],
                blind: None,
            },
            Alternative {
                name: "tracepoint",
                entry: "file_exit_perf",
                hook: Hook::Tracepoint(&[("raw_syscalls", "sys_exit")]),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "file_path",
        essential: false,
        without: "paths of what is done by path are shown as they were passed",
        alternatives: &[
            Alternative {
                name: "fentry",
                entry: "file_path_mkdir",
                hook: Hook::Fentries(&[
                    ("file_path_mkdir", "security_path_mkdir"),
                    ("file_path_mknod", "security_path_mknod"),
                    ("file_path_symlink", "security_path_symlink"),
                    ("file_path_unlink", "security_path_unlink"),
                    ("file_path_rmdir", "security_path_rmdir"),
                    ("file_path_rename", "security_path_rename"),
                    ("file_path_link", "security_path_link"),
                    ("file_path_truncate", "security_path_truncate"),
                    ("file_path_chmod", "security_path_chmod"),
                    ("file_path_chown", "security_path_chown"),
                ]),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "kprobe",
                entry: "file_path_entry_kprobe",
                hook: Hook::Kprobes(&[
                    (
                        "file_path_entry_kprobe",
                        &[
                            "security_path_mkdir",
                            "security_path_mknod",
                            "security_path_symlink",
                            "security_path_unlink",
                            "security_path_rmdir",
                        ],
                    ),
                    ("file_path_rename_kprobe", &["security_path_rename"]),
                    ("file_path_link_kprobe", &["security_path_link"]),
                    (
                        "file_path_file_kprobe",
                        &["security_path_truncate", "security_path_chmod", "security_path_chown"],
                    ),
                ]),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "file_submit",
        essential: false,
        without: "paths of what io_uring does by path or fails to open are not known; before 5.19 nothing of it is seen",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "file_submit_btf",
                hook: Hook::BtfTracepoint("io_uring_submit_req"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "file_submit_raw",
                hook: Hook::RawTracepoint("io_uring_submit_req"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "tp_btf_sqe",
                entry: "file_submit_sqe_btf",
                hook: Hook::BtfTracepoint("io_uring_submit_sqe"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp_sqe",
                entry: "file_submit_sqe_raw",
                hook: Hook::RawTracepoint("io_uring_submit_sqe"),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "file_complete",
        essential: false,
        without: "what io_uring does to files is not seen",
        alternatives: &[
            Alternative {
                name: "tp_btf",
                entry: "file_complete_btf",
                hook: Hook::BtfTracepoint("io_uring_complete"),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "raw_tp",
                entry: "file_complete_raw",
                hook: Hook::RawTracepoint("io_uring_complete"),
                spares: &[],
                blind: None,
            },
        ],
    },
    Program {
        name: "file_silent",
        essential: false,
        without: "what io_uring does for requests that ask for no completion is not seen",
        alternatives: &[
            Alternative {
                name: "fexit",
                entry: "file_silent_issue",
                hook: Hook::Fexits(&[
                    ("file_silent_issue", "io_issue_sqe"),
                    ("file_silent_read", "io_read"),
                    ("file_silent_write", "io_write"),
                    ("file_silent_landed", "io_req_rw_complete"),
                ]),
                spares: &[],
                blind: None,
            },
            Alternative {
                name: "fexit_issue",
                entry: "file_silent_issue",
                hook: Hook::Fexits(&[
                    ("file_silent_issue", "io_issue_sqe"),
                    ("file_silent_read", "io_read"),
                    ("file_silent_write", "io_write"),
                ]),
                spares: &[],
                blind: Some("requests without completion that read or write directly (O_DIRECT)"),
            },
            Alternative {
                name: "kprobe",
                entry: "file_silent_kprobe",
                hook: Hook::Kprobe(&["io_wq_free_work"]),
                spares: &[],
                blind: Some(
                    "requests without completion that are done at once: opens of what is there, reads, writes",
                ),
            },
        ],
    },
];
