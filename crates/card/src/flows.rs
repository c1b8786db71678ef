//! The connection tracker: that it forget an address.

use crate::nfnl::{
    ACKNOWLEDGE, AF_UNSPEC, Attributes, DUMP, Message, REQUEST, ask, attributes, connect,
};
use crate::rules::{FAMILY_V4, FAMILY_V6, octets};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;

/// Makes the connection tracker forget every flow from or to one of these
/// addresses, and says how many there were.
pub(crate) fn forget(addresses: &BTreeSet<IpAddr>) -> io::Result<usize> {
    let addresses: BTreeSet<Vec<u8>> = addresses.iter().map(|address| octets(*address)).collect();
    let socket = connect()?;
    let mut forgotten = 0;
    let every = Message {
        kind: CT_GET,
        flags: REQUEST | DUMP,
        family: AF_UNSPEC,
        attributes: Attributes::default(),
    };
    for (kind, body) in ask(&socket, &every)? {
        let Some((_, tuple)) = attributes(&body).find(|(kind, _)| *kind == CTA_TUPLE_ORIG) else {
            continue;
        };
        let Some(family) = concerns(tuple, &addresses).filter(|_| kind == CT_NEW) else {
            continue;
        };
        let delete = Message {
            kind: CT_DELETE,
            flags: REQUEST | ACKNOWLEDGE,
            family,
            attributes: Attributes::default().nest_bytes(CTA_TUPLE_ORIG, tuple),
        };
        match ask(&socket, &delete) {
            Ok(_) => forgotten += 1,
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

/// The address family of a flow, if its source or its destination is one of these.
fn concerns(tuple: &[u8], addresses: &BTreeSet<Vec<u8>>) -> Option<u8> {
    let ip = attributes(tuple).filter(|(kind, _)| *kind == CTA_TUPLE_IP);
    // Source and destination are its first two attributes, and its only ones.
    let mut both = ip.flat_map(|(_, ip)| attributes(ip)).map(|(_, address)| address);
    let found = both.find(|address| addresses.contains(*address))?;
    Some(if found.len() == 4 { FAMILY_V4 } else { FAMILY_V6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_concerns_both_its_ends() {
        for (family, texts) in [
            (FAMILY_V4, ["10.0.1.1", "10.0.1.2", "10.0.1.3"]),
            (FAMILY_V6, ["fd00::1", "fd00::2", "fd00::3"]),
        ] {
            let [a, b, c] = texts.map(|text| octets(text.parse().expect("an address")));
            let ip = Attributes::default().with(1, &a).with(2, &b);
            let ports = Attributes::default().with(1, &c);
            let tuple = Attributes::default().nest(CTA_TUPLE_IP, &ip).nest(2, &ports);
            for (address, expected) in [(a, Some(family)), (b, Some(family)), (c, None)] {
                let found = concerns(tuple.bytes(), &BTreeSet::from([address]));
                assert_eq!(found, expected, "{texts:?}");
            }
        }
    }
}
