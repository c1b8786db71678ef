//! What an `awsvpcConfiguration` means: which VPC, subnets and security groups.

use crate::error::Error;
use crate::records::{BY_VPC, SecurityGroup, Subnet, Vpc};
use chassis::Quotas;
use ident::{Scope, SecurityGroupId, SubnetId, VpcId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::Txn;

/// The most subnets that one configuration may name.
pub const MAX_SUBNETS: usize = 16;
/// The most security groups that one configuration may name, whatever the quota of an
/// interface is.
pub const MAX_GROUPS: usize = 5;

/// Where a task's interface may be, and what guards it.
#[derive(Clone, Debug)]
pub struct Awsvpc {
    /// The one VPC of all of it.
    pub vpc: Arc<Vpc>,
    /// The subnets, each once, in the order in which they were named; not empty.
    pub subnets: Vec<Arc<Subnet>>,
    /// The security groups, one to five.
    pub groups: BTreeSet<SecurityGroupId>,
}

impl Awsvpc {
    /// The subnets that lie in one of these zones, named as in `us-east-1a`.
    pub fn subnets_in<'a>(
        &'a self,
        zones: &'a [crate::records::Zone],
    ) -> impl Iterator<Item = &'a Arc<Subnet>> {
        self.subnets.iter().filter(|subnet| zones.contains(&subnet.zone))
    }
}

/// Finds what `subnets` and `groups` name: 1 to 16 subnets of one VPC, and as many of
/// its security groups as `quotas` let an interface have. No group means the VPC's
/// default group.
pub fn resolve(
    txn: &mut Txn,
    scope: &Scope,
    subnets: &[String],
    groups: &[String],
    quotas: Quotas,
) -> Result<Awsvpc, Error> {
    if subnets.len() > MAX_SUBNETS {
        return Err(Error::TooManySubnets(subnets.len()));
    }
    if groups.len() > quotas.security_groups_per_interface() {
        return Err(Error::TooManyGroups(groups.len()));
    }
    let mut found: Vec<Arc<Subnet>> = Vec::with_capacity(subnets.len());
    let mut place: BTreeMap<SubnetId, VpcId> = BTreeMap::new();
    for text in subnets {
        let subnet = text
            .parse::<SubnetId>()
            .ok()
            .and_then(|id| txn.get::<Subnet>(scope, id.as_str()))
            .ok_or_else(|| Error::NoSubnet(text.clone()))?;
        if place.insert(subnet.net.id.clone(), subnet.net.vpc.clone()).is_none() {
            found.push(subnet);
        }
    }
    let vpc = found.first().ok_or(Error::NoSubnets)?.net.vpc.clone();
    if let Some((subnet, _)) = place.into_iter().find(|(_, other)| *other != vpc) {
        return Err(Error::SeveralVpcs { subnet, vpc });
    }
    let vpc = txn.get::<Vpc>(scope, vpc.as_str()).ok_or_else(|| Error::NoVpc(vpc.to_string()))?;
    let groups = if groups.is_empty() {
        BTreeSet::from([default_group(txn, scope, &vpc.net.id)?])
    } else {
        groups.iter().map(|text| group(txn, scope, &vpc.net.id, text)).collect::<Result<_, _>>()?
    };
    Ok(Awsvpc { vpc, subnets: found, groups })
}

/// The group that this VPC came with.
pub(crate) fn default_group(
    txn: &Txn,
    scope: &Scope,
    vpc: &VpcId,
) -> Result<SecurityGroupId, Error> {
    txn.view()
        .by::<SecurityGroup>(scope, BY_VPC, vpc.as_str())
        .find(|group| group.is_default())
        .map(|group| group.id.clone())
        .ok_or_else(|| Error::NoGroup(crate::records::DEFAULT_GROUP.to_owned()))
}

/// The group of this VPC that a request names by its id.
pub(crate) fn group(
    txn: &Txn,
    scope: &Scope,
    vpc: &VpcId,
    text: &str,
) -> Result<SecurityGroupId, Error> {
    let group = text
        .parse::<SecurityGroupId>()
        .ok()
        .and_then(|id| txn.get::<SecurityGroup>(scope, id.as_str()))
        .ok_or_else(|| Error::NoGroup(text.to_owned()))?;
    if group.vpc == *vpc {
        Ok(group.id.clone())
    } else {
        Err(Error::GroupOutsideVpc { group: group.id.clone(), vpc: vpc.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    fn resolve_in(world: &World, subnets: &[&str], groups: &[&str]) -> Result<Awsvpc, Error> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let (subnets, groups) = (owned(subnets), owned(groups));
        world.transact(|txn| resolve(txn, world.cx.scope(), &subnets, &groups, Quotas::default()))
    }

    #[test]
    fn no_group_means_the_default_group() {
        let world = World::new();
        let subnets = world.subnets();
        let (a, b) = (subnets[0].net.id.as_str(), subnets[1].net.id.as_str());
        let found = resolve_in(&world, &[b, a, b], &[]).expect("sound");
        let ids: Vec<&str> = found.subnets.iter().map(|subnet| subnet.net.id.as_str()).collect();
        assert_eq!(ids, [b, a], "each once, in the order of the request");
        assert_eq!(found.groups, BTreeSet::from([world.default_group().id.clone()]));
        let zones = [subnets[0].zone.clone()];
        assert_eq!(found.subnets_in(&zones).count(), 1);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let world = World::new();
        let subnet = Subnet::clone(&world.subnets()[0]);
        let group = SecurityGroup::clone(&world.default_group());
        let (mut far, mut foreign) = (subnet.clone(), group.clone());
        far.net.id = SubnetId::mint(9);
        far.net.vpc = VpcId::mint(9);
        foreign.id = SecurityGroupId::mint(9);
        foreign.vpc = VpcId::mint(9);
        world
            .transact(|txn| {
                txn.put(far.clone());
                txn.put(foreign.clone());
                Ok(())
            })
            .expect("made");
        let id = subnet.net.id.as_str();
        let refused = |subnets: &[&str], groups: &[&str]| {
            resolve_in(&world, subnets, groups).expect_err("refused")
        };
        assert!(matches!(refused(&[], &[]), Error::NoSubnets));
        assert!(matches!(refused(&[id; 17], &[]), Error::TooManySubnets(17)));
        assert!(matches!(refused(&[id], &["sg-1"; 6]), Error::TooManyGroups(6)));
        assert!(matches!(refused(&[id, "subnet-x"], &[]), Error::NoSubnet(x) if x == "subnet-x"));
        assert!(matches!(refused(&[id], &["sg-x"]), Error::NoGroup(x) if x == "sg-x"));
        assert!(matches!(refused(&[id, far.net.id.as_str()], &[]), Error::SeveralVpcs { .. }));
        assert!(matches!(refused(&[id], &[foreign.id.as_str()]), Error::GroupOutsideVpc { .. }));
    }
}
