//! `landfall version`.

use super::AnyError;
use crate::cli::Output;

/// Prints the version, which is the workspace's.
pub(crate) fn run(output: &Output) -> Result<(), AnyError> {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "version": version }))?);
    } else {
        println!("landfall {version}");
    }
    Ok(())
}
