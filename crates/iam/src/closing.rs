//! Deleting accounts.
//!
//! An account that is being deleted has a record that says so, and nothing else
//! is remembered: whatever the account still has is what is still to be done. So
//! a deletion that was cut short goes on by itself.

use crate::records::{ACCOUNT, AccessKey, Account, CLOSING, directory};
use crate::sessions::Session;
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform, Tenancy};
use ident::{AccountId, Timestamp};
use std::fmt;
use std::time::Duration;
use store::{Key, MAX_OPERATIONS, StoreError, Txn, View};

/// How long an emptied account is looked after: longer than any request that was
/// let in before lives, so that what it writes is deleted too.
pub const AFTERMATH: Duration = Duration::from_mins(10);

/// See the module.
pub struct Closer {
    tenancies: Vec<Box<dyn Tenancy>>,
}

impl Closer {
    /// A closer that has these services end what they have, each once those before
    /// it are done.
    pub fn new(tenancies: Vec<Box<dyn Tenancy>>) -> Self {
        Self { tenancies }
    }

    async fn close(&self, platform: &Platform, account: &Account) -> Result<(), BoxError> {
        let (id, since) = (&account.id, account.closing.unwrap_or(account.created));
        for tenancy in &self.tenancies {
            if !tenancy.evict(platform, id, since).await? {
                return Ok(());
            }
        }
        while purge(platform, id).await? {}
        let now = platform.now();
        let finish = |txn: &mut Txn| {
            finish(txn, id, now);
            Ok::<_, StoreError>(())
        };
        platform.store.transact(finish).await?;
        Ok(())
    }
}

#[async_trait]
impl Controller for Closer {
    fn name(&self) -> &'static str {
        "iam-account-closer"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let view = platform.store.view();
        let mut outcome = Ok(());
        for account in view.by::<Account>(&directory(), CLOSING, CLOSING) {
            // One that cannot be deleted does not keep the others.
            if let Err(error) = self.close(platform, &account).await {
                outcome = Err(error);
            }
        }
        outcome
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.tenancies.iter().map(|tenancy| tenancy.name())).finish()
    }
}

/// Deletes a commit's worth of records, and says whether there were any.
async fn purge(platform: &Platform, id: &AccountId) -> Result<bool, StoreError> {
    if holdings(&platform.store.view(), id).next().is_none() {
        return Ok(false);
    }
    platform
        .store
        .transact(|txn| {
            let some: Vec<Key> = holdings(txn.view(), id).take(MAX_OPERATIONS).collect();
            let found = some.iter().filter(|key| txn.erase(key)).count();
            Ok(found > 0)
        })
        .await
}

/// Everything that is the account's, its own record not counted.
pub(crate) fn holdings<'v>(
    view: &'v View,
    id: &'v AccountId,
) -> impl Iterator<Item = Key> + use<'v> {
    let keys = view.by::<AccessKey>(&directory(), ACCOUNT, id.as_str());
    let sessions = view.by::<Session>(&directory(), ACCOUNT, id.as_str());
    let keys = keys.map(|key| Key::of(&*key)).chain(sessions.map(|session| Key::of(&*session)));
    view.keys_of(id).chain(keys)
}

/// Notes that nothing is left, and at last forgets that there ever was an account.
fn finish(txn: &mut Txn, id: &AccountId, now: Timestamp) {
    let Some(found) = txn.get::<Account>(&directory(), id.as_str()) else { return };
    if holdings(txn.view(), id).next().is_some() {
        return;
    }
    match found.emptied {
        None => {
            let mut emptied = Account::clone(&found);
            emptied.emptied = Some(now);
            txn.put(emptied);
        }
        Some(since) if now.since(since) >= AFTERMATH => {
            txn.delete::<Account>(&directory(), id.as_str());
        }
        Some(_) => {}
    }
}
