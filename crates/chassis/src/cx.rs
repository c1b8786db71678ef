//! What a handler is given.

use crate::quotas::Quotas;
use crate::{Caller, Clock, Entropy, OsEntropy, SystemClock};
use ident::{Scope, Timestamp};
use std::sync::Arc;
use store::{Store, View};

/// The outside world, as far as the control plane may touch it: state, time and
/// chance. Whoever holds one can be run by the simulator.
#[derive(Clone, Debug)]
pub struct Platform {
    /// The state.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// What the operator lets accounts have.
    pub quotas: Quotas,
}

impl Platform {
    /// The real world around `store`.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            quotas: Quotas::default(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Fresh random bits.
    pub fn bits(&self) -> u128 {
        self.entropy.bits()
    }
}

/// The context of one request.
#[derive(Clone, Debug)]
pub struct Cx {
    /// State, time and chance.
    pub platform: Platform,
    /// Who asks.
    pub caller: Caller,
    /// What the answer will be called, for whoever compares logs.
    pub request_id: String,
}

impl Cx {
    /// The account and region that the request acts in.
    pub fn scope(&self) -> &Scope {
        &self.caller.scope
    }

    /// The state, for transactions.
    pub fn store(&self) -> &Store {
        &self.platform.store
    }

    /// The state, for reading.
    pub fn view(&self) -> Arc<View> {
        self.platform.store.view()
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.platform.now()
    }

    /// Fresh random bits.
    pub fn bits(&self) -> u128 {
        self.platform.bits()
    }
}

/// Formats random bits as a version 4 UUID, which is what request ids look like.
pub(crate) fn uuid(bits: u128) -> String {
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn request_ids_are_uuids() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
