//! Control groups: which hierarchy tells processes apart on this machine, and paths by kernfs id.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How cgroups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    V2,
    V1,
    /// v1 controllers with a v2 hierarchy beside them.
    Hybrid,
    None,
}

impl Mode {
    pub const fn word(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::None => "none",
        }
    }
}

/// The hierarchy by which tasks are identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    pub mode: Mode,
    mount: PathBuf,
    /// The v1 controller: name and position in `css_set.subsys`. `None`: the unified hierarchy.
    controller: Option<(String, u32)>,
}

/// Where the unified hierarchy is mounted, below `root`.
pub fn unified(root: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string(root.join("proc/mounts")).ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| root.join(at.trim_start_matches('/')))
    })
}

/// Directories looked at in one scan: a machine with more is mapped in part.
const SCAN_MAX: usize = 50_000;

impl Hierarchy {
    /// Reads the mounts and controllers below `root`.
    pub fn detect(root: &Path) -> Option<Self> {
        let mounts = fs::read_to_string(root.join("proc/mounts")).ok()?;
        let controllers = fs::read_to_string(root.join("proc/cgroups")).unwrap_or_default();
        let (mut v1, mut v2) = (Vec::new(), None);
        for line in mounts.lines() {
            let mut fields = line.split(' ');
            let (Some(_), Some(at), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            match kind {
                "cgroup2" => v2 = v2.or_else(|| Some(at.to_owned())),
                "cgroup" => v1.push((at.to_owned(), options.to_owned())),
                _ => {}
            }
        }
        let below = |at: &str| root.join(at.trim_start_matches('/'));
        let mode = match (v1.is_empty(), v2.is_some()) {
            (true, true) => Mode::V2,
            (false, true) => Mode::Hybrid,
            (false, false) => Mode::V1,
            (true, false) => return None,
        };
        // Every unit has a `pids` group; containers have `memory`. In between anything is better than nothing.
        let known: Vec<(&str, u32)> = controllers
            .lines()
            .filter(|line| !line.starts_with('#'))
            .enumerate()
            .filter_map(|(index, line)| Some((line.split_ascii_whitespace().next()?, index as u32)))
            .collect();
        let mounted = |name: &str| {
            v1.iter().find(|(_, options)| options.split(',').any(|option| option == name)).map(|(at, _)| at)
        };
        let crowded = |name: &str| {
            let count: u32 = controllers
                .lines()
                .find(|line| line.split_ascii_whitespace().next() == Some(name))
                .and_then(|line| line.split_ascii_whitespace().nth(2)?.parse().ok())
                .unwrap_or(0);
            count > 1
        };
        let usable = || known.iter().filter(|(name, _)| mounted(name).is_some());
        let chosen = usable()
            .find(|(name, _)| *name == "pids" && crowded(name))
            .or_else(|| usable().find(|(name, _)| *name == "memory" && crowded(name)))
            .or_else(|| usable().find(|(name, _)| *name == "pids"))
            .or_else(|| usable().find(|(name, _)| *name == "memory"))
            .or_else(|| usable().next());
        match (chosen, v2) {
            (Some(&(name, index)), _) if mode != Mode::V2 => {
                Some(Self { mode, mount: below(mounted(name)?), controller: Some((name.to_owned(), index)) })
            }
            (_, Some(at)) => Some(Self { mode, mount: below(&at), controller: None }),
            _ => None,
        }
    }

    /// Index in `css_set.subsys`; `None` for the unified hierarchy.
    pub fn subsys(&self) -> Option<u32> {
        self.controller.as_ref().map(|(_, index)| *index)
    }

    /// What doctor calls it.
    pub fn describe(&self) -> String {
        let by = self.controller.as_ref().map_or("the unified hierarchy", |(name, _)| name);
        format!("{} (processes identified by {by})", self.mode.word())
    }

    /// The path of a process in this hierarchy, out of its /proc/PID/cgroup.
    pub fn path_in<'a>(&self, lines: &'a [u8]) -> Option<&'a [u8]> {
        let wanted = self.controller.as_ref().map_or(&b""[..], |(name, _)| name.as_bytes());
        select(lines, wanted)
    }

    /// Path of the service manager's own hierarchy: where units are found on v1 and hybrid machines.
    pub fn unit_path_in<'a>(&self, lines: &'a [u8]) -> Option<&'a [u8]> {
        select(lines, b"name=systemd").or_else(|| self.path_in(lines))
    }

    /// Id of the directory at `path`.
    pub fn id_of(&self, path: &[u8]) -> Option<u64> {
        let relative = std::ffi::OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path));
        fs::metadata(self.mount.join(relative)).ok().map(|meta| meta.ino())
    }
}

/// The path of the line `N:controllers:path` that lists `wanted`.
fn select<'a>(lines: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    lines.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |&b| b == b':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(|&b| b == b',').any(|name| name == wanted).then_some(path)
    })
}

/// Paths by kernfs id: the inode numbers of the hierarchy's directories.
#[derive(Debug)]
pub struct Paths {
    mount: PathBuf,
    known: HashMap<u64, Vec<u8>>,
}

impl Paths {
    pub fn new(hierarchy: &Hierarchy) -> Self {
        let mut paths = Self { mount: hierarchy.mount.clone(), known: HashMap::new() };
        paths.scan();
        paths
    }

    pub fn get(&self, id: u64) -> Option<&[u8]> {
        self.known.get(&id).map(Vec::as_slice)
    }

    /// Every known group.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.known.iter().map(|(&id, path)| (id, path.as_slice()))
    }

    /// Reads the directories again. Groups that are gone stay known: their processes may still be shown.
    pub fn scan(&mut self) {
        if self.known.len() > 4 * SCAN_MAX {
            self.known.clear();
        }
        let mut waiting = vec![self.mount.clone()];
        let mut seen = 0;
        while let Some(dir) = waiting.pop() {
            seen += 1;
            if seen > SCAN_MAX {
                return;
            }
            let Ok(meta) = fs::symlink_metadata(&dir) else { continue };
            let relative = dir.strip_prefix(&self.mount).map_or(&b""[..], |path| path.as_os_str().as_bytes());
            let mut path = Vec::with_capacity(relative.len() + 1);
            path.push(b'/');
            path.extend_from_slice(relative);
            self.known.insert(meta.ino(), path);
            // A cgroup directory without children has two links.
            if meta.nlink() == 2 {
                continue;
            }
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            waiting.extend(
                entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine(mounts: &str, controllers: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("proc")).unwrap();
        fs::write(root.path().join("proc/mounts"), mounts).unwrap();
        fs::write(root.path().join("proc/cgroups"), controllers).unwrap();
        root
    }

    #[test]
    fn a_unified_machine_is_identified_by_the_unified_hierarchy() {
        let root = machine("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "#subsys_name\npids\t0\t90\t1\n");
        let found = Hierarchy::detect(root.path()).unwrap();
        assert_eq!((found.mode, found.subsys()), (Mode::V2, None));
        assert_eq!(found.path_in(b"0::/system.slice/a.service\n"), Some(&b"/system.slice/a.service"[..]));
    }

    #[test]
    fn on_a_hybrid_machine_pids_is_chosen_with_its_position() {
        let root = machine(
            "cgroup /c/memory cgroup rw,memory 0 0\ncgroup /c/pids cgroup rw,pids 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n",
            "#subsys_name\thierarchy\ncpuset\t3\t1\t1\nmemory\t4\t9\t1\npids\t8\t9\t1\n",
        );
        let found = Hierarchy::detect(root.path()).unwrap();
        assert_eq!((found.mode, found.subsys()), (Mode::Hybrid, Some(2)));
        let lines = b"9:name=systemd:/u\n8:pids:/p:q\n0::/\n";
        assert_eq!(found.path_in(lines), Some(&b"/p:q"[..]));
        assert_eq!(found.unit_path_in(lines), Some(&b"/u"[..]));
    }

    #[test]
    fn a_controller_with_groups_is_preferred_to_an_empty_one() {
        let root = machine(
            "cgroup /c/memory cgroup rw,memory 0 0\ncgroup /c/pids cgroup rw,pids 0 0\n",
            "#subsys_name\nmemory\t4\t9\t1\npids\t8\t1\t1\n",
        );
        assert_eq!(Hierarchy::detect(root.path()).unwrap().subsys(), Some(0));
    }

    #[test]
    fn ids_lead_to_paths_and_back() {
        let root = machine("cgroup2 /cg cgroup2 rw 0 0\n", "");
        fs::create_dir_all(root.path().join("cg/a.slice/b.service")).unwrap();
        let hierarchy = Hierarchy::detect(root.path()).unwrap();
        let paths = Paths::new(&hierarchy);
        let id = hierarchy.id_of(b"/a.slice/b.service").unwrap();
        assert_eq!(paths.get(id), Some(&b"/a.slice/b.service"[..]));
    }
}
