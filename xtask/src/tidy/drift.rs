//! What is generated is as generated.

use super::Finding;
use crate::{Problem, codegen, coverage};
use std::path::Path;

pub(super) fn check(root: &Path) -> Result<Vec<Finding>, Problem> {
    let stale = codegen::stale(root)?.into_iter();
    let problem = "is not as generated; run `cargo xtask codegen`";
    let mut findings: Vec<Finding> =
        stale.map(|path| Finding::new(path.display().to_string(), problem)).collect();
    findings.extend(coverage::stale(root).map(|why| Finding::new("docs/coverage.md", why)));
    Ok(findings)
}
