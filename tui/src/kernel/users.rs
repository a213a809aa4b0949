//! User names from /etc/passwd. Not by NSS: the binary may be static, and a directory service must not be asked by a
//! tool that looks at a slow machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Names by real user id, read again when the file changes.
#[derive(Debug)]
pub struct Users {
    file: PathBuf,
    modified: Option<SystemTime>,
    names: HashMap<u32, Arc<str>>,
}

impl Users {
    pub fn new(root: &Path) -> Self {
        let mut users = Self { file: root.join("etc/passwd"), modified: None, names: HashMap::new() };
        users.refresh();
        users
    }

    /// Reads the file again if it has changed.
    pub fn refresh(&mut self) {
        let modified = std::fs::metadata(&self.file).and_then(|meta| meta.modified()).ok();
        if modified == self.modified && modified.is_some() {
            return;
        }
        self.modified = modified;
        let text = std::fs::read(&self.file).unwrap_or_default();
        self.names = String::from_utf8_lossy(&text).lines().filter_map(parse_line).collect();
    }

    pub fn name(&self, uid: u32) -> Option<Arc<str>> {
        self.names.get(&uid).cloned()
    }

    pub fn uid(&self, name: &str) -> Option<u32> {
        self.names.iter().find(|(_, known)| known.as_ref() == name).map(|(&uid, _)| uid)
    }
}

fn parse_line(line: &str) -> Option<(u32, Arc<str>)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, name.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_come_from_passwd_and_follow_its_changes() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let file = root.path().join("etc/passwd");
        std::fs::write(&file, "root:x:0:0::/root:/bin/sh\n#no:x:5:5\nbroken\nweb:x:33:33::/:\n").unwrap();
        let mut users = Users::new(root.path());
        assert_eq!(users.name(33).as_deref(), Some("web"));
        assert_eq!((users.name(5), users.uid("root")), (None, Some(0)));
        std::fs::write(&file, "root:x:0:0::/root:/bin/sh\n").unwrap();
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        users.refresh();
        assert_eq!(users.name(33), None);
    }
}
