//! Texts that are valid by construction: ids, names, accounts, regions.

use alloc::string::String;

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    /// What was wanted, with its shape.
    pub expected: &'static str,
    /// What came instead.
    pub text: String,
}

/// A type of text of which `valid` is true: parsed, never built, serialized as
/// the text that it is, and checked on the way back in.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $expected:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(
            Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "alloc::string::String", into = "alloc::string::String")]
        pub struct $name(alloc::string::String);

        impl $name {
            /// The text as AWS writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::IdError;
            fn from_str(text: &str) -> Result<Self, $crate::IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(alloc::borrow::ToOwned::to_owned(text)))
                } else {
                    Err($crate::IdError { expected: $expected, text: alloc::borrow::ToOwned::to_owned(text) })
                }
            }
        }

        impl TryFrom<alloc::string::String> for $name {
            type Error = $crate::IdError;
            fn try_from(text: alloc::string::String) -> Result<Self, $crate::IdError> {
                text.parse()
            }
        }

        impl From<$name> for alloc::string::String {
            fn from(id: $name) -> alloc::string::String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

pub(crate) use text_type;
