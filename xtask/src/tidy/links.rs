//! Links in documents lead somewhere: to a file that exists, to a heading that
//! is in it. Links to other sites are theirs to keep.

use super::Finding;
use super::tree::Tree;
use std::path::{Component, Path, PathBuf};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.files("md") {
        let Some(text) = tree.text(path) else { continue };
        for (line, target) in targets(&text) {
            if let Some(problem) = broken(tree, path, &text, &target) {
                findings.push(Finding::new(format!("{}:{line}", path.display()), problem));
            }
        }
    }
    findings
}

/// Why the link leads nowhere, if it does.
fn broken(tree: &Tree, from: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    if file.is_empty() {
        let here = anchors(text).iter().any(|known| known == anchor);
        return (!here).then(|| format!("there is no heading #{anchor} here"));
    }
    let directory = from.parent().unwrap_or(Path::new(""));
    let Some(path) = normal(&directory.join(file)) else {
        return Some(format!("{target} is outside of the repository"));
    };
    if !tree.exists(&path) {
        return Some(format!("{target} does not exist"));
    }
    if anchor.is_empty() || path.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let there = anchors(&tree.text(&path)?).iter().any(|known| known == anchor);
    (!there).then(|| format!("there is no heading #{anchor} in {file}"))
}

/// The lines of a document that are not code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// What a document links to, with the lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (at, line) in prose(text) {
        let line = without_code(line);
        // `[text](target "title")`
        for piece in line.split("](").skip(1) {
            targets.push((at, piece.split(')').next().unwrap_or_default().to_owned()));
        }
        // `[name]: target`
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
            && !name.starts_with("[^")
        {
            targets.push((at, target.to_owned()));
        }
    }
    for (_, target) in &mut targets {
        let first = target.split_whitespace().next().unwrap_or_default();
        *target = first.trim_start_matches('<').trim_end_matches('>').to_owned();
    }
    targets
}

/// A line without what stands between back-ticks.
fn without_code(line: &str) -> String {
    if !line.matches('`').count().is_multiple_of(2) {
        return line.to_owned();
    }
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// The anchors GitHub gives to a document's headings.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let slug = slug(title.trim());
        let again = anchors
            .iter()
            .filter(|known| {
                let rest = known.strip_prefix(slug.as_str());
                rest.is_some_and(|rest| {
                    rest.is_empty()
                        || rest.strip_prefix('-').is_some_and(|n| n.parse::<u32>().is_ok())
                })
            })
            .count();
        anchors.push(if again == 0 { slug } else { format!("{slug}-{again}") });
    }
    anchors
}

fn slug(title: &str) -> String {
    let kept = title.chars().filter_map(|character| match character {
        ' ' | '-' => Some('-'),
        '_' => Some('_'),
        other if other.is_alphanumeric() => Some(other),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// Without `.` and `..`; nothing if it leads out of the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::Normal(name) => normal.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            std::fs::write(path, text).expect("written");
        };
        write("README.md", "# The idea\n## What's new? (v2)\n## Twice\n## Twice\n");
        write(
            "docs/a.md",
            "# Here\n[1](../README.md) [2](../README.md#the-idea) [3](#here)\n\
             [4](../README.md#whats-new-v2) [5](https://a.b/c) [6](../README.md#twice-1)\n\
             `[x](code.md)`\n```\n[x](code.md)\n```\n[7]: ../README.md\n\
             [8](gone.md)\n[9](../README.md#gone) [10](#gone)\n[11](../../out.md)\n[12]: gone.md\n",
        );
        let found = check(&Tree::of(directory.path(), &["README.md", "docs/a.md"]));
        let found: Vec<String> =
            found.iter().map(|f| format!("{} {}", f.place, f.problem)).collect();
        assert_eq!(
            found,
            [
                "docs/a.md:9 gone.md does not exist",
                "docs/a.md:10 there is no heading #gone in ../README.md",
                "docs/a.md:10 there is no heading #gone here",
                "docs/a.md:11 ../../out.md is outside of the repository",
                "docs/a.md:12 gone.md does not exist",
            ]
        );
    }
}
