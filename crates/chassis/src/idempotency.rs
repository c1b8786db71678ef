//! Client tokens: the same request sent twice is carried out once.
//!
//! The memory of a request is a record, written in the very transaction that
//! carries the request out, so there is no moment at which one exists without
//! the other.
//!
//! ```text
//! let digest = idempotency::digest(&request)?;
//! let outcome = store.transact(|txn| {
//!     let key = Key { scope, operation: "RunTask", token: &token };
//!     match idempotency::recall(txn, &key, &digest, now) {
//!         Seen::Never => {}
//!         Seen::Same { outcome } => return Ok(outcome),
//!         Seen::Different => return Err(Error::TokenReused),
//!     }
//!     let outcome = run(txn, &request)?;
//!     idempotency::remember(txn, &key, digest, outcome.clone(), now);
//!     Ok(outcome)
//! })
//! ```

use crate::{BoxError, Controller, Platform};
use async_trait::async_trait;
use ident::{Scope, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use store::{MAX_OPERATIONS, Record, StoreError, Txn};

/// How long a token is remembered, as ECS does.
pub const REMEMBERED: Duration = Duration::from_hours(24);

/// Which token: each operation has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Whose, and where.
    pub scope: &'a Scope,
    /// The operation it came with: `RunTask`.
    pub operation: &'a str,
    /// What the client sent as its token.
    pub token: &'a str,
}

/// What a request comes to, for comparison with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

/// What became of earlier requests with the same token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There was none, or too long ago.
    Never,
    /// The same request. Answer as then; nothing is to be done.
    Same {
        /// What [`remember`] was given.
        outcome: String,
    },
    /// Another request. The token cannot mean both.
    Different,
}

/// A request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    scope: Scope,
    operation: String,
    token: String,
    digest: Digest,
    outcome: String,
    expires: Timestamp,
}

impl Record for Remembered {
    const KIND: &'static str = "chassis.idempotency";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        id(&self.operation, &self.token)
    }
}

/// A token is a client's text of any length and content; its hash is neither.
fn id(operation: &str, token: &str) -> String {
    format!("{operation}/{}", hex::encode(Sha256::digest(token)))
}

/// What `request` comes to. Leave the token out if it is not to count; it does
/// no harm, being equal in the requests that are compared.
pub fn digest(request: &impl Serialize) -> Result<Digest, serde_json::Error> {
    Ok(Digest(hex::encode(Sha256::digest(serde_json::to_vec(request)?))))
}

/// Whether the request was made before.
pub fn recall(txn: &Txn, key: &Key<'_>, digest: &Digest, now: Timestamp) -> Seen {
    let found = txn.get::<Remembered>(key.scope, &id(key.operation, key.token));
    match found.filter(|seen| now < seen.expires) {
        None => Seen::Never,
        Some(seen) if seen.digest == *digest => Seen::Same { outcome: seen.outcome.clone() },
        Some(_) => Seen::Different,
    }
}

/// Notes that the request is carried out with this transaction, and how to find
/// what came of it.
pub fn remember(
    txn: &mut Txn,
    key: &Key<'_>,
    digest: Digest,
    outcome: impl Into<String>,
    now: Timestamp,
) {
    txn.put(Remembered {
        scope: key.scope.clone(),
        operation: key.operation.to_owned(),
        token: key.token.to_owned(),
        digest,
        outcome: outcome.into(),
        expires: now.after(REMEMBERED),
    });
}

/// Forgets what has been remembered long enough, a commit's worth at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweeper;

#[async_trait]
impl Controller for Sweeper {
    fn name(&self) -> &'static str {
        "idempotency-sweeper"
    }

    fn period(&self) -> Duration {
        Duration::from_mins(10)
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let now = platform.now();
        loop {
            let view = platform.store.view();
            let expired: Vec<_> = view
                .all::<Remembered>()
                .filter(|seen| seen.expires <= now)
                .take(MAX_OPERATIONS)
                .collect();
            if expired.is_empty() {
                return Ok(());
            }
            platform
                .store
                .transact(|txn| {
                    for old in &expired {
                        // It may have been renewed since the view.
                        let found = txn.get::<Remembered>(&old.scope, &old.id());
                        if found.is_some_and(|found| found.expires <= now) {
                            txn.delete::<Remembered>(&old.scope, &old.id());
                        }
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{ManualClock, SeededEntropy};
    use futures::FutureExt as _;
    use std::sync::Arc;
    use store::{Registry, Store};

    const HOUR: Duration = Duration::from_hours(1);

    fn scope(region: &str) -> Scope {
        Scope { account: ident::AccountId::first(), region: region.parse().expect("a region") }
    }

    fn ask(platform: &Platform, key: &Key<'_>, request: &str) -> Seen {
        let digest = digest(&request).expect("serializes");
        platform
            .store
            .transact(|txn| {
                let seen = recall(txn, key, &digest, platform.now());
                if seen == Seen::Never {
                    remember(txn, key, digest.clone(), format!("did {request}"), platform.now());
                }
                Ok::<_, StoreError>(seen)
            })
            .now_or_never()
            .expect("in memory")
            .expect("commits")
    }

    #[test]
    fn a_token_means_one_request_for_a_day() {
        let clock = Arc::new(ManualClock::default());
        let platform = Platform {
            store: Store::in_memory(Registry::new().record::<Remembered>()),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
            quotas: crate::Quotas::default(),
        };
        let (here, there) = (scope("us-east-1"), scope("eu-west-1"));
        let key = Key { scope: &here, operation: "RunTask", token: "t" };
        let same = Seen::Same { outcome: "did a".to_owned() };

        for (hour, key, request, wanted) in [
            (0, key, "a", Seen::Never),
            (0, key, "a", same.clone()),
            (0, key, "b", Seen::Different),
            (0, Key { token: "u", ..key }, "b", Seen::Never),
            (0, Key { operation: "StartTask", ..key }, "b", Seen::Never),
            (0, Key { scope: &there, ..key }, "b", Seen::Never),
            (23, key, "a", same),
            (24, key, "b", Seen::Never),
            (25, key, "a", Seen::Different),
        ] {
            clock.set(Timestamp(0).after(HOUR * hour));
            assert_eq!(ask(&platform, &key, request), wanted, "{hour} {key:?} {request}");
        }

        // Of four tokens three are a day old; the one that was used anew is not.
        Sweeper.reconcile(&platform).now_or_never().expect("in memory").expect("sweeps");
        let left: Vec<_> = platform.store.view().all::<Remembered>().map(|r| r.id()).collect();
        assert_eq!(left, [id("RunTask", "t")]);
    }
}
