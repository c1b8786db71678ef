//! Hardware addresses.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// The hardware address of a network interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// The text is not six pairs of hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a hardware address such as 02:11:22:33:44:55")]
pub struct MacError(pub String);

impl MacAddress {
    /// A new unicast, locally administered address from random bits; the low 46
    /// are used. The first three bytes differ as well as the last: the official
    /// agent names a returned link after them.
    pub fn mint(random: u128) -> Self {
        let bytes = random.to_be_bytes();
        let mut mac = [0; 6];
        mac.copy_from_slice(&bytes[10..]);
        mac[0] = (mac[0] & 0xfc) | 0x02;
        Self(mac)
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let refuse = || MacError(text.to_owned());
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(refuse)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() { Err(refuse()) } else { Ok(Self(mac)) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(out, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(out, ":{byte:02x}"))
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_addresses_are_unicast_and_local() {
        for random in [0, u128::MAX, 0x0102_0304_0506] {
            let mac = MacAddress::mint(random);
            assert_eq!(mac.0[0] & 0b11, 0b10, "{mac}");
            assert_eq!(mac.to_string().parse(), Ok(mac));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in
            ["", "02:11:22:33:44", "02:11:22:33:44:55:66", "2:11:22:33:44:55", "zz:11:22:33:44:55"]
        {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
