//! Temporary credentials: sessions of roles.
//!
//! They are records, not tokens that carry what they say under a signature of
//! ours. A record is found by the id of its key as any key is; it goes with its
//! account, at once; it holds session policies of any length; and a copy of the
//! state is not a licence to make credentials that nobody knows of. The price is
//! one commit for each AssumeRole, and a [`Sweeper`].

use crate::bootstrap::{ID_LETTERS, SECRET_LETTERS, secret, spell};
use crate::error::Error;
use crate::records::{ACCOUNT, directory};
use crate::roles::Role;
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform, RoleSession, Secret};
use ident::{AccountId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use store::{MAX_OPERATIONS, Record, StoreError};

/// How long a session that has ended is remembered, so that who still uses it is
/// told that it ended, and not that there never was one.
pub const REMEMBERED: Duration = Duration::from_hours(24);

/// How often 20 characters make a session token.
const TOKEN_PARTS: usize = 8;

/// The credentials of one session, in the [`directory`] as all keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub(crate) directory: Scope,
    /// The key's id: `ASIA` and 16 characters.
    pub id: String,
    /// What requests are signed with.
    pub secret: Secret,
    /// What comes with them.
    pub token: Secret,
    /// The account of the role.
    pub account: AccountId,
    /// Whose session it is.
    pub principal: RoleSession,
    /// Documents that the session's rights are cut down to; none cuts nothing.
    pub policies: Vec<String>,
    /// The ARNs of AWS-managed policies to the same end.
    pub policy_arns: Vec<String>,
    /// The session's tags.
    pub tags: BTreeMap<String, String>,
    /// Who is behind it, as whoever assumed the role says.
    pub source_identity: Option<String>,
    /// When it began.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

impl Session {
    /// A session of `role` called `name` from `created` until `expires`, with all the
    /// rights of its role and credentials that nobody has yet.
    pub(crate) fn new(
        platform: &Platform,
        role: &Role,
        name: &str,
        (created, expires): (Timestamp, Timestamp),
    ) -> Result<Self, Error> {
        let token = (0..TOKEN_PARTS).map(|_| spell(platform.bits(), SECRET_LETTERS, 20));
        let token: String = token.collect();
        let account = role.arn.split(':').nth(4).and_then(|account| account.parse().ok());
        Ok(Self {
            directory: directory(),
            id: format!("ASIA{}", spell(platform.bits(), ID_LETTERS, 16)),
            secret: secret(platform),
            token: Secret::new(token),
            account: account.ok_or_else(|| Error::NoRole(role.name.clone()))?,
            principal: RoleSession {
                role: role.name.clone(),
                role_id: role.id.clone(),
                session: name.to_owned(),
            },
            policies: Vec::new(),
            policy_arns: Vec::new(),
            tags: BTreeMap::new(),
            source_identity: None,
            created,
            expires,
        })
    }
}

impl Record for Session {
    const KIND: &'static str = "iam.session";

    fn scope(&self) -> &Scope {
        &self.directory
    }

    fn id(&self) -> String {
        self.id.clone()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(ACCOUNT, self.account.to_string())]
    }
}

/// Forgets sessions that ended long enough ago.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweeper;

#[async_trait]
impl Controller for Sweeper {
    fn name(&self) -> &'static str {
        "iam-session-sweeper"
    }

    fn period(&self) -> Duration {
        Duration::from_mins(10)
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let now = platform.now();
        let over = |session: &Session| now.since(session.expires) >= REMEMBERED;
        loop {
            let view = platform.store.view();
            let ended: Vec<_> = view
                .list::<Session>(&directory())
                .filter(|session| over(session))
                .take(MAX_OPERATIONS)
                .collect();
            if ended.is_empty() {
                return Ok(());
            }
            platform
                .store
                .transact(|txn| {
                    for session in &ended {
                        txn.delete::<Session>(&directory(), &session.id);
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
    }
}
