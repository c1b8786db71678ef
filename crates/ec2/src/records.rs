//! What we keep of each resource.
//!
//! A record carries the part of it that decides about packets as `net` has it
//! (the field `net`) and adds what only people and the API see: names,
//! descriptions, tags, zones, times. What follows from other fields, such as an
//! interface's status, is a method and not a field.

use ident::{
    AttachmentId, EniAttachmentId, EniId, InstanceId, Region, Scope, SecurityGroupId,
    SecurityGroupRuleId, SubnetId, Tags, Timestamp, VpcId,
};
use net::model;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use store::{EncodingError, Record, Registry};

/// `registry` and the records of this crate.
#[must_use]
pub fn records(registry: Registry) -> Registry {
    registry
        .record::<Vpc>()
        .record::<Subnet>()
        .record::<SecurityGroup>()
        .record::<Eni>()
        .record::<Instance>()
        .record::<DefaultVpc>()
        .record::<VniLease>()
}

/// An availability zone, by both its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Zone {
    /// Its name in the region, such as `us-east-1a`.
    pub name: String,
    /// Its id, the same in every account, such as `use1-az1`.
    pub id: String,
}

/// A virtual private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its id, blocks and network identifier.
    pub net: model::Vpc,
    /// Whether it came with the region.
    pub is_default: bool,
    /// Whether it has a resolver.
    pub enable_dns_support: bool,
    /// Whether its interfaces have names.
    pub enable_dns_hostnames: bool,
    /// Whether its use of addresses is to be measured. Kept and shown.
    #[serde(default)]
    pub enable_network_address_usage_metrics: bool,
    /// Whose hardware its instances may run on. Kept and shown.
    #[serde(default)]
    pub tenancy: Tenancy,
    /// How many subnets were made in it. Whoever makes one writes this record, so
    /// that of two who do it at once, or of one who deletes the VPC meanwhile,
    /// only one commits.
    #[serde(default)]
    pub subnets_made: u64,
    /// The same for security groups, also so that no two have one name.
    #[serde(default)]
    pub groups_made: u64,
    /// Its tags.
    pub tags: Tags,
}

/// Whose hardware instances run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tenancy {
    /// Anybody's.
    #[default]
    Default,
    /// The account's own.
    Dedicated,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its id, VPC and block.
    pub net: model::Subnet,
    /// The one zone that it lies in.
    pub zone: Zone,
    /// Whether it came with the region.
    pub default_for_az: bool,
    /// Whether instances in it get a public address.
    pub map_public_ip_on_launch: bool,
    /// How often an address was handed out in it. Whoever hands one out writes
    /// this record, so that two who do it at once cannot both commit; and the
    /// number is where the next search begins.
    pub allocations: u64,
    /// Its tags.
    pub tags: Tags,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its id.
    pub id: SecurityGroupId,
    /// The VPC it belongs to.
    pub vpc: VpcId,
    /// Its name, unique in the VPC.
    pub name: String,
    /// What its maker said it is for.
    pub description: String,
    /// Its rules in the order in which they were made.
    pub rules: Vec<GroupRule>,
    /// Its tags.
    pub tags: Tags,
}

/// A rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRule {
    /// Its id.
    pub id: SecurityGroupRuleId,
    /// Which way the traffic goes.
    pub direction: Direction,
    /// What it permits.
    pub rule: model::Rule,
    /// What its maker said it is for.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// Which way traffic goes, as the member of a group sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the member.
    Ingress,
    /// From the member.
    Egress,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its id, place, addresses and groups. Nobody else in the subnet has the
    /// addresses.
    pub net: model::Eni,
    /// The zone of its subnet.
    pub zone: Zone,
    /// What it is for; a task's says the ARN of its attachment.
    pub description: String,
    /// Whether it belongs to a service, ECS, which alone may change it.
    pub requester_managed: bool,
    /// Its name in the VPC, if the VPC gives names.
    pub private_dns_name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it is attached to.
    pub attachment: Option<EniAttachment>,
    /// Its tags.
    pub tags: Tags,
}

/// The attachment of an interface to an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniAttachment {
    /// Its id.
    pub id: EniAttachmentId,
    /// The instance.
    pub instance: InstanceId,
    /// The interface's place on the instance; 0 is the primary interface.
    pub device_index: u32,
    /// How far it has come.
    pub status: AttachmentStatus,
    /// When it was asked for.
    pub attached_at: Timestamp,
    /// Whether the interface goes when the instance goes.
    pub delete_on_termination: bool,
    /// Why the card could not attach it, in the kernel's words.
    pub failure: Option<String>,
}

/// How far an attachment has come. A task's only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentStatus {
    /// The card is to make it.
    Attaching,
    /// The card has made it.
    Attached,
    /// The card is to take it away.
    Detaching,
}

/// A machine that stands in a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its id.
    pub id: InstanceId,
    /// The zones it stands in, never empty. The first is the one that the API
    /// shows; a single machine may well stand in all of a region's.
    pub zones: Vec<Zone>,
    /// The interface that the machine itself uses.
    pub primary_eni: EniId,
    /// The VPC of that interface.
    pub vpc: VpcId,
    /// The subnet of that interface.
    pub subnet: SubnetId,
    /// What kind of machine it says it is.
    pub instance_type: Option<String>,
    /// ECS's name for the attachment of a trunk interface, if it asked for one.
    #[serde(default)]
    pub trunk: Option<AttachmentId>,
    /// How many interfaces users have attached to it; `None` if nobody has counted.
    /// Whoever attaches one or takes one away writes this record: so of two who do
    /// it at once only one commits, and to know the number costs no search. Read it
    /// with [`crate::eni::by_hand`].
    #[serde(default)]
    pub attached_by_hand: Option<i64>,
    /// When it was first registered.
    pub launched_at: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

/// That a region has been furnished with its default VPC, and which that is. It
/// outlives the VPC: who deletes it does not want another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultVpc {
    /// The account and region.
    pub scope: Scope,
    /// The VPC.
    pub vpc: VpcId,
}

/// That a VXLAN network identifier is a certain VPC's. All leases of the
/// installation lie in one scope, [`VniLease::scope_of_all`], because the VPCs of
/// all accounts share the wire between the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VniLease {
    scope: Scope,
    /// The identifier.
    pub vni: u32,
    /// Whose the VPC is.
    pub owner: Scope,
    /// The VPC.
    pub vpc: VpcId,
}

impl SecurityGroup {
    /// The group as packets see it.
    pub fn net(&self) -> model::SecurityGroup {
        let rules = |direction| self.going(direction).map(|rule| rule.rule.clone()).collect();
        model::SecurityGroup {
            id: self.id.clone(),
            vpc: self.vpc.clone(),
            ingress: rules(Direction::Ingress),
            egress: rules(Direction::Egress),
        }
    }

    /// The rules for traffic that goes this way.
    pub fn going(&self, direction: Direction) -> impl Iterator<Item = &GroupRule> {
        self.rules.iter().filter(move |rule| rule.direction == direction)
    }

    /// Whether it is the one that every VPC has and nobody may delete.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT_GROUP
    }
}

/// The name of the group that every VPC has.
pub const DEFAULT_GROUP: &str = "default";

impl Eni {
    /// The attachment's status, if there is one.
    pub fn attachment_status(&self) -> Option<AttachmentStatus> {
        self.attachment.as_ref().map(|attachment| attachment.status)
    }

    /// Why it could not be attached.
    pub fn failure(&self) -> Option<&str> {
        self.attachment.as_ref()?.failure.as_deref()
    }

    /// The instance it is attached to, is being attached to or detached from.
    pub fn instance(&self) -> Option<&InstanceId> {
        self.attachment.as_ref().map(|attachment| &attachment.instance)
    }

    /// Whether it is an instance's own, which it has from its beginning to its end.
    pub fn is_primary(&self) -> bool {
        self.attachment.as_ref().is_some_and(|attachment| attachment.device_index == 0)
    }

    /// Whether it is a user's to attach and to detach, and may come back to where
    /// it was before.
    pub fn is_users(&self) -> bool {
        !self.requester_managed && !self.is_primary()
    }

    /// Whether a card is to have it. What is leaving is not, and neither is a
    /// task's interface that failed: its task stops, so there is nothing to retry for.
    pub fn wanted(&self) -> bool {
        self.attachment.as_ref().is_some_and(|attachment| match attachment.status {
            AttachmentStatus::Attaching => attachment.failure.is_none() || !self.requester_managed,
            AttachmentStatus::Attached => true,
            AttachmentStatus::Detaching => false,
        })
    }
}

impl VniLease {
    /// That `vni` is the VPC's.
    pub fn new(vni: u32, owner: Scope, vpc: VpcId) -> Self {
        Self { scope: Self::scope_of_all(), vni, owner, vpc }
    }

    /// Where all leases lie: a region that no request can come from, as the edge
    /// takes the region from the request's signature and answers for real ones.
    pub fn scope_of_all() -> Scope {
        let region: Region = match "landfall-installation-0".parse() {
            Ok(region) => region,
            Err(_) => unreachable!("the text has the shape of a region"),
        };
        Scope { account: ident::AccountId::first(), region }
    }
}

impl Record for Vpc {
    const KIND: &'static str = "ec2.vpc";
    fn scope(&self) -> &Scope {
        &self.scope
    }
    fn id(&self) -> String {
        self.net.id.to_string()
    }
}

impl Record for Subnet {
    const KIND: &'static str = "ec2.subnet";
    fn scope(&self) -> &Scope {
        &self.scope
    }
    fn id(&self) -> String {
        self.net.id.to_string()
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(BY_VPC, self.net.vpc.to_string())]
    }
}

impl Record for SecurityGroup {
    const KIND: &'static str = "ec2.security-group";
    fn scope(&self) -> &Scope {
        &self.scope
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut indexes = vec![(BY_VPC, self.vpc.to_string())];
        indexes.extend(self.rules.iter().filter_map(|rule| match &rule.rule.peer {
            model::Peer::Group(group) => Some((BY_PEER_GROUP, group.to_string())),
            model::Peer::Cidr(_) | model::Peer::PrefixList(_) => None,
        }));
        indexes.sort();
        indexes.dedup();
        indexes
    }
}

impl Record for Eni {
    const KIND: &'static str = "ec2.eni";
    /// A program that knows no secondary addresses of `net` would drop them and
    /// give them to others.
    const VERSION: u32 = 2;
    fn upgrade(version: u32, bytes: &[u8]) -> Result<Self, EncodingError> {
        match version {
            1 => Ok(eni_of_version_1(bytes)?),
            _ => Err(EncodingError::UnknownVersion { version }),
        }
    }
    fn scope(&self) -> &Scope {
        &self.scope
    }
    fn id(&self) -> String {
        self.net.id.to_string()
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut indexes = vec![
            (BY_VPC, self.net.vpc.to_string()),
            (BY_SUBNET, self.net.subnet.to_string()),
            (BY_MAC, self.net.mac.to_string()),
        ];
        indexes.extend(
            self.net
                .ipv4_addresses()
                .map(|address| (BY_ADDRESS, crate::eni::address_key(&self.net.subnet, address))),
        );
        indexes.extend(self.net.groups.iter().map(|group| (BY_GROUP, group.to_string())));
        indexes.extend(self.instance().map(|instance| (BY_INSTANCE, instance.to_string())));
        indexes.extend(self.attachment.as_ref().map(|it| (BY_ATTACHMENT, it.id.to_string())));
        indexes
    }
}

/// In version 1 the secondary addresses, if there were any, were beside `net`.
fn eni_of_version_1(bytes: &[u8]) -> Result<Eni, serde_json::Error> {
    #[derive(Deserialize)]
    struct Beside {
        #[serde(default)]
        secondary_ipv4: Vec<Ipv4Addr>,
    }
    let Beside { secondary_ipv4 } = serde_json::from_slice(bytes)?;
    let mut eni: Eni = serde_json::from_slice(bytes)?;
    eni.net.secondary_ipv4 = secondary_ipv4;
    Ok(eni)
}

impl Record for Instance {
    const KIND: &'static str = "ec2.instance";
    fn scope(&self) -> &Scope {
        &self.scope
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Record for DefaultVpc {
    const KIND: &'static str = "ec2.default-vpc";
    fn scope(&self) -> &Scope {
        &self.scope
    }
    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}

impl DefaultVpc {
    /// The id of the one there is in a scope.
    pub const ID: &'static str = "default";
}

impl Record for VniLease {
    const KIND: &'static str = "ec2.vni";
    fn scope(&self) -> &Scope {
        &self.scope
    }
    fn id(&self) -> String {
        self.vni.to_string()
    }
}

/// The index of subnets, groups and interfaces by their VPC.
pub const BY_VPC: &str = "vpc";
/// The index of interfaces by their subnet: who has an address in it.
pub const BY_SUBNET: &str = "subnet";
/// The index of interfaces by their subnet and each of their addresses.
pub(crate) const BY_ADDRESS: &str = "address";
/// The index of interfaces by their hardware address.
pub const BY_MAC: &str = "mac";
/// The index of interfaces by the groups they are in.
pub const BY_GROUP: &str = "group";
/// The index of interfaces by the instance they are attached to.
pub const BY_INSTANCE: &str = "instance";
/// The index of interfaces by the id of their attachment.
pub(crate) const BY_ATTACHMENT: &str = "attachment";
/// The index of security groups by the groups that their rules refer to.
pub const BY_PEER_GROUP: &str = "peer-group";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn an_interface_of_version_1_keeps_its_addresses() {
        let world = World::new();
        let instance = world.machine().id;
        let subnet = world.subnets()[0].net.id.clone();
        let eni = world.provision(&instance, &subnet).expect("provisioned");
        let mut old = serde_json::to_value(&eni).expect("JSON");
        assert_eq!(old.get("secondary_ipv4"), None);
        let read = |old: &serde_json::Value| {
            Eni::upgrade(1, &serde_json::to_vec(old).expect("JSON")).expect("readable")
        };
        assert_eq!(read(&old), eni);

        old["secondary_ipv4"] = serde_json::json!(["172.31.0.9", "172.31.0.7"]);
        let (mut with, secondary) = (eni, [9, 7].map(|last| Ipv4Addr::new(172, 31, 0, last)));
        with.net.secondary_ipv4 = secondary.to_vec();
        assert_eq!(read(&old), with);
        let kept = serde_json::to_vec(&with).expect("JSON");
        assert_eq!(serde_json::from_slice::<Eni>(&kept).expect("readable"), with);
        assert!(Eni::upgrade(3, &kept).is_err());
    }
}
