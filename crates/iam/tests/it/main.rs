//! Keys and rights, through the public interface.

mod accounts;
mod keys;
mod rights;
mod roles;
mod sts;

use chassis::fake::{ManualClock, SeededEntropy};
use chassis::{Caller, Platform, Principal};
use futures::FutureExt as _;
use ident::{AccountId, InstanceId, Scope, Timestamp};
use std::sync::Arc;
use store::{MemoryBackend, Registry, Store};

/// What a store in memory has to say is known at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a store in memory does not wait")
}

fn platform_on(backend: MemoryBackend, seed: u64) -> Platform {
    Platform {
        store: Store::open_inline(
            Box::new(backend),
            iam::records(chassis::records(Registry::new())),
        )
        .expect("readable"),
        clock: Arc::new(ManualClock::at(Timestamp(1_700_000_000_000))),
        entropy: Arc::new(SeededEntropy::new(seed)),
        quotas: chassis::Quotas::default(),
    }
}

fn platform() -> Platform {
    platform_on(MemoryBackend::default(), 1)
}

fn account(text: &str) -> AccountId {
    text.parse().expect("an account")
}

fn scope() -> Scope {
    Scope { account: account("123456789012"), region: "us-east-1".parse().expect("a region") }
}

fn instance() -> InstanceId {
    InstanceId::mint(0x2a)
}

fn caller(principal: Principal) -> Caller {
    Caller { scope: scope(), principal, access_key: "AKIAX".to_owned() }
}
