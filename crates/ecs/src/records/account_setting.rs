//! An account setting.

use ident::Scope;
use serde::{Deserialize, Serialize};
use store::Record;

/// What a principal chose, or, if it is the account's root, what holds for all
/// who chose nothing. What AWS ships is not here: see [`crate::account_settings`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSetting {
    /// Whose account it is, and where: settings are per region.
    pub scope: Scope,
    /// The ARN of the user, the role or the root.
    pub principal: String,
    /// Which setting, as the API writes it.
    pub name: String,
    /// What was chosen; one of the values that the setting has.
    pub value: String,
}

impl AccountSetting {
    /// The id of a setting. No ARN has a `#`.
    pub fn id_of(principal: &str, name: &str) -> String {
        format!("{principal}#{name}")
    }
}

impl Record for AccountSetting {
    const KIND: &'static str = "ecs.account-setting";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        Self::id_of(&self.principal, &self.name)
    }
}
