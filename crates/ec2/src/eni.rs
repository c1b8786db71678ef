//! Making network interfaces, and handing out their addresses: all of them here.

use crate::error::Error;
use crate::records::{
    AttachmentStatus, BY_ADDRESS, BY_INSTANCE, BY_MAC, Eni, EniAttachment, Instance, Subnet, Vpc,
};
use ident::{
    EniAttachmentId, EniId, InstanceId, Region, Scope, SecurityGroupId, SubnetId, Tags, Timestamp,
};
use net::mac::MacAddress;
use net::{address, model, names};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use store::{Txn, View};

/// An interface to be made.
pub(crate) struct Draft<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) subnet: &'a SubnetId,
    /// The address that it is to have, if not any that is free.
    pub(crate) address: Option<Ipv4Addr>,
    /// The same for each of its secondary addresses.
    pub(crate) secondary: Vec<Option<Ipv4Addr>>,
    pub(crate) groups: BTreeSet<SecurityGroupId>,
    pub(crate) purpose: Purpose<'a>,
    pub(crate) description: String,
    pub(crate) tags: Tags,
    pub(crate) now: Timestamp,
}

/// What an interface is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// For the instance's own traffic: attached from the beginning, at index 0.
    Machine(&'a InstanceId),
    /// For a task on the instance: attached from the beginning, wherever there is
    /// a place.
    Task(&'a InstanceId),
    /// For a user, who attaches it or does not.
    User,
}

/// Makes the interface, with addresses that nobody in the subnet has.
pub(crate) fn create(
    txn: &mut Txn,
    draft: Draft<'_>,
    bits: &mut dyn FnMut() -> u128,
) -> Result<Eni, Error> {
    let scope = draft.scope;
    let subnet = txn
        .get::<Subnet>(scope, draft.subnet.as_str())
        .ok_or_else(|| Error::NoSubnet(draft.subnet.to_string()))?;
    let vpc = txn
        .get::<Vpc>(scope, subnet.net.vpc.as_str())
        .ok_or_else(|| Error::NoVpc(subnet.net.vpc.to_string()))?;
    let mut wanted = draft.secondary;
    wanted.insert(0, draft.address);
    let mut secondary_ipv4 = allocate(txn, &subnet, &wanted)?;
    let ipv4 = secondary_ipv4.remove(0);
    let place = match draft.purpose {
        Purpose::Machine(instance) => Some((instance, 0)),
        Purpose::Task(instance) => Some((instance, free_device(txn, scope, instance))),
        Purpose::User => None,
    };
    let eni = Eni {
        scope: scope.clone(),
        net: model::Eni {
            id: EniId::mint(bits()),
            vpc: vpc.net.id.clone(),
            subnet: subnet.net.id.clone(),
            mac: free_mac(txn, bits),
            ipv4,
            secondary_ipv4,
            ipv6: Vec::new(),
            services: BTreeSet::new(),
            groups: draft.groups,
            source_dest_check: true,
        },
        zone: subnet.zone.clone(),
        description: draft.description,
        requester_managed: matches!(draft.purpose, Purpose::Task(_)),
        private_dns_name: (vpc.enable_dns_support && vpc.enable_dns_hostnames)
            .then(|| private_dns_name(&scope.region, ipv4)),
        created_at: draft.now,
        attachment: place.map(|(instance, device_index)| EniAttachment {
            id: EniAttachmentId::mint(bits()),
            instance: instance.clone(),
            device_index,
            status: AttachmentStatus::Attaching,
            attached_at: draft.now,
            delete_on_termination: true,
            failure: None,
        }),
        tags: draft.tags,
    };
    txn.put(eni.clone());
    Ok(eni)
}

/// The name of the interface with this address in the VPC's DNS.
pub fn private_dns_name(region: &Region, address: Ipv4Addr) -> String {
    format!("{}.{}", names::host(address), names::domain(region.as_str()))
}

/// Addresses that are free in `subnet`, one for each that is `wanted`, in that order:
/// the one that it names, or any.
///
/// Whether one is free is the absence of a record, which a commit cannot guard.
/// So every allocation also writes the subnet, which it can: of two that look at
/// the same time, one commits and the other looks again.
pub(crate) fn allocate(
    txn: &mut Txn,
    subnet: &Subnet,
    wanted: &[Option<Ipv4Addr>],
) -> Result<Vec<Ipv4Addr>, Error> {
    let view = txn.view();
    let named: BTreeSet<Ipv4Addr> = wanted.iter().copied().flatten().collect();
    let mut allocations = subnet.allocations;
    let mut given = Vec::new();
    for choice in wanted {
        let held = |address| given.contains(&address) || holder(view, subnet, address).is_some();
        let address = match choice {
            Some(named) => {
                within(subnet, *named)?;
                if held(*named) {
                    return Err(Error::AddressTaken(*named));
                }
                *named
            }
            None => address::allocate(
                &subnet.net,
                |address| named.contains(&address) || held(address),
                allocations,
            )
            .ok_or_else(|| Error::NoAddress(subnet.net.id.clone()))?,
        };
        given.push(address);
        allocations = allocations.wrapping_add(1);
    }
    txn.put(Subnet { allocations, ..subnet.clone() });
    Ok(given)
}

/// Whether an interface in the subnet may have the address, if it is free.
pub(crate) fn within(subnet: &Subnet, address: Ipv4Addr) -> Result<(), Error> {
    if !subnet.net.cidr.contains(&address) {
        return Err(Error::Invalid(format!(
            "Address {address} does not fall within the subnet's address range"
        )));
    }
    if !address::usable(&subnet.net, address) {
        return Err(Error::Invalid(format!(
            "Address {address} is in subnet's reserved address range"
        )));
    }
    Ok(())
}

/// The interface that has the address in the subnet.
pub(crate) fn holder(view: &View, subnet: &Subnet, address: Ipv4Addr) -> Option<Arc<Eni>> {
    view.by::<Eni>(&subnet.scope, BY_ADDRESS, &address_key(&subnet.net.id, address)).next()
}

/// The value of an interface in the index of addresses.
pub(crate) fn address_key(subnet: &SubnetId, address: Ipv4Addr) -> String {
    format!("{subnet}/{address}")
}

/// A hardware address that nobody in the installation has. Nodes may have
/// interfaces of several accounts, and the agent knows them by this alone.
fn free_mac(txn: &Txn, bits: &mut dyn FnMut() -> u128) -> MacAddress {
    let taken =
        |mac: MacAddress| txn.view().by_any_scope::<Eni>(BY_MAC, &mac.to_string()).next().is_some();
    let first = bits();
    // Counting on from random bits ends even if their source repeats itself.
    (0..=u128::from(u16::MAX))
        .map(|step| MacAddress::mint(first.wrapping_add(step)))
        .find(|mac| !taken(*mac))
        .unwrap_or_else(|| MacAddress::mint(first))
}

/// The first place for an interface on the instance that is not taken.
fn free_device(txn: &Txn, scope: &Scope, instance: &InstanceId) -> u32 {
    let taken: BTreeSet<u32> = txn
        .view()
        .by::<Eni>(scope, BY_INSTANCE, instance.as_str())
        .filter_map(|eni| Some(eni.attachment.as_ref()?.device_index))
        .collect();
    (1..=u32::MAX).find(|index| !taken.contains(index)).unwrap_or(u32::MAX)
}

/// How many interfaces of the instance users have attached: neither its own nor
/// those of tasks. Each takes a place that a task could have had, from when it is
/// asked for until the card has said that it is gone.
pub fn by_hand(view: &View, instance: &Instance) -> i64 {
    instance.attached_by_hand.unwrap_or_else(|| count_by_hand(view, &instance.scope, &instance.id))
}

/// Notes on the instance, if there is one, how many interfaces users have attached
/// to it now. For every transaction that attaches one or takes one away.
pub(crate) fn recount(txn: &mut Txn, scope: &Scope, instance: &InstanceId) {
    let Some(known) = txn.get::<Instance>(scope, instance.as_str()) else { return };
    let attached_by_hand = Some(count_by_hand(txn.view(), scope, instance));
    if known.attached_by_hand != attached_by_hand {
        txn.put(Instance { attached_by_hand, ..Instance::clone(&known) });
    }
}

fn count_by_hand(view: &View, scope: &Scope, instance: &InstanceId) -> i64 {
    let all = view.by::<Eni>(scope, BY_INSTANCE, instance.as_str());
    i64::try_from(all.filter(|eni| eni.is_users()).count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn names_follow_the_address() {
        for (region, name) in [
            ("us-east-1", "ip-172-31-0-5.ec2.internal"),
            ("eu-west-1", "ip-172-31-0-5.eu-west-1.compute.internal"),
        ] {
            let region = region.parse().expect("a region");
            assert_eq!(private_dns_name(&region, Ipv4Addr::new(172, 31, 0, 5)), name);
        }
    }

    #[test]
    fn a_full_subnet_says_so_and_an_address_comes_back() {
        let world = World::new();
        let machine = world.machine();
        let subnet = world.shrink_first_subnet();
        let mut enis = Vec::new();
        let refused = loop {
            match world.provision(&machine.id, &subnet) {
                Ok(eni) => enis.push(eni),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, Error::NoAddress(id) if id == subnet));
        let addresses: BTreeSet<Ipv4Addr> = enis.iter().map(|eni| eni.net.ipv4).collect();
        assert_eq!(addresses.len(), enis.len());
        let devices: BTreeSet<_> =
            enis.iter().filter_map(|eni| Some(eni.attachment.as_ref()?.device_index)).collect();
        assert_eq!(devices.len(), enis.len());
        assert!(!devices.contains(&0), "that is the machine's own");

        let scope = world.cx.scope();
        world
            .transact(|txn| {
                txn.delete::<Eni>(scope, enis[3].net.id.as_str());
                Ok(())
            })
            .expect("gone");
        let next = world.provision(&machine.id, &subnet).expect("room for one");
        assert_eq!(next.net.ipv4, enis[3].net.ipv4);
    }

    #[test]
    fn two_in_one_transaction_differ() {
        let world = World::new();
        let machine = world.machine();
        let subnet = world.subnets()[0].net.id.clone();
        let groups = world.awsvpc(&subnet).groups;
        let draft = || Draft {
            scope: world.cx.scope(),
            subnet: &subnet,
            address: None,
            secondary: Vec::new(),
            groups: groups.clone(),
            purpose: Purpose::Task(&machine.id),
            description: String::new(),
            tags: Tags::default(),
            now: world.cx.now(),
        };
        let mut count = 0;
        let mut bits = || {
            count += 1;
            // Hardware addresses all come from the same bits.
            if count % 3 == 2 { 7 } else { world.cx.bits() }
        };
        let [one, other] = world
            .transact(|txn| {
                Ok([create(txn, draft(), &mut bits)?, create(txn, draft(), &mut bits)?])
            })
            .expect("made");
        assert_ne!(one.net.ipv4, other.net.ipv4);
        assert_ne!(one.net.mac, other.net.mac);
        assert_ne!(
            one.attachment.map(|attachment| attachment.device_index),
            other.attachment.map(|attachment| attachment.device_index)
        );
    }
}
