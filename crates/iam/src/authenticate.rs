//! Answering the edge.

use crate::records::{AccessKey, directory};
use crate::{Iam, names, policy};
use chassis::{Authenticator, Caller, KeyInfo};

impl Authenticator for Iam {
    fn key(&self, access_key_id: &str) -> Option<KeyInfo> {
        let key = self.store.view().get::<AccessKey>(&directory(), access_key_id)?;
        Some(KeyInfo {
            secret: key.secret.clone(),
            account: key.account.clone(),
            principal: key.principal.clone(),
            // Keys that we make today do not expire, and come without a token.
            session_token: None,
        })
    }

    fn allows(&self, caller: &Caller, service: &str, operation: &str) -> bool {
        policy::allows(&caller.principal, service, operation)
    }

    fn arn(&self, caller: &Caller) -> String {
        names::arn(caller)
    }
}
