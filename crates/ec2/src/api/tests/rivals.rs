//! Two control planes that change one VPC at the same time, neither of which has seen
//! what the other does.

use super::{all, ask, code, group, only};
use crate::records::{SecurityGroup, Vpc};
use crate::testing::World;

fn vpc(world: &World) -> String {
    let xml = ask(world, "CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).expect("made");
    only(&xml, "vpcId").to_owned()
}

fn web(vpc: &str) -> [(&str, &str); 3] {
    [("VpcId", vpc), ("GroupName", "web"), ("GroupDescription", "for a test")]
}

#[test]
fn a_vpc_is_not_deleted_under_a_new_group() {
    let world = World::new();
    let vpc = vpc(&world);
    let rival = world.rival();
    ask(&world, "CreateSecurityGroup", &web(&vpc)).expect("made");
    assert_eq!(code(&rival, "DeleteVpc", &[("VpcId", &vpc)]), "DependencyViolation");
    assert!(rival.view().get::<Vpc>(rival.cx.scope(), &vpc).is_some());
}

#[test]
fn no_group_is_made_in_a_vpc_that_goes() {
    let world = World::new();
    let vpc = vpc(&world);
    let rival = world.rival();
    ask(&world, "DeleteVpc", &[("VpcId", &vpc)]).expect("deleted");
    assert_eq!(code(&rival, "CreateSecurityGroup", &web(&vpc)), "InvalidVpcID.NotFound");
    let subnet = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.1.0/24")];
    assert_eq!(code(&rival, "CreateSubnet", &subnet), "InvalidVpcID.NotFound");
}

#[test]
fn no_two_groups_of_a_vpc_have_one_name() {
    let world = World::new();
    let vpc = vpc(&world);
    let rival = world.rival();
    ask(&world, "CreateSecurityGroup", &web(&vpc)).expect("made");
    assert_eq!(code(&rival, "CreateSecurityGroup", &web(&vpc)), "InvalidGroup.Duplicate");
}

#[test]
fn a_group_is_not_deleted_under_who_comes_into_it() {
    let world = World::new();
    let (web, other) = (group(&world, "web"), group(&world, "other"));
    let subnet = world.subnets()[0].net.id.to_string();
    let make = |more: &[(&str, &str)]| {
        let mut form = vec![("SubnetId", subnet.as_str())];
        form.extend(more);
        let xml = ask(&world, "CreateNetworkInterface", &form).expect("made");
        all(&xml, "networkInterfaceId")[0].to_owned()
    };
    let delete = [("GroupId", web.as_str())];

    let rival = world.rival();
    let first = make(&[("SecurityGroupId.1", &web)]);
    assert_eq!(code(&rival, "DeleteSecurityGroup", &delete), "DependencyViolation");

    let mut form = vec![("NetworkInterfaceId", first.as_str()), ("SecurityGroupId.1", &other)];
    ask(&world, "ModifyNetworkInterfaceAttribute", &form).expect("out of it");
    let rival = world.rival();
    form[1].1 = &web;
    ask(&world, "ModifyNetworkInterfaceAttribute", &form).expect("into it");
    assert_eq!(code(&rival, "DeleteSecurityGroup", &delete), "DependencyViolation");

    ask(&world, "DeleteNetworkInterface", &form[..1]).expect("deleted");
    let rival = world.rival();
    let refer = [
        ("GroupId", other.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.Groups.1.GroupId", &web),
    ];
    ask(&world, "AuthorizeSecurityGroupIngress", &refer).expect("referred to");
    assert_eq!(code(&rival, "DeleteSecurityGroup", &delete), "DependencyViolation");
    let view = rival.view();
    assert!(view.get::<SecurityGroup>(rival.cx.scope(), &web).is_some());
}

#[test]
fn one_place_on_an_instance_takes_one_interface() {
    let world = World::new();
    let host = world.machine().id;
    let subnet = world.subnets()[0].net.id.to_string();
    let ids = [(); 2].map(|()| {
        let xml = ask(&world, "CreateNetworkInterface", &[("SubnetId", &subnet)]).expect("made");
        all(&xml, "networkInterfaceId")[0].to_owned()
    });
    let form =
        |id| [("NetworkInterfaceId", id), ("InstanceId", host.as_str()), ("DeviceIndex", "1")];
    let rival = world.rival();
    ask(&world, "AttachNetworkInterface", &form(&*ids[0])).expect("attached");
    assert_eq!(code(&rival, "AttachNetworkInterface", &form(&*ids[1])), "InvalidParameterValue");
}
