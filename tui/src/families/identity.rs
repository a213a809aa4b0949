//! The columns that every family's rows share: who did it.

use crate::columns::{Cell, Column, Estimate, Info, Kind, Value};
use crate::families::flow::row::FlowRow;
use crate::filter::Filter;
use crate::model::{Container, Identity};
use crate::records::{Outside, Tid};

/// A row on behalf of a process.
pub trait HasIdentity: 'static {
    fn identity(&self) -> Option<&Identity>;

    /// The thread, where one is known.
    fn tid(&self) -> Option<Tid> {
        None
    }
}

fn of<'a, R: HasIdentity>(row: &'a R, read: impl Fn(&'a Identity) -> Option<Value<'a>>) -> Value<'a> {
    row.identity().and_then(read).unwrap_or(Value::Missing)
}

fn text(text: Option<&Outside>) -> Option<Value<'_>> {
    text.filter(|text| !text.is_empty()).map(Value::Text)
}

fn container(identity: &Identity) -> Option<&Container> {
    identity.owner.container.as_ref()
}

/// The filter asks who did it.
pub fn is_asked(filter: &Filter) -> bool {
    filter.has_words()
        || columns::<FlowRow>().iter().flat_map(|column| column.info.keys).any(|key| filter.names(key))
}

/// The identity columns of rows of type `R`; the first is the one tables begin with.
pub fn columns<R: HasIdentity>() -> Vec<Column<R>> {
    vec![
        Column::new(
            Info::new("process", Kind::Text, "Name and pid of the process; ~ where it is inferred")
                .estimated(Estimate::Where("attribution", "inferred"))
                .cell(Cell::left("PROCESS", 20, 0).growing()),
            |r| of(r, |i| Some(Value::Process(&i.comm, i.key.tgid.0))),
        ),
        Column::new(
            Info::new("pid", Kind::Number, "Process id (thread group id in the host's pid namespace)")
                .keys(&["pid"])
                .json("process.pid"),
            |r| of(r, |i| Some(Value::Uint(u64::from(i.key.tgid.0)))),
        ),
        Column::new(
            Info::new("tid", Kind::Number, "Thread that made the call").keys(&["tid"]).json("process.tid"),
            |r| r.tid().map_or(Value::Missing, |tid| Value::Uint(u64::from(tid.0))),
        ),
        Column::new(
            Info::new("comm", Kind::Text, "Name of the process, which it may change itself")
                .keys(&["proc"])
                .json("process.comm"),
            |r| of(r, |i| text(Some(&i.comm))),
        ),
        Column::new(
            Info::new("exe_name", Kind::Text, "Last component of the executable's path")
                .keys(&["proc"])
                .json("process.executable.name"),
            |r| of(r, |i| text(i.executable.as_ref().map(|e| &e.name))),
        ),
        Column::new(
            Info::new(
                "exe",
                Kind::Text,
                "Path of the executable as the process sees it, by the kernel's dentries",
            )
            .keys(&["exe"])
            .json("process.executable.path"),
            |r| of(r, |i| text(i.executable.as_ref().map(|e| &e.path))),
        ),
        Column::new(
            Info::new("created", Kind::Word, "When the process started (10 ms precise)")
                .json("process.creation.time"),
            |r| of(r, |i| Some(Value::Time(i.created))),
        ),
        Column::new(
            Info::new("ppid", Kind::Number, "Process id of the parent")
                .keys(&["ppid"])
                .json("process.parent_pid"),
            |r| of(r, |i| i.parent.map(|parent| Value::Uint(u64::from(parent.0)))),
        ),
        Column::new(
            Info::new("uid", Kind::Number, "Real user id")
                .keys(&["user", "uid"])
                .json("process.real_user.id"),
            |r| of(r, |i| i.uid.map(|uid| Value::Uint(u64::from(uid.0)))),
        ),
        Column::new(
            Info::new("user", Kind::Text, "Name of the real user, from /etc/passwd")
                .keys(&["user"])
                .json("process.real_user.name")
                .cell(Cell::left("USER", 10, 5)),
            |r| of(r, |i| i.user.as_deref().map(Value::Word)),
        ),
        Column::new(
            Info::new("owner", Kind::Text, "Container or systemd unit, from the cgroup path")
                .cell(Cell::left("OWNER", 16, 3).growing()),
            |r| of(r, |i| text(i.owner.label())),
        ),
        Column::new(
            Info::new("cgroup", Kind::Text, "Path of the cgroup that identifies the process")
                .keys(&["cgroup"])
                .json("process.linux.cgroup"),
            |r| of(r, |i| text(i.cgroup.as_ref())),
        ),
        Column::new(
            Info::new("unit", Kind::Text, "systemd unit").keys(&["unit"]).json("systemd.unit"),
            |r| of(r, |i| text(i.owner.unit.as_ref())),
        ),
        Column::new(
            Info::new("container", Kind::Text, "Container id or name")
                .keys(&["container"])
                .json("container.id"),
            |r| of(r, |i| text(container(i).map(|c| &c.id))),
        ),
        Column::new(
            Info::new("runtime", Kind::Word, "Container runtime")
                .keys(&["runtime"])
                .json("container.runtime.name"),
            |r| of(r, |i| container(i).map(|c| Value::Word(c.runtime))),
        ),
        Column::new(
            Info::new("pod", Kind::Text, "Uid of the Kubernetes pod").keys(&["pod"]).json("k8s.pod.uid"),
            |r| of(r, |i| text(i.owner.pod.as_ref())),
        ),
    ]
}
