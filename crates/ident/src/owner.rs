//! Whose a thing is, and where.

use crate::text::text_type;
use alloc::borrow::ToOwned;
use core::fmt;
use serde::{Deserialize, Serialize};

text_type!(
    /// An AWS account: twelve digits.
    AccountId,
    "an account id of twelve digits",
    |text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
);

text_type!(
    /// A region by its name, such as `us-east-1`. Any name of that shape is a
    /// region here; which ones AWS has today is nothing to compile in.
    Region,
    "a region name such as us-east-1",
    |text| {
        let mut parts = text.rsplit('-');
        let number = parts.next().unwrap_or_default();
        let words = parts.clone().count();
        !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
            && (2..=4).contains(&words)
            && parts.all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase()))
    }
);

impl AccountId {
    /// The account that a fresh Landfall starts with; the number that emulators
    /// have made customary, so that recorded ARNs keep their meaning.
    pub fn first() -> Self {
        Self("000000000000".to_owned())
    }
}

impl Region {
    /// The ARN partition that the region lies in.
    pub fn partition(&self) -> &'static str {
        if self.0.starts_with("cn-") {
            "aws-cn"
        } else if self.0.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }
}

/// One account in one region: the space in which names are unique, and which no
/// request can look out of. Every record belongs to one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The owner.
    pub account: AccountId,
    /// The place.
    pub region: Region,
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.account, self.region)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_told_from_other_text() {
        for good in ["us-east-1", "eu-central-2", "us-gov-west-1", "ap-southeast-10"] {
            assert!(good.parse::<Region>().is_ok(), "{good}");
        }
        for bad in ["", "us", "us-east", "us-east-1a", "-east-1", "US-EAST-1", "us--1", "1"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }

    #[test]
    fn accounts_are_twelve_digits() {
        assert!("123456789012".parse::<AccountId>().is_ok());
        assert!("12345678901".parse::<AccountId>().is_err());
        assert!("12345678901a".parse::<AccountId>().is_err());
    }
}
