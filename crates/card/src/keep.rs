//! The last plan, on disk: a node that boots without its control plane makes its
//! network from it.
//!
//! It is there twice. What was accepted last is written at once, since a card that is
//! killed must not come back to an older one and take a task's interface away; that
//! costs no disk access. That copy is then synced, which takes longer than to make an
//! interface, and takes the place of the other, which a loss of power leaves whole.

use crate::error::CardError;
use net::plan::CardPlan;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The plan that the disk has.
const SYNCED: &str = "card-plan.json";
/// The plan that was accepted last, while the disk may not have it yet.
const NEWEST: &str = "card-plan.newest.json";

/// The newest plan that was kept in `directory`, if one was.
pub(crate) fn load(directory: &Path) -> Result<Option<CardPlan>, CardError> {
    match (read(directory, NEWEST), read(directory, SYNCED)) {
        (Ok(newest), Ok(synced)) => {
            Ok([newest, synced].into_iter().flatten().max_by_key(|plan| plan.generation))
        }
        // The one is whole whatever happened to the other.
        (Err(_), Ok(Some(plan))) | (Ok(Some(plan)), Err(_)) => Ok(Some(plan)),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn read(directory: &Path, name: &str) -> Result<Option<CardPlan>, CardError> {
    let path = directory.join(name);
    let fail = |source| CardError::Plan { action: "read", path: path.clone(), source };
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| fail(e.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

/// Keeps `plan` in `directory`, for whoever comes after this process.
pub(crate) fn write(directory: &Path, plan: &CardPlan) -> Result<(), CardError> {
    let path = directory.join(NEWEST);
    let write = || {
        fs::create_dir_all(directory)?;
        let part = path.with_extension("part");
        File::create(&part)?.write_all(&serde_json::to_vec(plan)?)?;
        fs::rename(&part, &path)
    };
    write().map_err(|source| CardError::Plan { action: "keep", path: path.clone(), source })
}

/// Makes the disk have what was written last. Nothing may be written meanwhile.
pub(crate) fn sync(directory: &Path) -> Result<(), CardError> {
    let path = directory.join(SYNCED);
    let sync = || {
        let newest = directory.join(NEWEST);
        File::open(&newest)?.sync_data()?;
        fs::rename(&newest, &path)?;
        File::open(directory)?.sync_all()
    };
    sync().map_err(|source| CardError::Plan { action: "sync", path: path.clone(), source })
}

/// Forgets the plan.
pub(crate) fn forget(directory: &Path) -> Result<(), CardError> {
    for name in [NEWEST, SYNCED] {
        let path = directory.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(CardError::Plan { action: "forget", path, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ident::Generation;

    fn plan(generation: u64) -> CardPlan {
        CardPlan { generation: Generation(generation), vpcs: vec![] }
    }

    #[test]
    fn a_plan_is_kept_until_it_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("not/yet");
        assert_eq!(load(&place).expect("no plan"), None);
        write(&place, &plan(7)).expect("written");
        assert_eq!(load(&place).expect("a plan"), Some(plan(7)));
        sync(&place).expect("synced");
        assert_eq!(load(&place).expect("a plan"), Some(plan(7)));
        write(&place, &plan(8)).expect("written");
        assert_eq!(load(&place).expect("a plan"), Some(plan(8)));
        forget(&place).expect("forgotten");
        forget(&place).expect("forgotten twice");
        assert_eq!(load(&place).expect("no plan"), None);
    }

    #[test]
    fn a_plan_that_the_disk_never_had_leaves_the_one_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path();
        write(place, &plan(7)).expect("written");
        sync(place).expect("synced");
        write(place, &plan(8)).expect("written");
        // As some file systems have it after a loss of power.
        fs::write(place.join(NEWEST), "").expect("written");
        assert_eq!(load(place).expect("a plan"), Some(plan(7)));
    }

    #[test]
    fn a_damaged_plan_is_an_error_and_not_an_empty_one() {
        for name in [NEWEST, SYNCED] {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join(name), "{").expect("written");
            let loaded = load(directory.path());
            assert!(matches!(loaded, Err(CardError::Plan { action: "read", .. })), "{name}");
        }
    }
}
