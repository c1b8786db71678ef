//! RunTask: where tasks go, what they get, and that asking twice is asking once.

use crate::records::TasksOf;
use crate::testing::{World, network, scope, task_id};
use ec2::api::Ec2;
use ec2::records::Subnet;
use std::collections::BTreeSet;
use wire::ec2::{Api as _, AttachNetworkInterfaceRequest, CreateNetworkInterfaceRequest};
use wire::ecs::{self, RunTaskResponse};

fn tasks(response: &RunTaskResponse) -> &[ecs::Task] {
    response.tasks.as_deref().expect("tasks")
}

fn reasons(response: &RunTaskResponse) -> Vec<&str> {
    let failures = response.failures.iter().flatten();
    failures.map(|failure| failure.reason.as_deref().expect("a reason")).collect()
}

#[test]
fn a_task_has_its_place_and_its_address_at_once() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let response = world.run(|request| request.started_by = Some("me".to_owned()));
    let response = response.expect("accepted");
    assert_eq!(response.failures, Some(vec![]));
    let task = &tasks(&response)[0];
    assert_eq!(task.last_status.as_deref(), Some("PROVISIONING"));
    assert_eq!(task.desired_status.as_deref(), Some("RUNNING"));
    assert_eq!(task.container_instance_arn, Some(instance.arn().to_string()));
    assert_eq!(task.availability_zone.as_deref(), Some("us-east-1a"));
    assert_eq!((task.cpu.as_deref(), task.memory.as_deref()), (Some("128"), Some("64")));
    assert_eq!(task.group.as_deref(), Some("family:web"));
    assert_eq!(task.started_by.as_deref(), Some("me"));
    assert_eq!(task.connectivity.as_deref(), Some("CONNECTED"));
    assert_eq!(task.launch_type.as_deref(), Some("EC2"));
    let attribute = &task.attributes.as_ref().expect("attributes")[0];
    assert_eq!(attribute.value.as_deref(), Some("x86_64"));

    let attachment = &task.attachments.as_ref().expect("attachments")[0];
    assert_eq!(attachment.r#type.as_deref(), Some("ElasticNetworkInterface"));
    assert_eq!(attachment.status.as_deref(), Some("ATTACHING"));
    let detail = |name: &str| {
        let details = attachment.details.iter().flatten();
        let found = details.clone().find(|d| d.name.as_deref() == Some(name));
        found.unwrap_or_else(|| panic!("{name} is missing")).value.clone().expect("a value")
    };
    assert_eq!(detail("subnetId"), world.subnets()[0]);
    let eni = world.task_enis().remove(0);
    assert_eq!(detail("networkInterfaceId"), eni.net.id.to_string());
    assert_eq!(detail("macAddress"), eni.net.mac.to_string());
    assert_eq!(detail("privateIPv4Address"), eni.net.ipv4.to_string());
    assert_eq!(Some(detail("privateDnsName")), eni.private_dns_name);
    assert!(eni.description.ends_with(attachment.id.as_ref().expect("an id")));
    let container = &task.containers.as_ref().expect("containers")[0];
    assert_eq!(container.last_status.as_deref(), Some("PENDING"));
    assert_eq!(
        container.network_interfaces.as_ref().expect("interfaces")[0].private_ipv4_address,
        Some(eni.net.ipv4.to_string())
    );
}

#[test]
fn copies_are_spread_over_the_zones_of_their_subnets() {
    let world = World::new();
    world.instance_in(1, Some(&["us-east-1a"]));
    world.instance_in(2, Some(&["us-east-1b"]));
    world.instance_in(3, Some(&["us-east-1c"]));
    world.define(|_| {});
    let subnets = world.subnets();
    let response = world.run(|request| {
        request.count = Some(6);
        request.network_configuration = Some(network(&subnets[..2], &[]));
    });
    let response = response.expect("accepted");
    let zones: Vec<_> =
        tasks(&response).iter().filter_map(|task| task.availability_zone.clone()).collect();
    let count = |zone: &str| zones.iter().filter(|z| *z == zone).count();
    assert_eq!((count("us-east-1a"), count("us-east-1b"), count("us-east-1c")), (3, 3, 0));
    for eni in world.task_enis() {
        let subnet = world.view().get::<Subnet>(&scope(), eni.net.subnet.as_str());
        assert_eq!(subnet.expect("a subnet").zone, eni.zone);
    }
}

#[test]
fn what_finds_no_place_says_why() {
    let world = World::new();
    let instance = world.register(1, Some(&["us-east-1a"]));
    world.define(|_| {});
    assert_eq!(reasons(&world.run(|_| {}).expect("accepted")), ["AGENT"]);
    world.connect(&instance, "s-1");

    let subnets = world.subnets();
    let elsewhere = world
        .run(|request| request.network_configuration = Some(network(&subnets[1..2], &[])))
        .expect("accepted");
    assert_eq!(reasons(&elsewhere), ["ATTRIBUTE"]);
    let failure = &elsewhere.failures.as_ref().expect("failures")[0];
    assert_eq!(failure.arn, Some(instance.arn().to_string()));
    assert!(tasks(&elsewhere).is_empty());

    let with = |cpu, memory| ecs::TaskOverride {
        container_overrides: Some(vec![ecs::ContainerOverride {
            name: Some("web".to_owned()),
            cpu: Some(cpu),
            memory: Some(memory),
            ..Default::default()
        }]),
        ..Default::default()
    };
    for (cpu, memory, wanted) in [(4096, 64, "RESOURCE:CPU"), (0, 9_000_000, "RESOURCE:MEMORY")] {
        let response = world.run(|request| request.overrides = Some(with(cpu, memory)));
        assert_eq!(reasons(&response.expect("accepted")), [wanted]);
    }
    // Of three, two fit.
    let response = world.run(|request| {
        request.count = Some(3);
        request.overrides = Some(with(1024, 64));
    });
    let response = response.expect("accepted");
    assert_eq!((tasks(&response).len(), reasons(&response)), (2, vec!["RESOURCE:CPU"]));
}

#[test]
fn host_ports_are_taken_once() {
    let world = World::new();
    world.instance(1);
    world.define(|request| request.network_mode = Some("host".to_owned()));
    let run = || world.run(|request| request.network_configuration = None).expect("accepted");
    assert_eq!(tasks(&run()).len(), 1);
    assert_eq!(reasons(&run()), ["RESOURCE:PORTS"]);
}

#[test]
fn a_token_means_one_request() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let ask = |count| {
        world.run(|request| {
            request.count = Some(count);
            request.client_token = Some("t".to_owned());
        })
    };
    let arns = |response: RunTaskResponse| -> Vec<_> {
        tasks(&response).iter().map(|task| task.task_arn.clone()).collect()
    };
    let first = arns(ask(2).expect("accepted"));
    assert_eq!(first.len(), 2);
    assert_eq!(arns(ask(2).expect("accepted")), first);
    let all = TasksOf::cluster(&world.view(), &scope(), &ident::ClusterName::default()).count();
    assert_eq!(all, 2);
    assert_eq!(ask(3).expect_err("another request").fault().code, "ConflictException");
}

#[test]
fn a_token_that_got_nothing_may_be_used_again() {
    let world = World::new();
    let instance = world.register(1, None);
    world.define(|_| {});
    let ask =
        || world.run(|request| request.client_token = Some("t".to_owned())).expect("accepted");
    assert_eq!(reasons(&ask()), ["AGENT"]);
    assert_eq!(reasons(&ask()), ["AGENT"], "and it is said again why");
    world.connect(&instance, "s-1");
    assert_eq!(tasks(&ask()).len(), 1);
}

#[test]
fn tags_come_from_where_it_was_said() {
    let world = World::new();
    world.instance(1);
    let tag = |key: &str, value: &str| ecs::Tag {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    world.define(|request| {
        request.tags = Some(vec![tag("a", "definition"), tag("b", "definition")]);
    });
    let tags = |propagate: Option<&str>| {
        let response = world.run(|request| {
            request.tags = Some(vec![tag("a", "request")]);
            request.propagate_tags = propagate.map(str::to_owned);
            request.enable_ecs_managed_tags = Some(true);
        });
        let id = task_id(&tasks(&response.expect("accepted"))[0]);
        world.task(&id).tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>()
    };
    assert_eq!(tags(None), ["a=request", "aws:ecs:clusterName=default"]);
    assert_eq!(
        tags(Some("TASK_DEFINITION")),
        ["a=request", "aws:ecs:clusterName=default", "b=definition"]
    );
}

#[test]
fn addresses_are_their_own() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    for _ in 0..3 {
        world.run(|request| request.count = Some(5)).expect("accepted");
    }
    let enis = world.task_enis();
    let addresses: BTreeSet<_> = enis.iter().map(|eni| eni.net.ipv4).collect();
    assert_eq!((enis.len(), addresses.len()), (15, 15));
}

/// A world whose one machine is of a type that leaves tasks two interfaces.
fn on_a_t3_medium() -> World {
    let world = World::new();
    let machine = ec2::Machine {
        instance: Some(ident::InstanceId::mint(1)),
        zones: None,
        instance_type: Some("t3.medium".to_owned()),
    };
    crate::testing::ready(ec2::instances::register(&world.platform, &scope(), machine))
        .expect("a machine");
    world.instance(1);
    world.define(|_| {});
    world
}

#[test]
fn an_instance_type_has_only_so_many_interfaces() {
    let world = on_a_t3_medium();
    let response = world.run(|request| request.count = Some(3)).expect("accepted");
    assert_eq!((tasks(&response).len(), reasons(&response)), (2, vec!["RESOURCE:ENI"]));
}

#[test]
fn an_interface_that_a_user_attached_has_the_place_of_a_tasks() {
    let world = on_a_t3_medium();
    let create = CreateNetworkInterfaceRequest {
        subnet_id: world.subnets().into_iter().next(),
        ..Default::default()
    };
    let made = crate::testing::ready(Ec2.create_network_interface(&world.root(), create));
    let made = made.expect("created").network_interface.expect("shown");
    let attach = AttachNetworkInterfaceRequest {
        network_interface_id: made.network_interface_id,
        instance_id: Some(ident::InstanceId::mint(1).to_string()),
        device_index: Some(1),
        ..Default::default()
    };
    crate::testing::ready(Ec2.attach_network_interface(&world.root(), attach)).expect("attached");
    let response = world.run(|request| request.count = Some(2)).expect("accepted");
    assert_eq!((tasks(&response).len(), reasons(&response)), (1, vec!["RESOURCE:ENI"]));
}
