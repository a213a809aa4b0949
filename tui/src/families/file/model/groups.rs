//! The use of files taken together.

use std::collections::HashMap;
use std::sync::Arc;

use fluoro_shared::file::{WHAT_OPEN, WHAT_READ, WHAT_SYNC, WHAT_WRITE};

use super::{FileModel, FileRow, Uses};
use crate::families::file::row::group::{By, GroupKey, GroupRow};
use crate::model::{Distribution, Lookup, Series};
use crate::records::file::FileKind;
use crate::records::{Outside, ProcKey};

impl FileModel {
    /// These uses taken together. The figures are the interval's; of an earlier one there are no distributions.
    pub fn groups(
        &self,
        by: By,
        rows: &[Arc<FileRow>],
        earlier: bool,
        lookup: &mut dyn Lookup,
    ) -> Vec<Arc<GroupRow>> {
        let mut groups: HashMap<GroupKey, (GroupRow, Distribution)> = HashMap::new();
        for row in rows {
            let Some(uses) = &row.uses else { continue };
            let key = key_of(row, by, lookup);
            let (group, durations) = groups.entry(key).or_insert_with_key(|key| {
                let identity = (by == By::Process).then(|| Arc::clone(&row.identity));
                let uses = Uses { seconds: uses.seconds, ..Uses::default() };
                (GroupRow { key: key.clone(), identity, files: 0, uses }, Distribution::default())
            });
            group.files += u64::from(row.is_file() && uses.calls() > 0);
            add(&mut group.uses, uses);
            if !earlier && let Some(some) = self.durations_of(row) {
                durations.merge(&some);
            }
        }
        let finished = groups.into_values().map(|(mut group, durations)| {
            group.uses.quantiles_ns = durations.quantiles([0.5, 0.9, 0.99], group.uses.max_ns);
            Arc::new(group)
        });
        finished.collect()
    }

    /// How long the calls of a row took in the interval, all kinds together.
    fn durations_of(&self, row: &FileRow) -> Option<Distribution> {
        let process = row.identity.key;
        let (raw, _) = self.uses.get(&(process, row.file))?.cell.as_ref()?;
        Some(self.durations_in_interval(process, raw.subject()))
    }

    pub(super) fn durations_in_interval(&self, process: ProcKey, subject: u64) -> Distribution {
        let mut all = Distribution::default();
        for what in [WHAT_OPEN, WHAT_READ, WHAT_WRITE, WHAT_SYNC] {
            if let Some(some) = self.histograms.of_interval(&Series { process, what, subject }) {
                all.merge(some);
            }
        }
        all
    }
}

fn add(sum: &mut Uses, one: &Uses) {
    sum.opens += one.opens;
    sum.reads += one.reads;
    sum.writes += one.writes;
    sum.syncs += one.syncs;
    sum.read_bytes += one.read_bytes;
    sum.write_bytes += one.write_bytes;
    sum.errors += one.errors;
    sum.sum_ns += one.sum_ns;
    sum.max_ns = sum.max_ns.max(one.max_ns);
    sum.total.calls += one.total.calls;
    sum.total.read_bytes += one.total.read_bytes;
    sum.total.write_bytes += one.total.write_bytes;
}

fn key_of(row: &FileRow, by: By, lookup: &mut dyn Lookup) -> GroupKey {
    match by {
        By::Process => GroupKey::Process(row.identity.key),
        // The path of a row of failed opens is that of the first only.
        _ if !row.is_file() => GroupKey::Failed,
        By::Directory => GroupKey::Directory(row.path.as_ref().map(|path| directory(path, row.file.kind))),
        By::Mount => {
            let device = row.file.device;
            let mounted = if device == 0 { None } else { lookup.mount(device) };
            let nameless = || row.path.as_ref().or(row.file.nameless().as_ref()).and_then(family_of_nameless);
            let label = mounted.or_else(nameless).unwrap_or_else(|| {
                // `dev_t` inside the kernel: 12 bits of major, 20 of minor.
                Outside::from(format!("{}:{}", device >> 20, device & 0xf_ffff).as_str())
            });
            GroupKey::Mount(label, device)
        }
    }
}

/// The directory that a file is in; a directory that is read is its own. What has no place is taken together by kind.
fn directory(path: &Outside, kind: FileKind) -> Outside {
    if let Some(family) = family_of_nameless(path) {
        return family;
    }
    let bytes = path.bytes();
    if kind == FileKind::Directory {
        return path.clone();
    }
    match bytes.iter().rposition(|&byte| byte == b'/') {
        None | Some(0) => Outside::from("/"),
        Some(at) => Outside::new(bytes.get(..at).unwrap_or_default()),
    }
}

/// `pipe:` of `pipe:[123]`, and the like; `None` of a path.
fn family_of_nameless(path: &Outside) -> Option<Outside> {
    let bytes = path.bytes();
    let colon = bytes.iter().position(|&byte| byte == b':').filter(|_| !bytes.starts_with(b"/"))?;
    bytes.get(..=colon).map(Outside::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_in_its_directory_and_what_has_no_place_in_its_kind() {
        let of = |path: &str, kind| directory(&Outside::from(path), kind).bytes().to_vec();
        assert_eq!(of("/var/log/syslog", FileKind::Regular), b"/var/log");
        assert_eq!(of("/vmlinuz", FileKind::Regular), b"/");
        assert_eq!(of("/var/log", FileKind::Directory), b"/var/log");
        assert_eq!(of("/", FileKind::Directory), b"/");
        assert_eq!(of("/tmp/a:b", FileKind::Regular), b"/tmp");
        assert_eq!(of("pipe:[123]", FileKind::Fifo), b"pipe:");
        assert_eq!(of("socket:", FileKind::Socket), b"socket:");
    }
}
