//! Generated sources are as generated.

use super::Finding;
use crate::{Problem, codegen};
use std::path::Path;

pub(super) fn check(root: &Path) -> Result<Vec<Finding>, Problem> {
    let stale = codegen::stale(root)?.into_iter();
    let problem = "is not as generated; run `cargo xtask codegen`";
    Ok(stale.map(|path| Finding::new(path.display().to_string(), problem)).collect())
}
