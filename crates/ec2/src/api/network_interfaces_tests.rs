use crate::api::tests::{all, ask, code, group, only};
use crate::card::{CardSession, plan_for};
use crate::eni::by_hand;
use crate::instances::{Machine, deregister, register};
use crate::records::{AttachmentStatus, Eni, Instance};
use crate::testing::{World, now};
use ident::InstanceId;
use net::plan::CardReport;

pub(super) fn make(world: &World, more: &[(&str, &str)]) -> String {
    let subnet = world.subnets()[0].net.id.to_string();
    let mut form = vec![("SubnetId", subnet.as_str())];
    form.extend(more);
    let xml = ask(world, "CreateNetworkInterface", &form).expect("made");
    only(&xml, "networkInterfaceId").to_owned()
}

pub(super) fn refusal(world: &World, operation: &str, form: &[(&str, &str)]) -> String {
    let fault = ask(world, operation, form).expect_err("refused");
    format!("{}: {}", fault.code, fault.message)
}

pub(super) fn kept(world: &World, id: &str) -> Option<Eni> {
    world.view().get::<Eni>(world.cx.scope(), id).map(|eni| Eni::clone(&eni))
}

fn status(world: &World, id: &str) -> Option<AttachmentStatus> {
    kept(world, id).expect("there").attachment_status()
}

pub(super) fn attach(world: &World, eni: &str, instance: &InstanceId, index: &str) -> String {
    let form =
        [("NetworkInterfaceId", eni), ("InstanceId", instance.as_str()), ("DeviceIndex", index)];
    let xml = ask(world, "AttachNetworkInterface", &form).expect("attached");
    only(&xml, "attachmentId").to_owned()
}

/// How many interfaces users have attached to the instance: what is noted on it,
/// which is what there is.
fn attached(world: &World, instance: &InstanceId) -> i64 {
    let view = world.view();
    let known = view.get::<Instance>(world.cx.scope(), instance.as_str()).expect("known");
    let uncounted = Instance { attached_by_hand: None, ..Instance::clone(&known) };
    assert_eq!(known.attached_by_hand, Some(by_hand(&view, &uncounted)));
    by_hand(&view, &known)
}

/// The card of the instance does as it is told, and says so.
fn obey(world: &World, instance: &InstanceId) {
    let scope = world.cx.scope();
    let plan = plan_for(&world.view(), scope, instance);
    let present = plan.vpcs.iter().flat_map(|vpc| &vpc.enis).map(|eni| eni.eni.clone()).collect();
    hear(
        world,
        instance,
        &CardReport { generation: plan.generation, present, ..Default::default() },
    );
}

fn hear(world: &World, instance: &InstanceId, report: &CardReport) {
    let session = CardSession::new(world.cx.scope().clone(), instance.clone());
    now(session.on_report(world.cx.store(), report)).expect("kept");
}

#[test]
fn an_interface_is_made_as_it_was_asked_for() {
    let world = World::new();
    let web = group(&world, "web");
    let id = make(
        &world,
        &[
            ("PrivateIpAddress", "172.31.0.77"),
            ("Description", "for a test"),
            ("SecurityGroupId.1", &web),
            ("TagSpecification.1.ResourceType", "network-interface"),
            ("TagSpecification.1.Tag.1.Key", "env"),
            ("TagSpecification.1.Tag.1.Value", "test"),
        ],
    );
    let form = [("Filter.1.Name", "status"), ("Filter.1.Value.1", "available")];
    let xml = ask(&world, "DescribeNetworkInterfaces", &form).expect("shown");
    assert_eq!(only(&xml, "networkInterfaceId"), id);
    assert!(xml.contains("<privateIpAddress>172.31.0.77</privateIpAddress>"), "{xml}");
    assert_eq!(only(&xml, "description"), "for a test");
    assert_eq!(only(&xml, "groupId"), web);
    assert_eq!(only(&xml, "requesterManaged"), "false");
    assert!(!xml.contains("<attachment>"), "{xml}");
    assert_eq!(code(&world, "DeleteSecurityGroup", &[("GroupId", &web)]), "DependencyViolation");
    ask(&world, "DeleteNetworkInterface", &[("NetworkInterfaceId", &id)]).expect("deleted");
    ask(&world, "DeleteSecurityGroup", &[("GroupId", &web)]).expect("in use no more");
    assert_eq!(kept(&world, &id), None);
}

#[test]
fn an_address_is_of_the_subnet_and_free() {
    let world = World::new();
    let subnet = world.subnets()[0].net.id.to_string();
    make(&world, &[("PrivateIpAddress", "172.31.0.77")]);
    for (address, why) in [
        ("172.31.0.77", "InvalidIPAddress.InUse: The specified address is already in use."),
        (
            "172.31.16.9",
            "InvalidParameterValue: Address 172.31.16.9 does not fall within the subnet's address \
             range",
        ),
        (
            "172.31.0.3",
            "InvalidParameterValue: Address 172.31.0.3 is in subnet's reserved address range",
        ),
        ("172.31.0", "InvalidParameterValue: invalid value for parameter address: 172.31.0"),
    ] {
        let form = [("SubnetId", subnet.as_str()), ("PrivateIpAddress", address)];
        assert_eq!(refusal(&world, "CreateNetworkInterface", &form), why);
    }
    let listed = [
        ("PrivateIpAddresses.1.PrivateIpAddress", "172.31.0.78"),
        ("PrivateIpAddresses.1.Primary", "true"),
    ];
    let id = make(&world, &listed);
    assert_eq!(kept(&world, &id).expect("made").net.ipv4.to_string(), "172.31.0.78");
}

#[test]
fn what_we_do_not_have_is_refused_by_name() {
    let world = World::new();
    let subnet = world.subnets()[0].net.id.to_string();
    for (name, value, what) in [
        ("Ipv4PrefixCount", "1", "ipv4PrefixCount"),
        ("InterfaceType", "efa", "interfaceType"),
        ("Ipv6AddressCount", "1", "ipv6AddressCount"),
    ] {
        let form = [("SubnetId", subnet.as_str()), (name, value)];
        assert_eq!(
            refusal(&world, "CreateNetworkInterface", &form),
            format!("UnsupportedOperation: Landfall does not support {what} yet.")
        );
    }
    assert_eq!(world.view().count::<Eni>(world.cx.scope()), 0);
}

#[test]
fn a_token_makes_one_interface() {
    let world = World::new();
    let first = make(&world, &[("ClientToken", "t"), ("Description", "a")]);
    assert_eq!(make(&world, &[("ClientToken", "t"), ("Description", "a")]), first);
    assert_ne!(make(&world, &[("Description", "a")]), first);
    let subnet = world.subnets()[0].net.id.to_string();
    let other = [("SubnetId", subnet.as_str()), ("ClientToken", "t"), ("Description", "b")];
    assert_eq!(code(&world, "CreateNetworkInterface", &other), "IdempotentParameterMismatch");
}

#[test]
fn a_dry_run_makes_no_interface_and_uses_up_no_token() {
    let world = World::new();
    let id = make(&world, &[]);
    let token = [("ClientToken", "t"), ("DryRun", "false")];
    let made = make(&world, &token);
    let subnet = world.subnets()[0].net.id.to_string();
    let instance = world.machine().id;
    let before = world.view().revision();
    let one = ("NetworkInterfaceId", id.as_str());
    for (operation, form) in [
        ("CreateNetworkInterface", &[("SubnetId", subnet.as_str())][..]),
        ("CreateNetworkInterface", &[("SubnetId", &subnet), ("ClientToken", "t")]),
        ("ModifyNetworkInterfaceAttribute", &[one, ("Description.Value", "x")]),
        ("AttachNetworkInterface", &[one, ("InstanceId", instance.as_str()), ("DeviceIndex", "1")]),
        ("DeleteNetworkInterface", &[one]),
    ] {
        let mut form = form.to_vec();
        form.push(("DryRun", "true"));
        assert_eq!(code(&world, operation, &form), "DryRunOperation", "{operation}");
    }
    assert_eq!(world.view().revision(), before);
    assert_eq!(make(&world, &[("ClientToken", "t")]), made);
}

#[test]
fn an_interface_goes_to_an_instance_and_comes_back() {
    let world = World::new();
    let (here, there) = (world.machine().id, world.machine().id);
    obey(&world, &here);
    let id = make(&world, &[]);
    let attachment = attach(&world, &id, &here, "1");
    assert_eq!(attached(&world, &here), 1);
    assert_eq!(status(&world, &id), Some(AttachmentStatus::Attaching));
    obey(&world, &here);
    assert_eq!(status(&world, &id), Some(AttachmentStatus::Attached));
    let there_before = plan_for(&world.view(), world.cx.scope(), &here);

    let by_id = [("NetworkInterfaceId", id.as_str())];
    assert_eq!(
        refusal(&world, "DeleteNetworkInterface", &by_id),
        format!("InvalidParameterValue: Network interface '{id}' is currently in use.")
    );
    let again = [by_id[0], ("InstanceId", there.as_str()), ("DeviceIndex", "1")];
    assert_eq!(
        refusal(&world, "AttachNetworkInterface", &again),
        format!("InvalidNetworkInterface.InUse: Interface: [{id}] in use.")
    );

    let by_attachment = [("AttachmentId", attachment.as_str())];
    ask(&world, "DetachNetworkInterface", &by_attachment).expect("asked for");
    ask(&world, "DetachNetworkInterface", &by_attachment).expect("asked for again");
    assert_eq!(status(&world, &id), Some(AttachmentStatus::Detaching));
    assert_eq!(attached(&world, &here), 1, "until it is gone");
    let late = CardReport { generation: there_before.generation, ..Default::default() };
    hear(&world, &here, &late);
    assert_eq!(status(&world, &id), Some(AttachmentStatus::Detaching), "that was before");
    obey(&world, &here);
    assert_eq!(status(&world, &id), None);
    assert_eq!(attached(&world, &here), 0);
    assert_eq!(
        refusal(&world, "DetachNetworkInterface", &by_attachment),
        format!("InvalidAttachmentID.NotFound: The attachment ID '{attachment}' does not exist")
    );

    // Where it was before, and a report of then says that it is there.
    attach(&world, &id, &here, "1");
    assert_eq!(attached(&world, &here), 1);
    let stale = CardReport {
        generation: there_before.generation,
        present: vec![kept(&world, &id).expect("there").net.id],
        ..Default::default()
    };
    hear(&world, &here, &stale);
    assert_eq!(status(&world, &id), Some(AttachmentStatus::Attaching), "the report is of before");
    obey(&world, &here);
    assert_eq!(status(&world, &id), Some(AttachmentStatus::Attached));
}

#[test]
fn what_was_attached_before_anybody_counted_counts() {
    let world = World::new();
    let here = world.machine();
    let (first, second) = (make(&world, &[]), make(&world, &[]));
    attach(&world, &first, &here.id, "1");
    let uncounted = Instance { attached_by_hand: None, ..here.clone() };
    world
        .transact(|txn| {
            txn.put(uncounted.clone());
            Ok(())
        })
        .expect("as an earlier program left it");
    assert_eq!(by_hand(&world.view(), &uncounted), 1);
    attach(&world, &second, &here.id, "2");
    assert_eq!(attached(&world, &here.id), 2);
}

#[test]
fn by_force_it_is_free_at_once() {
    let world = World::new();
    let here = world.machine().id;
    let id = make(&world, &[]);
    let attachment = attach(&world, &id, &here, "1");
    obey(&world, &here);
    let form = [("AttachmentId", attachment.as_str()), ("Force", "true")];
    assert_eq!(attached(&world, &here), 1);
    ask(&world, "DetachNetworkInterface", &form).expect("detached");
    assert_eq!(status(&world, &id), None);
    assert_eq!(attached(&world, &here), 0);
    ask(&world, "DeleteNetworkInterface", &[("NetworkInterfaceId", &id)]).expect("deleted");
}

#[test]
fn what_cannot_be_attached_says_why() {
    let world = World::new();
    let machine = Machine {
        zones: Some(vec!["us-east-1a".to_owned()]),
        instance_type: Some("t3.medium".to_owned()),
        ..Machine::default()
    };
    let host = now(register(&world.cx.platform, world.cx.scope(), machine)).expect("registered").id;
    let id = make(&world, &[]);
    let asked = |eni: &str, instance: &str, index: &str| {
        let form = [("NetworkInterfaceId", eni), ("InstanceId", instance), ("DeviceIndex", index)];
        refusal(&world, "AttachNetworkInterface", &form)
    };
    assert_eq!(
        asked(&id, host.as_str(), "0"),
        format!(
            "InvalidParameterValue: Instance '{host}' already has an interface attached at device \
             index '0'."
        )
    );
    assert!(asked(&id, host.as_str(), "-1").starts_with("InvalidParameterValue: "));
    assert!(asked(&id, "i-0123456789abcdef0", "1").starts_with("InvalidInstanceID.NotFound: "));
    assert!(asked("web", host.as_str(), "1").starts_with("InvalidNetworkInterfaceId.Malformed: "));
    let elsewhere = world.subnets()[1].net.id.to_string();
    let xml = ask(&world, "CreateNetworkInterface", &[("SubnetId", &elsewhere)]).expect("made");
    assert_eq!(
        asked(only(&xml, "networkInterfaceId"), host.as_str(), "1"),
        "InvalidParameterCombination: You may not attach a network interface to an instance if \
         they are not in the same availability zone"
    );

    attach(&world, &make(&world, &[]), &host, "1");
    world.provision(&host, &world.subnets()[0].net.id).expect("a task's, which counts too");
    assert_eq!(
        asked(&id, host.as_str(), "3"),
        "AttachmentLimitExceeded: Interface count 4 exceeds the limit for t3.medium"
    );
}

#[test]
fn interfaces_of_tasks_and_of_instances_are_not_the_users() {
    let world = World::new();
    let host: Instance = world.machine();
    let task = world.provision(&host.id, &world.subnets()[0].net.id).expect("provisioned");
    let no = "AuthFailure: You do not have permission to access the specified resource.";
    let id = task.net.id.to_string();
    let attachment = task.attachment.as_ref().expect("attached").id.to_string();
    for (operation, form) in [
        ("DeleteNetworkInterface", vec![("NetworkInterfaceId", id.as_str())]),
        ("DetachNetworkInterface", vec![("AttachmentId", attachment.as_str()), ("Force", "true")]),
        (
            "ModifyNetworkInterfaceAttribute",
            vec![("NetworkInterfaceId", id.as_str()), ("Description.Value", "mine")],
        ),
        (
            "AttachNetworkInterface",
            vec![
                ("NetworkInterfaceId", id.as_str()),
                ("InstanceId", host.id.as_str()),
                ("DeviceIndex", "5"),
            ],
        ),
    ] {
        assert_eq!(refusal(&world, operation, &form), no, "{operation}");
    }
    assert_eq!(kept(&world, &id), Some(task));

    let own = kept(&world, host.primary_eni.as_str()).expect("there");
    let attachment = own.attachment.as_ref().expect("attached").id.to_string();
    let form = [("AttachmentId", attachment.as_str()), ("Force", "true")];
    assert_eq!(
        refusal(&world, "DetachNetworkInterface", &form),
        "OperationNotPermitted: The network interface at device index 0 and networkCard index 0 \
         cannot be detached."
    );
    let form = [("NetworkInterfaceId", host.primary_eni.as_str())];
    assert_eq!(code(&world, "DeleteNetworkInterface", &form), "InvalidParameterValue");
}

#[test]
fn one_attribute_at_a_time() {
    let world = World::new();
    let id = make(&world, &[]);
    let web = group(&world, "web");
    let modify = |more: &[(&str, &str)]| {
        let mut form = vec![("NetworkInterfaceId", id.as_str())];
        form.extend(more);
        ask(&world, "ModifyNetworkInterfaceAttribute", &form)
            .map_err(|fault| format!("{}: {}", fault.code, fault.message))
    };
    modify(&[("Description.Value", "new")]).expect("described");
    modify(&[("SecurityGroupId.1", &web)]).expect("grouped");
    modify(&[("SourceDestCheck.Value", "false")]).expect("unchecked");
    let eni = kept(&world, &id).expect("there");
    assert_eq!((&*eni.description, eni.net.source_dest_check), ("new", false));
    assert_eq!(eni.net.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), [web.as_str()]);

    let host = world.machine().id;
    let attachment = attach(&world, &id, &host, "1");
    let outlive = |value| {
        [
            ("Attachment.AttachmentId", attachment.as_str()),
            ("Attachment.DeleteOnTermination", value),
        ]
    };
    modify(&outlive("true")).expect("changed");
    assert!(kept(&world, &id).expect("there").attachment.expect("attached").delete_on_termination);

    for (form, why) in [
        (
            &[("Description.Value", "x"), ("SourceDestCheck.Value", "true")][..],
            "InvalidParameterCombination: Fields for multiple attribute types specified",
        ),
        (&[], "InvalidParameterCombination: No attributes specified."),
        (
            &[("SecurityGroupId.1", "sg-0123456789abcdef0")],
            "InvalidGroup.NotFound: The security group 'sg-0123456789abcdef0' does not exist",
        ),
        (
            &[("EnablePrimaryIpv6", "true")],
            "UnsupportedOperation: Landfall does not support enablePrimaryIpv6 yet.",
        ),
    ] {
        assert_eq!(modify(form).expect_err("refused"), why);
    }
}

#[test]
fn an_interface_outlives_its_instance_if_it_is_to() {
    let world = World::new();
    let host = world.machine();
    let (stays, goes) = (make(&world, &[]), make(&world, &[]));
    attach(&world, &stays, &host.id, "1");
    let attachment = attach(&world, &goes, &host.id, "2");
    let form = [
        ("NetworkInterfaceId", goes.as_str()),
        ("Attachment.AttachmentId", &attachment),
        ("Attachment.DeleteOnTermination", "true"),
    ];
    ask(&world, "ModifyNetworkInterfaceAttribute", &form).expect("changed");
    world.transact(|txn| Ok(deregister(txn, world.cx.scope(), &host.id))).expect("gone");
    assert_eq!(status(&world, &stays), None);
    assert_eq!(kept(&world, &goes), None);
    let xml = ask(&world, "DescribeNetworkInterfaces", &[]).expect("shown");
    assert_eq!(all(&xml, "networkInterfaceId"), [stays.as_str()]);
}
