//! The credentials of tasks: sessions of the roles that their definitions name,
//! which ECS asks for in their stead.

use crate::bootstrap::{ID_LETTERS, SECRET_LETTERS, secret, spell};
use crate::document::{Document, Kind, Verdict};
use crate::error::Error;
use crate::records::directory;
use crate::roles::by_arn;
use crate::sessions::Session;
use chassis::{Platform, RoleSession, Secret};
use ident::{AccountId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use store::{Txn, View};

/// Whom a task's role has to trust.
pub const SERVICE: &str = "ecs-tasks.amazonaws.com";

/// How long the credentials of a task last; they are replaced before.
pub const LASTS: Duration = Duration::from_hours(6);

/// How often 20 characters make a session token.
const TOKEN_PARTS: usize = 8;

/// Makes credentials of the role `arn` of `account` for what is called `session`
/// until [`LASTS`] from now.
///
/// Refuses a role that is not there, is another account's, or does not trust
/// [`SERVICE`].
pub fn issue(
    platform: &Platform,
    txn: &mut Txn,
    account: &AccountId,
    (arn, session): (&str, &str),
    now: Timestamp,
) -> Result<Session, Error> {
    let may_not = || Error::MayNot {
        caller: SERVICE.to_owned(),
        action: "sts:AssumeRole",
        role: arn.to_owned(),
    };
    let role = by_arn(txn.view(), arn).ok_or_else(|| Error::NoRole(arn.to_owned()))?;
    let trust = Document::parse(Kind::Trust, &role.trust).map_err(Error::from)?;
    let own = arn.split(':').nth(4) == Some(account.as_str());
    if !own || trust.trusts_service("sts:AssumeRole", SERVICE) != Verdict::Allowed {
        return Err(may_not());
    }
    let token: String =
        (0..TOKEN_PARTS).map(|_| spell(platform.bits(), SECRET_LETTERS, 20)).collect();
    let principal = RoleSession {
        role: role.name.clone(),
        role_id: role.id.clone(),
        session: session.to_owned(),
    };
    let id = format!("ASIA{}", spell(platform.bits(), ID_LETTERS, 16));
    let secrets = (secret(platform), Secret::new(token));
    let times = (now, now.after(LASTS));
    let made = Session::new(id, secrets, account.clone(), principal, times);
    txn.put(made.clone());
    Ok(made)
}

/// The credentials with this key id, if they are remembered.
pub fn find(view: &View, key: &str) -> Option<Arc<Session>> {
    view.get::<Session>(&directory(), key)
}

/// Ends credentials before their time: their task is over.
pub fn revoke(txn: &mut Txn, key: &str) {
    txn.delete::<Session>(&directory(), key);
}
