//! What principals are called.

use crate::bootstrap::{ID_LETTERS, spell};
use chassis::{Caller, Principal, RoleSession};

/// An odd number that leaves no two accounts with similar ids.
const SCATTER: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// The caller's unique id: of an assumed role, the role's and the session's.
pub(crate) fn user_id(caller: &Caller) -> String {
    match &caller.principal {
        Principal::Root => caller.scope.account.to_string(),
        Principal::Instance(instance) => {
            // Roles are not records yet, and this one never changes: its id is a
            // function of the account, in the shape that AWS's have.
            let account: u128 = caller.scope.account.as_str().parse().unwrap_or_default();
            let scattered = (account + 1).wrapping_mul(SCATTER);
            let letters = spell(scattered, ID_LETTERS, 17);
            format!("AROA{letters}:{instance}")
        }
        Principal::Role(RoleSession { role_id, session, .. }) => format!("{role_id}:{session}"),
    }
}
