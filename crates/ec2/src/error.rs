//! Why an EC2 operation was refused, or failed.
//!
//! `Display` is for our logs. What a client sees is a [`Fault`], and
//! [`Error::fault`] is the only place where our errors acquire AWS's codes and
//! texts. Ids that a client sent are kept as it wrote them, because AWS repeats
//! them so. ECS, which asks on behalf of its own clients, has other words for
//! some of these and matches on the variants.

use ident::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use store::StoreError;
use wire::Fault;

/// See the module.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    /// No such VPC in the caller's account and region; likewise below.
    #[error("VPC {0} does not exist")]
    NoVpc(String),

    #[error("subnet {0} does not exist")]
    NoSubnet(String),

    #[error("security group {0} does not exist")]
    NoGroup(String),

    #[error("network interface {0} does not exist")]
    NoEni(String),

    #[error("instance {0} does not exist")]
    NoInstance(String),

    #[error("instance type {0} does not exist")]
    NoInstanceType(String),

    #[error("availability zone {0} does not exist")]
    NoZone(String),

    #[error("availability zone {0} does not exist")]
    NoZoneId(String),

    #[error("security group rule {0} does not exist")]
    NoRuleId(String),

    #[error("prefix list {0} does not exist")]
    NoPrefixList(String),

    #[error("VPC peering connection {0} does not exist")]
    NoPeering(String),

    /// A request names a group by an id and by a name, and they are two groups.
    #[error("group {id} is not called {name:?}")]
    TwoGroups { id: String, name: String },

    /// A list of filters of more values than one may have.
    #[error("{0} values of filters are too many")]
    TooManyFilterValues(usize),

    /// No group of this name in the default VPC, where names are looked up.
    #[error("security group {name:?} does not exist in VPC {vpc}")]
    NoGroupNamed { name: String, vpc: VpcId },

    /// The account deleted its default VPC, and the request counted on it.
    #[error("there is no default VPC")]
    NoDefaultVpc,

    /// The text cannot be a security group's id.
    #[error("{0:?} is no id of a security group")]
    MalformedGroupId(String),

    /// The text cannot be an instance's id.
    #[error("{0:?} is no id of an instance")]
    MalformedInstanceId(String),

    /// The text cannot be the id of a security group's rule.
    #[error("{0:?} is no id of a security group rule")]
    MalformedRuleId(String),

    #[error("VPC {vpc} has a security group {name:?} already")]
    DuplicateGroup { name: String, vpc: VpcId },

    /// The rule as AWS describes it: `peer: 10.0.0.0/8, TCP, from port: …`.
    #[error("the group has the rule {0} already")]
    DuplicateRule(String),

    /// The same rule twice in one request.
    #[error("the request names the rule {0} twice")]
    RepeatedRule(String),

    #[error("the group does not have the rule")]
    NoRule,

    #[error("a security group has at most {0} rules")]
    TooManyRules(usize),

    #[error("a resource has at most 50 tags")]
    TooManyTags,

    /// The group of this id came with its VPC and goes with it.
    #[error("the default group {0} cannot be deleted")]
    DefaultGroup(SecurityGroupId),

    /// Something still uses or names the resource.
    #[error("{0} is in use")]
    InUse(String),

    #[error("there is something in VPC {0}")]
    VpcInUse(VpcId),

    #[error("there is an interface in subnet {0}")]
    SubnetInUse(SubnetId),

    /// A VPC cannot have this block; likewise below.
    #[error("no VPC can have {0}")]
    VpcRange(Ipv4Net),

    #[error("no subnet of the VPC can have {0}")]
    SubnetRange(Ipv4Net),

    #[error("{0} overlaps another subnet")]
    SubnetConflict(Ipv4Net),

    /// No kind of resource that we know has ids like this one.
    #[error("{0:?} is no id of anything")]
    NotAnId(String),

    /// AWS would do this and Landfall does not yet: a parameter, by its name.
    #[error("{0} is not supported")]
    Unsupported(&'static str),

    #[error("subnet {0} has no free address")]
    NoAddress(SubnetId),

    /// `awsvpc` names no subnet at all.
    #[error("no subnet was named")]
    NoSubnets,

    /// `awsvpc` names more subnets than it may.
    #[error("{0} subnets are more than {max}", max = crate::awsvpc::MAX_SUBNETS)]
    TooManySubnets(usize),

    /// `awsvpc` names more security groups than an interface can have.
    #[error("{0} security groups are more than an interface may have")]
    TooManyGroups(usize),

    /// The subnets are of different VPCs.
    #[error("subnet {subnet} is not in VPC {vpc}, as the first one is")]
    SeveralVpcs { subnet: SubnetId, vpc: VpcId },

    #[error("security group {group} is not in VPC {vpc}")]
    GroupOutsideVpc { group: SecurityGroupId, vpc: VpcId },

    /// A rule refers to a group of another VPC; those come with peering.
    #[error("security group {group}, which a rule refers to, is not in VPC {vpc}")]
    PeerOutsideVpc { group: SecurityGroupId, vpc: VpcId },

    /// The instance does not stand in the zone of the subnet.
    #[error("instance {instance} is not in zone {zone}")]
    NotInZone { instance: InstanceId, zone: String },

    #[error("{0:?} is no id of a network interface")]
    MalformedEniId(String),

    /// The interface is a service's, which alone may change it.
    #[error("network interface {0} is managed by the service that asked for it")]
    Managed(EniId),

    /// What is attached cannot be deleted.
    #[error("network interface {0} is attached")]
    Attached(EniId),

    /// What is attached cannot be attached once more.
    #[error("network interface {0} is attached already")]
    AttachedAlready(EniId),

    #[error("attachment {0} does not exist")]
    NoAttachment(String),

    /// An instance keeps its own interface for as long as it lives.
    #[error("network interface {0} is its instance's own")]
    PrimaryEni(EniId),

    #[error("instance {instance} has an interface at device index {index} already")]
    DeviceTaken { instance: InstanceId, index: u32 },

    /// An instance of this type can have fewer interfaces than that.
    #[error("{count} interfaces are too many for {instance_type}")]
    TooManyEnis { count: usize, instance_type: String },

    /// Somebody in the subnet has the address.
    #[error("address {0} is taken")]
    AddressTaken(Ipv4Addr),

    /// Others have these addresses, which were to be assigned and not to be moved, or
    /// cannot be.
    #[error("addresses {0:?} are assigned and stay where they are")]
    AddressesAssigned(Vec<Ipv4Addr>),

    /// Not all of the addresses that were to be unassigned are the interface's.
    #[error("some of the addresses are not network interface {0}'s")]
    NotAssigned(EniId),

    /// An interface keeps its primary address.
    #[error("address {0} is its interface's primary one")]
    PrimaryAddress(Ipv4Addr),

    /// An interface cannot have that many, on its instance if it is on one.
    #[error("too many private addresses for one interface")]
    TooManyAddresses,

    /// The client token came with another request before.
    #[error("the client token was used for another request")]
    TokenReused,

    /// The interface is not one that ECS asked for.
    #[error("network interface {0} is not a task's")]
    NotATasks(EniId),

    /// The caller is somebody who may not do this at all.
    #[error("the caller may not do this")]
    Unauthorized,

    /// All 2^24 network identifiers are taken.
    #[error("no VXLAN network identifier is free")]
    NoVni,

    /// A parameter has a value that AWS refuses; the text is AWS's.
    #[error("{0}")]
    Invalid(String),

    /// Two parameters that do not go together; the text is AWS's.
    #[error("{0}")]
    Combination(String),

    /// A parameter that this use of the operation needs is not there.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),

    /// A text that cannot be a block of addresses.
    #[error("{0:?} is no CIDR block")]
    NotACidr(String),

    /// A filter that the operation does not have.
    #[error("there is no filter {0:?}")]
    NoFilter(String),

    /// A token for the next page that we did not give out.
    #[error("the token is not one of ours")]
    BadToken,

    /// The caller only wanted to know whether it could, and it could.
    #[error("the request would have succeeded")]
    DryRun,

    /// The state store would not take the change. The request may be retried.
    #[error("state store refused the change")]
    Store(#[from] StoreError),
}

impl Error {
    /// The answer to whoever asked. What went wrong on our side is not for them,
    /// so it is said here, once, before it is lost.
    pub(crate) fn answer(self) -> Fault {
        let fault = self.fault();
        if fault.status >= 500 {
            tracing::error!(error = &self as &dyn std::error::Error, "an operation of EC2 failed");
        }
        fault
    }

    /// How this error looks on the wire.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one table, to be read as one")]
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoVpc(id) => {
                client("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist"))
            }
            Self::NoSubnet(id) => {
                client("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
            }
            Self::NoGroup(id) => {
                client("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
            }
            Self::NoEni(id) => client(
                "InvalidNetworkInterfaceID.NotFound",
                format!("The networkInterface ID '{id}' does not exist"),
            ),
            Self::NoInstance(id) => client(
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{id}' does not exist"),
            ),
            Self::NoInstanceType(name) => client(
                "InvalidInstanceType",
                format!("The following supplied instance types do not exist: [{name}]"),
            ),
            Self::NoZone(name) => {
                client("InvalidParameterValue", format!("Invalid availability zone: [{name}]"))
            }
            Self::NoZoneId(id) => {
                client("InvalidParameterValue", format!("Invalid availability zone-id: [{id}]"))
            }
            Self::NoPrefixList(id) => client(
                "InvalidPrefixListID.NotFound",
                format!("The prefix list ID '{id}' does not exist"),
            ),
            Self::NoGroupNamed { name, vpc } => client(
                "InvalidGroup.NotFound",
                format!("The security group '{name}' does not exist in default VPC '{vpc}'"),
            ),
            Self::NoPeering(id) => client(
                "InvalidVpcPeeringConnectionID.NotFound",
                format!("The vpcPeeringConnection ID '{id}' does not exist"),
            ),
            Self::TwoGroups { .. } => client(
                "InvalidParameterCombination",
                "The parameter groupName cannot be used with the parameter groupId",
            ),
            Self::TooManyFilterValues(_) => client(
                "FilterLimitExceeded",
                "The maximum number of filter values specified on a single call is 200",
            ),
            Self::NoRuleId(id) => client(
                "InvalidSecurityGroupRuleId.NotFound",
                format!("The security group rule ID '{id}' does not exist"),
            ),
            Self::NoDefaultVpc => client("VPCIdNotSpecified", "No default VPC for this user"),
            Self::MalformedGroupId(id) => client(
                "InvalidGroupId.Malformed",
                format!("Invalid id: \"{id}\" (expecting \"sg-...\")"),
            ),
            Self::MalformedInstanceId(id) => {
                client("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\""))
            }
            Self::MalformedRuleId(id) => client(
                "InvalidSecurityGroupRuleId.Malformed",
                format!("Invalid id: \"{id}\" (expecting \"sgr-...\")"),
            ),
            Self::DuplicateGroup { name, vpc } => client(
                "InvalidGroup.Duplicate",
                format!("The security group '{name}' already exists for VPC '{vpc}'"),
            ),
            Self::DuplicateRule(rule) => client(
                "InvalidPermission.Duplicate",
                format!("the specified rule \"{rule}\" already exists"),
            ),
            Self::RepeatedRule(_) => client(
                "InvalidParameterValue",
                "The same permission must not appear multiple times",
            ),
            Self::NoRule => client(
                "InvalidPermission.NotFound",
                "The specified rule does not exist in this security group.",
            ),
            Self::TooManyRules(_) => client(
                "RulesPerSecurityGroupLimitExceeded",
                "The maximum number of rules per security group has been reached.",
            ),
            Self::TooManyTags => client(
                "TagLimitExceeded",
                "The maximum number of Tags for a resource has been reached.",
            ),
            Self::DefaultGroup(id) => client(
                "CannotDelete",
                format!(
                    "the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"
                ),
            ),
            Self::InUse(id) => {
                client("DependencyViolation", format!("resource {id} has a dependent object"))
            }
            Self::VpcInUse(id) => client(
                "DependencyViolation",
                format!("The vpc '{id}' has dependencies and cannot be deleted."),
            ),
            Self::SubnetInUse(id) => client(
                "DependencyViolation",
                format!("The subnet '{id}' has dependencies and cannot be deleted."),
            ),
            Self::VpcRange(block) => {
                client("InvalidVpc.Range", format!("The CIDR '{block}' is invalid."))
            }
            Self::SubnetRange(block) => {
                client("InvalidSubnet.Range", format!("The CIDR '{block}' is invalid."))
            }
            Self::SubnetConflict(block) => client(
                "InvalidSubnet.Conflict",
                format!("The CIDR '{block}' conflicts with another subnet"),
            ),
            Self::NotAnId(id) => client("InvalidID", format!("The ID '{id}' is not valid")),
            Self::Unsupported(parameter) => client(
                "UnsupportedOperation",
                format!("Landfall does not support {parameter} yet."),
            ),
            Self::NoAddress(id) => client(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "The specified subnet '{id}' does not have enough free addresses to satisfy the request."
                ),
            ),
            Self::NoSubnets => missing("subnetId"),
            Self::TooManySubnets(_) => client(
                "InvalidParameterValue",
                format!("At most {} subnets may be specified.", crate::awsvpc::MAX_SUBNETS),
            ),
            Self::TooManyGroups(_) => client(
                "SecurityGroupsPerInterfaceLimitExceeded",
                "The maximum number of security groups per interface has been reached.",
            ),
            Self::SeveralVpcs { .. } => client(
                "InvalidParameterCombination",
                "The specified subnets must belong to the same VPC.",
            ),
            Self::GroupOutsideVpc { .. } => client(
                "InvalidParameter",
                "You have specified two resources that belong to different networks.",
            ),
            Self::PeerOutsideVpc { .. } => client(
                "InvalidGroup.NotFound",
                "You have specified two resources that belong to different networks.",
            ),
            Self::NotInZone { .. } => client(
                "InvalidParameterCombination",
                "You may not attach a network interface to an instance if they are not in the \
                 same availability zone",
            ),
            Self::MalformedEniId(id) => client(
                "InvalidNetworkInterfaceId.Malformed",
                format!("Invalid id: \"{id}\" (expecting \"eni-...\")"),
            ),
            Self::Managed(_) => client(
                "AuthFailure",
                "You do not have permission to access the specified resource.",
            ),
            Self::Attached(id) => client(
                "InvalidParameterValue",
                format!("Network interface '{id}' is currently in use."),
            ),
            Self::AttachedAlready(id) => {
                client("InvalidNetworkInterface.InUse", format!("Interface: [{id}] in use."))
            }
            Self::NoAttachment(id) => client(
                "InvalidAttachmentID.NotFound",
                format!("The attachment ID '{id}' does not exist"),
            ),
            Self::PrimaryEni(_) => client(
                "OperationNotPermitted",
                "The network interface at device index 0 and networkCard index 0 cannot be \
                 detached.",
            ),
            Self::DeviceTaken { instance, index } => client(
                "InvalidParameterValue",
                format!(
                    "Instance '{instance}' already has an interface attached at device index '{index}'."
                ),
            ),
            Self::TooManyEnis { count, instance_type } => client(
                "AttachmentLimitExceeded",
                format!("Interface count {count} exceeds the limit for {instance_type}"),
            ),
            Self::AddressTaken(_) => {
                client("InvalidIPAddress.InUse", "The specified address is already in use.")
            }
            Self::AddressesAssigned(addresses) => {
                let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                client(
                    "InvalidParameterValue",
                    format!("[{}] assigned, but move is not allowed.", list.join(", ")),
                )
            }
            Self::NotAssigned(id) => client(
                "InvalidParameterValue",
                format!("Some of the specified addresses are not assigned to interface {id}"),
            ),
            Self::PrimaryAddress(address) => client(
                "OperationNotPermitted",
                format!("The primary private IP address {address} cannot be unassigned."),
            ),
            Self::TooManyAddresses => client(
                "PrivateIpAddressLimitExceeded",
                "Number of private addresses will exceed limit.",
            ),
            Self::TokenReused => client(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in \
                 previous request(s).",
            ),
            Self::NotATasks(id) => client(
                "OperationNotPermitted",
                format!("You do not have permission to manage the network interface '{id}'."),
            ),
            Self::Unauthorized => Fault::new(
                403,
                "UnauthorizedOperation",
                "You are not authorized to perform this operation.",
            ),
            Self::Invalid(message) => client("InvalidParameterValue", message.clone()),
            Self::Combination(message) => client("InvalidParameterCombination", message.clone()),
            Self::Missing(parameter) => missing(parameter),
            Self::NotACidr(text) => {
                client("InvalidParameterValue", format!("CIDR block {text} is malformed"))
            }
            Self::NoFilter(name) => {
                client("InvalidParameterValue", format!("The filter '{name}' is invalid"))
            }
            Self::BadToken => client("InvalidNextToken", "The specified token is invalid."),
            Self::DryRun => Fault::new(
                412,
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            ),
            Self::NoVni | Self::Store(_) => {
                Fault::server("InternalError", "An internal error has occurred")
            }
        }
    }
}

fn client(code: &'static str, message: impl Into<String>) -> Fault {
    Fault::client(code, message)
}

fn missing(parameter: &str) -> Fault {
    client("MissingParameter", format!("The request must contain the parameter {parameter}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn codes_and_texts_are_those_of_aws() {
        let vpc = VpcId::mint(1);
        let group = SecurityGroupId::mint(2);
        let text = String::from;
        for (error, code, message) in [
            (
                Error::NoVpc(text("vpc-1")),
                "InvalidVpcID.NotFound",
                "The vpc ID 'vpc-1' does not exist",
            ),
            (
                Error::NoSubnet(text("subnet-1")),
                "InvalidSubnetID.NotFound",
                "The subnet ID 'subnet-1' does not exist",
            ),
            (
                Error::NoGroup(text("sg-1")),
                "InvalidGroup.NotFound",
                "The security group 'sg-1' does not exist",
            ),
            (
                Error::NoEni(text("eni-1")),
                "InvalidNetworkInterfaceID.NotFound",
                "The networkInterface ID 'eni-1' does not exist",
            ),
            (
                Error::MalformedGroupId(text("web")),
                "InvalidGroupId.Malformed",
                "Invalid id: \"web\" (expecting \"sg-...\")",
            ),
            (
                Error::DuplicateGroup { name: text("web"), vpc },
                "InvalidGroup.Duplicate",
                "The security group 'web' already exists for VPC 'vpc-00000000000000001'",
            ),
            (
                Error::NoRule,
                "InvalidPermission.NotFound",
                "The specified rule does not exist in this security group.",
            ),
            (
                Error::RepeatedRule(text("x")),
                "InvalidParameterValue",
                "The same permission must not appear multiple times",
            ),
            (
                Error::TooManyRules(60),
                "RulesPerSecurityGroupLimitExceeded",
                "The maximum number of rules per security group has been reached.",
            ),
            (
                Error::DefaultGroup(group.clone()),
                "CannotDelete",
                "the specified group: \"sg-00000000000000002\" name: \"default\" cannot be deleted by a user",
            ),
            (
                Error::InUse(group.to_string()),
                "DependencyViolation",
                "resource sg-00000000000000002 has a dependent object",
            ),
            (
                Error::NoAddress(SubnetId::mint(3)),
                "InsufficientFreeAddressesInSubnet",
                "The specified subnet 'subnet-00000000000000003' does not have enough free addresses to satisfy the request.",
            ),
            (
                Error::Missing("groupId"),
                "MissingParameter",
                "The request must contain the parameter groupId",
            ),
            (Error::NoDefaultVpc, "VPCIdNotSpecified", "No default VPC for this user"),
            (Error::BadToken, "InvalidNextToken", "The specified token is invalid."),
        ] {
            let fault = error.fault();
            assert_eq!((fault.status, &*fault.code, &*fault.message), (400, code, message));
        }
    }

    #[test]
    fn our_troubles_stay_ours() {
        let error = Error::from(StoreError::Contended { attempts: 8 });
        assert_eq!(error.fault().status, 500);
        assert!(!error.fault().message.contains("contended"));
        assert!(!error.to_string().contains("contended"), "the cause is in source()");
        assert!(error.source().expect("a cause").to_string().contains("contended"));
    }
}
