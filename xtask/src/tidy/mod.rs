//! What no compiler checks: that the architecture is what the documents say,
//! that files stay readable, that links lead somewhere.
//!
//! Every check returns what it found; nothing stops at the first problem.

mod drift;
mod layers;
mod links;
mod metadata;
mod pure;
mod sizes;
mod tree;

use crate::Problem;
use metadata::Package;
use std::path::Path;
use tree::Tree;

/// Something that is not tidy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// A crate, a file, or a file and line.
    place: String,
    problem: String,
}

impl Finding {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// Prints every finding, and fails if there is one.
pub(crate) fn run(root: &Path) -> Result<(), Problem> {
    let packages: Vec<Package> = metadata::read(root)?;
    let tree = Tree::read(root)?;
    let mut findings = layers::check(&packages);
    findings.extend(pure::check(&packages, &tree));
    findings.extend(sizes::check(&tree));
    findings.extend(links::check(&tree));
    findings.extend(drift::check(root)?);
    findings.sort();
    for Finding { place, problem } in &findings {
        println!("{place}: {problem}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err("tidy: 1 finding".into()),
        many => Err(format!("tidy: {many} findings").into()),
    }
}
