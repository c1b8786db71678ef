//! Accounts: an AWS of one's own each, in one installation.
//!
//! Everything in an account is in a scope of its own, so a new account costs its
//! record and its owner's key, and is furnished region by region as it is used.
//! Making and deleting accounts is for the owner of the first one, who has the
//! installation.

use crate::bootstrap::{Key, make_key};
use crate::closing::holdings;
use crate::records::{Account, AccountsMade, directory};
use chassis::paging::{Limits, Page, Paging, PagingError};
use chassis::{Caller, Cx, Principal};
use ident::AccountId;
use store::{StoreError, Txn, View};
use wire::{Fault, landfall};

const LIMITS: Limits = Limits { default: 100, min: 1, max: 1000 };

/// How many ids of accounts there are.
const IDS: u64 = 1_000_000_000_000;
/// Takes the number of an account to its id: with no factor in common with the
/// number of ids, so that each comes up once, and large enough that neighbours
/// are not taken for one another. Number 0 keeps its id.
const STRIDE: u128 = 618_033_988_749;

/// Why something about accounts was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller does not own the installation.
    #[error("{0} does not own the installation")]
    NotTheOwner(String),
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(String),
    /// The installation's first account stays.
    #[error("the first account cannot be deleted")]
    First,
    /// Every id was given.
    #[error("there are no more account ids")]
    NoMoreIds,
    /// The name is not one.
    #[error("{0:?} is not a name of an account")]
    Name(String),
    /// The page that was asked for is not one.
    #[error(transparent)]
    Paging(#[from] PagingError),
    /// The state store would not take the change.
    #[error("the state store refused the change")]
    Store(#[from] StoreError),
}

impl Error {
    /// How this error looks on the wire.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotTheOwner(who) => Fault::client(
                "AccessDeniedException",
                format!(
                    "User: {who} is not authorized to manage accounts: use the key of the \
                     installation's first account, which `landfall env` prints."
                ),
            ),
            Self::NoAccount(id) => {
                Fault::client("ResourceNotFoundException", format!("There is no account {id}."))
            }
            Self::First => Fault::client(
                "ConflictException",
                "The installation's first account cannot be deleted: `landfall down --purge` \
                 removes the whole installation.",
            ),
            Self::Name(_) => Fault::client(
                "InvalidParameterException",
                "The name of an account must not contain control characters.",
            ),
            Self::Paging(error) => Fault::client("InvalidParameterException", error.to_string()),
            Self::NoMoreIds | Self::Store(_) => Fault::server(
                "InternalServerException",
                "The request could not be processed. Try again later.",
            ),
        }
    }
}

/// An account with its owner's key: `CreateAccount`.
pub async fn create(
    cx: &Cx,
    request: landfall::CreateAccountRequest,
) -> Result<landfall::CreateAccountResponse, Error> {
    owner(&cx.caller)?;
    if let Some(name) = request.name.as_ref().filter(|name| name.chars().any(char::is_control)) {
        return Err(Error::Name(name.clone()));
    }
    let now = cx.now();
    let (account, key) = cx
        .store()
        .transact(|txn| {
            let account = Account::new(unused_id(txn)?, request.name.clone(), now);
            txn.put(account.clone());
            let key = make_key(txn, &cx.platform, &account.id, &Principal::Root);
            Ok::<(Account, Key), Error>((account, key))
        })
        .await?;
    Ok(landfall::CreateAccountResponse {
        account: Some(show(&cx.view(), &account)),
        access_key_id: Some(key.access_key_id),
        secret_access_key: Some(key.secret.reveal().to_owned()),
    })
}

/// The accounts there are: `ListAccounts`.
pub fn list(
    cx: &Cx,
    request: &landfall::ListAccountsRequest,
) -> Result<landfall::ListAccountsResponse, Error> {
    owner(&cx.caller)?;
    let (size, token) = (request.max_results, request.next_token.as_deref());
    let paging = Paging::parse("ListAccounts", &directory(), LIMITS, size, token)?;
    let view = cx.view();
    let there = view.list::<Account>(&directory()).filter(|account| account.emptied.is_none());
    let Page { items, next_token } = paging.page(there, |account| account.id.to_string());
    let accounts = items.iter().map(|account| show(&view, account)).collect();
    Ok(landfall::ListAccountsResponse { accounts: Some(accounts), next_token })
}

/// Sets out to delete an account: `DeleteAccount`. Its keys are refused from here
/// on; [`Closer`](crate::closing::Closer) does the rest. To ask again is no error.
pub async fn delete(
    cx: &Cx,
    request: landfall::DeleteAccountRequest,
) -> Result<landfall::DeleteAccountResponse, Error> {
    owner(&cx.caller)?;
    let id = request.account_id.unwrap_or_default();
    if id == AccountId::first().as_str() {
        return Err(Error::First);
    }
    let now = cx.now();
    let account = cx.store().transact(|txn| {
        let found = txn.get::<Account>(&directory(), &id);
        let found = found.filter(|account| account.emptied.is_none());
        let mut account = Account::clone(&*found.ok_or_else(|| Error::NoAccount(id.clone()))?);
        if account.closing.is_none() {
            account.closing = Some(now);
            txn.put(account.clone());
        }
        Ok::<_, Error>(account)
    });
    let account = account.await?;
    Ok(landfall::DeleteAccountResponse { account: Some(show(&cx.view(), &account)) })
}

/// Refuses everybody but the owner of the installation.
fn owner(caller: &Caller) -> Result<(), Error> {
    let owns = caller.principal == Principal::Root && caller.scope.account == AccountId::first();
    if owns { Ok(()) } else { Err(Error::NotTheOwner(caller.arn())) }
}

/// An id that no account ever had.
fn unused_id(txn: &mut Txn) -> Result<AccountId, Error> {
    let made = txn.get::<AccountsMade>(&directory(), AccountsMade::ID);
    let mut number = made.map_or(0, |made| made.number);
    loop {
        number += 1;
        if number >= IDS {
            return Err(Error::NoMoreIds);
        }
        let id = id(number)?;
        // Other numberings may have been at work in the state that we were given.
        if txn.get::<Account>(&directory(), id.as_str()).is_none() {
            txn.put(AccountsMade::so_far(number));
            return Ok(id);
        }
    }
}

/// The id of the account with this number.
fn id(number: u64) -> Result<AccountId, Error> {
    let digits = u128::from(number) * STRIDE % u128::from(IDS);
    format!("{digits:012}").parse().map_err(|_| Error::NoMoreIds)
}

/// How much is left of an account is worth counting while it is being deleted.
fn show(view: &View, account: &Account) -> landfall::Account {
    let closing = account.closing.is_some();
    let status = if closing { "CLOSING" } else { "ACTIVE" };
    let left = || i64::try_from(holdings(view, &account.id).count()).unwrap_or(i64::MAX);
    landfall::Account {
        account_id: Some(account.id.to_string()),
        name: account.name.clone(),
        status: Some(status.to_owned()),
        records: closing.then(left),
        created_at: Some(wire::Timestamp::from_millis(account.created.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_accounts_have_one_id() {
        assert_eq!(id(0).expect("an id"), AccountId::first());
        let ids: BTreeSet<_> = (0..100_000).map(|n| id(n).expect("an id")).collect();
        assert_eq!(ids.len(), 100_000);
        // The stride has no divisor of the number of ids, which are twos and fives.
        const { assert!(!STRIDE.is_multiple_of(2) && !STRIDE.is_multiple_of(5)) };
    }
}
