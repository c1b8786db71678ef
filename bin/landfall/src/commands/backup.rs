//! `landfall backup`: the state as one file.

use super::{AnyError, require_root};
use crate::cli::Backup;
use crate::layout::Layout;
use crate::terminal;
use serde_json::json;
use store_sqlite::backup::back_up;

/// Copies the state. A running Landfall neither notices nor waits.
pub(crate) fn run(layout: &Layout, backup: &Backup) -> Result<(), AnyError> {
    require_root()?;
    let summary = back_up(&layout.database(), &backup.file)?;
    if backup.json {
        let what = json!({
            "file": backup.file,
            "revision": summary.revision,
            "records": summary.records,
            "bytes": summary.bytes,
        });
        println!("{}", serde_json::to_string_pretty(&what)?);
    } else {
        terminal::progress(&format!(
            "{} records at revision {} are in {} ({} KiB); whoever reads it has their secrets",
            summary.records,
            summary.revision,
            backup.file.display(),
            summary.bytes.div_ceil(1024),
        ));
    }
    Ok(())
}
