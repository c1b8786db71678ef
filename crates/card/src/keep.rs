//! The last plan, on disk: a node that boots without its control plane makes its
//! network from it.

use crate::error::CardError;
use net::plan::CardPlan;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "card-plan.json";

/// The plan that was kept in `directory`, if one was.
pub(crate) fn load(directory: &Path) -> Result<Option<CardPlan>, CardError> {
    let path = directory.join(FILE);
    let fail = |source| CardError::Plan { action: "read", path: path.clone(), source };
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| fail(e.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

/// Keeps `plan` in `directory`: a crash leaves either it or its predecessor.
pub(crate) fn save(directory: &Path, plan: &CardPlan) -> Result<(), CardError> {
    let path = directory.join(FILE);
    write(directory, &path, plan).map_err(|source| CardError::Plan { action: "keep", path, source })
}

fn write(directory: &Path, path: &PathBuf, plan: &CardPlan) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let new = path.with_extension("json.new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(plan)?)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

/// Forgets the plan.
pub(crate) fn forget(directory: &Path) -> Result<(), CardError> {
    let path = directory.join(FILE);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CardError::Plan { action: "forget", path, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ident::Generation;

    #[test]
    fn a_plan_is_kept_until_it_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("not/yet");
        assert_eq!(load(&place).expect("no plan"), None);
        let plan = CardPlan { generation: Generation(7), vpcs: vec![] };
        save(&place, &plan).expect("kept");
        assert_eq!(load(&place).expect("a plan"), Some(plan));
        forget(&place).expect("forgotten");
        forget(&place).expect("forgotten twice");
        assert_eq!(load(&place).expect("no plan"), None);
    }

    #[test]
    fn a_damaged_plan_is_an_error_and_not_an_empty_one() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(FILE), "{").expect("written");
        assert!(matches!(load(directory.path()), Err(CardError::Plan { action: "read", .. })));
    }
}
