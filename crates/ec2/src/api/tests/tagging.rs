//! Tags of several kinds of resources at once.

use super::{all, ask, code, only};
use crate::testing::World;

fn tags(world: &World, form: &[(&str, &str)]) -> Vec<(String, String)> {
    let xml = ask(world, "DescribeTags", form).expect("shown");
    let own = |tag| all(&xml, tag).into_iter().map(str::to_owned);
    own("key").zip(own("value")).collect()
}

#[test]
fn one_call_tags_every_kind() {
    let world = World::new();
    let machine = world.machine();
    let group = world.default_group();
    let ids = [
        machine.id.to_string(),
        machine.primary_eni.to_string(),
        machine.subnet.to_string(),
        machine.vpc.to_string(),
        group.id.to_string(),
        group.rules[0].id.to_string(),
        group.rules[1].id.to_string(),
    ];
    let names: Vec<String> = (1..=ids.len()).map(|n| format!("ResourceId.{n}")).collect();
    let resources: Vec<(&str, &str)> =
        names.iter().zip(&ids).map(|(name, id)| (name.as_str(), id.as_str())).collect();
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        resources.iter().chain(more).copied().collect()
    };
    let env = [("Tag.1.Key", "env"), ("Tag.1.Value", "prod"), ("Tag.2.Key", "team")];
    ask(&world, "CreateTags", &with(&env)).expect("tagged");
    let revision = world.view().revision();
    ask(&world, "CreateTags", &with(&env)).expect("tagged");
    assert_eq!(world.view().revision(), revision, "saying the same writes nothing");

    let xml = ask(&world, "DescribeTags", &[("Filter.1.Name", "key"), ("Filter.1.Value.1", "env")])
        .expect("shown");
    let mut kinds = all(&xml, "resourceType");
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "instance",
            "network-interface",
            "security-group",
            "security-group-rule",
            "security-group-rule",
            "subnet",
            "vpc"
        ]
    );
    let of_subnet = [("Filter.1.Name", "resource-type"), ("Filter.1.Value.1", "subnet")];
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(tags(&world, &of_subnet), [pair("env", "prod"), pair("team", "")]);
    let form = [("Filter.1.Name", "tag:env"), ("Filter.1.Value.1", "pr*")];
    let xml = ask(&world, "DescribeInstances", &form).expect("shown");
    assert_eq!(only(&xml, "instanceId"), machine.id.as_str());

    // Another value stays; a key without a value goes, whatever its value.
    ask(&world, "DeleteTags", &with(&[("Tag.1.Key", "env"), ("Tag.1.Value", "test")]))
        .expect("nothing to do");
    assert_eq!(tags(&world, &of_subnet).len(), 2);
    ask(&world, "DeleteTags", &with(&[("Tag.1.Key", "env")])).expect("deleted");
    assert_eq!(tags(&world, &of_subnet), [pair("team", "")]);
    ask(&world, "DeleteTags", &with(&[])).expect("deleted");
    assert_eq!(tags(&world, &[]), []);
}

#[test]
fn one_that_is_not_there_leaves_all_as_they_were() {
    let world = World::new();
    let subnet = world.subnets()[0].net.id.to_string();
    for (id, code_) in [
        ("vpc-0123456789abcdef0", "InvalidVpcID.NotFound"),
        ("subnet-0123456789abcdef0", "InvalidSubnetID.NotFound"),
        ("sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("sgr-0123456789abcdef0", "InvalidSecurityGroupRuleId.NotFound"),
        ("eni-0123456789abcdef0", "InvalidNetworkInterfaceID.NotFound"),
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("vpc-1", "InvalidID"),
        ("nonsense", "InvalidID"),
    ] {
        let form = [
            ("ResourceId.1", subnet.as_str()),
            ("ResourceId.2", id),
            ("Tag.1.Key", "a"),
            ("Tag.1.Value", "b"),
        ];
        assert_eq!(code(&world, "CreateTags", &form), code_, "{id}");
        assert_eq!(code(&world, "DeleteTags", &form), code_, "{id}");
    }
    assert_eq!(tags(&world, &[]), []);
}

#[test]
fn limits_hold_for_what_there_is_and_what_comes() {
    let world = World::new();
    let subnet = world.subnets()[0].net.id.to_string();
    let keys: Vec<(String, String)> =
        (1..=50).map(|n| (format!("Tag.{n}.Key"), format!("key{n}"))).collect();
    let mut form: Vec<(&str, &str)> = vec![("ResourceId.1", &subnet)];
    form.extend(keys.iter().map(|(name, key)| (name.as_str(), key.as_str())));
    ask(&world, "CreateTags", &form).expect("as many as there may be");
    ask(&world, "CreateTags", &form).expect("the same");
    let with = |key: &'static str| [("ResourceId.1", subnet.as_str()), ("Tag.1.Key", key)];
    assert_eq!(code(&world, "CreateTags", &with("more")), "TagLimitExceeded");
    assert_eq!(code(&world, "CreateTags", &with("aws:x")), "InvalidParameterValue");
    assert_eq!(code(&world, "DeleteTags", &with("AWS:x")), "InvalidParameterValue");
    assert_eq!(code(&world, "CreateTags", &with("x")[..1]), "MissingParameter");
    assert_eq!(code(&world, "CreateTags", &with("x")[1..]), "MissingParameter");

    let page = ask(&world, "DescribeTags", &[("MaxResults", "30")]).expect("shown");
    let token = only(&page, "nextToken");
    let rest = ask(&world, "DescribeTags", &[("MaxResults", "30"), ("NextToken", token)]);
    let (first, rest) = (all(&page, "key").len(), all(&rest.expect("shown"), "key").len());
    assert_eq!((first, rest), (30, 20));
}

#[test]
fn more_than_a_commit_takes_are_tagged() {
    let world = World::new();
    let form = [("CidrBlock", "10.0.0.0/16")];
    let vpc = ask(&world, "CreateVpc", &form).expect("made");
    let vpc = only(&vpc, "vpcId");
    let ids: Vec<(String, String)> = (0..130)
        .map(|n| {
            let cidr = format!("10.0.{n}.0/24");
            let form = [("VpcId", vpc), ("CidrBlock", cidr.as_str())];
            let xml = ask(&world, "CreateSubnet", &form).expect("made");
            (format!("ResourceId.{}", n + 1), only(&xml, "subnetId").to_owned())
        })
        .collect();
    let mut form: Vec<(&str, &str)> =
        ids.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
    form.push(("Tag.1.Key", "many"));
    ask(&world, "CreateTags", &form).expect("tagged");
    assert_eq!(tags(&world, &[]).len(), 130);
}
