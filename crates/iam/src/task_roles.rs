//! The credentials of tasks: sessions of the roles that their definitions name,
//! which ECS asks for in their stead.

use crate::document::{Document, Kind, Verdict};
use crate::error::Error;
use crate::records::directory;
use crate::roles::by_arn;
use crate::sessions::Session;
use chassis::Platform;
use ident::{AccountId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use store::{Txn, View};

/// Whom a task's role has to trust.
pub const SERVICE: &str = "ecs-tasks.amazonaws.com";

/// How long the credentials of a task last; they are replaced before.
pub const LASTS: Duration = Duration::from_hours(6);

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
    for_service(platform, txn, account, (SERVICE, arn, session), now)
}

/// The same for a role that has to trust `service`.
pub(crate) fn for_service(
    platform: &Platform,
    txn: &mut Txn,
    account: &AccountId,
    (service, arn, session): (&str, &str, &str),
    now: Timestamp,
) -> Result<Session, Error> {
    let may_not = || Error::MayNot {
        caller: service.to_owned(),
        action: "sts:AssumeRole",
        role: arn.to_owned(),
    };
    let role = by_arn(txn.view(), arn).ok_or_else(|| Error::NoRole(arn.to_owned()))?;
    let trust = Document::parse(Kind::Trust, &role.trust).map_err(Error::from)?;
    let own = arn.split(':').nth(4) == Some(account.as_str());
    if !own || trust.trusts_service("sts:AssumeRole", service) != Verdict::Allowed {
        return Err(may_not());
    }
    let made = Session::new(platform, &role, session, (now, now.after(LASTS)))?;
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
