//! Where things are in the project's tree.

use std::path::{Path, PathBuf};

/// The project's root: cargo tells it, else the first folder upwards that looks like it.
pub fn root() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = told.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    here.ancestors()
        .find(|folder| folder.join("probes-ebpf/Cargo.toml").exists())
        .unwrap_or(&here)
        .to_path_buf()
}

/// Everything that xtask makes or fetches stays below this folder.
pub fn target(of: &str) -> PathBuf {
    root().join("target").join(of)
}

/// Every file below `folder` that is kept in the project, sorted.
pub fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if !path.is_dir() {
                files.push(path);
            } else if !path.ends_with("target") {
                folders.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
