//! What we keep.

use chassis::{Principal, Secret};
use ident::{AccountId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use store::Record;

/// The index over the holders of keys.
pub(crate) const HOLDER: &str = "holder";

/// The index over whose account a thing in the directory is.
pub(crate) const ACCOUNT: &str = "account";
/// The index over accounts that are being deleted.
pub(crate) const CLOSING: &str = "closing";

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
        vec![(HOLDER, holder(&self.account, &self.principal)), (ACCOUNT, self.account.to_string())]
    }
}

/// An account of the installation. It lies in the [`directory`] and not in itself:
/// what lies in an account goes before the account does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Always [`directory`]: the store asks for it by reference.
    directory: Scope,
    /// Its twelve digits.
    pub id: AccountId,
    /// What its maker calls it.
    pub name: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it is being deleted.
    pub closing: Option<Timestamp>,
    /// Since when nothing is left of it. The record stays a little longer, as a
    /// request that was let in before may still write.
    pub emptied: Option<Timestamp>,
}

impl Account {
    /// A new account.
    pub(crate) fn new(id: AccountId, name: Option<String>, created: Timestamp) -> Self {
        Self { directory: directory(), id, name, created, closing: None, emptied: None }
    }
}

impl Record for Account {
    const KIND: &'static str = "iam.account";

    fn scope(&self) -> &Scope {
        &self.directory
    }

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        self.closing.map(|_| (CLOSING, CLOSING.to_owned())).into_iter().collect()
    }
}

/// How many accounts were ever made, the first not counted. An account's id is a
/// function of its number, so no id is given twice, whoever was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountsMade {
    /// Always [`directory`].
    directory: Scope,
    /// The number.
    pub number: u64,
}

impl AccountsMade {
    /// The id of the one there is.
    pub(crate) const ID: &'static str = "made";

    /// That so many were made.
    pub(crate) fn so_far(number: u64) -> Self {
        Self { directory: directory(), number }
    }
}

impl Record for AccountsMade {
    const KIND: &'static str = "iam.accounts-made";

    fn scope(&self) -> &Scope {
        &self.directory
    }

    fn id(&self) -> String {
        Self::ID.to_owned()
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
        Principal::Role(session) => format!("{account}/{}/{}", session.role_id, session.session),
    }
}
