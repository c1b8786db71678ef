//! `CreateSubnet`, `ModifySubnetAttribute` and `DeleteSubnet`.

use super::show;
use crate::api::{cidr, tags};
use crate::error::Error;
use crate::records::{BY_SUBNET, BY_VPC, Eni, Subnet, Vpc, Zone};
use crate::zones;
use chassis::Cx;
use ident::{Region, Scope, SubnetId};
use ipnet::Ipv4Net;
use net::address::{self, BlockError};
use net::model;
use std::sync::Arc;
use store::Txn;
use wire::ec2 as shapes;

/// Makes a subnet. Who does not say where gets the zone in which the VPC has the
/// fewest.
pub(in crate::api) async fn create(
    cx: &Cx,
    request: shapes::CreateSubnetRequest,
) -> Result<shapes::CreateSubnetResult, Error> {
    for (asked, parameter) in [
        (request.ipv4_ipam_pool_id.is_some(), "ipv4IpamPoolId"),
        (request.ipv4_netmask_length.is_some(), "ipv4NetmaskLength"),
        (request.ipv6_cidr_block.is_some(), "ipv6CidrBlock"),
        (request.ipv6_ipam_pool_id.is_some(), "ipv6IpamPoolId"),
        (request.ipv6_native == Some(true), "ipv6Native"),
        (request.ipv6_netmask_length.is_some(), "ipv6NetmaskLength"),
        (request.outpost_arn.is_some(), "outpostArn"),
    ] {
        if asked {
            return Err(Error::Unsupported(parameter));
        }
    }
    let vpc = request.vpc_id.filter(|id| !id.is_empty()).ok_or(Error::Missing("vpcId"))?;
    let wanted = cidr::read(request.cidr_block.as_deref())?;
    let scope = cx.scope();
    let zone = zone(&scope.region, request.availability_zone, request.availability_zone_id)?;
    let tags = tags::read(request.tag_specifications, "subnet")?;

    let subnet = cx
        .store()
        .transact(|txn| {
            let vpc = txn.get::<Vpc>(scope, &vpc).ok_or_else(|| Error::NoVpc(vpc.clone()))?;
            let others: Vec<Arc<Subnet>> =
                txn.view().by(scope, BY_VPC, vpc.net.id.as_str()).collect();
            let block = block(wanted, &vpc, &others)?;
            let zone = zone.clone().or_else(|| emptiest(&scope.region, &others));
            let subnet = Subnet {
                scope: scope.clone(),
                net: model::Subnet {
                    id: SubnetId::mint(cx.bits()),
                    vpc: vpc.net.id.clone(),
                    cidr: block,
                    ipv6_cidr: None,
                },
                zone: zone.ok_or_else(|| Error::NoZone(scope.region.to_string()))?,
                default_for_az: false,
                map_public_ip_on_launch: false,
                allocations: 0,
                tags: tags.clone(),
            };
            txn.put(subnet.clone());
            let subnets_made = vpc.subnets_made.wrapping_add(1);
            txn.put(Vpc { subnets_made, ..Vpc::clone(&vpc) });
            Ok::<_, Error>(subnet)
        })
        .await?;

    Ok(shapes::CreateSubnetResult { subnet: Some(show(&cx.view(), &subnet)) })
}

fn block(wanted: Ipv4Net, vpc: &Vpc, others: &[Arc<Subnet>]) -> Result<Ipv4Net, Error> {
    let taken = others.iter().map(|subnet| subnet.net.cidr);
    address::subnet_block(wanted, &vpc.net.cidrs, taken).map_err(|refused| match refused {
        BlockError::Overlap { block, .. } => Error::SubnetConflict(block),
        BlockError::Outside(block) => Error::SubnetRange(block),
        BlockError::Size(_) | BlockError::Reserved(_) => Error::SubnetRange(wanted),
    })
}

/// The zone that a request names, by its name or by its id.
fn zone(region: &Region, name: Option<String>, id: Option<String>) -> Result<Option<Zone>, Error> {
    let (value, parameter, key): (_, _, fn(&Zone) -> &String) = match (name, id) {
        (None, None) => return Ok(None),
        (Some(name), None) => (name, "availabilityZone", |zone| &zone.name),
        (None, Some(id)) => (id, "availabilityZoneId", |zone| &zone.id),
        (Some(_), Some(_)) => {
            return Err(Error::Combination(
                "The parameter availabilityZone cannot be used with the parameter \
                 availabilityZoneId"
                    .to_owned(),
            ));
        }
    };
    let all = zones::of(region);
    if let Some(zone) = all.iter().find(|zone| *key(zone) == value) {
        return Ok(Some(zone.clone()));
    }
    let known: Vec<&str> = all.iter().map(|zone| key(zone).as_str()).collect();
    Err(Error::Invalid(format!(
        "Value ({value}) for parameter {parameter} is invalid. Subnets can currently only be \
         created in the following availability zones: {}.",
        known.join(", ")
    )))
}

/// The first of the zones in which there are the fewest subnets.
fn emptiest(region: &Region, subnets: &[Arc<Subnet>]) -> Option<Zone> {
    let inhabitants = |zone: &Zone| subnets.iter().filter(|subnet| subnet.zone == *zone).count();
    zones::of(region).into_iter().min_by_key(inhabitants)
}

/// Changes one attribute of a subnet. What it would take IPv6, an Outpost or
/// names of another kind to obey can be turned off and not on.
pub(in crate::api) async fn modify(
    cx: &Cx,
    request: shapes::ModifySubnetAttributeRequest,
) -> Result<shapes::ModifySubnetAttributeResponse, Error> {
    let given = |value: &Option<shapes::AttributeBooleanValue>| value.as_ref()?.value;
    let public = given(&request.map_public_ip_on_launch);
    let switches = [
        (given(&request.assign_ipv6_address_on_creation), "assignIpv6AddressOnCreation"),
        (given(&request.disable_lni_at_device_index), "disableLniAtDeviceIndex"),
        (given(&request.enable_dns64), "enableDns64"),
        (
            given(&request.enable_resource_name_dns_aaaa_record_on_launch),
            "enableResourceNameDnsAAAARecordOnLaunch",
        ),
        (
            given(&request.enable_resource_name_dns_a_record_on_launch),
            "enableResourceNameDnsARecordOnLaunch",
        ),
        (given(&request.map_customer_owned_ip_on_launch), "mapCustomerOwnedIpOnLaunch"),
    ];
    let texts = [
        (request.customer_owned_ipv4_pool.is_some(), "customerOwnedIpv4Pool"),
        (request.enable_lni_at_device_index.is_some(), "enableLniAtDeviceIndex"),
    ];
    let kind = request.private_dns_hostname_type_on_launch.as_deref();
    if !matches!(kind, None | Some("ip-name" | "resource-name")) {
        return Err(Error::Invalid(format!(
            "Value ({}) for parameter privateDnsHostnameTypeOnLaunch is invalid. It must be \
             ip-name or resource-name.",
            kind.unwrap_or_default()
        )));
    }
    let count = usize::from(public.is_some())
        + switches.iter().filter(|(value, _)| value.is_some()).count()
        + texts.iter().filter(|(given, _)| *given).count()
        + usize::from(kind.is_some());
    match count {
        0 => return Err(Error::Combination("No attributes specified.".to_owned())),
        1 => {}
        _ => {
            return Err(Error::Combination(
                "Only one attribute can be modified at a time.".to_owned(),
            ));
        }
    }
    let scope = cx.scope();
    cx.store()
        .transact(|txn| {
            let found = find(txn, scope, request.subnet_id.as_deref())?;
            let on = switches.iter().map(|(value, name)| (*value == Some(true), *name));
            let mut asked = on.chain(texts);
            if let Some((_, parameter)) = asked.find(|(asked, _)| *asked) {
                return Err(Error::Unsupported(parameter));
            }
            if kind == Some("resource-name") {
                return Err(Error::Unsupported("privateDnsHostnameTypeOnLaunch"));
            }
            if let Some(value) = public.filter(|value| *value != found.map_public_ip_on_launch) {
                txn.put(Subnet { map_public_ip_on_launch: value, ..Subnet::clone(&found) });
            }
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::ModifySubnetAttributeResponse {})
}

/// Deletes a subnet in which nobody has an address.
pub(in crate::api) async fn delete(
    cx: &Cx,
    request: shapes::DeleteSubnetRequest,
) -> Result<shapes::DeleteSubnetResponse, Error> {
    let scope = cx.scope();
    cx.store()
        .transact(|txn| {
            // Read as a guard: who hands out an address writes this record.
            let subnet = find(txn, scope, request.subnet_id.as_deref())?;
            let id = subnet.net.id.as_str();
            if txn.view().by::<Eni>(scope, BY_SUBNET, id).next().is_some() {
                return Err(Error::SubnetInUse(subnet.net.id.clone()));
            }
            txn.delete::<Subnet>(scope, id);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::DeleteSubnetResponse {})
}

/// The subnet that a request names.
fn find(txn: &Txn, scope: &Scope, id: Option<&str>) -> Result<Arc<Subnet>, Error> {
    let id = id.filter(|id| !id.is_empty()).ok_or(Error::Missing("subnetId"))?;
    txn.get(scope, id).ok_or_else(|| Error::NoSubnet(id.to_owned()))
}
