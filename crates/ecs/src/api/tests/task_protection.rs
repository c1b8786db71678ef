//! Task protection.

use crate::api::*;
use crate::testing::{World, ready, scope};
use ident::TaskId;
use std::time::Duration;
use wire::ecs;

/// A running task as a service would have it.
fn of_service(world: &World) -> TaskId {
    let id = world.run_one();
    let mut task = world.task(&id);
    task.group = "service:web".to_owned();
    ready(world.platform.store.transact(|txn| {
        txn.put(task.clone());
        Ok::<_, store::StoreError>(())
    }))
    .expect("written");
    id
}

fn protect(
    world: &World,
    id: &str,
    enabled: bool,
    minutes: Option<i32>,
) -> Result<ecs::UpdateTaskProtectionResponse, crate::Error> {
    let request = ecs::UpdateTaskProtectionRequest {
        cluster: Some("default".to_owned()),
        tasks: Some(vec![id.to_owned()]),
        protection_enabled: Some(enabled),
        expires_in_minutes: minutes,
    };
    ready(update_task_protection(&world.root(), request))
}

fn protected(world: &World, id: &str) -> (Vec<bool>, Vec<String>) {
    let request = ecs::GetTaskProtectionRequest {
        cluster: Some("default".to_owned()),
        tasks: Some(vec![id.to_owned()]),
    };
    let response = get_task_protection(&world.root(), request).expect("shown");
    let failures = response.failures.into_iter().flatten().filter_map(|failure| failure.reason);
    let shown = response.protected_tasks.into_iter().flatten();
    (shown.filter_map(|task| task.protection_enabled).collect(), failures.collect())
}

#[test]
fn a_protection_ends_by_itself() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let id = of_service(&world);
    assert_eq!(protected(&world, id.as_str()), (vec![false], vec![]));
    let response = protect(&world, id.as_str(), true, None).expect("protected");
    let shown = response.protected_tasks.expect("tasks").pop().expect("one");
    let two_hours = world.platform.now().after(Duration::from_hours(2));
    assert_eq!(shown.expiration_date.map(wire::Timestamp::millis), Some(two_hours.0));
    assert_eq!(protected(&world, id.as_str()), (vec![true], vec![]));
    world.clock.advance(Duration::from_hours(2));
    assert_eq!(protected(&world, id.as_str()), (vec![false], vec![]));

    protect(&world, id.as_str(), true, Some(2880)).expect("protected");
    protect(&world, id.as_str(), false, None).expect("not any more");
    assert_eq!(protected(&world, id.as_str()), (vec![false], vec![]));
}

#[test]
fn only_tasks_of_services_are_protected() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let alone = world.run_one();
    let refused = protect(&world, alone.as_str(), true, None).expect("answered");
    let failure = refused.failures.expect("failures").pop().expect("one");
    assert_eq!(failure.reason.as_deref(), Some("TASK_NOT_VALID"));
    assert_eq!(world.task(&alone).protected_until, None);
    let nobody = "0".repeat(32);
    assert_eq!(protected(&world, &nobody), (vec![], vec!["MISSING".to_owned()]));

    let stopping = of_service(&world);
    world.stop(&stopping, None).expect("stopping");
    assert_eq!(protected(&world, stopping.as_str()).1, ["TASK_NOT_VALID"]);
    assert_eq!(world.task(&stopping).scope, scope());
}

#[test]
fn it_lasts_a_minute_to_two_days() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let id = of_service(&world);
    for minutes in [0, -1, 2881] {
        let refused = protect(&world, id.as_str(), true, Some(minutes)).expect_err("refused");
        assert_eq!(refused.fault().code, "InvalidParameterException", "{minutes}");
    }
}
