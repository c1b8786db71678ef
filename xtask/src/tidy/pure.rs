//! The deciding crates are pure: no clock, no entropy, no files, no order that
//! depends on a hash. `no_std` is what makes that a matter of compiling, so the
//! checks are that it is there and that nothing brings `std` in again.

use super::Finding;
use super::metadata::{Dependency, Package};
use super::tree::Tree;
use std::path::Path;

/// The pure crates.
const CORES: &[&str] = &["ident", "net", "sched"];
/// What they may use that is not ours. All of it works without `std`.
const FRIENDS: &[&str] = &["ipnet", "regex", "rpds", "serde", "thiserror"];
/// What must not be in their sources outside of tests.
const FOREIGN: &[&str] = &["std::", "extern crate std", "HashMap", "HashSet"];

pub(super) fn check(packages: &[Package], tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| CORES.contains(&package.name.as_str())) {
        findings.extend(package.dependencies.iter().filter_map(|d| dependency(&package.name, d)));
        let source = tree.relative(Path::new(&package.manifest_path)).with_file_name("src");
        let root = source.join("lib.rs");
        if !tree.text(&root).is_some_and(|text| text.contains("#![no_std]")) {
            findings.push(Finding::new(root.display().to_string(), "must be #![no_std]"));
        }
        for path in tree.files("rs").filter(|path| path.starts_with(&source)) {
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests")
                || path.components().any(|part| part.as_os_str() == "tests");
            if let Some(text) = tree.text(path).filter(|_| !is_test) {
                findings.extend(foreign(&path.display().to_string(), &text));
            }
        }
    }
    findings
}

fn dependency(core: &str, dependency: &Dependency) -> Option<Finding> {
    let name = &dependency.name;
    if dependency.is_for_tests() || dependency.is_ours() {
        return None;
    }
    let problem = if !FRIENDS.contains(&name.as_str()) {
        format!("is pure and must not depend on {name}")
    } else if dependency.uses_default_features {
        format!("is pure and must not use the default features of {name}")
    } else if dependency.features.iter().any(|feature| feature == "std") {
        format!("is pure and must not use {name} with `std`")
    } else {
        return None;
    };
    Some(Finding::new(core, problem))
}

fn foreign(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        // Tests stand last in a file, and may use what they like.
        let next = lines.get(at + 1).copied().unwrap_or_default();
        if line.starts_with("#[cfg(test)]") && next.starts_with("mod ") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for foreign in FOREIGN.iter().filter(|foreign| has_word(code, foreign)) {
            let problem = format!("`{foreign}` has no place in a pure crate");
            findings.push(Finding::new(format!("{path}:{}", at + 1), problem));
        }
    }
    findings
}

/// Whether `word` stands in `code` and is not the end of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_is_found_outside_of_tests() {
        for (text, lines) in [
            ("use core::fmt;\nuse std::fmt;\n", &["x:2"][..]),
            ("let m: HashMap<A, B>;", &["x:1"]),
            ("// std::fmt in a comment\nuse my_std::fmt;", &[]),
            ("fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fmt;\n}", &[]),
            ("#[cfg(test)]\nuse std::fmt;", &["x:2"]),
        ] {
            let found: Vec<_> = foreign("x", text).into_iter().map(|f| f.place).collect();
            assert_eq!(found, lines, "{text}");
        }
    }

    #[test]
    fn friends_come_without_std() {
        let make = |name: &str, defaults, features: &[&str]| Dependency {
            name: name.into(),
            kind: None,
            path: None,
            uses_default_features: defaults,
            features: features.iter().map(|feature| (*feature).into()).collect(),
        };
        assert_eq!(dependency("net", &make("serde", false, &["derive"])), None);
        for bad in
            [make("serde", true, &[]), make("serde", false, &["std"]), make("rand", false, &[])]
        {
            assert!(dependency("net", &bad).is_some(), "{bad:?}");
        }
        let test = Dependency { kind: Some("dev".into()), ..make("proptest", true, &[]) };
        assert_eq!(dependency("net", &test), None);
    }

    #[test]
    fn a_core_says_no_std() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = directory.path().join("crates/net/src");
        std::fs::create_dir_all(&source).expect("created");
        std::fs::write(source.join("lib.rs"), "//! Pure.\n").expect("written");
        let manifest = directory.path().join("crates/net/Cargo.toml");
        let package = Package {
            name: "net".into(),
            manifest_path: manifest.display().to_string(),
            dependencies: Vec::new(),
        };
        let tree = Tree::of(directory.path(), &["crates/net/src/lib.rs"]);
        let findings = check(&[package], &tree);
        assert_eq!(findings, [Finding::new("crates/net/src/lib.rs", "must be #![no_std]")]);
    }
}
