//! The machines, as EC2 sees them. Nobody launches one here: a machine exists,
//! and says so.

use crate::awsvpc::default_group;
use crate::eni::{Draft, Purpose, by_hand, create};
use crate::error::Error;
use crate::records::{BY_INSTANCE, BY_VPC, DefaultVpc, Eni, Instance, Subnet, Zone};
use crate::{default_vpc, eni_limits, zones};
use chassis::Platform;
use ident::{AttachmentId, InstanceId, Scope, Tags, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::{MAX_OPERATIONS, Txn};

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The instance that it was before, if it remembers.
    pub instance: Option<InstanceId>,
    /// The names of the zones that it stands in; none given means all of the
    /// region's.
    pub zones: Option<Vec<String>>,
    /// What kind of machine it is, such as `m5.large`.
    pub instance_type: Option<String>,
}

/// Makes the machine an instance of the default VPC, with a primary interface
/// for its own traffic, or finds it to be one already. Saying the same twice
/// changes nothing.
pub async fn register(
    platform: &Platform,
    scope: &Scope,
    machine: Machine,
) -> Result<Instance, Error> {
    let now = platform.now();
    let id = machine.instance.clone().unwrap_or_else(|| InstanceId::mint(platform.bits()));
    platform
        .store
        .transact(|txn| settle(txn, scope, &id, &machine, now, &mut || platform.bits()))
        .await
}

fn settle(
    txn: &mut Txn,
    scope: &Scope,
    id: &InstanceId,
    machine: &Machine,
    now: Timestamp,
    bits: &mut dyn FnMut() -> u128,
) -> Result<Instance, Error> {
    default_vpc::furnish(txn, scope, bits)?;
    let zones = zones_named(scope, machine.zones.as_deref())?;
    let settled = match txn.get::<Instance>(scope, id.as_str()) {
        Some(known) => {
            let zones = keep_home(txn, &known, zones)?;
            let instance_type =
                machine.instance_type.clone().or_else(|| known.instance_type.clone());
            let settled = Instance { zones, instance_type, ..Instance::clone(&known) };
            if settled == *known {
                return Ok(settled);
            }
            settled
        }
        None => arrive(txn, scope, id, machine, zones, now, bits)?,
    };
    txn.put(settled.clone());
    Ok(settled)
}

/// A new machine: it moves into the default subnet of its first zone.
fn arrive(
    txn: &mut Txn,
    scope: &Scope,
    id: &InstanceId,
    machine: &Machine,
    zones: Vec<Zone>,
    now: Timestamp,
    bits: &mut dyn FnMut() -> u128,
) -> Result<Instance, Error> {
    let home = default_subnet(txn, scope, &zones)?;
    let vpc = home.net.vpc.clone();
    let draft = Draft {
        scope,
        subnet: &home.net.id,
        address: None,
        secondary: Vec::new(),
        groups: BTreeSet::from([default_group(txn, scope, &vpc)?]),
        purpose: Purpose::Machine(id),
        description: String::new(),
        tags: Tags::default(),
        now,
    };
    let primary = create(txn, draft, bits)?;
    Ok(Instance {
        scope: scope.clone(),
        id: id.clone(),
        zones,
        primary_eni: primary.net.id,
        vpc,
        subnet: home.net.id.clone(),
        instance_type: machine.instance_type.clone(),
        trunk: None,
        attached_by_hand: Some(0),
        launched_at: now,
        tags: Tags::default(),
    })
}

/// Gives the instance a trunk interface, which its ECS agent's registration asks
/// for and its deregistration gives back (`None`). An instance that is unknown or
/// cannot have one goes without. See [`crate::eni_limits`] for what it is good for.
pub fn trunk(txn: &mut Txn, scope: &Scope, id: &InstanceId, trunk: Option<AttachmentId>) {
    let Some(known) = txn.get::<Instance>(scope, id.as_str()) else { return };
    let by_hand = by_hand(txn.view(), &known);
    let trunk = trunk.filter(|_| eni_limits::can_have_trunk(&known, by_hand));
    if known.trunk != trunk {
        txn.put(Instance { trunk, ..Instance::clone(&known) });
    }
}

/// The machine is gone for good: its record goes, and with it every interface it
/// had, as there is no card any more that could take them away. Those that are to
/// outlive it are free again. A machine may have more interfaces than a transaction
/// can write: whether all is done now.
pub fn deregister(txn: &mut Txn, scope: &Scope, id: &InstanceId) -> bool {
    let enis: Vec<_> = txn.view().by::<Eni>(scope, BY_INSTANCE, id.as_str()).collect();
    let done = enis.len() < MAX_OPERATIONS;
    for eni in enis.iter().take(MAX_OPERATIONS - 1) {
        let goes = eni.attachment.as_ref().is_none_or(|it| it.delete_on_termination);
        if goes || eni.requester_managed {
            txn.delete::<Eni>(scope, eni.net.id.as_str());
        } else {
            txn.put(Eni { attachment: None, ..Eni::clone(eni) });
        }
    }
    if done {
        txn.delete::<Instance>(scope, id.as_str());
    }
    done
}

fn zones_named(scope: &Scope, names: Option<&[String]>) -> Result<Vec<Zone>, Error> {
    let all = zones::of(&scope.region);
    let Some(names) = names.filter(|names| !names.is_empty()) else { return Ok(all) };
    let mut wanted = Vec::with_capacity(names.len());
    for name in names {
        let zone = all.iter().find(|zone| zone.name == *name || zone.id == *name);
        let zone = zone.ok_or_else(|| Error::NoZone(name.clone()))?;
        if !wanted.contains(zone) {
            wanted.push(zone.clone());
        }
    }
    Ok(wanted)
}

/// The zones with that of the primary interface first: a machine may come to
/// stand in other zones, but its own interface does not move.
fn keep_home(txn: &Txn, known: &Instance, mut zones: Vec<Zone>) -> Result<Vec<Zone>, Error> {
    let Some(home) = txn.get::<Subnet>(&known.scope, known.subnet.as_str()) else {
        return Err(Error::NoSubnet(known.subnet.to_string()));
    };
    let Some(at) = zones.iter().position(|zone| *zone == home.zone) else {
        return Err(Error::NotInZone { instance: known.id.clone(), zone: home.zone.name.clone() });
    };
    zones[..=at].rotate_right(1);
    Ok(zones)
}

fn default_subnet(txn: &Txn, scope: &Scope, zones: &[Zone]) -> Result<Arc<Subnet>, Error> {
    let vpc = txn.get::<DefaultVpc>(scope, DefaultVpc::ID).ok_or(Error::NoDefaultVpc)?;
    let subnets: Vec<Arc<Subnet>> = txn
        .view()
        .by::<Subnet>(scope, BY_VPC, vpc.vpc.as_str())
        .filter(|subnet| subnet.default_for_az)
        .collect();
    zones
        .first()
        .and_then(|zone| subnets.iter().find(|subnet| subnet.zone == *zone).cloned())
        .ok_or(Error::NoDefaultVpc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, now};

    fn arrive(world: &World, machine: &Machine) -> Result<Instance, Error> {
        now(register(&world.cx.platform, world.cx.scope(), machine.clone()))
    }

    #[test]
    fn a_machine_that_remembers_is_the_same_instance() {
        let world = World::new();
        let first = world.machine();
        assert_eq!((first.zones.len(), &*first.zones[0].name), (6, "us-east-1a"));
        let before = world.view().revision();
        let again = Machine { instance: Some(first.id.clone()), ..Machine::default() };
        assert_eq!(arrive(&world, &again).expect("known"), first);
        assert_eq!(world.view().revision(), before, "saying the same again writes nothing");
        assert_ne!(world.machine().id, first.id);

        let bigger = Machine { instance_type: Some("m5.large".to_owned()), ..again };
        let bigger = arrive(&world, &bigger).expect("known");
        assert_eq!(bigger.instance_type.as_deref(), Some("m5.large"));
        assert_eq!(bigger.primary_eni, first.primary_eni);
        assert_eq!(world.view().count::<Eni>(world.cx.scope()), 2);
    }

    #[test]
    fn the_first_zone_is_where_the_machines_own_interface_is() {
        let world = World::new();
        let zones = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let narrowed = Machine { zones: zones(&["us-east-1c", "use1-az2"]), ..Machine::default() };
        let machine = arrive(&world, &narrowed).expect("arrived");
        let names = |machine: &Instance| {
            machine.zones.iter().map(|zone| zone.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&machine), ["us-east-1c", "us-east-1b"]);
        assert_eq!(machine.subnet, world.subnets()[2].net.id);

        let again = |names| Machine {
            instance: Some(machine.id.clone()),
            zones: zones(names),
            ..Machine::default()
        };
        let moved = arrive(&world, &again(&["us-east-1a", "us-east-1c"])).expect("still there");
        assert_eq!(names(&moved), ["us-east-1c", "us-east-1a"]);
        let gone = arrive(&world, &again(&["us-east-1a"]));
        assert!(matches!(gone, Err(Error::NotInZone { zone, .. }) if zone == "us-east-1c"));
        let nowhere = Machine { zones: zones(&["eu-west-1a"]), ..Machine::default() };
        assert!(matches!(arrive(&world, &nowhere), Err(Error::NoZone(_))));
    }

    #[test]
    fn a_task_goes_where_the_machine_stands() {
        let world = World::new();
        let zones = Some(vec!["us-east-1a".to_owned()]);
        let machine = arrive(&world, &Machine { zones, ..Machine::default() }).expect("arrived");
        let subnets = world.subnets();
        assert!(world.provision(&machine.id, &subnets[0].net.id).is_ok());
        let refused = world.provision(&machine.id, &subnets[1].net.id).expect_err("elsewhere");
        assert!(matches!(refused, Error::NotInZone { .. }));
        let nobody = world.provision(&InstanceId::mint(7), &subnets[0].net.id);
        assert!(matches!(nobody, Err(Error::NoInstance(_))));
    }
}
