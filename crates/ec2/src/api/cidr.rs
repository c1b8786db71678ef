//! The blocks of addresses that requests ask for.

use crate::error::Error;
use ipnet::Ipv4Net;

/// The block in the parameter `cidrBlock`, with the host bits that it came with.
pub(super) fn read(text: Option<&str>) -> Result<Ipv4Net, Error> {
    let text = text.filter(|text| !text.is_empty()).ok_or(Error::Missing("cidrBlock"))?;
    text.parse().map_err(|_| {
        Error::Invalid(format!(
            "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        ))
    })
}
