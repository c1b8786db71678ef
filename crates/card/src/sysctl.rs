//! The switches of a router namespace.
//!
//! `/proc/sys/net` shows the namespace of the thread that looks, so these run on
//! a thread inside the router. New links copy `default`; where the kernel takes
//! `all` into account as well, setting that one covers every link.

use crate::error::CardError;
use std::{fs, io};

/// What must hold before any link exists.
const ROUTER: &[(&str, &str)] = &[
    // The router answers ARP for every interface behind another card end, at
    // once ([`link`]): a task believes all of its subnet to be on its own link.
    ("ipv4/conf/all/proxy_arp", "1"),
    // The filter knows exactly who may send what. The guess from routes would
    // refuse interfaces whose source check is off.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Everybody is reached through the router, never directly.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    // A card end has the one link-local address that the card gives it, at once.
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    // The router tells others where to go, and nobody tells it.
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    // IPv6 has no proxy by routes; what is answered for is listed one by one.
    ("ipv6/conf/all/proxy_ndp", "1"),
];

/// What may hold only once the filter is in force.
const FORWARDING: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // As EC2 tracks connections; the others are the kernel's values already.
    ("netfilter/nf_conntrack_udp_timeout_stream", "180"),
    // A packet from the middle of a TCP connection that is not known opens none: it is
    // of one that has ended here ([`crate::untracked`]).
    ("netfilter/nf_conntrack_tcp_loose", "0"),
    // It sees one packet a second of a flow that goes the fast way ([`crate::fastpath`]),
    // so it cannot know which of them are in order. Both ends do.
    ("netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ("netfilter/nf_conntrack_tcp_ignore_invalid_rst", "1"),
    // What flows have carried, and since when: see [`crate::seen`].
    ("netfilter/nf_conntrack_acct", "1"),
    ("netfilter/nf_conntrack_timestamp", "1"),
];

/// Prepares a router. Returns how many switches were not as they should be.
pub(crate) fn prepare() -> Result<usize, CardError> {
    set(ROUTER)
}

/// Prepares the card end `name`. The kernel would let a proxy wait up to 0.8 s
/// before it answers, and only the link's own value counts.
pub(crate) fn link(name: &str) -> Result<usize, CardError> {
    set(&[
        (&format!("ipv4/neigh/{name}/proxy_delay"), "0"),
        (&format!("ipv6/neigh/{name}/proxy_delay"), "0"),
    ])
}

/// Lets a router forward. Returns how many switches were not as they should be.
pub(crate) fn forward() -> Result<usize, CardError> {
    set(FORWARDING)
}

/// Keeps a router from forwarding.
pub(crate) fn halt() -> Result<usize, CardError> {
    set(&[("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0")])
}

fn set(switches: &[(&str, &str)]) -> Result<usize, CardError> {
    let mut changed = 0;
    for &(key, value) in switches {
        let path = format!("/proc/sys/net/{key}");
        match fs::read_to_string(&path) {
            Ok(current) if current.trim() == value => {}
            Ok(_) => {
                fs::write(&path, value)
                    .map_err(|source| CardError::Sysctl { key: key.to_owned(), source })?;
                changed += 1;
            }
            // A kernel without IPv6 has nothing to switch, and a link that is
            // gone nothing to prepare.
            Err(error) if error.kind() == io::ErrorKind::NotFound && optional(key) => {}
            Err(source) => return Err(CardError::Sysctl { key: key.to_owned(), source }),
        }
    }
    Ok(changed)
}

fn optional(key: &str) -> bool {
    ["ipv6/", "netfilter/", "ipv4/neigh/"].iter().any(|optional| key.starts_with(optional))
}
