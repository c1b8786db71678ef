//! `AssignPrivateIpAddresses` and `UnassignPrivateIpAddresses`.

use super::{address, find, refuse, secondary_count};
use crate::eni::{allocate, holder, within};
use crate::eni_limits::may_have_addresses;
use crate::error::Error;
use crate::records::{Eni, Instance, Subnet};
use chassis::Cx;
use std::net::Ipv4Addr;
use store::Txn;
use wire::ec2 as shapes;

/// The addresses that an interface is to get.
enum Wish {
    These { addresses: Vec<Ipv4Addr>, may_move: bool },
    Any(usize),
}

/// Gives an interface further addresses, all of them or none.
pub(in crate::api) async fn assign(
    cx: &Cx,
    request: shapes::AssignPrivateIpAddressesRequest,
) -> Result<shapes::AssignPrivateIpAddressesResult, Error> {
    let id = request.network_interface_id.clone();
    let wish = wish(request)?;
    let assigned = cx
        .store()
        .transact(|txn| {
            let eni = find(txn, cx.scope(), id.as_deref())?;
            give(txn, &eni, &wish)
        })
        .await?;
    let show = |address: Ipv4Addr| shapes::AssignedPrivateIpAddress {
        private_ip_address: Some(address.to_string()),
    };
    Ok(shapes::AssignPrivateIpAddressesResult {
        assigned_ipv4_prefixes: None,
        assigned_private_ip_addresses: Some(assigned.into_iter().map(show).collect()),
        network_interface_id: id,
    })
}

fn wish(request: shapes::AssignPrivateIpAddressesRequest) -> Result<Wish, Error> {
    refuse(&[
        ("ipv4PrefixCount", request.ipv4_prefix_count.is_some_and(|count| count != 0)),
        ("ipv4Prefixes", request.ipv4_prefixes.iter().flatten().next().is_some()),
    ])?;
    let listed = request.private_ip_addresses.unwrap_or_default();
    let mut addresses = Vec::new();
    for text in &listed {
        let address = address(text)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match (secondary_count(request.secondary_private_ip_address_count)?, addresses.is_empty()) {
        (None, false) => {
            Ok(Wish::These { addresses, may_move: request.allow_reassignment == Some(true) })
        }
        (Some(0), true) => Err(Error::Invalid(
            "Value (0) for parameter secondaryPrivateIpAddressCount is invalid.".to_owned(),
        )),
        (Some(count), true) => Ok(Wish::Any(count)),
        (Some(_), false) => Err(Error::Combination(
            "The parameter privateIpAddresses cannot be used with the parameter \
             secondaryPrivateIpAddressCount"
                .to_owned(),
        )),
        (None, true) => Err(Error::Combination(
            "Either privateIpAddresses or secondaryPrivateIpAddressCount must be specified."
                .to_owned(),
        )),
    }
}

/// What the interface got, and what it was to get and had already.
fn give(txn: &mut Txn, eni: &Eni, wish: &Wish) -> Result<Vec<Ipv4Addr>, Error> {
    if eni.requester_managed {
        return Err(Error::Managed(eni.net.id.clone()));
    }
    let subnet = txn
        .get::<Subnet>(&eni.scope, eni.net.subnet.as_str())
        .ok_or_else(|| Error::NoSubnet(eni.net.subnet.to_string()))?;
    let mut changed = eni.clone();
    let given = match wish {
        Wish::Any(count) => {
            let wanted = vec![None; *count];
            let given = allocate(txn, &subnet, &wanted)?;
            changed.net.secondary_ipv4.extend(&given);
            given
        }
        Wish::These { addresses, may_move } => {
            let new: Vec<Ipv4Addr> = addresses
                .iter()
                .copied()
                .filter(|address| !eni.net.secondary_ipv4.contains(address))
                .collect();
            new.iter().try_for_each(|address| within(&subnet, *address))?;
            move_away(txn, &subnet, &new, *may_move)?;
            let wanted: Vec<Option<Ipv4Addr>> = new.into_iter().map(Some).collect();
            if !wanted.is_empty() {
                changed.net.secondary_ipv4.extend(allocate(txn, &subnet, &wanted)?);
            }
            addresses.clone()
        }
    };
    let host = eni.instance().and_then(|id| txn.get::<Instance>(&eni.scope, id.as_str()));
    if !may_have_addresses(host.as_deref(), changed.net.ipv4_addresses().count()) {
        return Err(Error::TooManyAddresses);
    }
    if changed != *eni {
        txn.put(changed);
    }
    Ok(given)
}

/// Takes the addresses from who has them, if they may be moved: nobody loses a primary
/// address, and a service none that it asked for.
fn move_away(
    txn: &mut Txn,
    subnet: &Subnet,
    addresses: &[Ipv4Addr],
    may_move: bool,
) -> Result<(), Error> {
    let mut staying = Vec::new();
    for address in addresses {
        let Some(other) = holder(txn.view(), subnet, *address) else { continue };
        if !may_move || other.requester_managed || other.net.ipv4 == *address {
            staying.push(*address);
            continue;
        }
        let mut poorer = Eni::clone(&other);
        poorer.net.secondary_ipv4.retain(|own| own != address);
        txn.put(poorer);
    }
    if staying.is_empty() { Ok(()) } else { Err(Error::AddressesAssigned(staying)) }
}

/// Takes addresses from an interface, all of them or none. They are free at once.
pub(in crate::api) async fn unassign(
    cx: &Cx,
    request: shapes::UnassignPrivateIpAddressesRequest,
) -> Result<shapes::UnassignPrivateIpAddressesResponse, Error> {
    refuse(&[("ipv4Prefixes", request.ipv4_prefixes.iter().flatten().next().is_some())])?;
    let listed = request.private_ip_addresses.unwrap_or_default();
    if listed.is_empty() {
        return Err(Error::Missing("privateIpAddress"));
    }
    let addresses: Vec<Ipv4Addr> =
        listed.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
    cx.store()
        .transact(|txn| {
            let eni = find(txn, cx.scope(), request.network_interface_id.as_deref())?;
            if eni.requester_managed {
                return Err(Error::Managed(eni.net.id.clone()));
            }
            if addresses.contains(&eni.net.ipv4) {
                return Err(Error::PrimaryAddress(eni.net.ipv4));
            }
            if !addresses.iter().all(|address| eni.net.secondary_ipv4.contains(address)) {
                return Err(Error::NotAssigned(eni.net.id.clone()));
            }
            let mut poorer = Eni::clone(&eni);
            poorer.net.secondary_ipv4.retain(|own| !addresses.contains(own));
            txn.put(poorer);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::UnassignPrivateIpAddressesResponse {})
}

#[cfg(test)]
#[path = "assigning_tests.rs"]
mod tests;
