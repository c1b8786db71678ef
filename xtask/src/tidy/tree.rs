//! The files of the repository: what git tracks, or would if asked.

use crate::Problem;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) struct Tree {
    root: PathBuf,
    paths: Vec<PathBuf>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self, Problem> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let listing = String::from_utf8(output.stdout)?;
        let names: Vec<&str> = listing.split('\0').filter(|name| !name.is_empty()).collect();
        Ok(Self::of(root, &names))
    }

    /// These files, and no others.
    pub(super) fn of(root: &Path, names: &[&str]) -> Self {
        Self { root: root.to_path_buf(), paths: names.iter().map(PathBuf::from).collect() }
    }

    /// The files with this extension, relative to the root.
    pub(super) fn files(&self, extension: &str) -> impl Iterator<Item = &Path> {
        let matches = move |path: &&PathBuf| path.extension().is_some_and(|e| e == extension);
        self.paths.iter().filter(matches).map(PathBuf::as_path)
    }

    /// What is in a file; nothing if it was deleted, or is no text.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }

    /// Whether there is a file or directory of this name.
    pub(super) fn exists(&self, path: &Path) -> bool {
        self.root.join(path).exists()
    }

    /// An absolute path, seen from the root.
    pub(super) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }
}
