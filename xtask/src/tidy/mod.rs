//! What no compiler checks.

use crate::Problem;
use std::path::Path;

/// Prints every problem, and fails if there is one.
pub(crate) fn run(root: &Path) -> Result<(), Problem> {
    let stale = crate::codegen::stale(root)?;
    for path in &stale {
        println!("{}: not as generated", path.display());
    }
    if stale.is_empty() { Ok(()) } else { Err("not tidy".into()) }
}
