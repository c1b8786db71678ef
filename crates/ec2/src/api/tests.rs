//! The operations, asked as a client asks: a form in, XML out.

mod filters;
mod rivals;
mod tagging;
mod vpcs;

use super::Ec2;
use crate::records::{AttachmentStatus, Eni, SecurityGroup};
use crate::testing::{World, now};
use wire::{Body, Fault, Request};

/// What EC2 answers to a form, as botocore writes it.
pub(crate) fn ask(world: &World, operation: &str, form: &[(&str, &str)]) -> Result<String, Fault> {
    let form: Vec<(String, String)> =
        form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Request { operation, id: "r-1", body: Body::Form(&form) };
    let answer = now(wire::ec2::serve(&Ec2, &world.cx, &request))?;
    Ok(String::from_utf8(answer).expect("XML"))
}

pub(super) fn code(world: &World, operation: &str, form: &[(&str, &str)]) -> String {
    ask(world, operation, form).expect_err("refused").code.into_owned()
}

/// Each text between `<tag>` and its end.
pub(super) fn all<'a>(xml: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let parts = xml.split(open.as_str()).skip(1);
    parts.filter_map(|rest| Some(rest.split_once(close.as_str())?.0)).collect()
}

pub(crate) fn only<'a>(xml: &'a str, tag: &str) -> &'a str {
    let found = all(xml, tag);
    assert_eq!(found.len(), 1, "<{tag}> in {xml}");
    found[0]
}

#[test]
fn a_fresh_region_has_its_default_vpc() {
    let world = World::new();
    let xml = ask(
        &world,
        "DescribeVpcs",
        &[("Filter.1.Name", "isDefault"), ("Filter.1.Value.1", "true")],
    )
    .expect("shown");
    assert!(xml.contains("<isDefault>true</isDefault>"), "{xml}");
    assert_eq!(all(&xml, "cidrBlock"), ["172.31.0.0/16", "172.31.0.0/16"], "and its association");
    let vpc = only(&xml, "vpcId");

    let xml = ask(
        &world,
        "DescribeSubnets",
        &[
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", vpc),
            ("Filter.2.Name", "availability-zone"),
            ("Filter.2.Value.1", "us-east-1?"),
        ],
    )
    .expect("shown");
    let mut blocks = all(&xml, "cidrBlock");
    blocks.sort_unstable();
    assert_eq!(blocks.len(), 6);
    assert_eq!(blocks[..2], ["172.31.0.0/20", "172.31.16.0/20"]);
    assert!(all(&xml, "availableIpAddressCount").iter().all(|count| *count == "4091"));
    let zone = ask(
        &world,
        "DescribeSubnets",
        &[("Filter.1.Name", "availability-zone-id"), ("Filter.1.Value.1", "use1-az2")],
    );
    assert_eq!(only(&zone.expect("shown"), "cidrBlock"), "172.31.16.0/20");

    let xml = ask(&world, "DescribeSecurityGroups", &[("GroupName.1", "default")]).expect("shown");
    assert_eq!(all(&xml, "ipProtocol"), ["-1", "-1"]);
    assert_eq!(all(&xml, "cidrIp"), ["0.0.0.0/0"]);
    assert_eq!(all(&xml, "userId").len(), 1, "it trusts itself: {xml}");
}

#[test]
fn lists_come_in_pages() {
    let world = World::new();
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let form = [("MaxResults", "5"), ("NextToken", token.as_str())];
        let form = if token.is_empty() { &form[..1] } else { &form[..] };
        let xml = ask(&world, "DescribeSubnets", form).expect("a page");
        seen.extend(all(&xml, "subnetId").into_iter().map(str::to_owned));
        match all(&xml, "nextToken").first() {
            Some(next) => token = (*next).to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 6);
    let other = code(&world, "DescribeVpcs", &[("NextToken", &token)]);
    assert_eq!(other, "InvalidNextToken", "a token belongs to its list");
}

#[test]
fn zones_are_those_of_the_region() {
    let world = World::new();
    let xml = ask(&world, "DescribeAvailabilityZones", &[]).expect("shown");
    assert_eq!(all(&xml, "zoneId").len(), 6);
    let xml = ask(&world, "DescribeAvailabilityZones", &[("ZoneName.1", "us-east-1b")]);
    let xml = xml.expect("shown");
    assert_eq!(only(&xml, "zoneId"), "use1-az2");
    assert_eq!(only(&xml, "zoneState"), "available");
    let fault = ask(&world, "DescribeAvailabilityZones", &[("ZoneName.1", "us-east-1z")]);
    let fault = fault.expect_err("no such zone");
    assert_eq!(fault.message, "Invalid availability zone: [us-east-1z]");
}

#[test]
fn regions_are_those_of_the_partition() {
    let world = World::new();
    let xml = ask(&world, "DescribeRegions", &[]).expect("shown");
    let names = all(&xml, "regionName");
    assert!(names.contains(&"us-east-1"));
    assert!(!names.iter().any(|name| name.starts_with("cn-") || name.starts_with("us-gov-")));
    let xml = ask(&world, "DescribeRegions", &[("AllRegions", "true")]).expect("shown");
    assert_eq!(all(&xml, "regionName"), names, "every region is taken part in");

    let xml = ask(&world, "DescribeRegions", &[("RegionName.1", "eu-south-1")]).expect("shown");
    assert_eq!(only(&xml, "regionEndpoint"), "ec2.eu-south-1.amazonaws.com");
    assert_eq!(only(&xml, "optInStatus"), "opted-in");
    let filtered = |name, value| {
        let form = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        ask(&world, "DescribeRegions", &form).expect("shown")
    };
    assert_eq!(all(&filtered("region-name", "us-east-*"), "regionName").len(), 2);
    let xml = filtered("endpoint", "ec2.eu-west-1.amazonaws.com");
    assert_eq!(only(&xml, "regionName"), "eu-west-1");
    assert_eq!(all(&filtered("opt-in-status", "not-opted-in"), "regionName").len(), 0);
    for name in ["us-east-3", "cn-north-1"] {
        let fault = ask(&world, "DescribeRegions", &[("RegionName.1", name)]);
        let fault = fault.expect_err("no such region");
        assert_eq!(fault.code, "InvalidParameterValue");
        assert_eq!(fault.message, format!("Invalid region provided: {name}"));
    }
}

/// Makes the group `name` and answers with its id.
pub(super) fn group(world: &World, name: &str) -> String {
    let form = [("GroupName", name), ("GroupDescription", "for a test")];
    let xml = ask(world, "CreateSecurityGroup", &form).expect("made");
    only(&xml, "groupId").to_owned()
}

#[test]
fn a_group_is_made_filled_emptied_and_deleted() {
    let world = World::new();
    let xml = ask(
        &world,
        "CreateSecurityGroup",
        &[
            ("GroupName", "web"),
            ("GroupDescription", "for the web"),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", "env"),
            ("TagSpecification.1.Tag.1.Value", "test"),
        ],
    )
    .expect("made");
    let web = only(&xml, "groupId").to_owned();
    let front = group(&world, "front");

    let xml = ask(
        &world,
        "AuthorizeSecurityGroupIngress",
        &[
            ("GroupId", &web),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "80"),
            ("IpPermissions.1.ToPort", "80"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "100.68.0.18/18"),
            ("IpPermissions.1.IpRanges.1.Description", "the office"),
            ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "2001:db8::1/32"),
            ("IpPermissions.1.Groups.1.GroupId", &front),
            ("TagSpecification.1.ResourceType", "security-group-rule"),
            ("TagSpecification.1.Tag.1.Key", "by"),
            ("TagSpecification.1.Tag.1.Value", "us"),
        ],
    )
    .expect("authorized");
    assert_eq!(all(&xml, "securityGroupRuleId").len(), 3, "{xml}");
    assert_eq!(all(&xml, "cidrIpv4"), ["100.68.0.0/18"], "without host bits");
    assert_eq!(all(&xml, "cidrIpv6"), ["2001:db8::/32"]);
    let first = all(&xml, "securityGroupRuleId")[0].to_owned();

    let xml = ask(
        &world,
        "DescribeSecurityGroups",
        &[
            ("Filter.1.Name", "tag:env"),
            ("Filter.1.Value.1", "te*"),
            ("Filter.2.Name", "ip-permission.cidr"),
            ("Filter.2.Value.1", "100.68.0.0/18"),
        ],
    )
    .expect("shown");
    assert_eq!(all(&xml, "groupName"), ["web"]);
    assert_eq!(all(&xml, "ipProtocol"), ["tcp", "-1"], "one permission for all three sources");
    assert!(xml.contains("<description>the office</description>"), "{xml}");

    assert_eq!(code(&world, "DeleteSecurityGroup", &[("GroupId", &front)]), "DependencyViolation");
    let xml = ask(
        &world,
        "RevokeSecurityGroupIngress",
        &[("GroupId", &web), ("SecurityGroupRuleId.1", &first)],
    )
    .expect("revoked");
    assert_eq!(only(&xml, "cidrIpv4"), "100.68.0.0/18");
    ask(
        &world,
        "RevokeSecurityGroupIngress",
        &[
            ("GroupId", &web),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "80"),
            ("IpPermissions.1.ToPort", "80"),
            ("IpPermissions.1.Groups.1.GroupId", &front),
        ],
    )
    .expect("revoked");
    for group in [&front, &web] {
        let xml = ask(&world, "DeleteSecurityGroup", &[("GroupId", group)]).expect("deleted");
        assert_eq!(only(&xml, "groupId"), group);
    }
    assert_eq!(code(&world, "DeleteSecurityGroup", &[("GroupId", &web)]), "InvalidGroup.NotFound");
}

#[test]
fn the_flat_form_means_the_same() {
    let world = World::new();
    let (web, front) = (group(&world, "web"), group(&world, "front"));
    let port = [
        ("GroupName", "web"),
        ("IpProtocol", "tcp"),
        ("FromPort", "22"),
        ("ToPort", "22"),
        ("CidrIp", "10.1.2.3/8"),
    ];
    ask(&world, "AuthorizeSecurityGroupIngress", &port).expect("authorized");
    let fault = ask(&world, "AuthorizeSecurityGroupIngress", &port).expect_err("twice");
    assert_eq!(
        (&*fault.code, &*fault.message),
        (
            "InvalidPermission.Duplicate",
            "the specified rule \"peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW\" \
             already exists"
        )
    );
    for source in ["front", &front] {
        let form = [("GroupId", web.as_str()), ("SourceSecurityGroupName", source)];
        let xml = ask(&world, "AuthorizeSecurityGroupIngress", &form).expect("authorized");
        assert_eq!(all(&xml, "ipProtocol"), ["tcp", "udp", "icmp"]);
        let xml = ask(&world, "RevokeSecurityGroupIngress", &form).expect("revoked");
        assert_eq!(all(&xml, "securityGroupRuleId").len(), 3);
    }
    let xml = ask(&world, "RevokeSecurityGroupIngress", &port).expect("revoked");
    assert_eq!(only(&xml, "return"), "true");
    // In a default VPC, what is not there is listed and is no error.
    let xml = ask(&world, "RevokeSecurityGroupIngress", &port).expect("listed");
    assert_eq!(all(&xml, "cidrIp"), ["10.0.0.0/8"]);
    assert!(all(&xml, "securityGroupRuleId").is_empty());
}

#[test]
fn elsewhere_than_in_a_default_vpc_all_must_be_there() {
    let world = World::new();
    let web = group(&world, "web");
    let view = world.view();
    let vpc = view.list::<crate::records::Vpc>(world.cx.scope()).next().expect("the default VPC");
    let plain = crate::records::Vpc { is_default: false, ..crate::records::Vpc::clone(&vpc) };
    world
        .transact(|txn| {
            txn.put(plain.clone());
            Ok(())
        })
        .expect("changed");
    let port = |number| {
        [("GroupId", web.as_str()), ("IpProtocol", "udp"), ("CidrIp", "0.0.0.0/0")]
            .into_iter()
            .chain([("FromPort", number), ("ToPort", number)])
            .collect::<Vec<_>>()
    };
    ask(&world, "AuthorizeSecurityGroupIngress", &port("53")).expect("authorized");
    let two = [
        ("GroupId", web.as_str()),
        ("IpPermissions.1.IpProtocol", "udp"),
        ("IpPermissions.1.FromPort", "53"),
        ("IpPermissions.1.ToPort", "53"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ("IpPermissions.1.IpRanges.2.CidrIp", "10.0.0.0/8"),
    ];
    assert_eq!(code(&world, "RevokeSecurityGroupIngress", &two), "InvalidPermission.NotFound");
    ask(&world, "RevokeSecurityGroupIngress", &port("53")).expect("it was left as it was");
}

#[test]
fn authorizing_is_all_or_nothing() {
    let world = World::new();
    let web = group(&world, "web");
    let rules = |world: &World| {
        let group = world.view().get::<SecurityGroup>(world.cx.scope(), &web).expect("a group");
        group.rules.len()
    };
    let base = [
        ("GroupId", web.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "1"),
        ("IpPermissions.1.ToPort", "1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
    ];
    for (more, code_) in [
        (&[("IpPermissions.1.IpRanges.2.CidrIp", "10.9.0.0/8")][..], "InvalidParameterValue"),
        (&[("IpPermissions.1.IpRanges.2.CidrIp", "10.0.0.0/40")], "InvalidParameterValue"),
        (&[("IpPermissions.1.Groups.1.GroupId", "sg-0123456789abcdef0")], "InvalidGroup.NotFound"),
        (&[("IpPermissions.1.Groups.1.GroupId", "web")], "InvalidGroupId.Malformed"),
        (
            &[
                ("IpPermissions.1.Groups.1.GroupName", "web"),
                ("IpPermissions.1.Groups.1.UserId", "111111111111"),
            ],
            "InvalidGroup.NotFound",
        ),
        (
            &[
                ("IpPermissions.1.Groups.1.GroupName", "web"),
                ("IpPermissions.1.Groups.1.VpcId", "vpc-0123456789abcdef0"),
            ],
            "InvalidVpcID.NotFound",
        ),
        (
            &[
                ("IpPermissions.1.Groups.1.GroupName", "web"),
                ("IpPermissions.1.Groups.1.VpcPeeringConnectionId", "pcx-1"),
            ],
            "InvalidVpcPeeringConnectionID.NotFound",
        ),
        (&[("GroupName", "default")], "InvalidParameterCombination"),
        (
            &[("IpPermissions.1.PrefixListIds.1.PrefixListId", "pl-1")],
            "InvalidPrefixListID.NotFound",
        ),
        (&[("IpPermissions.2.IpProtocol", "tcp")], "InvalidParameterValue"),
        (&[("IpPermissions.2.IpProtocol", "-1")], "MissingParameter"),
        (&[("CidrIp", "10.0.0.0/8")], "InvalidParameterCombination"),
    ] {
        let form: Vec<_> = base.iter().chain(more).copied().collect();
        assert_eq!(code(&world, "AuthorizeSecurityGroupIngress", &form), code_, "{more:?}");
        assert_eq!(rules(&world), 1, "only the egress rule that it came with");
    }
    let nothing = [("GroupId", web.as_str())];
    assert_eq!(code(&world, "AuthorizeSecurityGroupIngress", &nothing), "MissingParameter");
    let foreign = [
        ("GroupId", web.as_str()),
        ("SourceSecurityGroupName", "web"),
        ("SourceSecurityGroupOwnerId", "111111111111"),
    ];
    assert_eq!(code(&world, "AuthorizeSecurityGroupIngress", &foreign), "InvalidGroup.NotFound");

    let ports: Vec<(String, String)> = (1..=61)
        .map(|n| (format!("IpPermissions.1.IpRanges.{n}.CidrIp"), format!("10.0.{n}.0/24")))
        .collect();
    let all_of = |count: usize| -> Vec<(&str, &str)> {
        let ports = ports.iter().take(count).map(|(name, value)| (name.as_str(), value.as_str()));
        base[..4].iter().copied().chain(ports).collect()
    };
    let many = code(&world, "AuthorizeSecurityGroupIngress", &all_of(61));
    assert_eq!(many, "RulesPerSecurityGroupLimitExceeded");
    ask(&world, "AuthorizeSecurityGroupIngress", &all_of(60)).expect("as many as there may be");
    assert_eq!(rules(&world), 61);
}

#[test]
fn names_of_groups_are_sound_and_unique() {
    let world = World::new();
    let vpc = world.default_group().vpc.to_string();
    group(&world, "web");
    let long = "x".repeat(256);
    for (name, vpc, code_) in [
        ("web", vpc.as_str(), "InvalidGroup.Duplicate"),
        (" web ", &vpc, "InvalidGroup.Duplicate"),
        ("default", &vpc, "InvalidParameterValue"),
        ("sg-web", &vpc, "InvalidParameterValue"),
        ("wéb", &vpc, "InvalidParameterValue"),
        ("we^b", &vpc, "InvalidParameterValue"),
        (&long, &vpc, "InvalidParameterValue"),
        ("api", "vpc-0123456789abcdef0", "InvalidVpcID.NotFound"),
        ("api", "nonsense", "InvalidVpcID.NotFound"),
    ] {
        let form = [("GroupName", name), ("GroupDescription", "x"), ("VpcId", vpc)];
        assert_eq!(code(&world, "CreateSecurityGroup", &form), code_, "{name} in {vpc}");
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::new();
    let web = group(&world, "web");
    let before = world.view().revision();
    for (operation, form) in [
        ("CreateSecurityGroup", &[("GroupName", "x"), ("GroupDescription", "x")][..]),
        ("DeleteSecurityGroup", &[("GroupId", &web)]),
        (
            "AuthorizeSecurityGroupIngress",
            &[("GroupId", &web), ("IpProtocol", "-1"), ("CidrIp", "0.0.0.0/0")],
        ),
        (
            "RevokeSecurityGroupIngress",
            &[("GroupId", &web), ("IpProtocol", "-1"), ("CidrIp", "0.0.0.0/0")],
        ),
        ("DescribeVpcs", &[]),
        ("DescribeSubnets", &[]),
        ("DescribeSecurityGroups", &[]),
        ("DescribeNetworkInterfaces", &[]),
        ("DescribeInstances", &[]),
        ("DescribeAvailabilityZones", &[]),
        ("DescribeRegions", &[]),
    ] {
        let mut form = form.to_vec();
        form.push(("DryRun", "true"));
        let fault = ask(&world, operation, &form).expect_err("a dry run");
        assert_eq!((fault.status, &*fault.code), (412, "DryRunOperation"), "{operation}");
    }
    assert_eq!(world.view().revision(), before);
}

#[test]
fn a_tasks_interface_is_shown_as_ecs_left_it() {
    let world = World::new();
    let instance = world.machine();
    let subnet = world.subnets()[1].clone();
    let eni = world.provision(&instance.id, &subnet.net.id).expect("provisioned");
    let id = eni.net.id.to_string();
    let form = [("NetworkInterfaceId.1", id.as_str())];

    let xml = ask(&world, "DescribeNetworkInterfaces", &form).expect("shown");
    for (tag, value) in [
        ("networkInterfaceId", id.as_str()),
        ("description", &eni.description),
        ("requesterManaged", "true"),
        ("requesterId", "amazon-ecs"),
        ("interfaceType", "interface"),
        ("macAddress", &eni.net.mac.to_string()),
        ("availabilityZone", "us-east-1b"),
        ("instanceId", instance.id.as_str()),
        ("deviceIndex", "1"),
        ("groupName", "default"),
        ("ownerId", "123456789012"),
        ("primary", "true"),
        ("attachTime", "2026-11-22T07:00:00.000Z"),
    ] {
        assert_eq!(only(&xml, tag), value, "{tag}");
    }
    assert!(eni.description.starts_with("arn:aws:ecs:us-east-1:123456789012:attachment/"));
    assert_eq!(all(&xml, "status"), ["attaching", "attaching"]);
    let address = eni.net.ipv4.to_string();
    let dns = format!("ip-{}.ec2.internal", address.replace('.', "-"));
    assert_eq!(all(&xml, "privateDnsName"), [&dns, &dns]);

    let mut attached = Eni::clone(&eni);
    attached.attachment.as_mut().expect("attached").status = AttachmentStatus::Attached;
    world
        .transact(|txn| {
            txn.put(attached.clone());
            Ok(())
        })
        .expect("changed");
    let xml = ask(
        &world,
        "DescribeNetworkInterfaces",
        &[
            ("Filter.1.Name", "requester-managed"),
            ("Filter.1.Value.1", "true"),
            ("Filter.2.Name", "private-ip-address"),
            ("Filter.2.Value.1", &address),
            ("Filter.3.Name", "attachment.instance-id"),
            ("Filter.3.Value.1", instance.id.as_str()),
        ],
    )
    .expect("shown");
    assert_eq!(all(&xml, "status"), ["attached", "in-use"]);
    assert_eq!(
        code(
            &world,
            "DescribeNetworkInterfaces",
            &[("NetworkInterfaceId.1", "eni-00000000000000000")]
        ),
        "InvalidNetworkInterfaceID.NotFound"
    );
    let both = [form[0], ("MaxResults", "5")];
    assert_eq!(code(&world, "DescribeNetworkInterfaces", &both), "InvalidParameterCombination");
    assert_eq!(
        code(&world, "DescribeSubnets", &[("Filter.1.Name", "colour"), ("Filter.1.Value.1", "x")]),
        "InvalidParameterValue"
    );
}

#[test]
fn a_machine_is_a_running_instance() {
    let world = World::new();
    let instance = world.machine();
    let subnet = world.subnets()[0].net.id.clone();
    let task = world.provision(&instance.id, &subnet).expect("provisioned");
    let form = [("InstanceId.1", instance.id.as_str())];
    let xml = ask(&world, "DescribeInstances", &form).expect("shown");
    for part in [
        "<instanceState><code>16</code><name>running</name></instanceState>",
        "<availabilityZone>us-east-1a</availabilityZone>",
        "<launchTime>2026-11-22T07:00:00.000Z</launchTime>",
        &format!("<networkInterfaceId>{}</networkInterfaceId>", instance.primary_eni),
        &format!("<networkInterfaceId>{}</networkInterfaceId>", task.net.id),
        &format!("<vpcId>{}</vpcId>", instance.vpc),
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
    assert_eq!(all(&xml, "deviceIndex"), ["0", "1"]);
    let filtered = ask(
        &world,
        "DescribeInstances",
        &[
            ("Filter.1.Name", "network-interface.network-interface-id"),
            ("Filter.1.Value.1", task.net.id.as_str()),
            ("Filter.2.Name", "instance-state-name"),
            ("Filter.2.Value.1", "running"),
            ("Filter.2.Value.2", "pending"),
        ],
    );
    assert_eq!(all(&filtered.expect("shown"), "reservationId").len(), 1);
    assert_eq!(
        code(&world, "DescribeInstances", &[("InstanceId.1", "x")]),
        "InvalidInstanceID.Malformed"
    );
    assert_eq!(
        code(&world, "DescribeInstances", &[("InstanceId.1", "i-0123456789abcdef0")]),
        "InvalidInstanceID.NotFound"
    );
}

#[test]
fn a_group_in_use_stays() {
    let world = World::new();
    let default = world.default_group().id.to_string();
    let fault = ask(&world, "DeleteSecurityGroup", &[("GroupName", "default")]);
    let fault = fault.expect_err("the default group");
    assert_eq!(fault.code, "CannotDelete");
    assert!(fault.message.contains(&default), "{}", fault.message);

    let web = group(&world, "web");
    let instance = world.machine();
    let subnet = world.subnets()[0].net.id.clone();
    let mut eni = world.provision(&instance.id, &subnet).expect("provisioned");
    eni.net.groups = [web.parse().expect("an id")].into();
    world
        .transact(|txn| {
            txn.put(eni.clone());
            Ok(())
        })
        .expect("changed");
    let fault = ask(&world, "DeleteSecurityGroup", &[("GroupId", &web)]).expect_err("in use");
    assert_eq!(fault.message, format!("resource {web} has a dependent object"));
}
