//! Amazon resource names.

use crate::{AccountId, Region, Scope};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// `arn:partition:service:region:account:resource`, of a resource that lies in
/// an account and a region. (IAM's have no region; they are built as text there.)
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Arn {
    /// The service's name in ARNs, such as `ecs`.
    pub service: String,
    /// Whose the resource is, and where.
    pub scope: Scope,
    /// What follows the account, such as `task/default/0123…`.
    pub resource: String,
}

/// Why a text is not an ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ARN with a region and an account")]
pub struct ArnError(pub String);

impl Arn {
    /// The name of `resource` in `scope`.
    pub fn new(service: &str, scope: &Scope, resource: impl Into<String>) -> Self {
        Self { service: service.to_owned(), scope: scope.clone(), resource: resource.into() }
    }

    /// The resource's kind and the rest: `("task", "default/0123…")`.
    pub fn split_resource(&self) -> (&str, &str) {
        self.resource.split_once('/').unwrap_or((&self.resource, ""))
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let refuse = || ArnError(text.to_owned());
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or_else(refuse);
        let (scheme, partition, service) = (next()?, next()?, next()?);
        let region: Region = next()?.parse().map_err(|_| refuse())?;
        let account: AccountId = next()?.parse().map_err(|_| refuse())?;
        let resource = next()?;
        let sound = scheme == "arn"
            && partition == region.partition()
            && !service.is_empty()
            && !resource.is_empty();
        if !sound {
            return Err(refuse());
        }
        Ok(Self {
            service: service.to_owned(),
            scope: Scope { account, region },
            resource: resource.to_owned(),
        })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { account, region } = &self.scope;
        write!(
            out,
            "arn:{}:{}:{region}:{account}:{}",
            region.partition(),
            self.service,
            self.resource
        )
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for Arn {
    type Error = ArnError;
    fn try_from(text: String) -> Result<Self, ArnError> {
        text.parse()
    }
}

impl From<Arn> for String {
    fn from(arn: Arn) -> String {
        format!("{arn}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_arn_reads_back_as_written() {
        let text = "arn:aws:ecs:us-east-1:123456789012:task/default/0123";
        let arn: Arn = text.parse().expect("an ARN");
        assert_eq!(arn.to_string(), text);
        assert_eq!(arn.split_resource(), ("task", "default/0123"));
    }

    #[test]
    fn fragments_are_refused() {
        for bad in [
            "",
            "arn",
            "arn:aws:ecs:us-east-1:123456789012",
            "arn:aws:ecs:us-east-1:123456789012:",
            "arn:aws::us-east-1:123456789012:task/x",
            "arn:aws-cn:ecs:us-east-1:123456789012:task/x",
            "nra:aws:ecs:us-east-1:123456789012:task/x",
            "arn:aws:iam::123456789012:role/x",
        ] {
            assert!(bad.parse::<Arn>().is_err(), "{bad}");
        }
    }
}
