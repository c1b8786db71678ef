use crate::api::network_interfaces::tests::{attach, kept, make, refusal};
use crate::api::tests::{all, ask, code, only};
use crate::eni_limits::MOST_ADDRESSES;
use crate::instances::{Machine, register};
use crate::testing::{World, now};
use std::collections::BTreeSet;

fn addresses(world: &World, id: &str) -> Vec<String> {
    kept(world, id)
        .expect("there")
        .net
        .ipv4_addresses()
        .map(|address| address.to_string())
        .collect()
}

/// What the interface was given, as the answer says.
fn assign(world: &World, id: &str, more: &[(&str, &str)]) -> Vec<String> {
    let mut form = vec![("NetworkInterfaceId", id)];
    form.extend(more);
    let xml = ask(world, "AssignPrivateIpAddresses", &form).expect("assigned");
    assert_eq!(only(&xml, "networkInterfaceId"), id);
    all(&xml, "privateIpAddress").into_iter().map(ToOwned::to_owned).collect()
}

fn unassign(world: &World, id: &str, address: &str) {
    let form = [("NetworkInterfaceId", id), ("PrivateIpAddress.1", address)];
    ask(world, "UnassignPrivateIpAddresses", &form).expect("unassigned");
}

fn free(world: &World) -> i32 {
    let subnet = world.subnets()[0].net.id.to_string();
    let xml = ask(world, "DescribeSubnets", &[("SubnetId.1", &subnet)]).expect("shown");
    only(&xml, "availableIpAddressCount").parse().expect("a number")
}

#[test]
fn an_interface_is_made_with_several_addresses() {
    let world = World::new();
    let before = free(&world);
    let listed = make(
        &world,
        &[
            ("PrivateIpAddresses.1.PrivateIpAddress", "172.31.0.78"),
            ("PrivateIpAddresses.1.Primary", "false"),
            ("PrivateIpAddresses.2.PrivateIpAddress", "172.31.0.77"),
            ("PrivateIpAddresses.2.Primary", "true"),
            ("PrivateIpAddresses.3.PrivateIpAddress", "172.31.0.79"),
        ],
    );
    assert_eq!(addresses(&world, &listed), ["172.31.0.77", "172.31.0.78", "172.31.0.79"]);
    assert_eq!(free(&world), before - 3);
    for name in ["addresses.private-ip-address", "private-ip-address"] {
        let form = [("Filter.1.Name", name), ("Filter.1.Value.1", "172.31.0.79")];
        let xml = ask(&world, "DescribeNetworkInterfaces", &form).expect("shown");
        let shown = ["172.31.0.77", "172.31.0.77", "172.31.0.78", "172.31.0.79"];
        assert_eq!(all(&xml, "privateIpAddress"), shown, "its own, and the primary one first");
        assert_eq!(all(&xml, "primary"), ["true", "false", "false"]);
        assert_eq!(all(&xml, "privateDnsName")[3], "ip-172-31-0-79.ec2.internal");
    }

    let apart = [
        ("PrivateIpAddress", "172.31.0.90"),
        ("PrivateIpAddresses.1.PrivateIpAddress", "172.31.0.91"),
    ];
    assert_eq!(addresses(&world, &make(&world, &apart)), ["172.31.0.90", "172.31.0.91"]);
    let counted = make(&world, &[("SecondaryPrivateIpAddressCount", "4")]);
    let own: BTreeSet<String> = addresses(&world, &counted).into_iter().collect();
    assert_eq!(own.len(), 5);

    for id in [&listed, &counted] {
        ask(&world, "DeleteNetworkInterface", &[("NetworkInterfaceId", id)]).expect("deleted");
    }
    assert_eq!(free(&world), before - 2, "all are free again");
    assert_eq!(addresses(&world, &make(&world, &apart_from(&apart))).len(), 2);
}

/// The same with addresses that were of an interface which is gone.
fn apart_from<'a>(form: &[(&'a str, &'a str); 2]) -> [(&'a str, &'a str); 2] {
    [(form[0].0, "172.31.0.79"), (form[1].0, "172.31.0.77")]
}

#[test]
fn what_a_new_interface_cannot_have_is_refused() {
    let world = World::new();
    make(&world, &[("PrivateIpAddress", "172.31.0.77")]);
    let subnet = world.subnets()[0].net.id.to_string();
    let (one, other) =
        ("PrivateIpAddresses.1.PrivateIpAddress", "PrivateIpAddresses.2.PrivateIpAddress");
    let (first, second) = ("PrivateIpAddresses.1.Primary", "PrivateIpAddresses.2.Primary");
    let count = "SecondaryPrivateIpAddressCount";
    let before = world.view().revision();
    for (form, why) in [
        (
            &[(one, "172.31.0.8"), (first, "true"), (other, "172.31.0.9"), (second, "true")][..],
            "InvalidParameterValue: Only one primary private IP address can be specified.",
        ),
        (
            &[(one, "172.31.0.8")],
            "InvalidParameterValue: A primary private IP address must be specified.",
        ),
        (
            &[("PrivateIpAddress", "172.31.0.8"), (one, "172.31.0.9"), (first, "true")],
            "InvalidParameterCombination: The parameter privateIpAddress cannot be used with the \
             parameter privateIpAddresses",
        ),
        (
            &[("PrivateIpAddress", "172.31.0.8"), (one, "172.31.0.9"), (count, "1")],
            "InvalidParameterCombination: The parameter secondaryPrivateIpAddressCount cannot be \
             used with the parameter privateIpAddresses",
        ),
        (
            &[("PrivateIpAddress", "172.31.0.8"), (one, "172.31.0.77")],
            "InvalidIPAddress.InUse: The specified address is already in use.",
        ),
        (
            &[("PrivateIpAddress", "172.31.0.8"), (one, "172.31.0.8")],
            "InvalidIPAddress.InUse: The specified address is already in use.",
        ),
        (
            &[("PrivateIpAddress", "172.31.0.8"), (one, "172.31.16.9")],
            "InvalidParameterValue: Address 172.31.16.9 does not fall within the subnet's address \
             range",
        ),
        (
            &[(count, "64")],
            "PrivateIpAddressLimitExceeded: Number of private addresses will exceed limit.",
        ),
        (
            &[(count, "-1")],
            "InvalidParameterValue: Value (-1) for parameter secondaryPrivateIpAddressCount is \
             invalid.",
        ),
    ] {
        let mut form = form.to_vec();
        form.push(("SubnetId", &subnet));
        assert_eq!(refusal(&world, "CreateNetworkInterface", &form), why);
    }
    assert_eq!(world.view().revision(), before);
    let most = (MOST_ADDRESSES - 1).to_string();
    let full = make(&world, &[(count, &most)]);
    assert_eq!(addresses(&world, &full).len(), MOST_ADDRESSES);
    let form = [("NetworkInterfaceId", full.as_str()), (count, "1")];
    assert_eq!(code(&world, "AssignPrivateIpAddresses", &form), "PrivateIpAddressLimitExceeded");
}

#[test]
fn addresses_come_and_go() {
    let world = World::new();
    let before = free(&world);
    let id = make(&world, &[]);
    let named = [("PrivateIpAddress.1", "172.31.0.78"), ("PrivateIpAddress.2", "172.31.0.77")];
    assert_eq!(assign(&world, &id, &named), ["172.31.0.78", "172.31.0.77"]);
    let revision = world.view().revision();
    assert_eq!(assign(&world, &id, &named[..1]), ["172.31.0.78"], "it has it already");
    assert_eq!(world.view().revision(), revision);
    let any = assign(&world, &id, &[("SecondaryPrivateIpAddressCount", "2")]);
    assert_eq!(any.len(), 2);
    assert_eq!(addresses(&world, &id)[3..], any[..]);
    assert_eq!(free(&world), before - 5);
    assert!(kept(&world, &id).expect("there").net.ipv4.to_string() != "172.31.0.77");

    let by_id = ("NetworkInterfaceId", id.as_str());
    let no = format!(
        "InvalidParameterValue: Some of the specified addresses are not assigned to interface {id}"
    );
    let form = [by_id, ("PrivateIpAddress.1", "172.31.0.78"), ("PrivateIpAddress.2", "172.31.0.9")];
    assert_eq!(refusal(&world, "UnassignPrivateIpAddresses", &form), no);
    assert_eq!(addresses(&world, &id).len(), 5, "all of them or none");
    unassign(&world, &id, "172.31.0.78");
    assert_eq!(refusal(&world, "UnassignPrivateIpAddresses", &form[..2]), no);
    assert_eq!(free(&world), before - 4);
    let other = make(&world, &[("PrivateIpAddress", "172.31.0.78")]);
    assert_eq!(addresses(&world, &other), ["172.31.0.78"]);

    let own = addresses(&world, &id).remove(0);
    let form = [by_id, ("PrivateIpAddress.1", own.as_str())];
    assert_eq!(
        refusal(&world, "UnassignPrivateIpAddresses", &form),
        format!(
            "OperationNotPermitted: The primary private IP address {own} cannot be unassigned."
        )
    );
}

#[test]
fn what_is_no_request_for_addresses_says_so() {
    let world = World::new();
    let id = make(&world, &[]);
    let by_id = ("NetworkInterfaceId", id.as_str());
    let (named, count) = (("PrivateIpAddress.1", "172.31.0.9"), "SecondaryPrivateIpAddressCount");
    for (form, expected) in [
        (&[by_id][..], "InvalidParameterCombination"),
        (&[by_id, named, (count, "1")], "InvalidParameterCombination"),
        (&[by_id, (count, "0")], "InvalidParameterValue"),
        (&[by_id, (count, "-1")], "InvalidParameterValue"),
        (&[by_id, (count, "2147483647")], "PrivateIpAddressLimitExceeded"),
        (&[by_id, ("PrivateIpAddress.1", "x")], "InvalidParameterValue"),
        (&[by_id, ("PrivateIpAddress.1", "172.31.0.2")], "InvalidParameterValue"),
        (&[by_id, ("PrivateIpAddress.1", "10.0.0.9")], "InvalidParameterValue"),
        (&[by_id, ("Ipv4PrefixCount", "1")], "UnsupportedOperation"),
        (&[by_id, ("Ipv4Prefix.1", "172.31.0.16/28")], "UnsupportedOperation"),
        (&[named], "MissingParameter"),
        (&[("NetworkInterfaceId", "web"), named], "InvalidNetworkInterfaceId.Malformed"),
        (
            &[("NetworkInterfaceId", "eni-0123456789abcdef0"), named],
            "InvalidNetworkInterfaceID.NotFound",
        ),
    ] {
        assert_eq!(code(&world, "AssignPrivateIpAddresses", form), expected, "{form:?}");
    }
    for (form, expected) in [
        (&[by_id][..], "MissingParameter"),
        (&[by_id, ("PrivateIpAddress.1", "x")], "InvalidParameterValue"),
        (&[by_id, ("Ipv4Prefix.1", "172.31.0.16/28")], "UnsupportedOperation"),
        (
            &[("NetworkInterfaceId", "eni-0123456789abcdef0"), named],
            "InvalidNetworkInterfaceID.NotFound",
        ),
    ] {
        assert_eq!(code(&world, "UnassignPrivateIpAddresses", form), expected, "{form:?}");
    }
    assert_eq!(addresses(&world, &id).len(), 1);
}

#[test]
fn a_secondary_address_moves_if_it_may() {
    let world = World::new();
    let host = world.machine();
    let task = world.provision(&host.id, &world.subnets()[0].net.id).expect("a task's");
    let (from, to) = (make(&world, &[]), make(&world, &[]));
    assign(&world, &from, &[("PrivateIpAddress.1", "172.31.0.77")]);
    let by_id = ("NetworkInterfaceId", to.as_str());
    let may = ("AllowReassignment", "true");
    let (primary, tasks) = (addresses(&world, &from).remove(0), task.net.ipv4.to_string());
    let listed = [by_id, ("PrivateIpAddress.1", "172.31.0.77"), ("PrivateIpAddress.2", &primary)];
    assert_eq!(
        refusal(&world, "AssignPrivateIpAddresses", &listed),
        format!(
            "InvalidParameterValue: [172.31.0.77, {primary}] assigned, but move is not allowed."
        )
    );
    for whose in [&primary, &tasks] {
        let form = [by_id, listed[1], ("PrivateIpAddress.2", whose.as_str()), may];
        assert_eq!(
            refusal(&world, "AssignPrivateIpAddresses", &form),
            format!("InvalidParameterValue: [{whose}] assigned, but move is not allowed.")
        );
    }
    assert_eq!(addresses(&world, &from).len(), 2, "all of them or none");
    assert_eq!(assign(&world, &to, &[listed[1], may]), ["172.31.0.77"]);
    assert_eq!(addresses(&world, &from), [primary]);
    assert_eq!(addresses(&world, &to)[1..], ["172.31.0.77"]);

    let no = "AuthFailure: You do not have permission to access the specified resource.";
    let form =
        [("NetworkInterfaceId", task.net.id.as_str()), ("PrivateIpAddress.1", "172.31.0.99")];
    assert_eq!(refusal(&world, "AssignPrivateIpAddresses", &form), no);
    assert_eq!(refusal(&world, "UnassignPrivateIpAddresses", &form), no);
}

#[test]
fn an_instance_type_says_how_many_there_are() {
    let world = World::new();
    let machine = Machine { instance_type: Some("t3.micro".to_owned()), ..Machine::default() };
    let host = now(register(&world.cx.platform, world.cx.scope(), machine)).expect("registered");
    let many = make(&world, &[("SecondaryPrivateIpAddressCount", "2")]);
    let limit = "PrivateIpAddressLimitExceeded: Number of private addresses will exceed limit.";
    let form = [
        ("NetworkInterfaceId", many.as_str()),
        ("InstanceId", host.id.as_str()),
        ("DeviceIndex", "1"),
    ];
    assert_eq!(refusal(&world, "AttachNetworkInterface", &form), limit);
    let last = addresses(&world, &many).remove(2);
    unassign(&world, &many, &last);
    attach(&world, &many, &host.id, "1");
    let one = ("SecondaryPrivateIpAddressCount", "1");
    assert_eq!(refusal(&world, "AssignPrivateIpAddresses", &[form[0], one]), limit);
    // The instance's own interface is its user's to give addresses to.
    let own = host.primary_eni.to_string();
    let given = assign(&world, &own, &[one]);
    let form = [("Filter.1.Name", "network-interface.addresses.private-ip-address")];
    let form = [form[0], ("Filter.1.Value.1", given[0].as_str())];
    let xml = ask(&world, "DescribeInstances", &form).expect("shown");
    assert_eq!(all(&xml, "instanceId").len(), 1, "{xml}");
}

#[test]
fn of_two_who_take_one_address_one_gets_it() {
    let world = World::new();
    let (one, other) = (make(&world, &[]), make(&world, &[]));
    let rival = world.rival();
    let named = ("PrivateIpAddress.1", "172.31.0.77");
    assign(&world, &one, &[named]);
    let form = [("NetworkInterfaceId", other.as_str()), named];
    assert_eq!(
        refusal(&rival, "AssignPrivateIpAddresses", &form),
        "InvalidParameterValue: [172.31.0.77] assigned, but move is not allowed."
    );
    let rival = world.rival();
    unassign(&world, &one, "172.31.0.77");
    let moved = [form[0], named, ("AllowReassignment", "true")];
    ask(&rival, "AssignPrivateIpAddresses", &moved).expect("free by then");
    assert_eq!(addresses(&rival, &one).len(), 1);
    assert_eq!(addresses(&rival, &other).len(), 2);
}
