//! The credentials of tasks, as ACS hands them out. They are kept in memory
//! only: a new process asks for them again.

use crate::engine::TaskArn;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use wire::acs::IAMRoleCredentials;

/// See the module.
#[derive(Default)]
pub(crate) struct Credentials {
    by_id: Mutex<BTreeMap<String, (TaskArn, IAMRoleCredentials)>>,
}

impl Credentials {
    /// Keeps what ACS sent for a task, in the place of what it sent before.
    pub(crate) fn keep(&self, task: TaskArn, given: IAMRoleCredentials) {
        if let Some(id) = given.credentials_id.clone() {
            let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
            by_id.insert(id, (task, given));
        }
    }

    /// What a task has under an id, if that is its own.
    pub(crate) fn of(&self, task: &TaskArn, id: &str) -> Option<IAMRoleCredentials> {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.get(id).filter(|(owner, _)| owner == task).map(|(_, given)| given.clone())
    }

    /// Drops those of tasks that are over.
    pub(crate) fn retain(&self, mut lives: impl FnMut(&TaskArn) -> bool) {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.retain(|_, (task, _)| lives(task));
    }
}
