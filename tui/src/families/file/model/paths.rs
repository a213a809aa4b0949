//! Paths that are told before the call that they belong to has ended. Pure.

use std::collections::HashMap;

use crate::records::file::{Record, What};
use crate::records::{BootTime, Outside, ProcKey, Tid};

/// Threads and requests whose paths wait for their event; of more, events have been lost.
const WAITING_MAX: usize = 1024;

/// What has been told of the next event of a thread or a request.
#[derive(Debug, Default)]
struct Told {
    /// Rename, link: as passed. The text of a symbolic link.
    other: Option<Outside>,
    resolved: Option<Resolved>,
    resolved_other: Option<Resolved>,
}

/// By the kernel's own dentries.
#[derive(Debug)]
struct Resolved {
    at: BootTime,
    path: Option<Outside>,
    truncated: bool,
}

#[derive(Debug, Default)]
pub struct Pending {
    told: HashMap<(ProcKey, Doer), Told>,
}

/// What of a process does one thing at a time. A worker looks up the path of a request that another thread completes.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Doer {
    Thread(Tid),
    /// Of io_uring.
    Request(u32),
}

fn doer(record: &Record) -> (ProcKey, Doer) {
    let doer = match record.request {
        0 => Doer::Thread(record.task.tid),
        request => Doer::Request(request),
    };
    (record.task.key, doer)
}

/// The paths of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Paths {
    pub path: Option<Outside>,
    /// What a rename or a link began from, or the text of a symbolic link.
    pub other: Option<Outside>,
    pub resolved: bool,
    pub truncated: bool,
}

impl Pending {
    /// Keeps a path until its event comes.
    pub fn put(&mut self, record: &Record) {
        if self.told.len() >= WAITING_MAX {
            self.told.clear();
        }
        let told = self.told.entry(doer(record)).or_default();
        let resolved =
            || Some(Resolved { at: record.at, path: record.path.clone(), truncated: record.truncated });
        match (record.what, record.resolved) {
            (What::Path, _) => told.resolved = resolved(),
            (_, true) => told.resolved_other = resolved(),
            (_, false) => told.other.clone_from(&record.path),
        }
    }

    /// The paths of this event. What the kernel resolved is its path only where the call succeeded, and only what it
    /// resolved during that call: the event of another may have been lost.
    pub fn take(&mut self, event: &Record) -> Paths {
        let told = self.told.remove(&doer(event)).unwrap_or_default();
        let mut paths = Paths {
            path: event.path.clone(),
            other: told.other,
            resolved: event.resolved,
            truncated: event.truncated,
        };
        let began = BootTime(event.at.0.saturating_sub(event.duration_ns.unwrap_or(0)));
        let of_this_call = |resolved: &Resolved| {
            event.result >= 0
                && event.duration_ns.is_some()
                && began <= resolved.at
                && resolved.at <= event.at
        };
        if let Some(resolved) = told.resolved.filter(|_| !event.resolved).filter(of_this_call) {
            paths.path = resolved.path;
            paths.resolved = true;
            paths.truncated = resolved.truncated;
            if let Some(other) = told.resolved_other.filter(of_this_call) {
                paths.other = other.path;
                paths.truncated |= other.truncated;
            }
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::records::file::{FileId, FileKind, Op};
    use crate::records::{CgroupId, StartTime, TaskFacts, Tgid, Uid};

    fn record(what: What, tid: u32, at: u64, path: &str) -> Record {
        Record {
            at: BootTime(at),
            task: TaskFacts {
                key: ProcKey { tgid: Tgid(7), start: StartTime(1) },
                started: BootTime(1),
                tid: Tid(tid),
                parent: Tgid(1),
                uid: Uid(0),
                cgroup: CgroupId(0),
                comm: [0; 16],
            },
            what,
            path: Some(path.into()),
            resolved: what == What::Path,
            truncated: false,
            result: 0,
            duration_ns: Some(10),
            created: false,
            file: FileId { device: 0, inode: 0, kind: FileKind::None },
            detail: 0,
            more: 0,
            compat: false,
            request: 0,
        }
    }

    fn texts(paths: &Paths) -> (&[u8], Option<&[u8]>, bool) {
        (paths.path.as_ref().unwrap().bytes(), paths.other.as_ref().map(Outside::bytes), paths.resolved)
    }

    #[test]
    fn a_rename_takes_the_other_path_of_its_own_thread() {
        let mut pending = Pending::default();
        pending.put(&record(What::OtherPath, 7, 99, "/old"));
        pending.put(&record(What::OtherPath, 8, 99, "/another"));
        let paths = pending.take(&record(What::Op(Op::Rename), 7, 100, "/new"));
        assert_eq!(texts(&paths), (b"/new".as_slice(), Some(b"/old".as_slice()), false));
        let paths = pending.take(&record(What::Op(Op::Rename), 7, 110, "/new"));
        assert_eq!(paths.other, None);
    }

    #[test]
    fn what_the_kernel_resolved_during_a_call_is_its_path() {
        let mut pending = Pending::default();
        let told = |pending: &mut Pending| {
            let old = record(What::OtherPath, 7, 95, "/old");
            pending.put(&Record { resolved: true, ..old });
            pending.put(&record(What::Path, 7, 95, "/new"));
            pending.put(&record(What::OtherPath, 7, 99, "/way/../old"));
        };
        let rename = record(What::Op(Op::Rename), 7, 100, "/way/../new");
        told(&mut pending);
        assert_eq!(texts(&pending.take(&rename)), (b"/new".as_slice(), Some(b"/old".as_slice()), true));
        // It failed: what was asked for is what counts.
        told(&mut pending);
        let failed = Record { result: -17, ..rename.clone() };
        let passed = (b"/way/../new".as_slice(), Some(b"/way/../old".as_slice()), false);
        assert_eq!(texts(&pending.take(&failed)), passed);
        // A call that began later: the event of the one before has been lost.
        told(&mut pending);
        let later = Record { at: BootTime(200), ..rename };
        assert_eq!(texts(&pending.take(&later)), passed);
    }

    #[test]
    fn a_request_has_the_path_that_its_worker_found() {
        let mut pending = Pending::default();
        let of = |request: u32, record: Record| Record { request, ..record };
        pending.put(&of(1, record(What::Path, 8, 95, "/real")));
        pending.put(&of(2, record(What::Path, 9, 95, "/another")));
        pending.put(&record(What::Path, 7, 95, "/of the thread"));
        let made = of(1, record(What::Op(Op::Mkdir), 7, 100, "/way/../real"));
        assert_eq!(texts(&pending.take(&made)), (b"/real".as_slice(), None, true));
        assert_eq!(texts(&pending.take(&made)), (b"/way/../real".as_slice(), None, false));
    }

    #[test]
    fn the_path_of_a_descriptor_stays() {
        let mut pending = Pending::default();
        pending.put(&record(What::Path, 7, 95, "/other"));
        let open = Record { resolved: true, ..record(What::Op(Op::Open), 7, 100, "/opened") };
        assert_eq!(texts(&pending.take(&open)).0, b"/opened");
    }
}
