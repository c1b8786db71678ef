//! Session tokens: what must be asked for before anything else is.
//!
//! A token is its time of expiry under a signature of a key that is drawn when the
//! program starts, so none is remembered, and none means anything to another machine
//! or after a new start. Clients ask for a new one when they are refused.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::Duration;

/// The longest life of a token: six hours.
pub(crate) const LONGEST: u64 = 21_600;

/// Makes tokens, and knows them again.
#[derive(Clone)]
pub(crate) struct Tokens {
    key: Hmac<Sha256>,
}

impl Tokens {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        // One that is shorter than a block is the same as one with zeros after it.
        let mut block = Key::<Hmac<Sha256>>::default();
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self { key: Hmac::new(&block) }
    }

    /// A token that is good for so many seconds; `now` is the time since the start.
    pub(crate) fn issue(&self, seconds: u64, now: Duration) -> String {
        let expires = (now.as_secs() + seconds).to_be_bytes();
        let tag = self.key.clone().chain_update(expires).finalize().into_bytes();
        BASE64.encode([expires.as_slice(), &tag].concat())
    }

    /// For how many more seconds a token is good; `None` if it is not.
    pub(crate) fn left(&self, token: &str, now: Duration) -> Option<u64> {
        let bytes = BASE64.decode(token).ok()?;
        let (expires, tag) = bytes.split_first_chunk::<8>()?;
        self.key.clone().chain_update(expires).verify_slice(tag).ok()?;
        u64::from_be_bytes(*expires).checked_sub(now.as_secs()).filter(|left| *left > 0)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_on_its_machine() {
        let (tokens, others) = (Tokens::new(&[7; 32]), Tokens::new(&[8; 32]));
        let at = Duration::from_secs;
        let token = tokens.issue(60, at(100));
        for (now, left) in [(100, Some(60)), (159, Some(1)), (160, None), (1000, None)] {
            assert_eq!(tokens.left(&token, at(now)), left, "{now}");
        }
        assert_eq!(others.left(&token, at(100)), None);
        let mut longer = BASE64.decode(&token).expect("a token");
        longer[0] = 1;
        for forged in ["", "AAAA", &token[1..], &BASE64.encode(longer), &format!("{token}A")] {
            assert_eq!(tokens.left(forged, at(100)), None, "{forged}");
        }
    }
}
