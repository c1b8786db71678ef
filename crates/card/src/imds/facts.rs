//! What a machine is, and at which paths it is told so.

use super::tree::Tree;
use ident::{AccountId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use ipnet::Ipv4Net;
use net::mac::MacAddress;
use std::net::Ipv4Addr;

/// What a machine is told of itself. It is as it was when the program started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The EC2 instance.
    pub instance: InstanceId,
    /// The account it is in.
    pub account: AccountId,
    /// The image that the API shows for it.
    pub image: String,
    /// What kind of machine it is, if it is one of AWS's.
    pub instance_type: Option<String>,
    /// The region.
    pub region: String,
    /// The region's partition, such as `aws`.
    pub partition: String,
    /// The name of the availability zone, and its id.
    pub zone: (String, String),
    /// The interface that the machine itself uses.
    pub interface: Interface,
    /// The name of the role whose credentials it has.
    pub role: String,
    /// The ARN of its instance profile.
    pub profile: String,
    /// The instance identity document, and its signature in base 64.
    pub identity: (String, String),
}

/// The primary interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its id.
    pub eni: EniId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its primary private address.
    pub ipv4: Ipv4Addr,
    /// The name of that address in the VPC.
    pub host_name: String,
    /// Its VPC and that one's blocks, the primary one first.
    pub vpc: (VpcId, Vec<Ipv4Net>),
    /// Its subnet and that one's block.
    pub subnet: (SubnetId, Ipv4Net),
    /// Its security groups and their names.
    pub groups: Vec<(SecurityGroupId, String)>,
}

impl Facts {
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        let Interface { mac, ipv4, host_name, .. } = &self.interface;
        let domain = if self.partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        for (path, text) in [
            ("ami-id", self.image.clone()),
            ("ami-launch-index", "0".to_owned()),
            ("hostname", host_name.clone()),
            ("instance-action", "none".to_owned()),
            ("instance-id", self.instance.to_string()),
            ("instance-life-cycle", "on-demand".to_owned()),
            ("local-hostname", host_name.clone()),
            ("local-ipv4", ipv4.to_string()),
            ("mac", mac.to_string()),
            ("placement/availability-zone", self.zone.0.clone()),
            ("placement/availability-zone-id", self.zone.1.clone()),
            ("placement/region", self.region.clone()),
            ("security-groups", lines(self.interface.groups.iter().map(|(_, name)| name))),
            ("services/domain", domain.to_owned()),
            ("services/partition", self.partition.clone()),
        ] {
            tree.put(&format!("meta-data/{path}"), text);
        }
        if let Some(kind) = &self.instance_type {
            tree.put("meta-data/instance-type", kind.clone());
        }
        self.put_interface(&mut tree);
        tree.put(
            "meta-data/iam/info",
            serde_json::json!({
                "Code": "Success",
                "InstanceProfileArn": self.profile,
            })
            .to_string(),
        );
        tree.put_credentials(&format!("meta-data/iam/security-credentials/{}", self.role));
        let (document, signature) = &self.identity;
        tree.put("dynamic/instance-identity/document", document.clone());
        tree.put("dynamic/instance-identity/signature", signature.clone());
        tree
    }

    fn put_interface(&self, tree: &mut Tree) {
        let own = &self.interface;
        let (vpc, blocks) = &own.vpc;
        let (subnet, block) = &own.subnet;
        for (path, text) in [
            ("device-number", "0".to_owned()),
            ("interface-id", own.eni.to_string()),
            ("local-hostname", own.host_name.clone()),
            ("local-ipv4s", own.ipv4.to_string()),
            ("mac", own.mac.to_string()),
            ("owner-id", self.account.to_string()),
            ("security-group-ids", lines(own.groups.iter().map(|(id, _)| id))),
            ("security-groups", lines(own.groups.iter().map(|(_, name)| name))),
            ("subnet-id", subnet.to_string()),
            ("subnet-ipv4-cidr-block", block.to_string()),
            ("vpc-id", vpc.to_string()),
            ("vpc-ipv4-cidr-block", lines(blocks.iter().take(1))),
            ("vpc-ipv4-cidr-blocks", lines(blocks.iter())),
        ] {
            tree.put(&format!("meta-data/network/interfaces/macs/{}/{path}", own.mac), text);
        }
    }
}

fn lines<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Found, Leaf};
    use super::*;

    fn facts() -> Facts {
        let block = |text: &str| text.parse().expect("a block");
        Facts {
            instance: InstanceId::mint(1),
            account: AccountId::first(),
            image: "ami-1".to_owned(),
            instance_type: Some("m5.large".to_owned()),
            region: "eu-west-1".to_owned(),
            partition: "aws".to_owned(),
            zone: ("eu-west-1a".to_owned(), "euw1-az1".to_owned()),
            interface: Interface {
                eni: EniId::mint(2),
                mac: MacAddress([2, 0, 0, 0, 0, 9]),
                ipv4: Ipv4Addr::new(172, 31, 0, 4),
                host_name: "ip-172-31-0-4.eu-west-1.compute.internal".to_owned(),
                vpc: (VpcId::mint(3), vec![block("172.31.0.0/16"), block("10.0.0.0/16")]),
                subnet: (SubnetId::mint(4), block("172.31.0.0/20")),
                groups: vec![
                    (SecurityGroupId::mint(5), "default".to_owned()),
                    (SecurityGroupId::mint(6), "web".to_owned()),
                ],
            },
            role: "ecsInstanceRole".to_owned(),
            profile: "arn".to_owned(),
            identity: ("{}".to_owned(), "c2lnbg==".to_owned()),
        }
    }

    #[test]
    fn what_an_agent_asks_for_is_there() {
        let facts = facts();
        let tree = facts.tree();
        let macs = "network/interfaces/macs/02:00:00:00:00:09";
        let (vpc, subnet) = (VpcId::mint(3).to_string(), SubnetId::mint(4).to_string());
        let groups = format!("{}\n{}", SecurityGroupId::mint(5), SecurityGroupId::mint(6));
        for (path, expected) in [
            ("instance-id", InstanceId::mint(1).as_str()),
            ("ami-id", "ami-1"),
            ("instance-type", "m5.large"),
            ("mac", "02:00:00:00:00:09"),
            ("local-ipv4", "172.31.0.4"),
            ("hostname", "ip-172-31-0-4.eu-west-1.compute.internal"),
            ("local-hostname", "ip-172-31-0-4.eu-west-1.compute.internal"),
            ("placement/availability-zone", "eu-west-1a"),
            ("placement/availability-zone-id", "euw1-az1"),
            ("placement/region", "eu-west-1"),
            ("services/domain", "amazonaws.com"),
            ("security-groups", "default\nweb"),
            (&format!("{macs}/vpc-id"), &vpc),
            (&format!("{macs}/subnet-id"), &subnet),
            (&format!("{macs}/security-group-ids"), &groups),
            (&format!("{macs}/subnet-ipv4-cidr-block"), "172.31.0.0/20"),
            (&format!("{macs}/vpc-ipv4-cidr-block"), "172.31.0.0/16"),
            (&format!("{macs}/vpc-ipv4-cidr-blocks"), "172.31.0.0/16\n10.0.0.0/16"),
        ] {
            let leaf = Leaf::Text(expected.to_owned());
            assert_eq!(tree.find(&format!("meta-data/{path}")), Some(Found::Leaf(&leaf)), "{path}");
        }
        let list = |text: &str| Some(Found::List(text.to_owned()));
        assert_eq!(tree.find("meta-data/network/interfaces/macs/"), list("02:00:00:00:00:09/"));
        assert_eq!(tree.find("dynamic/instance-identity/"), list("document\nsignature"));
        for absent in ["meta-data/outpost-arn", "user-data", "meta-data/public-ipv4"] {
            assert_eq!(tree.find(absent), None, "{absent}");
        }
        let none = Facts { instance_type: None, ..facts }.tree();
        assert_eq!(none.find("meta-data/instance-type"), None);
    }
}
