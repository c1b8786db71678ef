//! Roles: what they are, and whether there is one.
//!
//! IAM knows no regions: an account's roles lie in its scope of [`everywhere`], in
//! a region that no request can come from.

use crate::document::{Ask, Document, Kind, Verdict};
use crate::managed;
use ident::{AccountId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Record, View};

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub(crate) scope: Scope,
    /// Its name, as its maker writes it. No two of an account differ in case alone.
    pub name: String,
    /// `AROA` and 17 characters.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// `/`, or several parts between slashes.
    pub path: String,
    /// Who may assume it: a sound document.
    pub trust: String,
    /// What it is for.
    pub description: Option<String>,
    /// The longest session, in seconds.
    pub max_session_seconds: i32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// Its own policies by name: sound documents.
    pub policies: BTreeMap<String, String>,
    /// The ARNs of the AWS-managed policies that are attached.
    pub attached: BTreeSet<String>,
    /// The service that it is linked to, which alone may change it.
    pub linked_to: Option<String>,
}

impl Role {
    /// A role without policies.
    pub(crate) fn new(
        account: &AccountId,
        partition: &str,
        (path, name): (&str, &str),
        id: String,
        trust: String,
        created: Timestamp,
    ) -> Self {
        Self {
            scope: everywhere(account),
            name: name.to_owned(),
            id,
            arn: format!("arn:{partition}:iam::{account}:role{path}{name}"),
            path: path.to_owned(),
            trust,
            description: None,
            max_session_seconds: 3600,
            tags: BTreeMap::new(),
            created,
            policies: BTreeMap::new(),
            attached: BTreeSet::new(),
            linked_to: None,
        }
    }

    /// What its policies say of a request.
    pub(crate) fn judge(&self, ask: &Ask<'_>) -> Verdict {
        let attached = self.attached.iter().filter_map(|arn| managed::name(arn));
        judge(attached.filter_map(managed::document).chain(self.policies.values().cloned()), ask)
    }
}

/// What several documents say of a request. One that cannot be read, which none of
/// those that were taken in is, denies.
pub(crate) fn judge(documents: impl Iterator<Item = String>, ask: &Ask<'_>) -> Verdict {
    documents
        .map(|text| Document::parse(Kind::Rights, &text).map_or(Verdict::Denied, |d| d.judge(ask)))
        .max()
        .unwrap_or(Verdict::Silent)
}

impl Record for Role {
    const KIND: &'static str = "iam.role";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        key(&self.name)
    }
}

/// The id of the record of the role with this name.
pub(crate) fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Where the account's roles lie.
pub(crate) fn everywhere(account: &AccountId) -> Scope {
    Scope { account: account.clone(), region: crate::records::directory().region }
}

/// The account's role of this name.
pub fn named(view: &View, account: &AccountId, name: &str) -> Option<Arc<Role>> {
    view.get::<Role>(&everywhere(account), &key(name)).filter(|role| role.name == name)
}

/// The role with this ARN, in whichever account it names.
pub fn by_arn(view: &View, arn: &str) -> Option<Arc<Role>> {
    let (head, resource) = arn.rsplit_once(':')?;
    let account: AccountId = head.rsplit(':').next()?.parse().ok()?;
    let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
    named(view, &account, name).filter(|role| role.arn == arn)
}

/// Whether the account has a role with this ARN.
pub fn exists(view: &View, account: &AccountId, arn: &str) -> bool {
    by_arn(view, arn).is_some_and(|role| role.scope.account == *account)
}
