//! Filters that ask for more than an answer shows.

use super::{all, ask, code, group};
use crate::testing::World;

/// The ids, in `tag`, of what the operation shows under one filter.
fn found(world: &World, operation: &str, tag: &str, filter: &str, value: &str) -> Vec<String> {
    let form = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
    let xml = ask(world, operation, &form).expect("shown");
    all(&xml, tag).into_iter().map(str::to_owned).collect()
}

#[test]
fn groups_are_found_by_the_names_of_their_peers() {
    let world = World::new();
    let (web, cache) = (group(&world, "web"), group(&world, "cache"));
    let permit = |operation: &str, of: &str, peer: &str| {
        let form = [
            ("GroupId", of),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "80"),
            ("IpPermissions.1.ToPort", "80"),
            ("IpPermissions.1.Groups.1.GroupId", peer),
        ];
        ask(&world, operation, &form).expect("permitted");
    };
    permit("AuthorizeSecurityGroupIngress", &cache, &web);
    permit("AuthorizeSecurityGroupEgress", &web, &cache);
    let found = |filter, value| {
        let form = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
        let xml = ask(&world, "DescribeSecurityGroups", &form).expect("shown");
        all(&xml, "groupName").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found("ip-permission.group-name", "web"), ["cache"]);
    assert_eq!(found("ip-permission.group-name", "cache"), Vec::<String>::new());
    assert_eq!(found("ip-permission.group-name", "default"), ["default"]);
    assert_eq!(found("egress.ip-permission.group-name", "cac*"), ["web"]);
    assert_eq!(found("egress.ip-permission.group-name", "web"), Vec::<String>::new());
}

#[test]
fn instances_are_found_by_their_interfaces() {
    let world = World::new();
    let (plain, busy) = (world.machine(), world.machine());
    let subnet = &world.subnets()[0].net.id;
    world.provision(&busy.id, subnet).expect("a task's");
    let form = [
        ("SubnetId", subnet.as_str()),
        ("PrivateIpAddress", "172.31.0.77"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "env"),
        ("TagSpecification.1.Tag.1.Value", "test"),
    ];
    let xml = ask(&world, "CreateNetworkInterface", &form).expect("made");
    let form = [
        ("NetworkInterfaceId", all(&xml, "networkInterfaceId")[0]),
        ("InstanceId", plain.id.as_str()),
        ("DeviceIndex", "1"),
    ];
    ask(&world, "AttachNetworkInterface", &form).expect("attached");

    let found = |filter, value| found(&world, "DescribeInstances", "instanceId", filter, value);
    let (plain, busy) = (plain.id.to_string(), busy.id.to_string());
    for (filter, value, expected) in [
        ("network-interface.requester-managed", "true", &busy),
        ("network-interface.requester-id", "amazon-ecs", &busy),
        ("network-interface.tag-key", "env", &plain),
        ("network-interface.tag-value", "test", &plain),
        ("network-interface.private-ip-address", "172.31.0.77", &plain),
        ("network-interface.addresses.private-ip-address", "172.31.0.77", &plain),
        ("network-interface.addresses.private-dns-name", "ip-172-31-0-77.*", &plain),
    ] {
        assert_eq!(found(filter, value), [expected.as_str()], "{filter}");
    }
    for (filter, value, count) in [
        ("network-interface.requester-managed", "false", 2),
        ("network-interface.attachment.network-card-index", "0", 2),
        ("network-interface.operator.managed", "false", 2),
        ("operator.managed", "false", 2),
        ("operator.managed", "true", 0),
        ("ena-support", "true", 2),
        ("ebs-optimized", "true", 0),
        ("private-dns-name-options.hostname-type", "ip-name", 2),
        ("metadata-options.http-tokens", "*", 0),
    ] {
        assert_eq!(found(filter, value).len(), count, "{filter} {value}");
    }
    let unknown = [("Filter.1.Name", "shape"), ("Filter.1.Value.1", "round")];
    assert_eq!(code(&world, "DescribeInstances", &unknown), "InvalidParameterValue");
}
