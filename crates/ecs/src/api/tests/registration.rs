//! What a machine says when it registers, and when it does so again.

use crate::Error;
use crate::api::*;
use crate::records::InstanceStatus;
use crate::testing::{World, ready, registration};
use chassis::Principal;
use ident::InstanceId;
use std::time::Duration;
use wire::ecs::{self, PlatformDevice, RegisterContainerInstanceRequest};

/// Registers as `principal` and says what became of it.
fn register(
    world: &World,
    principal: Principal,
    change: impl FnOnce(&mut RegisterContainerInstanceRequest),
) -> Result<ecs::ContainerInstance, Error> {
    let mut request = registration();
    change(&mut request);
    let answer = ready(register_container_instance(&world.cx(principal), request))?;
    Ok(answer.container_instance.expect("shown"))
}

fn arn(instance: &ecs::ContainerInstance) -> String {
    instance.container_instance_arn.clone().expect("an ARN")
}

fn attribute(instance: &ecs::ContainerInstance, name: &str) -> Option<String> {
    let mut all = instance.attributes.iter().flatten();
    all.find(|one| one.name.as_deref() == Some(name)).and_then(|one| one.value.clone())
}

fn active(world: &World) -> Vec<String> {
    let request = ecs::ListContainerInstancesRequest::default();
    let answer = list_container_instances(&world.root(), request).expect("listed");
    answer.container_instance_arns.expect("a list")
}

#[test]
fn a_registration_that_comes_twice_is_one_machine() {
    let world = World::new();
    let with = |token: &str| {
        let token = token.to_owned();
        register(&world, Principal::Root, move |request| request.client_token = Some(token))
    };
    let first = with("t-1").expect("registered");
    let again = with("t-1").expect("registered");
    assert_eq!((arn(&again), again.version), (arn(&first), Some(2)));
    assert_eq!(active(&world), [arn(&first)]);

    // Another process of the agent has another token, and no token is none.
    with("t-2").expect("registered");
    with("").expect("registered");
    with("").expect("registered");
    assert_eq!(active(&world).len(), 4);

    // Who is deregistered may come anew, with whatever token.
    let request = ecs::DeregisterContainerInstanceRequest {
        container_instance: Some(arn(&first)),
        ..Default::default()
    };
    ready(deregister_container_instance(&world.root(), request)).expect("deregistered");
    assert_ne!(arn(&with("t-1").expect("registered")), arn(&first));

    let fault = with(&"t".repeat(65)).expect_err("too long").fault();
    assert_eq!(fault.code, "InvalidParameterException");
}

#[test]
fn a_token_is_its_senders_in_one_cluster() {
    let world = World::new();
    let create =
        ecs::CreateClusterRequest { cluster_name: Some("other".to_owned()), ..Default::default() };
    ready(create_cluster(&world.root(), create)).expect("a cluster");
    let with = |principal, cluster: &str| {
        let cluster = Some(cluster.to_owned());
        register(&world, principal, move |request| {
            request.client_token = Some("t".to_owned());
            request.cluster = cluster;
        })
    };
    with(Principal::Root, "default").expect("registered");
    for (principal, cluster) in
        [(Principal::Root, "other"), (Principal::Instance(InstanceId::mint(1)), "default")]
    {
        let fault = with(principal, cluster).expect_err("not its token").fault();
        assert_eq!(fault.code, "ConflictException");
    }
    world.clock.advance(Duration::from_hours(24));
    with(Principal::Root, "other").expect("forgotten after a day");
}

#[test]
fn gpus_are_a_resource() {
    let world = World::new();
    let device = |id: &str, kind: &str| PlatformDevice {
        id: Some(id.to_owned()),
        r#type: Some(kind.to_owned()),
    };
    let with = |devices: Vec<PlatformDevice>| {
        register(&world, Principal::Root, |request| request.platform_devices = Some(devices))
    };
    let shown = with(vec![device("GPU-2", "GPU"), device("GPU-1", "GPU")]).expect("registered");
    for resources in [&shown.registered_resources, &shown.remaining_resources] {
        let gpu = resources.iter().flatten().find(|one| one.name.as_deref() == Some("GPU"));
        let gpu = gpu.expect("GPUs");
        assert_eq!(gpu.r#type.as_deref(), Some("STRINGSET"));
        assert_eq!(gpu.string_set_value, Some(vec!["GPU-1".to_owned(), "GPU-2".to_owned()]));
    }
    let none = with(vec![]).expect("registered");
    let named = none.registered_resources.into_iter().flatten().filter_map(|one| one.name);
    assert!(!named.collect::<Vec<_>>().contains(&"GPU".to_owned()));

    for devices in [
        vec![device("a", "FPGA")],
        vec![device("", "GPU")],
        vec![device("a", "GPU"), device("a", "GPU")],
        vec![device(&"a".repeat(129), "GPU")],
        (0..65).map(|n| device(&n.to_string(), "GPU")).collect(),
    ] {
        let fault = with(devices).expect_err("no GPU").fault();
        assert_eq!(fault.code, "InvalidParameterException");
    }
}

#[test]
fn a_machine_stays_of_its_type() {
    let world = World::new();
    let register_as = |known_as: Option<String>, document: &str| {
        let document = document.to_owned();
        register(&world, Principal::Root, |request| {
            request.container_instance_arn = known_as;
            request.instance_identity_document = Some(document);
        })
    };
    let small = r#"{"instanceType":"m5.large","imageId":"ami-1"}"#;
    let first = register_as(None, small).expect("registered");
    let me = || Some(arn(&first));
    register_as(me(), small).expect("the same");
    // The metadata may fail a machine at any start; it is what it was.
    let blind = register_as(me(), "").expect("the same");
    assert_eq!(attribute(&blind, "ecs.instance-type").as_deref(), Some("m5.large"));
    assert_eq!(attribute(&blind, "ecs.ami-id").as_deref(), Some("ami-1"));

    let refused = register_as(me(), r#"{"instanceType":"m5.xlarge"}"#).expect_err("another");
    let id = arn(&first).rsplit('/').next().expect("an id").to_owned();
    let fault = refused.fault();
    assert_eq!(fault.code, "ClientException");
    assert_eq!(
        fault.message,
        format!(
            "Container instance type changes are not supported. Container instance {id} was \
             previously registered as m5.large."
        )
    );
    register_as(None, r#"{"instanceType":"m5.xlarge"}"#).expect("anew it may be");
}

#[test]
fn a_machine_that_comes_back_smaller_keeps_its_tasks_and_gets_no_more() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    let own = Principal::Instance(instance.ec2_instance.clone().expect("an EC2 instance"));
    let shown = register(&world, own, |request| {
        request.container_instance_arn = Some(instance.arn().to_string());
        for resource in request.total_resources.iter_mut().flatten() {
            resource.integer_value = resource.integer_value.map(|_| 32);
        }
    })
    .expect("registered");
    let cpu = |all: &Option<Vec<ecs::Resource>>| {
        let found = all.iter().flatten().find(|one| one.name.as_deref() == Some("CPU"));
        found.and_then(|one| one.integer_value)
    };
    assert_eq!(cpu(&shown.registered_resources), Some(32));
    assert_eq!(cpu(&shown.remaining_resources), Some(32 - 128));
    assert_eq!(world.task(&id).phase.desired().as_str(), "RUNNING");
    let refused = world.run(|_| {}).expect("answered").failures.expect("failures");
    assert_eq!(refused[0].reason.as_deref(), Some("RESOURCE:CPU"));
}

#[test]
fn a_document_counts_if_it_is_signed_here() {
    let signer = ec2::identity::Signer::generate().expect("a key");
    let other = ec2::identity::Signer::generate().expect("a key");
    let sign = |signer: &ec2::identity::Signer| signer.sign("{}").expect("signed");
    let (own, others) = (sign(&signer), sign(&other));
    let verifier = signer.verifier();
    let prove = |verifier, document: Option<&str>, signature: Option<&str>| {
        let request = RegisterContainerInstanceRequest {
            instance_identity_document: document.map(str::to_owned),
            instance_identity_document_signature: signature.map(str::to_owned),
            ..registration()
        };
        prove_identity(verifier, &request).map_err(|error| error.fault())
    };
    for (document, signature, is_believed) in [
        (None, None, true),
        (Some(""), Some(""), true),
        (Some("{}"), Some(own.as_str()), true),
        (Some("{ }"), Some(own.as_str()), false),
        (Some("{}"), Some(others.as_str()), false),
        (Some("{}"), Some("sig"), false),
        (Some("{}"), Some(""), false),
        (Some("{}"), None, false),
    ] {
        let proven = prove(Some(&verifier), document, signature);
        assert_eq!(proven.is_ok(), is_believed, "{document:?} {signature:?}");
        if let Err(fault) = proven {
            assert_eq!(fault.code, "ClientException");
            assert!(fault.message.contains("signature were not valid"), "{}", fault.message);
        }
    }
    assert!(prove(None, Some("{}"), Some(&own)).is_err(), "nobody knows any");
    assert!(prove(None, None, None).is_ok());
}

#[test]
fn a_document_is_its_machines() {
    let world = World::new();
    let victim = world.instance(1);
    let id = victim.ec2_instance.clone().expect("an EC2 instance");
    let with = |principal, document: String, signature: &str| {
        let signature = Some(signature.to_owned());
        register(&world, principal, |request| {
            request.instance_identity_document = Some(document);
            request.instance_identity_document_signature = signature;
        })
    };
    let document = |id: &str| format!(r#"{{"instanceId":"{id}"}}"#);
    for principal in [Principal::Root, Principal::Instance(InstanceId::mint(2))] {
        let refused = with(principal, document(id.as_str()), "sig").expect_err("another's");
        assert_eq!(refused.fault().code, "AccessDeniedException");
    }
    assert_eq!(world.instance_record(&victim.id).status, InstanceStatus::Active);
    with(Principal::Instance(id.clone()), document(id.as_str()), "sig").expect("its own");
    with(Principal::Root, document("i-0123456789abcdef0"), "sig").expect("none that we know");
    let refused = with(Principal::Root, String::new(), "sig").expect_err("signs nothing");
    assert_eq!(refused.fault().code, "InvalidParameterException");
}
