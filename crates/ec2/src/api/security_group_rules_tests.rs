use crate::api::tests::{all, ask, code, group, only};
use crate::records::SecurityGroup;
use crate::testing::World;
use proptest::prelude::*;

fn kept(world: &World, id: &str) -> SecurityGroup {
    SecurityGroup::clone(&world.view().get(world.cx.scope(), id).expect("there"))
}

/// Makes a group that lets port 80 in from these, and gives the rules' ids.
fn with_rules(world: &World, name: &str, blocks: &[&str]) -> (String, Vec<String>) {
    let id = group(world, name);
    let names: Vec<String> =
        (1..=blocks.len()).map(|n| format!("IpPermissions.1.IpRanges.{n}.CidrIp")).collect();
    let mut form = vec![("GroupId", id.as_str())];
    form.extend(PORT_80);
    form.extend(names.iter().map(String::as_str).zip(blocks.iter().copied()));
    let xml = ask(world, "AuthorizeSecurityGroupIngress", &form).expect("authorized");
    let rules = all(&xml, "securityGroupRuleId").into_iter().map(str::to_owned).collect();
    (id, rules)
}

const PORT_80: [(&str, &str); 3] = [
    ("IpPermissions.1.IpProtocol", "tcp"),
    ("IpPermissions.1.FromPort", "80"),
    ("IpPermissions.1.ToPort", "80"),
];

#[test]
fn egress_is_revoked_and_authorized() {
    let world = World::new();
    let id = group(&world, "web");
    let everything = [
        ("GroupId", id.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    assert_eq!(
        code(&world, "AuthorizeSecurityGroupEgress", &everything),
        "InvalidPermission.Duplicate",
        "a new group has the rule"
    );
    let xml = ask(&world, "RevokeSecurityGroupEgress", &everything).expect("revoked");
    assert_eq!(only(&xml, "isEgress"), "true");
    assert_eq!(kept(&world, &id).net().egress, []);

    let xml = ask(&world, "AuthorizeSecurityGroupEgress", &everything).expect("authorized");
    let rule = only(&xml, "securityGroupRuleId");
    assert_eq!(kept(&world, &id).net().egress.len(), 1);
    let form = [("GroupId", id.as_str()), ("SecurityGroupRuleId.1", rule)];
    assert_eq!(
        code(&world, "RevokeSecurityGroupIngress", &form),
        "InvalidSecurityGroupRuleId.NotFound",
        "it is of the other direction"
    );
    ask(&world, "RevokeSecurityGroupEgress", &form).expect("revoked by its id");
    assert_eq!(kept(&world, &id).net().egress, []);

    let flat = [("GroupId", id.as_str()), ("IpProtocol", "tcp"), ("CidrIp", "10.0.0.0/8")];
    assert_eq!(code(&world, "AuthorizeSecurityGroupEgress", &flat), "InvalidParameterCombination");
}

#[test]
fn a_direction_has_its_own_limit() {
    let world = World::new();
    let blocks: Vec<String> = (0..60).map(|n| format!("10.0.{n}.0/24")).collect();
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    let (id, rules) = with_rules(&world, "full", &blocks);
    assert_eq!(rules.len(), 60);
    let one_more = [
        ("GroupId", id.as_str()),
        ("IpPermissions.1.IpProtocol", "udp"),
        ("IpPermissions.1.FromPort", "53"),
        ("IpPermissions.1.ToPort", "53"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/24"),
    ];
    assert_eq!(
        code(&world, "AuthorizeSecurityGroupIngress", &one_more),
        "RulesPerSecurityGroupLimitExceeded"
    );
    ask(&world, "AuthorizeSecurityGroupEgress", &one_more).expect("the other way there is room");
}

#[test]
fn the_operator_sets_the_limits() {
    let mut world = World::new();
    world.cx.platform.quotas = chassis::Quotas::new(3, 6).expect("quotas");
    let (id, rules) = with_rules(&world, "full", &["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]);
    assert_eq!(rules.len(), 3);
    let permit = |world: &World, block: &str| {
        let form = [
            ("GroupId", id.as_str()),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.IpRanges.1.CidrIp", block),
        ];
        ask(world, "AuthorizeSecurityGroupIngress", &form).map_err(|fault| fault.code)
    };
    let refused = permit(&world, "10.0.3.0/24").expect_err("one too many");
    assert_eq!(refused, "RulesPerSecurityGroupLimitExceeded");
    let subnet = world.subnets()[0].net.id.to_string();
    let groups: Vec<String> = (0..6).map(|n| group(&world, &format!("group-{n}"))).collect();
    let names: Vec<String> = (1..=7).map(|n| format!("SecurityGroupId.{n}")).collect();
    let all = groups.iter().chain([&id]);
    let form: Vec<(&str, &str)> =
        names.iter().zip(all).map(|(name, id)| (name.as_str(), id.as_str())).collect();
    let make = |groups: usize| {
        let form = [&[("SubnetId", subnet.as_str())][..], &form[..groups]].concat();
        ask(&world, "CreateNetworkInterface", &form).map_err(|fault| fault.code)
    };
    make(6).expect("six may be");
    assert_eq!(make(7).expect_err("too many"), "SecurityGroupsPerInterfaceLimitExceeded");

    world.cx.platform.quotas = chassis::Quotas::new(1000, 1).expect("quotas");
    let blocks: Vec<String> =
        (3..1000).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250)).collect();
    let names: Vec<String> =
        (1..=blocks.len()).map(|n| format!("IpPermissions.1.IpRanges.{n}.CidrIp")).collect();
    let mut form = vec![("GroupId", id.as_str()), ("IpPermissions.1.IpProtocol", "-1")];
    form.extend(names.iter().map(String::as_str).zip(blocks.iter().map(String::as_str)));
    ask(&world, "AuthorizeSecurityGroupIngress", &form).expect("there is room for a thousand");
    let refused = permit(&world, "10.200.0.0/24").expect_err("one too many");
    assert_eq!(refused, "RulesPerSecurityGroupLimitExceeded");
}

#[test]
fn rules_are_shown_by_group_id_and_tag() {
    let world = World::new();
    let (web, rules) = with_rules(&world, "web", &["10.0.0.0/8", "192.168.0.0/16"]);
    let filter = |name: &str, value: &str| {
        let form = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let xml = ask(&world, "DescribeSecurityGroupRules", &form).expect("shown");
        all(&xml, "securityGroupRuleId").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(filter("group-id", &web).len(), 3, "two in, and one out");
    assert_eq!(filter("security-group-rule-id", &rules[1]), [rules[1].clone()]);
    assert_eq!(filter("tag:env", "*"), [""; 0]);
    let chosen = [("SecurityGroupRuleId.1", rules[0].as_str())];
    let xml = ask(&world, "DescribeSecurityGroupRules", &chosen).expect("shown");
    assert_eq!(only(&xml, "cidrIpv4"), "10.0.0.0/8");
    for (id, refused) in [
        ("sgr-0123456789abcdef0", "InvalidSecurityGroupRuleId.NotFound"),
        ("web", "InvalidSecurityGroupRuleId.Malformed"),
    ] {
        let form = [("SecurityGroupRuleId.1", id)];
        assert_eq!(code(&world, "DescribeSecurityGroupRules", &form), refused);
    }

    let mut seen = Vec::new();
    let mut token = String::new();
    with_rules(&world, "more", &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);
    loop {
        let form = [("MaxResults", "5"), ("NextToken", token.as_str())];
        let form = if token.is_empty() { &form[..1] } else { &form[..] };
        let xml = ask(&world, "DescribeSecurityGroupRules", form).expect("a page");
        seen.extend(all(&xml, "securityGroupRuleId").into_iter().map(str::to_owned));
        match all(&xml, "nextToken").first() {
            Some(next) => token = (*next).to_owned(),
            None => break,
        }
    }
    let total: usize =
        world.view().list::<SecurityGroup>(world.cx.scope()).map(|group| group.rules.len()).sum();
    assert_eq!(seen.len(), total);
    assert!(seen.is_sorted());
}

/// An update of the rule `id`, the `n`th of its request.
fn update<'a>(n: usize, id: &'a str, members: &[(&str, &'a str)]) -> Vec<(String, &'a str)> {
    let start = format!("SecurityGroupRule.{n}");
    let mut form = vec![(format!("{start}.SecurityGroupRuleId"), id)];
    form.extend(
        members.iter().map(|(name, value)| (format!("{start}.SecurityGroupRule.{name}"), *value)),
    );
    form
}

fn modify(world: &World, group: &str, updates: &[Vec<(String, &str)>]) -> Result<String, String> {
    let mut form = vec![("GroupId", group)];
    form.extend(updates.iter().flatten().map(|(name, value)| (name.as_str(), *value)));
    ask(world, "ModifySecurityGroupRules", &form)
        .map_err(|fault| format!("{}: {}", fault.code, fault.message))
}

fn tcp<'a>(cidr: &'a str, port: &'a str) -> [(&'static str, &'a str); 4] {
    [("IpProtocol", "tcp"), ("FromPort", port), ("ToPort", port), ("CidrIpv4", cidr)]
}

#[test]
fn rules_change_together_or_not_at_all() {
    let world = World::new();
    let (web, rules) = with_rules(&world, "web", &["10.0.0.0/8", "192.168.0.0/16"]);
    let [one, other] = &rules[..] else { panic!("two rules") };
    let before = kept(&world, &web);

    // Each becomes what the other was.
    let swap =
        [update(1, one, &tcp("192.168.0.0/16", "80")), update(2, other, &tcp("10.0.0.0/8", "80"))];
    modify(&world, &web, &swap).expect("swapped");
    let after = kept(&world, &web);
    let rule = |group: &SecurityGroup, id: &str| {
        group.rules.iter().find(|rule| rule.id.as_str() == id).expect("there").rule.clone()
    };
    assert_eq!(rule(&after, one), rule(&before, other));
    assert_eq!(rule(&after, other), rule(&before, one));

    for (updates, why) in [
        (
            vec![
                update(1, one, &tcp("10.0.0.0/8", "443")),
                update(2, other, &tcp("10.0.0.0/8", "443")),
            ],
            "InvalidPermission.Duplicate: the specified rule \"peer: 10.0.0.0/8, TCP, from port: \
             443, to port: 443, ALLOW\" already exists",
        ),
        (
            vec![
                update(1, one, &tcp("10.0.0.0/8", "443")),
                update(2, "sgr-0123456789abcdef0", &tcp("10.0.0.0/8", "1")),
            ],
            "InvalidSecurityGroupRuleId.NotFound: The security group rule ID \
             'sgr-0123456789abcdef0' does not exist",
        ),
        (
            vec![update(1, one, &[("IpProtocol", "-1"), ("ReferencedGroupId", &web)])],
            "InvalidParameterValue: You may not specify a referenced group id for an existing \
             IPv4 CIDR rule.",
        ),
        (
            vec![update(1, one, &[("IpProtocol", "-1"), ("CidrIpv6", "::/0")])],
            "InvalidParameterValue: You may not specify an IPv6 CIDR for an existing IPv4 CIDR \
             rule.",
        ),
        (
            vec![update(1, one, &[("IpProtocol", "-1")])],
            "MissingParameter: The request must contain the parameter cidrIpv4",
        ),
        (
            vec![update(1, one, &[("CidrIpv4", "10.0.0.0/8")])],
            "MissingParameter: The request must contain the parameter ipProtocol",
        ),
    ] {
        assert_eq!(modify(&world, &web, &updates).expect_err("refused"), why);
        assert_eq!(kept(&world, &web), after, "nothing has changed");
    }

    modify(&world, &web, &[update(1, one, &[("Description", "the office")])]).expect("described");
    let described = kept(&world, &web);
    assert_eq!(rule(&described, one), rule(&after, one));
    let words = described.rules.iter().filter_map(|rule| rule.description.as_deref());
    assert_eq!(words.collect::<Vec<_>>(), ["the office"]);
}

#[test]
fn a_peer_is_a_group_of_the_same_vpc() {
    let world = World::new();
    let id = group(&world, "web");
    let mut far = kept(&world, &id);
    far.id = ident::SecurityGroupId::mint(9);
    far.vpc = ident::VpcId::mint(9);
    let far_id = far.id.to_string();
    world
        .transact(|txn| {
            txn.put(far.clone());
            Ok(())
        })
        .expect("made");
    let form = [
        ("GroupId", id.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.Groups.1.GroupId", far_id.as_str()),
    ];
    for operation in ["AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"] {
        let fault = ask(&world, operation, &form).expect_err("refused");
        assert_eq!(
            (&*fault.code, &*fault.message),
            (
                "InvalidGroup.NotFound",
                "You have specified two resources that belong to different networks."
            )
        );
    }
}

#[derive(Clone, Debug)]
struct Permission {
    protocol: &'static str,
    from: u16,
    more: u16,
    blocks: Vec<(u8, u8)>,
}

fn permission() -> impl Strategy<Value = Permission> {
    let protocol = prop_oneof![Just("tcp"), Just("6"), Just("udp"), Just("-1"), Just("50")];
    let blocks = proptest::collection::vec((0..4_u8, 8..=32_u8), 1..4);
    (protocol, 0..3_u16, 0..2_u16, blocks).prop_map(|(protocol, from, more, blocks)| Permission {
        protocol,
        from,
        more,
        blocks,
    })
}

fn form(group: &str, permissions: &[Permission]) -> Vec<(String, String)> {
    let mut form = vec![("GroupId".to_owned(), group.to_owned())];
    for (n, it) in (1..).zip(permissions) {
        let start = format!("IpPermissions.{n}");
        form.push((format!("{start}.IpProtocol"), it.protocol.to_owned()));
        form.push((format!("{start}.FromPort"), it.from.to_string()));
        form.push((format!("{start}.ToPort"), (it.from + it.more).to_string()));
        for (m, (third, prefix)) in (1..).zip(&it.blocks) {
            let block = format!("10.0.{third}.1/{prefix}");
            form.push((format!("{start}.IpRanges.{m}.CidrIp"), block));
        }
    }
    form
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was let through and is let through no more leaves no trace; what
    /// is refused never had an effect.
    #[test]
    fn to_authorize_and_revoke_is_to_do_nothing(
        present in proptest::collection::vec(permission(), 0..3),
        wanted in proptest::collection::vec(permission(), 1..4),
        egress: bool,
    ) {
        let world = World::new();
        let id = group(&world, "any");
        let direction = if egress { "Egress" } else { "Ingress" };
        let say = |verb: &str, permissions: &[Permission]| {
            let form = form(&id, permissions);
            let form: Vec<_> = form.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            ask(&world, &format!("{verb}SecurityGroup{direction}"), &form)
        };
        let _ = say("Authorize", &present);
        let before = kept(&world, &id);
        if let Err(fault) = say("Authorize", &wanted) {
            let codes = ["InvalidPermission.Duplicate", "InvalidParameterValue"];
            prop_assert!(codes.contains(&&*fault.code), "{fault:?}");
        } else {
            prop_assert_ne!(&kept(&world, &id), &before);
            say("Revoke", &wanted).expect("revoked");
        }
        prop_assert_eq!(kept(&world, &id), before);
    }
}
