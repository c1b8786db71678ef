//! `landfall image`.

use super::{AnyError, block_on, require_root};
use crate::composition;
use crate::layout::Layout;
use crate::terminal;
use agent::images::{OnProgress, Progress};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Loads the images of an archive into this installation's containerd.
pub(crate) fn load(layout: &Layout, file: &Path) -> Result<(), AnyError> {
    require_root()?;
    if !layout.data.exists() {
        return Err("there is no Landfall here to load into: start one with `landfall up`".into());
    }
    // Each blob is told of once, when it is whole.
    let told = Mutex::new(BTreeSet::new());
    let progress: OnProgress = Arc::new(move |progress: Progress| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.done == progress.total && told.insert(progress.digest.clone()) {
            terminal::progress(&format!("{} {} KiB", progress.digest, progress.total / 1024));
        }
    });
    let config = composition::agent_config(layout)?;
    let loaded = block_on(async { Ok(agent::load_image(&config, file, Some(&progress)).await?) })?;
    for image in loaded {
        println!("{}@{}", image.name, image.digest);
    }
    Ok(())
}
