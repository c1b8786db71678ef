//! `CreateVpc` and `DeleteVpc`.

use super::{find, show};
use crate::api::{cidr, tags};
use crate::default_vpc::{default_group, lease_vni};
use crate::error::Error;
use crate::records::{BY_VPC, Eni, SecurityGroup, Subnet, Tenancy, VniLease, Vpc};
use chassis::Cx;
use ident::VpcId;
use net::address;
use net::model;
use wire::ec2 as shapes;

/// Makes a VPC, and in it a default security group.
pub(in crate::api) async fn create(
    cx: &Cx,
    request: shapes::CreateVpcRequest,
) -> Result<shapes::CreateVpcResult, Error> {
    unsupported(&request)?;
    let wanted = cidr::read(request.cidr_block.as_deref())?;
    let block = address::vpc_block(wanted, []).map_err(|_| Error::VpcRange(wanted))?;
    let tenancy = match request.instance_tenancy.as_deref() {
        None | Some("default") => Tenancy::Default,
        Some("dedicated") => Tenancy::Dedicated,
        Some(other) => {
            return Err(Error::Invalid(format!(
                "Value ({other}) for parameter instanceTenancy is invalid. It must be default or dedicated."
            )));
        }
    };
    let tags = tags::read(request.tag_specifications, "vpc")?;
    let scope = cx.scope();

    let vpc = cx
        .store()
        .transact(|txn| {
            let id = VpcId::mint(cx.bits());
            let vni = lease_vni(txn, scope, &id, &mut || cx.bits())?;
            let vpc = Vpc {
                scope: scope.clone(),
                net: model::Vpc { id: id.clone(), cidrs: vec![block], ipv6_cidrs: Vec::new(), vni },
                is_default: false,
                enable_dns_support: true,
                enable_dns_hostnames: false,
                enable_network_address_usage_metrics: false,
                tenancy,
                subnets_made: 0,
                groups_made: 0,
                tags: tags.clone(),
            };
            txn.put(vpc.clone());
            txn.put(default_group(scope, &id, &mut || cx.bits())?);
            Ok::<_, Error>(vpc)
        })
        .await?;

    Ok(shapes::CreateVpcResult { vpc: Some(show(&vpc)) })
}

/// What asks for IPv6 or an address manager is refused by its name.
fn unsupported(request: &shapes::CreateVpcRequest) -> Result<(), Error> {
    for (asked, parameter) in [
        (request.amazon_provided_ipv6_cidr_block == Some(true), "amazonProvidedIpv6CidrBlock"),
        (request.ipv4_ipam_pool_id.is_some(), "ipv4IpamPoolId"),
        (request.ipv4_netmask_length.is_some(), "ipv4NetmaskLength"),
        (request.ipv6_cidr_block.is_some(), "ipv6CidrBlock"),
        (request.ipv6_cidr_block_network_border_group.is_some(), "ipv6CidrBlockNetworkBorderGroup"),
        (request.ipv6_ipam_pool_id.is_some(), "ipv6IpamPoolId"),
        (request.ipv6_netmask_length.is_some(), "ipv6NetmaskLength"),
        (request.ipv6_pool.is_some(), "ipv6Pool"),
        (request.vpc_encryption_control.is_some(), "vpcEncryptionControl"),
    ] {
        if asked {
            return Err(Error::Unsupported(parameter));
        }
    }
    Ok(())
}

/// Deletes a VPC that nothing is in but its default security group, which goes
/// with it.
pub(in crate::api) async fn delete(
    cx: &Cx,
    request: shapes::DeleteVpcRequest,
) -> Result<shapes::DeleteVpcResponse, Error> {
    let scope = cx.scope();
    cx.store()
        .transact(|txn| {
            let vpc = find(txn, scope, request.vpc_id.as_deref())?;
            let id = vpc.net.id.as_str();
            let occupied = txn.view().by::<Subnet>(scope, BY_VPC, id).next().is_some()
                || txn.view().by::<Eni>(scope, BY_VPC, id).next().is_some();
            let groups: Vec<_> = txn.by::<SecurityGroup>(scope, BY_VPC, id).collect();
            if occupied || groups.iter().any(|group| !group.is_default()) {
                return Err(Error::VpcInUse(vpc.net.id.clone()));
            }
            for group in groups {
                txn.delete::<SecurityGroup>(scope, group.id.as_str());
            }
            txn.delete::<VniLease>(&VniLease::scope_of_all(), &vpc.net.vni.to_string());
            txn.delete::<Vpc>(scope, id);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::DeleteVpcResponse {})
}
