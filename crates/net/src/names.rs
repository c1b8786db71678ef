//! The names that a VPC's resolver gives to private addresses.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::net::Ipv4Addr;

/// The domain of a region's names, without a dot at its end.
pub fn domain(region: &str) -> String {
    match region {
        // The region that was first has no name in names.
        "us-east-1" => "ec2.internal".to_owned(),
        other => format!("{other}.compute.internal"),
    }
}

/// The name of an address within that domain: `ip-10-0-1-5`.
pub fn host(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}")
}

/// The address that [`host`] gives this name to. Case does not matter, leading zeros
/// do: an address has one name.
pub fn address(host: &str) -> Option<Ipv4Addr> {
    let (prefix, numbers) = host.split_at_checked(3)?;
    if !prefix.eq_ignore_ascii_case("ip-") {
        return None;
    }
    let mut octets = [0; 4];
    let mut numbers = numbers.split('-');
    for octet in &mut octets {
        let digits = numbers.next()?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_shortest = digits == "0" || !digits.starts_with('0');
        *octet = digits.parse().ok().filter(|_| is_plain && is_shortest)?;
    }
    numbers.next().is_none().then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn regions_have_domains() {
        for (region, expected) in [
            ("us-east-1", "ec2.internal"),
            ("us-east-2", "us-east-2.compute.internal"),
            ("eu-west-1", "eu-west-1.compute.internal"),
        ] {
            assert_eq!(domain(region), expected);
        }
    }

    #[test]
    fn what_is_no_name_means_no_address() {
        for (text, expected) in [
            ("ip-10-0-1-5", Some([10, 0, 1, 5])),
            ("IP-10-0-1-5", Some([10, 0, 1, 5])),
            ("ip-0-0-0-0", Some([0, 0, 0, 0])),
            ("ip-255-255-255-255", Some([255, 255, 255, 255])),
            ("", None),
            ("ip-", None),
            ("ip", None),
            ("ip-10-0-1", None),
            ("ip-10-0-1-", None),
            ("ip-10-0-1-5-6", None),
            ("ip-10-0-1-256", None),
            ("ip-10-0-01-5", None),
            ("ip-10-0-00-5", None),
            ("ip-10-0-+1-5", None),
            ("ip-10--1-5-1", None),
            ("ip-10.0.1.5", None),
            ("xip-10-0-1-5", None),
            ("10-0-1-5", None),
            ("ïp-10-0-1-5", None),
            ("i-0123456789abcdef0", None),
        ] {
            assert_eq!(address(text), expected.map(Ipv4Addr::from), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_address_is_found_by_its_name(number: u32) {
            let own = Ipv4Addr::from(number);
            prop_assert_eq!(address(&host(own)), Some(own));
        }

        #[test]
        fn no_other_name_leads_to_it(text in "(?i)ip-[0-9+ -]{1,16}") {
            if let Some(found) = address(&text) {
                prop_assert_eq!(host(found), text.to_ascii_lowercase());
            }
        }
    }
}
