//! What is to be done before an account can be forgotten.

use crate::{BoxError, Platform};
use async_trait::async_trait;
use ident::{AccountId, Timestamp};

/// A service that has things of an account which do not go by being forgotten:
/// containers that run, interfaces on a machine.
#[async_trait]
pub trait Tenancy: Send + Sync {
    /// What the logs call it.
    fn name(&self) -> &'static str;

    /// Does what can be done now to end what the service has of `account`, which
    /// is being deleted since `since`, and says whether nothing is left to wait
    /// for. Must be right to call at any time and any number of times. Records
    /// that are nothing but records may stay: they are deleted afterwards.
    async fn evict(
        &self,
        platform: &Platform,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<bool, BoxError>;
}
