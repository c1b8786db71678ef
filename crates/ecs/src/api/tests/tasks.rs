//! StopTask, DescribeTasks, ListTasks.

use crate::api::*;
use crate::testing::World;
use ident::{TaskId, Timestamp};
use wire::ecs;

fn list(world: &World, change: impl FnOnce(&mut ecs::ListTasksRequest)) -> Vec<TaskId> {
    let mut request = ecs::ListTasksRequest::default();
    change(&mut request);
    let arns = list_tasks(&world.root(), &request).expect("listed").task_arns.expect("a list");
    let id = |arn: &String| arn.rsplit('/').next().and_then(|id| id.parse().ok()).expect("an id");
    arns.iter().map(id).collect()
}

#[test]
fn stopping_twice_is_stopping_once() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    world.settle(&instance);
    world.agent(&instance, "s-1").obey();
    let ask = |reason: &str| world.stop(&id, Some(reason)).expect("accepted").task.expect("shown");
    let first = ask("tired");
    assert_eq!(first.last_status.as_deref(), Some("STOPPING"));
    assert_eq!(first.desired_status.as_deref(), Some("STOPPED"));
    let revision = world.view().revision();
    assert_eq!(ask("very tired").stopped_reason.as_deref(), Some("tired"));
    assert_eq!(world.view().revision(), revision);
}

#[test]
fn what_is_not_there_is_missing() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let id = world.run_one();
    let arn = world.task(&id).arn().to_string();
    let elsewhere = arn.replace("/default/", "/elsewhere/");
    let unknown = "0".repeat(32);
    let request = ecs::DescribeTasksRequest {
        tasks: Some(vec![id.to_string(), arn.clone(), elsewhere.clone(), unknown.clone()]),
        ..Default::default()
    };
    let answer = describe_tasks(&world.root(), request).expect("described");
    assert_eq!(answer.tasks.as_ref().map(Vec::len), Some(2));
    let failures = answer.failures.expect("failures");
    assert!(failures.iter().all(|failure| failure.reason.as_deref() == Some("MISSING")));
    assert_eq!(failures[0].arn, Some(elsewhere));
    assert!(failures[1].arn.as_ref().expect("an ARN").ends_with(&unknown));

    for (tasks, text) in [
        (vec![], "Tasks cannot be empty."),
        (vec![unknown.clone(); 101], "Tasks can have at most 100 items."),
        (vec!["x".to_owned()], "The taskId length should be one of [32,36]"),
    ] {
        let request = ecs::DescribeTasksRequest { tasks: Some(tasks), ..Default::default() };
        let fault = describe_tasks(&world.root(), request).expect_err(text).fault();
        assert_eq!((&*fault.code, &*fault.message), ("InvalidParameterException", text));
    }
    let stop = world.stop(&TaskId::mint(Timestamp(0), 9), None).expect_err("unknown").fault();
    assert_eq!(
        (&*stop.code, &*stop.message),
        ("InvalidParameterException", "The referenced task was not found.")
    );
}

#[test]
fn filters_narrow_the_list() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let mine = {
        let run = world.run(|request| request.started_by = Some("me".to_owned()));
        crate::testing::task_id(&run.expect("accepted").tasks.expect("tasks")[0])
    };
    let stopped = world.run_one();
    world.stop(&stopped, None).expect("stopping");
    let text = |text: &str| Some(text.to_owned());
    let only = [mine];

    assert_eq!(list(&world, |_| {}), only, "those that are to run");
    assert_eq!(list(&world, |r| r.desired_status = text("STOPPED")), [stopped]);
    assert!(list(&world, |r| r.desired_status = text("PENDING")).is_empty());
    assert_eq!(list(&world, |r| r.started_by = text("me")), only);
    assert!(list(&world, |r| r.started_by = text("you")).is_empty());
    assert_eq!(list(&world, |r| r.family = text("web")), only);
    assert!(list(&world, |r| r.family = text("api")).is_empty());
    assert_eq!(list(&world, |r| r.container_instance = text(instance.id.as_str())), only);
    assert_eq!(list(&world, |r| r.launch_type = text("EC2")), only);
    assert!(list(&world, |r| r.launch_type = text("FARGATE")).is_empty());

    let refused = |change: fn(&mut ecs::ListTasksRequest)| {
        let mut request = ecs::ListTasksRequest::default();
        change(&mut request);
        list_tasks(&world.root(), &request).expect_err("refused").fault().code
    };
    assert_eq!(refused(|r| r.service_name = Some("web".to_owned())), "ServiceNotFoundException");
    assert_eq!(refused(|r| r.service_name = Some("x/web".to_owned())), "ServiceNotFoundException");
    assert_eq!(refused(|r| r.max_results = Some(101)), "InvalidParameterException");
    assert_eq!(refused(|r| r.next_token = Some("x".to_owned())), "InvalidParameterException");
}

#[test]
fn lists_go_page_by_page() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    world.run(|request| request.count = Some(7)).expect("accepted");
    let mut token = None;
    let mut seen = vec![];
    loop {
        let request =
            ecs::ListTasksRequest { max_results: Some(3), next_token: token, ..Default::default() };
        let page = list_tasks(&world.root(), &request).expect("listed");
        seen.extend(page.task_arns.expect("a list"));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    let mut unique = seen.clone();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (7, 7));
}

#[test]
fn tasks_of_a_service_are_those_of_its_group() {
    let world = World::new();
    world.instance(1);
    world.define(|_| {});
    let (mine, other) = (world.run_one(), world.run_one());
    for (id, group) in [(&mine, "service:web"), (&other, "service:web2")] {
        let task = crate::records::Task { group: group.to_owned(), ..world.task(id) };
        crate::testing::ready(world.platform.store.transact(|txn| {
            txn.put(task.clone());
            Ok::<_, store::StoreError>(())
        }))
        .expect("put");
    }
    let of = |name: &str, desired: Option<&str>| {
        let (name, desired) = (Some(name.to_owned()), desired.map(str::to_owned));
        list(&world, |request| {
            request.service_name = name;
            request.desired_status = desired;
        })
    };
    let arn = |cluster: &str| format!("arn:aws:ecs:us-east-1:000000000000:service/{cluster}web");
    for name in ["web", &arn("default/"), &arn("")] {
        assert_eq!(of(name, None), std::slice::from_ref(&mine), "{name}");
    }
    assert!(of("web", Some("STOPPED")).is_empty());
    assert!(of("web", Some("PENDING")).is_empty());
    world.stop(&mine, None).expect("stopping");
    assert_eq!(of("web", Some("STOPPED")), [mine]);

    let request = ecs::ListTasksRequest { service_name: Some(arn("x/")), ..Default::default() };
    let fault = list_tasks(&world.root(), &request).expect_err("elsewhere").fault();
    assert_eq!(fault.code, "ServiceNotFoundException");
}

#[test]
fn some_filters_stand_alone() {
    let world = World::new();
    let refused = |change: fn(&mut ecs::ListTasksRequest, Option<String>)| {
        let mut request = ecs::ListTasksRequest::default();
        change(&mut request, Some("x".to_owned()));
        list_tasks(&world.root(), &request).expect_err("refused").fault()
    };
    let starter: [fn(&mut ecs::ListTasksRequest, Option<String>); 4] = [
        |r, x| (r.started_by, r.family) = (x.clone(), x),
        |r, x| (r.started_by, r.launch_type) = (x, Some("EC2".to_owned())),
        |r, x| (r.started_by, r.container_instance) = (x.clone(), x),
        |r, x| (r.started_by, r.service_name) = (x.clone(), x),
    ];
    let service: [fn(&mut ecs::ListTasksRequest, Option<String>); 2] = [
        |r, x| (r.service_name, r.family) = (x.clone(), x),
        |r, x| (r.service_name, r.container_instance) = (x.clone(), x),
    ];
    for (name, changes) in [("startedBy", &starter[..]), ("serviceName", &service[..])] {
        for change in changes {
            let fault = refused(*change);
            assert_eq!(fault.code, "InvalidParameterException");
            assert_eq!(fault.message, format!("cannot specify {name} with other arguments"));
        }
    }
}
