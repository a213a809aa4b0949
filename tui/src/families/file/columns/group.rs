//! The columns of the use of files taken together.

use std::sync::OnceLock;

use super::use_columns;
use crate::columns::{Cell, Column, Faces, Info, Kind, Unit, Value};
use crate::families::file::row::group::{GroupKey, GroupRow};
use crate::families::identity;

/// What stands for all that has no directory and no mount.
const FAILED: &str = "(failed opens)";

pub fn columns() -> &'static [Column<GroupRow>] {
    static COLUMNS: OnceLock<Vec<Column<GroupRow>>> = OnceLock::new();
    COLUMNS.get_or_init(|| {
        let mut columns = identity::columns::<GroupRow>();
        columns.extend(group_columns());
        columns.extend(use_columns());
        columns
    })
}

fn group_columns() -> Vec<Column<GroupRow>> {
    let fact = |info: Info, value: for<'a> fn(&'a GroupRow) -> Value<'a>| {
        Column::new(info.faces(Faces::TopOnly), value)
    };
    vec![
        fact(
            Info::new("group", Kind::Text, "Directory or mount; what opened no file is in a row of its own")
                .cell(Cell::left("OF", 30, 0).growing()),
            |r| match &r.key {
                GroupKey::Directory(Some(path)) | GroupKey::Mount(path, _) => Value::Text(path),
                GroupKey::Failed => Value::Word(FAILED),
                GroupKey::Directory(None) | GroupKey::Process(_) => Value::Missing,
            },
        ),
        fact(
            Info::new(
                "directory",
                Kind::Text,
                "Directory that the files are in, of a directory itself (`--by directory`)",
            )
            .keys(&["path"])
            .json("file.directory"),
            |r| match &r.key {
                GroupKey::Directory(Some(path)) => Value::Text(path),
                _ => Value::Missing,
            },
        ),
        fact(
            Info::new("mount", Kind::Text, "Where their file system is mounted (`--by mount`)")
                .keys(&["path"])
                .json("system.filesystem.mountpoint"),
            |r| match &r.key {
                GroupKey::Mount(path, _) => Value::Text(path),
                _ => Value::Missing,
            },
        ),
        fact(
            Info::new("device", Kind::Number, "Device of that file system (dev_t as the kernel keeps it)")
                .json("file.device"),
            |r| match r.key {
                GroupKey::Mount(_, device) if device != 0 => Value::Uint(u64::from(device)),
                _ => Value::Missing,
            },
        ),
        fact(
            Info::new("failed", Kind::Word, "Stands for opens that led to no file").json("file.group.failed"),
            |r| if r.key == GroupKey::Failed { Value::Bool(true) } else { Value::Missing },
        ),
        fact(
            Info::new("files", Kind::Number, "Files that were used in the interval, of each process")
                .json("file.group.files")
                .unit(Unit::Count)
                .cell(Cell::right("FILES", 6, 1)),
            |r| Value::Uint(r.files),
        ),
    ]
}
