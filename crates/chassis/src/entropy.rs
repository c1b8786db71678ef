//! Where randomness comes from.

use std::fmt::Debug;

/// A source of random bits: for ids, keys and tie-breaking.
pub trait Entropy: Send + Sync + Debug {
    /// Bits that nobody can guess, each call its own.
    fn bits(&self) -> u128;
}

/// The operating system's entropy. The one place in the control plane that
/// draws it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        // There is no going on without: an id or a secret made of anything less
        // would be guessable, and no caller could do better than stop.
        getrandom::fill(&mut bytes).expect("the operating system provides entropy");
        u128::from_ne_bytes(bytes)
    }
}
