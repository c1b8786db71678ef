//! What we keep.

use chassis::{Principal, Secret};
use ident::{AccountId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use store::Record;

/// The index over the holders of keys.
pub(crate) const HOLDER: &str = "holder";

/// An access key.
///
/// Whoever signs a request names nothing but the id of a key, so keys of all
/// accounts lie in one place, [`directory`], where the id is enough to find one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Always [`directory`]: the store asks for it by reference.
    directory: Scope,
    /// `AKIA` and 16 characters.
    pub id: String,
    /// What requests are signed with.
    pub secret: Secret,
    /// Whose key it is, wherever the key lies.
    pub account: AccountId,
    /// Who holds it.
    pub principal: Principal,
    /// When it was made.
    pub created: Timestamp,
}

impl AccessKey {
    /// A new key.
    pub(crate) fn new(
        id: String,
        secret: Secret,
        account: AccountId,
        principal: Principal,
        created: Timestamp,
    ) -> Self {
        Self { directory: directory(), id, secret, account, principal, created }
    }
}

impl Record for AccessKey {
    const KIND: &'static str = "iam.access-key";

    fn scope(&self) -> &Scope {
        &self.directory
    }

    fn id(&self) -> String {
        self.id.clone()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(HOLDER, holder(&self.account, &self.principal))]
    }
}

/// Where all keys lie: IAM has no regions, and a key id no account.
pub fn directory() -> Scope {
    let region = "aws-global-1".parse().expect("the shape of a region's name");
    Scope { account: AccountId::first(), region }
}

/// The holder's value in the index [`HOLDER`].
pub(crate) fn holder(account: &AccountId, principal: &Principal) -> String {
    match principal {
        Principal::Root => format!("{account}/root"),
        Principal::Instance(instance) => format!("{account}/{instance}"),
    }
}
