//! Keeps images from filling the disk: looks every minute how full it is, and every
//! now and then which images are old.

use crate::clock;
use crate::error::chain;
use crate::images::{Images, Limits};
use crate::rim::Rim;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Between looks at the disk.
const LOOK: Duration = Duration::from_mins(1);

/// Does so for ever.
pub(crate) async fn run(images: &Images, rim: &Rim, limits: Limits) -> Infallible {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(LOOK.min(limits.interval)).await;
        let cycle = last.elapsed() >= limits.interval;
        if cycle {
            last = Instant::now();
        }
        let cleaned = async {
            let root = images.root().await?;
            // Who comes after this is not among them, but counts as a user.
            let as_of = clock::now();
            let wanted = wanted(rim).await;
            images.collect(&wanted, as_of, cycle, &limits, || fill(&root)).await
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(error = chain(&error), "images not cleaned up");
        }
    }
}

/// The images of tasks that are not over.
async fn wanted(rim: &Rim) -> BTreeSet<String> {
    let tasks = rim.state().await.tasks.into_values().filter(|task| task.finished_at.is_none());
    tasks.flat_map(|task| task.spec.containers.clone()).map(|container| container.image).collect()
}

/// How full the file system at `path` is, in percent, as `df` says: of what others
/// than root can have. One that cannot be asked counts as empty.
fn fill(path: &Path) -> u8 {
    let Ok(found) = statvfs(path) else { return 0 };
    percent(found.blocks() - found.blocks_free(), found.blocks_available())
}

fn percent(used: u64, free: u64) -> u8 {
    let (used, all) = (u128::from(used), u128::from(used) + u128::from(free));
    u8::try_from((used * 100).div_ceil(all.max(1))).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_as_full_as_df_says() {
        for (used, free, full) in
            [(0, 0, 0), (0, 9, 0), (1, 999, 1), (85, 15, 85), (851, 149, 86), (9, 0, 100)]
        {
            assert_eq!(percent(used, free), full, "{used} {free}");
        }
        assert_eq!(percent(u64::MAX, u64::MAX), 50);
        assert!(fill(Path::new("/")) > 0);
        assert_eq!(fill(Path::new("/nonexistent")), 0);
    }
}
