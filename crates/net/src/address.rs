//! Which blocks VPCs and subnets may have, and which address an interface gets.

use crate::model::Subnet;
use core::net::Ipv4Addr;
use ipnet::Ipv4Net;

/// The shortest prefix, that is the largest block, of a VPC or a subnet.
pub const SHORTEST_PREFIX: u8 = 16;
/// The longest prefix, that is the smallest block, of a VPC or a subnet.
pub const LONGEST_PREFIX: u8 = 28;
/// How many addresses at the beginning of a subnet are AWS's own: the network,
/// the router, the resolver, and one for the future.
const RESERVED_FIRST: u32 = 4;
/// As many as are reserved in all: those and the broadcast address.
const RESERVED: u32 = RESERVED_FIRST + 1;

/// Why a block cannot be a VPC's or a subnet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// AWS allows /16 to /28.
    #[error("a block must be between /16 and /28 in size, and {0} is not")]
    Size(Ipv4Net),
    /// The addresses mean something else to every machine: this host, loopback,
    /// link-local, multicast, reserved.
    #[error("{0} is of addresses that no host has")]
    Reserved(Ipv4Net),
    /// A subnet must lie in one of its VPC's blocks.
    #[error("{0} is in no block of the VPC")]
    Outside(Ipv4Net),
    /// Two subnets of one VPC, or two blocks of one, share no address.
    #[error("{block} overlaps {existing}")]
    Overlap {
        /// The block that was asked for.
        block: Ipv4Net,
        /// The one that is in the way.
        existing: Ipv4Net,
    },
}

/// The block that a VPC gets when `wanted` is asked for: without host bits, as
/// EC2 makes `100.68.0.18/18` into `100.68.0.0/18`.
///
/// `existing` are the blocks that the VPC has already.
pub fn vpc_block(
    wanted: Ipv4Net,
    existing: impl IntoIterator<Item = Ipv4Net>,
) -> Result<Ipv4Net, BlockError> {
    let block = sized(wanted)?;
    let first = block.network();
    // Each of these is /4 to /16: a block is inside or outside, never around.
    if matches!(first.octets()[0], 0 | 127 | 224..=255) || first.is_link_local() {
        return Err(BlockError::Reserved(block));
    }
    apart(block, existing)
}

/// The block that a subnet gets when `wanted` is asked for, in a VPC that has
/// the blocks `vpc` and, so far, subnets with the blocks `existing`.
pub fn subnet_block(
    wanted: Ipv4Net,
    vpc: &[Ipv4Net],
    existing: impl IntoIterator<Item = Ipv4Net>,
) -> Result<Ipv4Net, BlockError> {
    let block = sized(wanted)?;
    if !vpc.iter().any(|whole| whole.contains(&block)) {
        return Err(BlockError::Outside(block));
    }
    apart(block, existing)
}

fn sized(wanted: Ipv4Net) -> Result<Ipv4Net, BlockError> {
    let block = wanted.trunc();
    if (SHORTEST_PREFIX..=LONGEST_PREFIX).contains(&block.prefix_len()) {
        Ok(block)
    } else {
        Err(BlockError::Size(block))
    }
}

fn apart(
    block: Ipv4Net,
    existing: impl IntoIterator<Item = Ipv4Net>,
) -> Result<Ipv4Net, BlockError> {
    // Of two blocks that share an address, one contains the other.
    match existing.into_iter().find(|other| other.contains(&block) || block.contains(other)) {
        Some(existing) => Err(BlockError::Overlap { block, existing }),
        None => Ok(block),
    }
}

/// Whether an interface may have `address` in `subnet`: it is in the block and
/// not reserved.
pub fn usable(subnet: &Subnet, address: Ipv4Addr) -> bool {
    let offset = u32::from(address).wrapping_sub(u32::from(subnet.cidr.network()));
    (RESERVED_FIRST..size(subnet).saturating_sub(1)).contains(&offset)
}

/// An address of `subnet` that is not `taken`, or `None` if all are.
///
/// The seed chooses where to look first, so that an address that was given back
/// is not at once somebody else's; from there every address has its turn.
pub fn allocate(subnet: &Subnet, taken: impl Fn(Ipv4Addr) -> bool, seed: u64) -> Option<Ipv4Addr> {
    let usable = size(subnet).saturating_sub(RESERVED);
    let first = u32::from(subnet.cidr.network()).saturating_add(RESERVED_FIRST);
    let start = u32::try_from(scatter(seed).checked_rem(u64::from(usable))?).ok()?;
    // The two halves in turn rather than a sum and a remainder: nothing to overflow.
    (start..usable)
        .chain(0..start)
        .map(|offset| Ipv4Addr::from(first.saturating_add(offset)))
        .find(|address| !taken(*address))
}

/// How many addresses are left (EC2's `AvailableIpAddressCount`) when
/// `taken_count` interfaces have one.
pub fn available(subnet: &Subnet, taken_count: u32) -> u32 {
    size(subnet).saturating_sub(RESERVED).saturating_sub(taken_count)
}

fn size(subnet: &Subnet) -> u32 {
    let host_bits = 32 - u32::from(subnet.cidr.prefix_len());
    1_u32.checked_shl(host_bits).unwrap_or(u32::MAX)
}

/// Makes neighbouring seeds look at distant addresses (the finisher of `SplitMix64`).
fn scatter(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use ident::{SubnetId, VpcId};
    use proptest::prelude::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a block")
    }

    fn subnet(cidr: &str) -> Subnet {
        Subnet { id: SubnetId::mint(1), vpc: VpcId::mint(1), cidr: net(cidr), ipv6_cidr: None }
    }

    #[test]
    fn blocks_have_aws_sizes_and_no_host_bits() {
        assert_eq!(vpc_block(net("100.68.0.18/18"), []), Ok(net("100.68.0.0/18")));
        assert_eq!(vpc_block(net("10.0.0.0/16"), []), Ok(net("10.0.0.0/16")));
        assert_eq!(vpc_block(net("10.0.0.0/28"), []), Ok(net("10.0.0.0/28")));
        for bad in ["10.0.0.0/15", "10.0.0.0/29", "0.0.0.0/0", "10.0.0.1/32"] {
            assert_eq!(vpc_block(net(bad), []), Err(BlockError::Size(net(bad).trunc())));
        }
        for bad in ["0.1.0.0/16", "127.0.0.0/24", "169.254.0.0/16", "224.0.0.0/20", "255.0.0.0/28"]
        {
            assert_eq!(vpc_block(net(bad), []), Err(BlockError::Reserved(net(bad))));
        }
        assert_eq!(vpc_block(net("169.253.0.0/16"), []), Ok(net("169.253.0.0/16")));
    }

    #[test]
    fn subnets_lie_in_the_vpc_and_apart() {
        let vpc = [net("10.0.0.0/16"), net("10.8.0.0/24")];
        let taken = [net("10.0.1.0/24")];
        assert_eq!(subnet_block(net("10.0.2.0/24"), &vpc, taken), Ok(net("10.0.2.0/24")));
        assert_eq!(subnet_block(net("10.8.0.0/24"), &vpc, taken), Ok(net("10.8.0.0/24")));
        assert_eq!(
            subnet_block(net("10.1.0.0/24"), &vpc, taken),
            Err(BlockError::Outside(net("10.1.0.0/24")))
        );
        for inside_or_around in ["10.0.1.0/28", "10.0.0.0/23", "10.0.1.0/24"] {
            let block = net(inside_or_around);
            assert_eq!(
                subnet_block(block, &vpc, taken),
                Err(BlockError::Overlap { block, existing: taken[0] })
            );
        }
    }

    #[test]
    fn five_addresses_are_never_given_out() {
        let subnet = subnet("10.0.1.0/28");
        let mut taken = BTreeSet::new();
        while let Some(address) = allocate(&subnet, |a| taken.contains(&a), 7) {
            assert!(usable(&subnet, address), "{address}");
            assert!(taken.insert(address));
        }
        let expected: BTreeSet<_> = (4..15).map(|last| Ipv4Addr::new(10, 0, 1, last)).collect();
        assert_eq!(taken, expected);
        assert_eq!(available(&subnet, 0), 11);
        assert_eq!(available(&subnet, 11), 0);
        assert_eq!(available(&subnet, 12), 0);
    }

    #[test]
    fn what_is_usable_is_what_is_allocated() {
        let subnet = subnet("10.0.1.0/28");
        let usable = |last| super::usable(&subnet, Ipv4Addr::new(10, 0, 1, last));
        assert_eq!((0..=255).filter(|last| usable(*last)).count(), 11);
        assert!(!super::usable(&subnet, Ipv4Addr::new(10, 0, 0, 200)));
    }

    proptest! {
        #[test]
        fn accepted_subnets_divide_the_vpc(
            blocks in proptest::collection::vec((0_u32..1 << 14, 14_u8..=30), 0..60),
        ) {
            // Inside the VPC and a little beyond it.
            let vpc = [net("10.0.32.0/19"), net("10.0.0.0/24")];
            let mut taken: Vec<Ipv4Net> = Vec::new();
            for (offset, prefix) in blocks {
                let first = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + offset);
                let wanted = Ipv4Net::new(first, prefix).expect("a prefix");
                let ends = [wanted.network(), wanted.broadcast()];
                let inside = vpc.iter().any(|whole| ends.iter().all(|end| whole.contains(end)));
                let sized = (16..=28).contains(&prefix);
                let free = taken.iter().all(|other| {
                    ends[1] < other.network() || other.broadcast() < ends[0]
                });
                match subnet_block(wanted, &vpc, taken.iter().copied()) {
                    Ok(block) => {
                        prop_assert!(sized && inside && free, "{wanted}");
                        prop_assert_eq!([block.addr(), block.broadcast()], ends);
                        taken.push(block);
                    }
                    Err(BlockError::Size(_)) => prop_assert!(!sized, "{wanted}"),
                    Err(BlockError::Outside(_)) => prop_assert!(sized && !inside, "{wanted}"),
                    Err(BlockError::Overlap { .. }) => prop_assert!(inside && !free, "{wanted}"),
                    Err(BlockError::Reserved(_)) => prop_assert!(false, "{wanted}"),
                }
            }
        }

        #[test]
        fn the_last_free_address_is_found(prefix in 16_u8..=28, seed: u64, which: u32) {
            let subnet = Subnet {
                cidr: Ipv4Net::new(Ipv4Addr::new(10, 9, 0, 0), prefix).expect("a prefix"),
                ..subnet("10.9.0.0/16")
            };
            let free = Ipv4Addr::from(
                u32::from(subnet.cidr.network()) + 4 + which % available(&subnet, 0),
            );
            prop_assert_eq!(allocate(&subnet, |a| a != free, seed), Some(free));
            prop_assert_eq!(allocate(&subnet, |_| true, seed), None);
        }
    }
}
