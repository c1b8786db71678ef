//! A text that must not be seen.

use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;

/// The secret half of a credential.
///
/// It prints as `***`, and it can be read only by saying so ([`Self::reveal`]),
/// which makes every place that does findable. Its bytes are overwritten when it
/// is dropped, as well as safe code can: the optimiser may keep copies.
#[derive(Clone, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: to sign with, or to print for its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// In a time that says nothing of where two secrets differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret.reveal(), "hunter2");
        assert_eq!(secret, Secret::new("hunter2"));
        for other in ["", "hunter", "hunter3", "hunter22"] {
            assert_ne!(secret, Secret::new(other));
        }
    }
}
