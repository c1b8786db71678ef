//! Questions to netfilter that `nft` cannot ask, or not without a process: which
//! generation of rules is in force, and that the connection tracker forget an
//! address.
//!
//! These speak netlink by hand. They block, and run on a thread inside the
//! router's namespace.

use rtnetlink::sys::constants::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

const MESSAGE_HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;

const NFT_NEWGEN: u16 = 10 << 8 | 15;
const NFT_GETGEN: u16 = 10 << 8 | 16;
const NFTA_GEN_ID: u16 = 1;

const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;

/// Which generation of rules the namespace has.
pub(crate) fn genid() -> io::Result<u32> {
    let answers = ask(&connect()?, NFT_GETGEN, REQUEST, AF_UNSPEC, &[])?;
    let found = answers.iter().filter(|(kind, _)| *kind == NFT_NEWGEN).find_map(|(_, body)| {
        let (_, value) = attributes(body).find(|(kind, _)| *kind == NFTA_GEN_ID)?;
        Some(u32::from_be_bytes(value.try_into().ok()?))
    });
    found.ok_or_else(|| io::Error::other("the kernel does not number its rules"))
}

/// Makes the connection tracker forget every flow from or to one of these
/// addresses, and says how many there were.
pub(crate) fn forget_flows(addresses: &BTreeSet<Ipv4Addr>) -> io::Result<usize> {
    let socket = connect()?;
    let mut forgotten = 0;
    for (kind, body) in ask(&socket, CT_GET, REQUEST | DUMP, AF_INET, &[])? {
        let Some((_, tuple)) = attributes(&body).find(|(kind, _)| *kind == CTA_TUPLE_ORIG) else {
            continue;
        };
        if kind != CT_NEW || !concerns(tuple, addresses) {
            continue;
        }
        let attribute = attribute(NESTED | CTA_TUPLE_ORIG, tuple);
        match ask(&socket, CT_DELETE, REQUEST | ACKNOWLEDGE, AF_INET, &attribute) {
            Ok(_) => forgotten += 1,
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

/// Whether the source or the destination of a flow is one of these.
fn concerns(tuple: &[u8], addresses: &BTreeSet<Ipv4Addr>) -> bool {
    let ip = attributes(tuple).filter(|(kind, _)| *kind == CTA_TUPLE_IP);
    // Source and destination are its first two attributes, and its only ones.
    let mut both = ip.flat_map(|(_, ip)| attributes(ip)).filter_map(|(_, address)| {
        let octets: [u8; 4] = address.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    });
    both.any(|address| addresses.contains(&address))
}

fn connect() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Sends one request and collects the answers: their kinds and attributes.
fn ask(
    socket: &Socket,
    kind: u16,
    flags: u16,
    family: u8,
    attributes: &[u8],
) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let length = MESSAGE_HEADER + FAMILY_HEADER + attributes.len();
    let length = u32::try_from(length).map_err(io::Error::other)?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]); // Sequence number and port: one conversation, one question.
    request.extend([family, 0, 0, 0]);
    request.extend_from_slice(attributes);
    socket.send(&request, 0)?;

    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some((kind, body, next)) = message(rest) {
            rest = next;
            match kind {
                DONE => return Ok(answers),
                ERROR => match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                    Some(0) => return Ok(answers),
                    Some(code) => return Err(io::Error::from_raw_os_error(-code)),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
                kind => answers.push((kind, body.get(FAMILY_HEADER..).unwrap_or(&[]).to_vec())),
            }
        }
        if flags & (DUMP | ACKNOWLEDGE) == 0 {
            return Ok(answers);
        }
    }
}

/// The first message of a datagram: its kind, what follows its header, and the
/// rest of the datagram.
fn message(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
    let body = datagram.get(MESSAGE_HEADER..length)?;
    let rest = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    Some((kind, body, rest))
}

/// The attributes in some bytes, by kind; flags in the kind are left out.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & 0x3fff;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // What came in an attribute fits into one.
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let mut bytes = attribute(NESTED | 1, b"abcde");
        bytes.extend(attribute(2, &[]));
        bytes.extend(attribute(3, b"abcd"));
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(1, &b"abcde"[..]), (2, &[][..]), (3, &b"abcd"[..])]);
        assert_eq!(attributes(&bytes[..bytes.len() - 1]).count(), 2);
        assert_eq!(attributes(&[0; 8]).count(), 0, "a length of nothing ends it");
    }

    #[test]
    fn a_flow_concerns_both_its_ends() {
        let [a, b, c] = [1, 2, 3].map(|last| Ipv4Addr::new(10, 0, 1, last));
        let mut ip = attribute(1, &a.octets());
        ip.extend(attribute(2, &b.octets()));
        let mut tuple = attribute(NESTED | CTA_TUPLE_IP, &ip);
        tuple.extend(attribute(NESTED | 2, &attribute(1, &c.octets())));
        for (address, expected) in [(a, true), (b, true), (c, false)] {
            assert_eq!(concerns(&tuple, &BTreeSet::from([address])), expected, "{address}");
        }
    }
}
