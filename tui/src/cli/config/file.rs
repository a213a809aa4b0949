//! Where the configuration lies, whose it must be, and how chosen columns get into it. Under sudo it is the invoking
//! user's: what is written there is written with that user's rights, so that a link in the user's folder leads nowhere
//! where the user could not write.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};

use super::{FACES, View, word};

/// The file and who owns it.
#[derive(Debug, Clone)]
pub struct Place {
    path: PathBuf,
    /// The invoking user and group; `None`: whoever runs fluoro.
    invoker: Option<(u32, u32)>,
}

/// A configuration is a page or two.
const LONGEST: u64 = 256 * 1024;

impl Place {
    /// By the environment, looked up through `env`, and /etc/passwd below `root`.
    pub fn find(env: impl Fn(&str) -> Option<String>, root: &Path) -> Option<Self> {
        let number = |name: &str| env(name)?.parse::<u32>().ok();
        let invoker = geteuid().is_root().then(|| Some((number("SUDO_UID")?, number("SUDO_GID")?))).flatten();
        let absolute = |text: String| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
        let folder = match invoker {
            // sudo keeps root's environment or the user's, by its own configuration: the user's home is sure.
            Some((uid, _)) => home_of(uid, root)?.join(".config"),
            None => match env("XDG_CONFIG_HOME").and_then(absolute) {
                Some(folder) => folder,
                None => env("HOME").and_then(absolute)?.join(".config"),
            },
        };
        Some(Self { path: folder.join("fluoro/config.toml"), invoker })
    }

    pub fn at(path: PathBuf) -> Self {
        Self { path, invoker: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn owner(&self) -> u32 {
        self.invoker.map_or_else(|| geteuid().as_raw(), |(uid, _)| uid)
    }

    /// The text, or `None` where there is no file.
    pub fn read(&self) -> Result<Option<String>, String> {
        let shown = self.path.display();
        // Not blocking: the name may be that of a pipe.
        let opened =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(&self.path);
        let file = match opened {
            Ok(file) => file,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(format!("{shown}: {error}")),
        };
        let meta = file.metadata().map_err(|error| format!("{shown}: {error}"))?;
        if !meta.is_file() || meta.len() > LONGEST {
            return Err(format!("{shown} is no configuration: a file of up to {LONGEST} bytes is wanted"));
        }
        if meta.uid() != self.owner() && meta.uid() != 0 {
            return Err(format!(
                "{shown} belongs to uid {}, not to you (uid {}): not read. `chown {} {shown}`, or remove it",
                meta.uid(),
                self.owner(),
                self.owner()
            ));
        }
        if meta.mode() & 0o002 != 0 {
            return Err(format!("{shown} can be written by everybody: not read. `chmod o-w {shown}`"));
        }
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(|error| format!("{shown}: {error}"))?;
        Ok(Some(text))
    }

    /// Replaces the file as a whole.
    fn write(&self, text: &str) -> std::io::Result<()> {
        let _as_invoker = self.invoker.map(AsUser::become_user);
        let folder = self.path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder)?;
        let aside = folder.join(format!(".config.toml.{}", std::process::id()));
        let written = (|| {
            let mut file: File = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(&aside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, &self.path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }
}

/// This thread's file accesses are a user's, until it is dropped.
struct AsUser {
    uid: Uid,
    gid: Gid,
}

impl AsUser {
    fn become_user((uid, gid): (u32, u32)) -> Self {
        // The group first: it cannot be changed any more afterwards.
        let gid = setfsgid(Gid::from_raw(gid));
        let uid = setfsuid(Uid::from_raw(uid));
        Self { uid, gid }
    }
}

impl Drop for AsUser {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
    }
}

fn home_of(uid: u32, root: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(root.join("etc/passwd")).ok()?;
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find(|fields| fields.get(2).and_then(|n| n.parse().ok()) == Some(uid))?;
    Some(PathBuf::from(*found.get(5)?)).filter(|home| home.is_absolute())
}

/// Puts a view's columns into the file, or takes them out; everything else in it stays as it is.
pub fn keep_columns(place: &Place, view: View, ids: Option<&[String]>) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("The columns are not kept: {error}");
    let text = place.read().map_err(|error| failed(&error))?.unwrap_or_default();
    let changed = with_columns(&text, view, ids).map_err(|error| failed(&error))?;
    if changed == text {
        return Ok(());
    }
    place.write(&changed).map_err(|error| failed(&format!("{}: {error}", place.path.display())))
}

fn with_columns(text: &str, view: View, ids: Option<&[String]>) -> Result<String, String> {
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let name = FACES.iter().find(|face| face.view == view).map_or_else(String::new, |face| word(face.title));
    let table = document.entry("columns").or_insert(toml_edit::table());
    let Some(table) = table.as_table_like_mut() else {
        return Err("columns is no table".to_owned());
    };
    match ids {
        Some(ids) => {
            table.insert(&name, toml_edit::value(ids.iter().collect::<toml_edit::Array>()));
        }
        None => {
            table.remove(&name);
        }
    }
    if table.is_empty() {
        document.remove("columns");
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn columns_are_kept_without_touching_the_rest_and_taken_out_again() {
        let folder = folder();
        let place = Place::at(folder.path().join("deep/config.toml"));
        let ids = ["process".to_owned(), "rx".to_owned()];
        keep_columns(&place, View::Flows, Some(&ids)).unwrap();
        let mut text = place.read().unwrap().unwrap();
        assert_eq!(text, "[columns]\nflows = [\"process\", \"rx\"]\n");
        text = format!("# mine\ntheme = 'light' # stays\n\n{text}");
        fs::write(place.path(), &text).unwrap();
        keep_columns(&place, View::Flows, None).unwrap();
        assert_eq!(place.read().unwrap().unwrap(), "# mine\ntheme = 'light' # stays\n");
    }

    #[test]
    fn a_file_of_somebody_else_or_open_to_everybody_is_refused() {
        let folder = folder();
        let place = Place::at(folder.path().join("config.toml"));
        assert_eq!(place.read(), Ok(None));
        fs::write(place.path(), "").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(place.read().unwrap_err().contains("chmod o-w"));
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(place.read().is_ok());
        if geteuid().is_root() {
            std::os::unix::fs::chown(place.path(), Some(12_345), None).unwrap();
            assert!(place.read().unwrap_err().contains("belongs to uid 12345"));
            // Under sudo it is the invoking user's, whose rights the writing has.
            let place = Place { path: place.path().to_owned(), invoker: Some((12_345, 12_345)) };
            assert!(place.read().is_ok());
            assert!(
                keep_columns(&place, View::Flows, Some(&["rx".to_owned()])).is_err(),
                "the folder is root's"
            );
            std::os::unix::fs::chown(folder.path(), Some(12_345), None).unwrap();
            keep_columns(&place, View::Flows, Some(&["rx".to_owned()])).unwrap();
            assert_eq!(fs::metadata(place.path()).unwrap().uid(), 12_345);
        }
    }

    #[test]
    fn a_pipe_is_no_configuration_and_blocks_nobody() {
        let folder = folder();
        let place = Place::at(folder.path().join("config.toml"));
        nix::unistd::mkfifo(place.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(place.read().unwrap_err().contains("no configuration"));
    }

    #[test]
    fn the_home_is_the_invoking_users() {
        let folder = folder();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(
            folder.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\neve:x:1001:1001::/home/eve:/bin/sh\n",
        )
        .unwrap();
        let env = |name: &str| match name {
            "SUDO_UID" | "SUDO_GID" => Some("1001".to_owned()),
            "XDG_CONFIG_HOME" => Some("/root/.config".to_owned()),
            _ => None,
        };
        let found = Place::find(env, folder.path()).unwrap();
        let wanted = if geteuid().is_root() { "/home/eve/.config" } else { "/root/.config" };
        assert_eq!(found.path(), Path::new(wanted).join("fluoro/config.toml"));
    }
}
