//! VPCs and subnets.

use super::{all, ask, code, only};
use crate::records::{Eni, SecurityGroup, VniLease, Vpc};
use crate::testing::World;

fn vpc(world: &World, cidr: &str) -> String {
    let xml = ask(world, "CreateVpc", &[("CidrBlock", cidr)]).expect("made");
    only(&xml, "vpcId").to_owned()
}

fn subnet(world: &World, vpc: &str, cidr: &str) -> String {
    let form = [("VpcId", vpc), ("CidrBlock", cidr)];
    let xml = ask(world, "CreateSubnet", &form).expect("made");
    only(&xml, "subnetId").to_owned()
}

#[test]
fn a_vpc_comes_with_its_group_and_goes_with_it() {
    let world = World::new();
    let before = (world.view().count::<SecurityGroup>(world.cx.scope()), 1);
    let xml = ask(
        &world,
        "CreateVpc",
        &[
            ("CidrBlock", "10.1.2.3/16"),
            ("TagSpecification.1.ResourceType", "vpc"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "test"),
        ],
    )
    .expect("made");
    assert_eq!(all(&xml, "cidrBlock"), ["10.1.0.0/16", "10.1.0.0/16"]);
    for (tag, value) in [("isDefault", "false"), ("value", "test"), ("instanceTenancy", "default")]
    {
        assert_eq!(only(&xml, tag), value);
    }
    let id = only(&xml, "vpcId");
    let groups = ask(
        &world,
        "DescribeSecurityGroups",
        &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", id)],
    )
    .expect("shown");
    assert_eq!(all(&groups, "groupName"), ["default"]);

    let form = [("GroupName", "web"), ("GroupDescription", "x"), ("VpcId", id)];
    let web = ask(&world, "CreateSecurityGroup", &form).expect("made");
    assert_eq!(code(&world, "DeleteVpc", &[("VpcId", id)]), "DependencyViolation");
    let web = [("GroupId", only(&web, "groupId"))];
    ask(&world, "DeleteSecurityGroup", &web).expect("deleted");
    let place = subnet(&world, id, "10.1.0.0/24");
    let fault = ask(&world, "DeleteVpc", &[("VpcId", id)]).expect_err("in use");
    assert_eq!(fault.message, format!("The vpc '{id}' has dependencies and cannot be deleted."));
    ask(&world, "DeleteSubnet", &[("SubnetId", &place)]).expect("deleted");
    ask(&world, "DeleteVpc", &[("VpcId", id)]).expect("deleted");

    let scope = world.cx.scope();
    let view = world.view();
    let left = (view.count::<SecurityGroup>(scope), view.all::<VniLease>().count());
    assert_eq!(left, before);
    assert_eq!(code(&world, "DeleteVpc", &[("VpcId", id)]), "InvalidVpcID.NotFound");
}

#[test]
fn a_default_vpc_can_be_deleted_for_good() {
    let world = World::new();
    let id = world.default_group().vpc.to_string();
    for subnet in world.subnets() {
        ask(&world, "DeleteSubnet", &[("SubnetId", subnet.net.id.as_str())]).expect("deleted");
    }
    ask(&world, "DeleteVpc", &[("VpcId", &id)]).expect("deleted");
    let xml = ask(&world, "DescribeVpcs", &[]).expect("shown");
    assert!(all(&xml, "vpcId").is_empty(), "no other one comes");
}

#[test]
fn blocks_that_cannot_be_are_refused() {
    let world = World::new();
    for (cidr, code_) in [
        ("10.0.0.0/15", "InvalidVpc.Range"),
        ("10.0.0.0/29", "InvalidVpc.Range"),
        ("127.0.0.0/16", "InvalidVpc.Range"),
        ("10.0.0.0", "InvalidParameterValue"),
        ("fd00::/64", "InvalidParameterValue"),
        ("", "MissingParameter"),
    ] {
        assert_eq!(code(&world, "CreateVpc", &[("CidrBlock", cidr)]), code_, "{cidr}");
    }
    let id = vpc(&world, "10.0.0.0/16");
    subnet(&world, &id, "10.0.1.0/24");
    for (cidr, code_) in [
        ("10.0.1.128/25", "InvalidSubnet.Conflict"),
        ("10.0.0.0/16", "InvalidSubnet.Conflict"),
        ("10.1.0.0/24", "InvalidSubnet.Range"),
        ("10.0.2.0/29", "InvalidSubnet.Range"),
        ("x", "InvalidParameterValue"),
    ] {
        let form = [("VpcId", id.as_str()), ("CidrBlock", cidr)];
        assert_eq!(code(&world, "CreateSubnet", &form), code_, "{cidr}");
    }
}

#[test]
fn what_asks_for_more_is_refused_by_name() {
    let world = World::new();
    let id = vpc(&world, "10.0.0.0/16");
    let place = subnet(&world, &id, "10.0.0.0/24");
    let on = |name: &'static str| [(name, "true")];
    for (operation, form, name) in [
        ("CreateVpc", &on("AmazonProvidedIpv6CidrBlock")[..], "amazonProvidedIpv6CidrBlock"),
        ("CreateVpc", &[("Ipv4IpamPoolId", "ipam-pool-1")], "ipv4IpamPoolId"),
        ("CreateSubnet", &[("VpcId", &id), ("Ipv6CidrBlock", "fd00::/64")], "ipv6CidrBlock"),
        (
            "ModifySubnetAttribute",
            &[("SubnetId", &place), ("EnableDns64.Value", "true")],
            "enableDns64",
        ),
    ] {
        let fault = ask(&world, operation, form).expect_err(name);
        assert_eq!(fault.code, "UnsupportedOperation");
        assert_eq!(fault.message, format!("Landfall does not support {name} yet."));
    }
    let off = [("SubnetId", place.as_str()), ("EnableDns64.Value", "false")];
    ask(&world, "ModifySubnetAttribute", &off).expect("it is off");
    let public = [("SubnetId", place.as_str()), ("MapPublicIpOnLaunch.Value", "true")];
    ask(&world, "ModifySubnetAttribute", &public).expect("kept");
    let xml = ask(&world, "DescribeSubnets", &[("SubnetId.1", &place)]).expect("shown");
    assert_eq!(only(&xml, "mapPublicIpOnLaunch"), "true");
    let two = [public[0], public[1], off[1]];
    assert_eq!(code(&world, "ModifySubnetAttribute", &two), "InvalidParameterCombination");
    assert_eq!(code(&world, "ModifySubnetAttribute", &public[..1]), "InvalidParameterCombination");
}

#[test]
fn a_subnet_lies_in_the_zone_that_was_named_or_where_there_are_fewest() {
    let world = World::new();
    let id = vpc(&world, "10.0.0.0/16");
    let mut number = 0;
    let mut place = |more: &[(&str, &str)]| {
        number += 1;
        let cidr = format!("10.0.{number}.0/28");
        let form = [("VpcId", id.as_str()), ("CidrBlock", &cidr)];
        let form: Vec<_> = form.iter().chain(more).copied().collect();
        ask(&world, "CreateSubnet", &form).map(|xml| {
            assert_eq!(only(&xml, "availableIpAddressCount"), "11");
            only(&xml, "availabilityZone").to_owned()
        })
    };
    let named = place(&[("AvailabilityZone", "us-east-1b")]).expect("made");
    assert_eq!(named, "us-east-1b");
    assert_eq!(place(&[("AvailabilityZoneId", "use1-az1")]).expect("made"), "us-east-1a");
    assert_eq!(place(&[]).expect("made"), "us-east-1c");
    let nowhere = place(&[("AvailabilityZone", "eu-west-1a")]).expect_err("elsewhere");
    assert!(nowhere.message.contains("us-east-1a, us-east-1b"), "{}", nowhere.message);
    let both = [("AvailabilityZone", "us-east-1b"), ("AvailabilityZoneId", "use1-az2")];
    assert_eq!(place(&both).expect_err("both").code, "InvalidParameterCombination");
}

#[test]
fn a_subnet_with_an_interface_stays() {
    let world = World::new();
    let machine = world.machine();
    let place = world.shrink_first_subnet();
    let free = |world: &World| {
        let form = [("SubnetId.1", place.as_str())];
        let xml = ask(world, "DescribeSubnets", &form).expect("shown");
        only(&xml, "availableIpAddressCount").to_owned()
    };
    assert_eq!(free(&world), "10", "the machine has one of the eleven");
    world.provision(&machine.id, &place).expect("provisioned");
    assert_eq!(free(&world), "9");
    let fault = ask(&world, "DeleteSubnet", &[("SubnetId", place.as_str())]).expect_err("in use");
    assert_eq!(
        (&*fault.code, fault.message.clone()),
        (
            "DependencyViolation",
            format!("The subnet '{place}' has dependencies and cannot be deleted.")
        )
    );
}

#[test]
fn names_of_interfaces_follow_the_vpcs_attributes() {
    let world = World::new();
    let machine = world.machine();
    let place = world.subnets()[0].net.id.clone();
    let id = world.default_group().vpc.to_string();
    let modify = |name: &str, value: &str| {
        ask(&world, "ModifyVpcAttribute", &[("VpcId", id.as_str()), (name, value)])
    };
    let shown = |name: &str| {
        let form = [("VpcId", id.as_str()), ("Attribute", name)];
        let xml = ask(&world, "DescribeVpcAttribute", &form).expect("shown");
        only(&xml, "value").to_owned()
    };
    let first = world.provision(&machine.id, &place).expect("provisioned");
    assert!(first.private_dns_name.is_some());
    modify("EnableDnsHostnames.Value", "false").expect("off");
    assert_eq!((&*shown("enableDnsHostnames"), &*shown("enableDnsSupport")), ("false", "true"));
    let second = world.provision(&machine.id, &place).expect("provisioned");
    assert_eq!(second.private_dns_name, None);
    let view = world.view();
    let kept = view.get::<Eni>(world.cx.scope(), first.net.id.as_str()).expect("there");
    assert_eq!(kept.private_dns_name, first.private_dns_name, "it keeps its name");

    modify("EnableDnsSupport.Value", "false").expect("off");
    let early = modify("EnableDnsHostnames.Value", "true").expect_err("no resolver");
    assert_eq!(early.code, "InvalidParameterCombination");
    modify("EnableNetworkAddressUsageMetrics.Value", "true").expect("kept");
    assert_eq!(shown("enableNetworkAddressUsageMetrics"), "true");
    let two = [
        ("VpcId", id.as_str()),
        ("EnableDnsSupport.Value", "true"),
        ("EnableDnsHostnames.Value", "true"),
    ];
    assert_eq!(code(&world, "ModifyVpcAttribute", &two), "InvalidParameterCombination");
    assert_eq!(code(&world, "ModifyVpcAttribute", &two[..1]), "InvalidParameterCombination");
    let unknown = [("VpcId", id.as_str()), ("Attribute", "colour")];
    assert_eq!(code(&world, "DescribeVpcAttribute", &unknown), "InvalidParameterValue");
}

#[test]
fn vpcs_with_one_block_are_apart() {
    let world = World::new();
    let (one, other) = (vpc(&world, "172.31.0.0/16"), vpc(&world, "172.31.0.0/16"));
    subnet(&world, &one, "172.31.0.0/20");
    subnet(&world, &other, "172.31.0.0/20");
    let view = world.view();
    let mut vnis: Vec<u32> = view.list::<Vpc>(world.cx.scope()).map(|vpc| vpc.net.vni).collect();
    vnis.sort_unstable();
    vnis.dedup();
    assert_eq!(vnis.len(), 3);
}
