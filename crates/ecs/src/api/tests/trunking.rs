//! How many tasks with interfaces of their own an instance takes.

use crate::api::*;
use crate::records::ContainerInstance;
use crate::testing::{World, ready, registration, scope};
use chassis::Principal;
use ec2::Machine;
use ident::InstanceId;
use wire::ecs;

const TRUNK_ID: &str = "ecs.awsvpc-trunk-id";

/// The machine says what type it is, and its agent registers, capable of trunks or
/// not, as who it was if there was one.
fn register(
    world: &World,
    number: u128,
    instance_type: Option<&str>,
    capable: bool,
    before: Option<&ContainerInstance>,
) -> ContainerInstance {
    let id = InstanceId::mint(number);
    let instance_type = instance_type.map(str::to_owned);
    let machine = Machine { instance: Some(id.clone()), instance_type, ..Machine::default() };
    ready(ec2::instances::register(&world.platform, &scope(), machine)).expect("a machine");
    let mut request = registration();
    request.container_instance_arn = before.map(|before| before.arn().to_string());
    // One that is not capable claims what is not its to say.
    let (name, value) = if capable {
        ("ecs.capability.task-eni-trunking", None)
    } else {
        (TRUNK_ID, Some("mine".to_owned()))
    };
    let name = Some(name.to_owned());
    let attribute = ecs::Attribute { name, value, ..ecs::Attribute::default() };
    request.attributes.get_or_insert_default().push(attribute);
    let answer =
        ready(register_container_instance(&world.cx(Principal::Instance(id)), request.clone()));
    let shown = answer.expect("registered").container_instance.expect("shown");
    let arn = shown.container_instance_arn.expect("an ARN");
    let (_, id) = crate::names::instance_from_arn(&scope(), &arn).expect("an ARN of ours");
    let instance = world.instance_record(&id);
    world.connect(&instance, "s-0");
    instance
}

fn opt(world: &World, value: &str) {
    let request = ecs::PutAccountSettingDefaultRequest {
        name: Some("awsvpcTrunking".to_owned()),
        value: Some(value.to_owned()),
    };
    ready(put_account_setting_default(&world.root(), request)).expect("put");
}

fn has_trunk(instance: &ContainerInstance) -> bool {
    instance.attributes.get(TRUNK_ID).is_some_and(Option::is_some)
}

/// How many tasks find a place before one is told that there are no interfaces.
fn room(world: &World) -> usize {
    world.define(|definition| {
        for container in definition.container_definitions.iter_mut().flatten() {
            (container.cpu, container.memory) = (Some(2), Some(6));
        }
    });
    for count in 0..500 {
        let failures = world.run(|_| {}).expect("accepted").failures.expect("a list");
        if let Some(failure) = failures.first() {
            assert_eq!(failure.reason.as_deref(), Some("RESOURCE:ENI"));
            return count;
        }
    }
    500
}

#[test]
fn an_instance_takes_as_many_tasks_as_its_type_has_interfaces_to_spare() {
    let world = World::new();
    let instance = register(&world, 1, Some("m5.large"), true, None);
    assert!(!has_trunk(&instance), "nobody opted in");
    assert_eq!(room(&world), 2);
}

#[test]
fn with_a_trunk_it_takes_those_of_its_branches_too() {
    let world = World::new();
    opt(&world, "enabled");
    let instance = register(&world, 1, Some("m5.large"), true, None);
    assert!(has_trunk(&instance));
    assert_eq!(room(&world), 10);
}

#[test]
fn only_who_registers_after_opting_in_and_is_capable_has_a_trunk() {
    let world = World::new();
    let early = register(&world, 1, Some("m5.large"), true, None);
    opt(&world, "enabled");
    let early = register(&world, 1, Some("m5.large"), true, Some(&early));
    assert!(!has_trunk(&early), "it is what it was");
    assert_eq!(early.capacity.enis, Some(2));

    for (number, instance_type, capable, enis) in [
        (2, Some("m5.large"), false, Some(2)),
        (3, Some("t3.medium"), true, Some(2)),
        (4, Some("laptop"), true, None),
        (5, None, true, None),
    ] {
        let other = register(&world, number, instance_type, capable, None);
        assert!(!has_trunk(&other), "{instance_type:?}");
        assert_eq!(other.capacity.enis, enis, "{instance_type:?}");
    }

    let late = register(&world, 6, Some("m5.large"), true, None);
    opt(&world, "disabled");
    let again = register(&world, 6, Some("m5.large"), true, Some(&late));
    assert_eq!(again.attributes.get(TRUNK_ID), late.attributes.get(TRUNK_ID), "as it was");
    assert_eq!((has_trunk(&again), again.capacity.enis), (true, Some(10)));
    let anew = register(&world, 6, Some("m5.large"), true, None);
    assert_eq!((has_trunk(&anew), anew.capacity.enis), (false, Some(2)));
}

#[test]
fn the_trunk_goes_with_the_container_instance() {
    let world = World::new();
    opt(&world, "enabled");
    let instance = register(&world, 1, Some("m5.large"), true, None);
    let trunk = || {
        let id = instance.ec2_instance.as_ref().expect("it is one");
        let known = world.view().get::<ec2::records::Instance>(&scope(), id.as_str());
        known.expect("known").trunk.is_some()
    };
    assert!(trunk());
    let request = ecs::DeregisterContainerInstanceRequest {
        container_instance: Some(instance.arn().to_string()),
        ..Default::default()
    };
    ready(deregister_container_instance(&world.root(), request)).expect("deregistered");
    assert!(!trunk());
}

#[test]
fn only_its_machine_says_that_a_trunk_is_attached() {
    let world = World::new();
    opt(&world, "enabled");
    let instance = register(&world, 1, Some("m5.large"), true, None);
    let other = register(&world, 2, Some("m5.large"), true, None);
    let trunk = instance.attributes[TRUNK_ID].as_ref().expect("a trunk").parse().expect("an id");
    let report = ecs::SubmitAttachmentStateChangesRequest {
        attachments: Some(vec![ecs::AttachmentStateChange {
            attachment_arn: Some(crate::names::attachment_arn(&scope(), &trunk).to_string()),
            status: Some("ATTACHED".to_owned()),
        }]),
        ..Default::default()
    };
    let heard = |instance: &ContainerInstance| {
        let caller = Principal::Instance(instance.ec2_instance.clone().expect("an EC2 instance"));
        submit_attachment_state_changes(&world.cx(caller), &report)
    };
    heard(&instance).expect("its own");
    let fault = heard(&other).expect_err("another's").fault();
    assert_eq!(fault.code, "InvalidParameterException");
}
