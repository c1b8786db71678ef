//! The operations, one file per resource.
//!
//! A handler reads the request, changes the state, and shows the outcome. What
//! several of them need is beside them: `filters`, `listing`, `tags`, and `rules`
//! for what security groups permit.

mod availability_zones;
mod cidr;
mod filters;
mod instance_types;
mod instances;
mod listing;
mod network_interfaces;
mod regions;
mod rules;
mod security_group_rules;
mod security_groups;
mod subnets;
mod tagging;
mod tags;
mod vpcs;

use crate::error::Error;
use async_trait::async_trait;
use chassis::Cx;
use network_interfaces::{assigning, attaching, making};
use security_group_rules::permit;
use wire::Fault;
use wire::ec2 as shapes;

/// EC2, as far as Landfall serves it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ec2;

/// The trait's methods, each one line. What shows only looks at the state; what
/// changes it waits for the change to be durable. `DryRun` is dealt with here: a
/// handler does all it does on a state that keeps nothing of it, and succeeds in
/// vain. The last list is of operations that have no `DryRun`.
macro_rules! operations {
    (
        shows { $($show:ident($asked:ident) -> $shown:ident by $look:path;)* }
        changes { $($change:ident($wanted:ident) -> $changed:ident by $act:path;)* }
        changes at_once {
            $($at_once:ident($wish:ident) -> $done:ident by $do:path;)*
        }
    ) => {
        #[async_trait]
        impl shapes::Api<Cx> for Ec2 {
            $(
                async fn $show(
                    &self,
                    cx: &Cx,
                    request: shapes::$asked,
                ) -> Result<shapes::$shown, Fault> {
                    furnished(cx).await?;
                    let dry_run = request.dry_run == Some(true);
                    let shown = $look(cx, request).map_err(Error::answer)?;
                    if dry_run { Err(Error::DryRun.answer()) } else { Ok(shown) }
                }
            )*
            $(
                async fn $change(
                    &self,
                    cx: &Cx,
                    request: shapes::$wanted,
                ) -> Result<shapes::$changed, Fault> {
                    furnished(cx).await?;
                    if request.dry_run == Some(true) {
                        $act(&rehearsal(cx), request).await.map_err(Error::answer)?;
                        return Err(Error::DryRun.answer());
                    }
                    $act(cx, request).await.map_err(Error::answer)
                }
            )*
            $(
                async fn $at_once(
                    &self,
                    cx: &Cx,
                    request: shapes::$wish,
                ) -> Result<shapes::$done, Fault> {
                    furnished(cx).await?;
                    $do(cx, request).await.map_err(Error::answer)
                }
            )*
        }
    };
}

operations! {
    shows {
        describe_availability_zones(DescribeAvailabilityZonesRequest)
            -> DescribeAvailabilityZonesResult by availability_zones::describe;
        describe_instance_types(DescribeInstanceTypesRequest)
            -> DescribeInstanceTypesResult by instance_types::describe;
        describe_instances(DescribeInstancesRequest)
            -> DescribeInstancesResult by instances::describe;
        describe_network_interfaces(DescribeNetworkInterfacesRequest)
            -> DescribeNetworkInterfacesResult by network_interfaces::describe;
        describe_regions(DescribeRegionsRequest)
            -> DescribeRegionsResult by regions::describe;
        describe_security_group_rules(DescribeSecurityGroupRulesRequest)
            -> DescribeSecurityGroupRulesResult by security_group_rules::describe;
        describe_security_groups(DescribeSecurityGroupsRequest)
            -> DescribeSecurityGroupsResult by security_groups::describe;
        describe_subnets(DescribeSubnetsRequest)
            -> DescribeSubnetsResult by subnets::describe;
        describe_tags(DescribeTagsRequest)
            -> DescribeTagsResult by tagging::describe;
        describe_vpc_attribute(DescribeVpcAttributeRequest)
            -> DescribeVpcAttributeResult by vpcs::attributes::describe;
        describe_vpcs(DescribeVpcsRequest)
            -> DescribeVpcsResult by vpcs::describe;
    }
    changes {
        attach_network_interface(AttachNetworkInterfaceRequest)
            -> AttachNetworkInterfaceResult by attaching::attach;
        authorize_security_group_egress(AuthorizeSecurityGroupEgressRequest)
            -> AuthorizeSecurityGroupEgressResult by permit::authorize_egress;
        authorize_security_group_ingress(AuthorizeSecurityGroupIngressRequest)
            -> AuthorizeSecurityGroupIngressResult by permit::authorize_ingress;
        create_network_interface(CreateNetworkInterfaceRequest)
            -> CreateNetworkInterfaceResult by making::create;
        create_security_group(CreateSecurityGroupRequest)
            -> CreateSecurityGroupResult by security_groups::create;
        create_subnet(CreateSubnetRequest)
            -> CreateSubnetResult by subnets::change::create;
        create_tags(CreateTagsRequest)
            -> CreateTagsResponse by tagging::create;
        create_vpc(CreateVpcRequest)
            -> CreateVpcResult by vpcs::create::create;
        delete_network_interface(DeleteNetworkInterfaceRequest)
            -> DeleteNetworkInterfaceResponse by making::delete;
        delete_security_group(DeleteSecurityGroupRequest)
            -> DeleteSecurityGroupResult by security_groups::delete;
        delete_subnet(DeleteSubnetRequest)
            -> DeleteSubnetResponse by subnets::change::delete;
        delete_tags(DeleteTagsRequest)
            -> DeleteTagsResponse by tagging::delete;
        delete_vpc(DeleteVpcRequest)
            -> DeleteVpcResponse by vpcs::create::delete;
        detach_network_interface(DetachNetworkInterfaceRequest)
            -> DetachNetworkInterfaceResponse by attaching::detach;
        modify_network_interface_attribute(ModifyNetworkInterfaceAttributeRequest)
            -> ModifyNetworkInterfaceAttributeResponse by making::modify;
        modify_security_group_rules(ModifySecurityGroupRulesRequest)
            -> ModifySecurityGroupRulesResult by security_group_rules::modify;
        revoke_security_group_egress(RevokeSecurityGroupEgressRequest)
            -> RevokeSecurityGroupEgressResult by permit::revoke_egress;
        revoke_security_group_ingress(RevokeSecurityGroupIngressRequest)
            -> RevokeSecurityGroupIngressResult by permit::revoke_ingress;
    }
    changes at_once {
        assign_private_ip_addresses(AssignPrivateIpAddressesRequest)
            -> AssignPrivateIpAddressesResult by assigning::assign;
        modify_subnet_attribute(ModifySubnetAttributeRequest)
            -> ModifySubnetAttributeResponse by subnets::change::modify;
        modify_vpc_attribute(ModifyVpcAttributeRequest)
            -> ModifyVpcAttributeResponse by vpcs::attributes::modify;
        unassign_private_ip_addresses(UnassignPrivateIpAddressesRequest)
            -> UnassignPrivateIpAddressesResponse by assigning::unassign;
    }
}

/// The context of a dry run.
fn rehearsal(cx: &Cx) -> Cx {
    let mut cx = cx.clone();
    cx.platform.store = cx.platform.store.rehearsal();
    cx
}

/// A region is furnished when it is first looked at.
async fn furnished(cx: &Cx) -> Result<(), Fault> {
    crate::ensure_region(&cx.platform, cx.scope()).await.map_err(Error::answer)
}

/// A value as a member of an answer.
#[expect(
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "every member of every shape is optional, and most are made in place"
)]
fn text(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

#[cfg(test)]
pub(crate) mod tests;
