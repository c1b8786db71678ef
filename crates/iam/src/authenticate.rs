//! Answering the edge.

use crate::records::{AccessKey, Account, directory};
use crate::sessions::Session;
use crate::{Iam, policy};
use chassis::{Authenticator, Caller, KeyInfo, Principal};
use ident::AccountId;
use store::View;

impl Authenticator for Iam {
    fn key(&self, access_key_id: &str) -> Option<KeyInfo> {
        let view = self.store.view();
        let info = if let Some(key) = view.get::<AccessKey>(&directory(), access_key_id) {
            KeyInfo {
                secret: key.secret.clone(),
                account: key.account.clone(),
                principal: key.principal.clone(),
                session_token: None,
                expires: None,
            }
        } else {
            let session = view.get::<Session>(&directory(), access_key_id)?;
            KeyInfo {
                secret: session.secret.clone(),
                account: session.account.clone(),
                principal: Principal::Role(session.principal.clone()),
                session_token: Some(session.token.clone()),
                expires: Some(session.expires),
            }
        };
        opens(&view, &info.account, &info.principal).then_some(info)
    }

    fn allows(&self, caller: &Caller, service: &str, operation: &str) -> bool {
        policy::allows(&self.store.view(), caller, service, operation)
    }

    fn arn(&self, caller: &Caller) -> String {
        caller.arn()
    }
}

/// Whether keys of `principal` still open the account. From the moment that it is
/// being deleted only its machines get in: they have tasks to stop and interfaces
/// to take away, and are let do nothing else.
fn opens(view: &View, account: &AccountId, principal: &Principal) -> bool {
    let Some(account) = view.get::<Account>(&directory(), account.as_str()) else { return false };
    match principal {
        Principal::Root | Principal::Role(_) => account.closing.is_none(),
        Principal::Instance(_) => account.emptied.is_none(),
    }
}
