//! No file is longer than one can keep in mind.

use super::Finding;
use super::tree::Tree;
use std::path::Path;

const MAX_LINES: usize = 800;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = ["rs", "py", "sh", "ts", "tsx"].into_iter().flat_map(|kind| tree.files(kind));
    let sizes = files.filter(|path| !is_exempt(path)).filter_map(|path| {
        let lines = tree.text(path)?.lines().count();
        (lines > MAX_LINES).then(|| {
            let problem = format!("has {lines} lines; {MAX_LINES} are enough");
            Finding::new(path.display().to_string(), problem)
        })
    });
    sizes.collect()
}

/// What a program wrote, or what is data.
fn is_exempt(path: &Path) -> bool {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let generated = path.starts_with("crates/wire/src") && stem.starts_with("generated");
    generated || path.components().any(|part| part.as_os_str() == "fixtures")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let long = "//\n".repeat(MAX_LINES + 1);
        let files = [
            "crates/a/src/long.rs",
            "crates/a/tests/fixtures/long.py",
            "crates/wire/src/ecs/generated_schema.rs",
            "notes.md",
        ];
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            std::fs::write(path, &long).expect("written");
        }
        let findings = check(&Tree::of(directory.path(), &files));
        let places: Vec<_> = findings.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["crates/a/src/long.rs"]);
    }
}
