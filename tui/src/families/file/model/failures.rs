//! Calls on files that failed, as they are contributed to the table of failures: by what was asked, errno and process,
//! with the first path of each as an example. Failed opens come from the counts, which lose none; what is not counted
//! by errno comes from the events.

use std::collections::HashMap;
use std::sync::Arc;

use fluoro_shared::file::FileCell;

use super::{FileModel, Use};
use crate::model::{Failure, Identity, Processes, Subject, errno_name};
use crate::records::file::{FileId, FileKind, Op, Record};
use crate::records::{BootTime, Outside, ProcKey};

/// Examples kept; what is beyond has none.
const EXAMPLES_MAX: usize = 10_000;

/// What failed in one way.
type Way = (ProcKey, &'static str, &'static str);

#[derive(Default)]
pub(super) struct Failed {
    examples: HashMap<Way, Outside>,
    waiting: Vec<Failure>,
}

impl Failed {
    /// The path that stands for all that failed so.
    fn example(&mut self, way: Way, path: Option<&Outside>) -> Subject {
        let known = self.examples.get(&way).cloned();
        let room = self.examples.len() < EXAMPLES_MAX;
        let told = known.or_else(|| path.filter(|_| room).cloned());
        let Some(path) = told else { return Subject::None };
        self.examples.entry(way).or_insert_with(|| path.clone());
        Subject::Path(path)
    }

    /// An event other than an open.
    pub(super) fn event(&mut self, op: Op, record: &Record, error: &'static str, identity: &Arc<Identity>) {
        if op == Op::Open {
            return;
        }
        let kind = op.event().trim_start_matches("file.");
        let subject = self.example((record.task.key, kind, error), record.path.as_ref());
        self.waiting.push(Failure {
            at: record.at,
            family: "file",
            kind,
            error: Some(error),
            identity: Some(Arc::clone(identity)),
            subject,
            count: 1,
            standing: false,
            latency_ns: record.duration_ns,
        });
    }

    /// What an interval has counted of one use of a file.
    fn counted(
        &mut self,
        (process, file): (ProcKey, FileId),
        path: Option<&Outside>,
        cell: &FileCell,
        at: BootTime,
        processes: &Processes,
    ) {
        let identity = processes.get(process).cloned();
        let mut add = |kind, error, subject, count| {
            let identity = identity.clone();
            let failure = Failure {
                at,
                family: "file",
                kind,
                error,
                identity,
                subject,
                count,
                standing: false,
                latency_ns: None,
            };
            self.waiting.extend((count > 0).then_some(failure));
        };
        if file.kind == FileKind::None {
            // Opens that led to no file; the other calls were made on descriptors that are none.
            let error = Some(errno_name(file.inode as i32));
            add("open", error, path.cloned().map_or(Subject::None, Subject::Path), cell.opens);
            for (kind, count) in [("read", cell.reads), ("write", cell.writes), ("sync", cell.syncs)] {
                add(kind, error, Subject::None, count);
            }
        } else if matches!(file.kind, FileKind::Regular | FileKind::Directory | FileKind::Block) {
            // Of pipes, sockets and terminals, to have nothing to read yet is no failure.
            add("io", None, path.cloned().map_or(Subject::None, Subject::Path), cell.errors);
        }
    }
}

impl FileModel {
    /// What went wrong since this was asked last.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failed.waiting)
    }

    /// Takes the failures out of what was counted in the interval.
    pub(super) fn tell_failures(&mut self, at: BootTime, processes: &Processes) {
        let Self { uses, failed, .. } = self;
        for (key, Use { path, interval, .. }) in uses.iter().filter(|(_, used)| used.interval.errors > 0) {
            failed.counted(*key, path.as_ref(), interval, at, processes);
        }
        failed.examples.retain(|(process, ..), _| processes.get(*process).is_some());
    }
}
