//! What every region of an account comes with: a default VPC, 172.31.0.0/16,
//! with a subnet in each zone and a security group that trusts itself.

use crate::error::Error;
use crate::records::{
    DEFAULT_GROUP, DefaultVpc, Direction, GroupRule, SecurityGroup, Subnet, Tenancy, VniLease, Vpc,
};
use crate::zones;
use chassis::Platform;
use ident::{Scope, SecurityGroupId, SecurityGroupRuleId, SubnetId, Tags, VpcId};
use ipnet::{IpNet, Ipv4Net};
use net::model::{self, Peer, Rule, Traffic};
use std::net::Ipv4Addr;
use store::Txn;

/// The default VPC's block: the one that AWS's have.
const BLOCK: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 31, 0, 0), 16);
/// The size of its subnets: as many as there are letters for zones, and room.
const SUBNET_PREFIX: u8 = 20;
/// The highest VXLAN network identifier: they have 24 bits.
const MAX_VNI: u32 = (1 << 24) - 1;

/// Sees to it that `scope` has been furnished with its default VPC, as AWS does
/// for every account before it is used. Afterwards it only looks, so that it can
/// be asked on every request.
pub async fn ensure_region(platform: &Platform, scope: &Scope) -> Result<(), Error> {
    if platform.store.view().get::<DefaultVpc>(scope, DefaultVpc::ID).is_some() {
        return Ok(());
    }
    platform.store.transact(|txn| furnish(txn, scope, &mut || platform.bits())).await
}

/// [`ensure_region`] inside a transaction.
pub fn furnish(txn: &mut Txn, scope: &Scope, bits: &mut dyn FnMut() -> u128) -> Result<(), Error> {
    if txn.get::<DefaultVpc>(scope, DefaultVpc::ID).is_some() {
        return Ok(());
    }
    let vpc = VpcId::mint(bits());
    let whole = block(BLOCK.0, BLOCK.1)?;
    let vni = lease_vni(txn, scope, &vpc, bits)?;
    txn.put(Vpc {
        scope: scope.clone(),
        net: model::Vpc { id: vpc.clone(), cidrs: vec![whole], ipv6_cidrs: Vec::new(), vni },
        is_default: true,
        enable_dns_support: true,
        enable_dns_hostnames: true,
        enable_network_address_usage_metrics: false,
        tenancy: Tenancy::Default,
        subnets_made: 0,
        groups_made: 0,
        tags: Tags::default(),
    });
    let blocks = whole.subnets(SUBNET_PREFIX).into_iter().flatten();
    for (zone, cidr) in zones::of(&scope.region).into_iter().zip(blocks) {
        txn.put(Subnet {
            scope: scope.clone(),
            net: model::Subnet {
                id: SubnetId::mint(bits()),
                vpc: vpc.clone(),
                cidr,
                ipv6_cidr: None,
            },
            zone,
            default_for_az: true,
            map_public_ip_on_launch: true,
            allocations: 0,
            tags: Tags::default(),
        });
    }
    txn.put(default_group(scope, &vpc, bits)?);
    txn.put(DefaultVpc { scope: scope.clone(), vpc });
    Ok(())
}

/// The group that every VPC has: its members trust one another, and may go
/// anywhere.
pub(crate) fn default_group(
    scope: &Scope,
    vpc: &VpcId,
    bits: &mut dyn FnMut() -> u128,
) -> Result<SecurityGroup, Error> {
    let id = SecurityGroupId::mint(bits());
    let trust = GroupRule {
        id: SecurityGroupRuleId::mint(bits()),
        direction: Direction::Ingress,
        rule: Rule { traffic: Traffic::All, peer: Peer::Group(id.clone()) },
        description: None,
        tags: Tags::default(),
    };
    Ok(SecurityGroup {
        scope: scope.clone(),
        id,
        vpc: vpc.clone(),
        name: DEFAULT_GROUP.to_owned(),
        description: "default VPC security group".to_owned(),
        rules: vec![trust, egress_to_all(bits())?],
        tags: Tags::default(),
    })
}

/// The rule that a new group has: everything may go out.
pub(crate) fn egress_to_all(random: u128) -> Result<GroupRule, Error> {
    let everywhere = IpNet::V4(block(Ipv4Addr::UNSPECIFIED, 0)?);
    Ok(GroupRule {
        id: SecurityGroupRuleId::mint(random),
        direction: Direction::Egress,
        rule: Rule { traffic: Traffic::All, peer: Peer::Cidr(everywhere) },
        description: None,
        tags: Tags::default(),
    })
}

fn block(address: Ipv4Addr, prefix: u8) -> Result<Ipv4Net, Error> {
    Ipv4Net::new(address, prefix).map_err(|_| Error::NotACidr(format!("{address}/{prefix}")))
}

/// A network identifier for a new VPC that no other in the installation has.
pub(crate) fn lease_vni(
    txn: &mut Txn,
    owner: &Scope,
    vpc: &VpcId,
    bits: &mut dyn FnMut() -> u128,
) -> Result<u32, Error> {
    let all = VniLease::scope_of_all();
    let start = u32::try_from(bits() % u128::from(MAX_VNI)).map_or(1, |offset| offset + 1);
    let free = |vni: &u32| txn.view().get::<VniLease>(&all, &vni.to_string()).is_none();
    let vni = (start..=MAX_VNI).chain(1..start).find(free).ok_or(Error::NoVni)?;
    // Asked again by id, this time as a guard: nobody else may take it meanwhile.
    let _ = txn.get::<VniLease>(&all, &vni.to_string());
    txn.put(VniLease::new(vni, owner.clone(), vpc.clone()));
    Ok(vni)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, now};
    use std::collections::BTreeSet;

    #[test]
    fn a_region_is_furnished_once() {
        let world = World::new();
        let before = world.view().revision();
        now(ensure_region(&world.cx.platform, world.cx.scope())).expect("furnished");
        assert_eq!(world.view().revision(), before);
    }

    #[test]
    fn no_two_vpcs_of_the_installation_share_a_vni() {
        let world = World::new();
        for number in 0..50 {
            let account = format!("{number:012}").parse().expect("an account");
            let scope = Scope { account, region: world.cx.scope().region.clone() };
            // Chance that repeats itself proposes the same number every time.
            world.transact(|txn| furnish(txn, &scope, &mut || 7)).expect("furnished");
        }
        let vnis: BTreeSet<u32> = world.view().all::<Vpc>().map(|vpc| vpc.net.vni).collect();
        assert_eq!(vnis.len(), 51);
        assert!(vnis.iter().all(|vni| (1..=MAX_VNI).contains(vni)));
        assert_eq!(world.view().all::<VniLease>().count(), 51);
    }
}
