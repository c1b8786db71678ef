//! The machines, as EC2 sees them. Nobody launches one here: a machine exists,
//! and says so.

use crate::awsvpc::default_group;
use crate::eni::{Draft, create};
use crate::error::Error;
use crate::records::{BY_INSTANCE, BY_VPC, DefaultVpc, Eni, Instance, Subnet, Zone};
use crate::{default_vpc, zones};
use chassis::Platform;
use ident::{InstanceId, Scope, Tags, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::Txn;

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
        groups: BTreeSet::from([default_group(txn, scope, &vpc)?]),
        instance: id,
        primary: true,
        description: String::new(),
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
        launched_at: now,
        tags: Tags::default(),
    })
}

/// The machine is gone for good: its record goes, and with it every interface it
/// had, as there is no card any more that could take them away.
pub fn deregister(txn: &mut Txn, scope: &Scope, id: &InstanceId) {
    for eni in txn.by::<Eni>(scope, BY_INSTANCE, id.as_str()) {
        txn.delete::<Eni>(scope, eni.net.id.as_str());
    }
    txn.delete::<Instance>(scope, id.as_str());
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
