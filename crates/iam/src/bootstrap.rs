//! Where keys come from.

use crate::records::{AccessKey, Account, HOLDER, directory, holder};
use chassis::{Platform, Principal, Secret};
use ident::{AccountId, InstanceId, Scope};
use store::{StoreError, Txn};

/// The letters of a key's id: base 32.
pub(crate) const ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The letters of a secret: base 64.
pub(crate) const SECRET_LETTERS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A key as its holder needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What requests name.
    pub access_key_id: String,
    /// What they are signed with.
    pub secret: Secret,
}

/// The key of the owner of `account`, made if there is none yet. Whoever starts
/// a control plane for the first time gets the account with it.
///
/// There is no region to name: rights in an account hold in all of them.
pub async fn bootstrap(platform: &Platform, account: &AccountId) -> Result<Key, StoreError> {
    let now = platform.now();
    if platform.store.view().get::<Account>(&directory(), account.as_str()).is_none() {
        let new = || Account::new(account.clone(), None, now);
        platform
            .store
            .transact(|txn| {
                if txn.get::<Account>(&directory(), account.as_str()).is_none() {
                    txn.put(new());
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    key_of(platform, account, &Principal::Root).await
}

/// The key of an instance, made if it has none yet.
pub async fn node_key(
    platform: &Platform,
    scope: &Scope,
    instance: &InstanceId,
) -> Result<Key, StoreError> {
    key_of(platform, &scope.account, &Principal::Instance(instance.clone())).await
}

async fn key_of(
    platform: &Platform,
    account: &AccountId,
    principal: &Principal,
) -> Result<Key, StoreError> {
    let holder = holder(account, principal);
    let find = |key: std::sync::Arc<AccessKey>| Key {
        access_key_id: key.id.clone(),
        secret: key.secret.clone(),
    };
    // Nearly always there is one, and reading needs no turn.
    let view = platform.store.view();
    if let Some(key) = view.by::<AccessKey>(&directory(), HOLDER, &holder).next() {
        return Ok(find(key));
    }
    platform
        .store
        .transact(|txn| {
            if let Some(key) = txn.by::<AccessKey>(&directory(), HOLDER, &holder).next() {
                return Ok(find(key));
            }
            Ok(make_key(txn, platform, account, principal))
        })
        .await
}

/// A new key of `principal`.
pub(crate) fn make_key(
    txn: &mut Txn,
    platform: &Platform,
    account: &AccountId,
    principal: &Principal,
) -> Key {
    let key = AccessKey::new(
        unused_id(txn, platform),
        secret(platform),
        account.clone(),
        principal.clone(),
        platform.now(),
    );
    let made = Key { access_key_id: key.id.clone(), secret: key.secret.clone() };
    txn.put(key);
    made
}

/// An id that no key has. With 80 random bits the first draw is one, unless the
/// entropy is a test's.
fn unused_id(txn: &Txn, platform: &Platform) -> String {
    loop {
        let id = format!("AKIA{}", spell(platform.bits(), ID_LETTERS, 16));
        if txn.get::<AccessKey>(&directory(), &id).is_none() {
            return id;
        }
    }
}

/// 40 characters of 6 bits each; a draw of 128 bits is good for 20.
pub(crate) fn secret(platform: &Platform) -> Secret {
    let mut text = spell(platform.bits(), SECRET_LETTERS, 20);
    text.push_str(&spell(platform.bits(), SECRET_LETTERS, 20));
    Secret::new(text)
}

/// Random bits in the given letters, of which there must be a power of two.
pub(crate) fn spell(bits: u128, letters: &[u8], length: u32) -> String {
    let width = letters.len().ilog2();
    let mask = (1 << width) - 1;
    (0..length)
        .map(|at| {
            let letter = usize::try_from((bits >> (at * width)) & mask).unwrap_or_default();
            letters.get(letter).copied().map_or('A', char::from)
        })
        .collect()
}
