//! Container instances.

use crate::api::*;
use crate::testing::{World, ready, registration};
use chassis::Principal;
use ident::InstanceId;
use wire::ecs;

fn describe(world: &World, ids: &[&str]) -> ecs::DescribeContainerInstancesResponse {
    let request = ecs::DescribeContainerInstancesRequest {
        container_instances: Some(ids.iter().map(ToString::to_string).collect()),
        ..Default::default()
    };
    describe_container_instances(&world.root(), request).expect("described")
}

fn resource(all: Option<&Vec<ecs::Resource>>, name: &str) -> ecs::Resource {
    let found = all.into_iter().flatten().find(|r| r.name.as_deref() == Some(name));
    found.expect(name).clone()
}

#[test]
fn resources_add_up() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    let shown = || {
        let mut answer = describe(&world, &[instance.id.as_str()]);
        answer.container_instances.as_mut().expect("instances").remove(0)
    };
    let numbers = |instance: &ecs::ContainerInstance, name: &str| {
        let registered = resource(instance.registered_resources.as_ref(), name);
        let remaining = resource(instance.remaining_resources.as_ref(), name);
        (registered.integer_value.expect("a number"), remaining.integer_value.expect("a number"))
    };
    let busy = shown();
    assert_eq!(numbers(&busy, "CPU"), (2048, 2048 - 128));
    assert_eq!(numbers(&busy, "MEMORY"), (4096, 4096 - 64));
    let ports = resource(busy.remaining_resources.as_ref(), "PORTS").string_set_value;
    assert_eq!(ports, Some(vec!["22".to_owned(), "51678".to_owned()]));
    assert_eq!((busy.running_tasks_count, busy.pending_tasks_count), (Some(0), Some(1)));
    assert_eq!(busy.agent_connected, Some(true));
    assert_eq!(busy.ec2_instance_id, instance.ec2_instance.as_ref().map(ToString::to_string));

    world.stop(&id, None).expect("stopping");
    assert_eq!(numbers(&shown(), "CPU").1, 2048 - 128, "until it is STOPPED");
    world.settle(&instance);
    assert_eq!(numbers(&shown(), "CPU"), (2048, 2048));
}

#[test]
fn what_is_not_there_is_missing() {
    let world = World::new();
    let instance = world.instance(1);
    let unknown = "0".repeat(32);
    let answer = describe(&world, &[&instance.arn().to_string(), &unknown, "x"]);
    assert_eq!(answer.container_instances.map(|list| list.len()), Some(1));
    assert_eq!(answer.failures.map(|list| list.len()), Some(2));
}

#[test]
fn the_list_leaves_out_who_is_gone() {
    let world = World::new();
    let old = world.register(1, None);
    let new = world.register(1, None);
    let list = |status: Option<&str>| {
        let status = status.map(str::to_owned);
        let request = ecs::ListContainerInstancesRequest { status, ..Default::default() };
        let answer = list_container_instances(&world.root(), request).expect("listed");
        answer.container_instance_arns.expect("a list")
    };
    assert_eq!(list(None), [new.arn().to_string()]);
    assert_eq!(list(Some("ACTIVE")), [new.arn().to_string()]);
    assert_eq!(list(Some("INACTIVE")), [old.arn().to_string()]);
    let filtered = |filter: &str| {
        let filter = Some(filter.to_owned());
        let request = ecs::ListContainerInstancesRequest { filter, ..Default::default() };
        list_container_instances(&world.root(), request)
    };
    let selected =
        |filter: &str| filtered(filter).expect("listed").container_instance_arns.expect("a list");
    assert_eq!(selected("attribute:ecs.os-type == linux and runningTasksCount == 0").len(), 1);
    assert_eq!(selected("attribute:ecs.os-type == windows").len(), 0);
    let fault = filtered("attribute:x = y").expect_err("not the language").fault();
    assert_eq!(fault.code, "InvalidParameterException");
    assert!(fault.message.contains("at offset 12"), "{fault}");
}

#[test]
fn only_the_default_cluster_comes_by_itself() {
    let world = World::new();
    ready(world.platform.store.transact(|txn| {
        txn.delete::<crate::records::Cluster>(&crate::testing::scope(), "default");
        Ok::<_, store::StoreError>(())
    }))
    .expect("deleted");
    let cx = world.cx(Principal::Instance(InstanceId::mint(1)));
    let elsewhere =
        ecs::RegisterContainerInstanceRequest { cluster: Some("web".to_owned()), ..registration() };
    let refused = ready(register_container_instance(&cx, elsewhere)).expect_err("no cluster");
    assert_eq!(refused.fault().code, "ClusterNotFoundException");
    ready(register_container_instance(&cx, registration())).expect("registered");
}

#[test]
fn nobody_registers_as_another() {
    let world = World::new();
    let instance = world.instance(1);
    let request = ecs::RegisterContainerInstanceRequest {
        container_instance_arn: Some(instance.arn().to_string()),
        ..registration()
    };
    let other = world.cx(Principal::Instance(InstanceId::mint(2)));
    let refused = ready(register_container_instance(&other, request.clone())).expect_err("not it");
    assert_eq!(refused.fault().code, "AccessDeniedException");
    // Who forgot who he was and came anew cannot be who he was.
    world.register(1, None);
    let own = world.cx(Principal::Instance(InstanceId::mint(1)));
    let refused = ready(register_container_instance(&own, request)).expect_err("gone");
    assert_eq!(refused.fault().code, "InactiveInstanceException", "which agents understand");
}

#[test]
fn what_is_no_port_is_refused() {
    let world = World::new();
    let mut request = registration();
    for resource in request.total_resources.iter_mut().flatten() {
        if resource.name.as_deref() == Some("PORTS") {
            resource.string_set_value = Some(vec!["http".to_owned()]);
        }
    }
    let refused = ready(register_container_instance(&world.root(), request)).expect_err("no port");
    assert_eq!(refused.fault().code, "InvalidParameterException");
}

#[test]
fn attributes_have_their_measure() {
    let world = World::new();
    let attribute =
        |length: usize| ecs::Attribute { name: Some("a".repeat(length)), ..Default::default() };
    let register = |attributes| {
        let request = ecs::RegisterContainerInstanceRequest {
            attributes: Some(attributes),
            ..registration()
        };
        ready(register_container_instance(&world.root(), request))
    };
    for attributes in [vec![attribute(129)], vec![attribute(1); 501]] {
        let refused = register(attributes).expect_err("too much").fault();
        assert_eq!(refused.code, "InvalidParameterException");
    }
    register(vec![attribute(128)]).expect("just right");
}

#[test]
fn an_identity_document_says_what_the_machine_is() {
    let world = World::new();
    let mut request = registration();
    request.attributes = None;
    request.instance_identity_document =
        Some(r#"{"architecture":"arm64","imageId":"ami-1","other":1}"#.to_owned());
    let shown = ready(register_container_instance(&world.root(), request)).expect("registered");
    let attributes = shown.container_instance.expect("shown").attributes.expect("attributes");
    let value = |name: &str| {
        attributes.iter().find(|a| a.name.as_deref() == Some(name)).and_then(|a| a.value.clone())
    };
    assert_eq!(value("ecs.cpu-architecture").as_deref(), Some("arm64"));
    assert_eq!(value("ecs.ami-id").as_deref(), Some("ami-1"));
    assert_eq!(value("ecs.instance-type"), None);
}
