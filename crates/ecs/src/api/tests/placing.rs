//! RunTask: constraints, strategies, and what is left when not all find a place.

use crate::testing::{World, network, ready, scope, task_id};
use ec2::records::Subnet;
use std::collections::BTreeSet;
use wire::ecs::{
    PlacementConstraint, PlacementStrategy, RunTaskRequest, RunTaskResponse,
    TaskDefinitionPlacementConstraint,
};

fn constraint(kind: &str, expression: Option<&str>) -> PlacementConstraint {
    PlacementConstraint { r#type: Some(kind.to_owned()), expression: expression.map(str::to_owned) }
}

fn strategy(kind: &str, field: &str) -> PlacementStrategy {
    PlacementStrategy { r#type: Some(kind.to_owned()), field: Some(field.to_owned()) }
}

fn hosts(response: &RunTaskResponse) -> Vec<String> {
    let tasks = response.tasks.iter().flatten();
    tasks.map(|task| task.container_instance_arn.clone().expect("a place")).collect()
}

fn reasons(response: &RunTaskResponse) -> Vec<&str> {
    response.failures.iter().flatten().filter_map(|it| it.reason.as_deref()).collect()
}

/// Leaves a subnet sixteen addresses, of which AWS keeps five.
fn shrink(world: &World, subnet: &str) {
    let found = world.view().get::<Subnet>(&scope(), subnet).expect("a subnet");
    let mut small = Subnet::clone(&found);
    small.net.cidr = format!("{}/28", small.net.cidr.network()).parse().expect("a block");
    ready(world.platform.store.transact(|txn| {
        txn.put(small.clone());
        Ok::<_, store::StoreError>(())
    }))
    .expect("shrunk");
}

#[test]
fn distinct_instances_hold_across_requests() {
    let world = World::new();
    world.instance(1);
    world.instance(2);
    world.define(|_| {});
    let distinct = |request: &mut RunTaskRequest| {
        request.count = Some(2);
        request.placement_constraints = Some(vec![constraint("distinctInstance", None)]);
    };
    let first = world.run(distinct).expect("accepted");
    assert_eq!(hosts(&first).into_iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(reasons(&first), Vec::<&str>::new());
    let second = world.run(distinct).expect("accepted");
    let unsatisfied = "DistinctInstance placement constraint unsatisfied.";
    assert_eq!((hosts(&second).len(), reasons(&second)), (0, vec![unsatisfied; 2]));
    let other = world.run(|request| {
        distinct(request);
        request.group = Some("other".to_owned());
    });
    assert_eq!(hosts(&other.expect("accepted")).len(), 2, "another group has its own");
}

#[test]
fn expressions_of_request_and_definition_must_both_hold() {
    let world = World::new();
    world.instance(1);
    world.define(|request| {
        request.placement_constraints = Some(vec![TaskDefinitionPlacementConstraint {
            r#type: Some("memberOf".to_owned()),
            expression: Some("attribute:ecs.os-type == linux".to_owned()),
        }]);
    });
    let run = |expression: &str| {
        let constraints = vec![constraint("memberOf", Some(expression))];
        world.run(|request| request.placement_constraints = Some(constraints)).expect("accepted")
    };
    assert_eq!(hosts(&run("attribute:ecs.cpu-architecture =~ x86.*")).len(), 1);
    let refused = run("attribute:ecs.cpu-architecture == arm64");
    assert_eq!(reasons(&refused), ["MemberOf placement constraint unsatisfied."]);
    let failure = &refused.failures.as_ref().expect("failures")[0];
    let detail = failure.detail.as_deref().expect("a detail");
    assert_eq!(detail, "not selected by attribute:ecs.cpu-architecture == arm64");
}

#[test]
fn strategies_are_obeyed() {
    let world = World::new();
    world.instance(1);
    world.instance(2);
    world.define(|_| {});
    let run = |strategies: Vec<PlacementStrategy>| {
        let response = world.run(|request| {
            request.count = Some(4);
            request.placement_strategy = Some(strategies);
        });
        hosts(&response.expect("accepted")).into_iter().collect::<BTreeSet<_>>().len()
    };
    assert_eq!(run(vec![strategy("spread", "instanceId")]), 2);
    assert_eq!(run(vec![strategy("binpack", "memory")]), 1);
}

#[test]
fn a_token_repeats_the_failures_too() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let ask = || {
        world.run(|request| {
            request.count = Some(2);
            request.client_token = Some("t".to_owned());
            request.placement_constraints = Some(vec![constraint("distinctInstance", None)]);
        })
    };
    let first = ask().expect("accepted");
    assert_eq!((hosts(&first).len(), reasons(&first).len()), (1, 1));
    let again = ask().expect("accepted");
    assert_eq!((&first.tasks, &first.failures), (&again.tasks, &again.failures));
}

#[test]
fn a_full_zone_leaves_its_tasks_to_the_others() {
    let world = World::new();
    world.instance(1);
    world.define(|request| {
        request.container_definitions.as_mut().expect("containers")[0].cpu = Some(1);
    });
    // Two subnets of eleven addresses each, in two zones: one is filled first.
    let subnets: Vec<_> = world.subnets().into_iter().take(2).collect();
    for subnet in &subnets {
        shrink(&world, subnet);
    }
    let run = |subnets: &[String], count| {
        world.run(|request| {
            request.count = Some(count);
            request.network_configuration = Some(network(subnets, &[]));
        })
    };
    run(&subnets[..1], 10).expect("accepted");
    let both = run(&subnets, 6).expect("accepted");
    let zones: Vec<_> = both.tasks.iter().flatten().map(|t| t.availability_zone.clone()).collect();
    assert_eq!(zones.len(), 6, "{:?}", both.failures);
    let more = run(&subnets, 10).expect("accepted");
    let started = more.tasks.iter().flatten().map(task_id).count();
    assert!((1..10).contains(&started), "{started} found an address");
    assert_eq!(reasons(&more), ["RESOURCE:ENI"]);
    let fault = run(&subnets, 1).expect_err("nothing is left").fault();
    assert!(fault.message.contains("insufficient free IP addresses"), "{fault}");
}
