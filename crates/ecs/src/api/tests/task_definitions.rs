//! Task definitions.

use crate::api::*;
use crate::controllers::definitions::Deletion;
use crate::testing::{World, definition, ready};
use chassis::Controller as _;
use wire::ecs;

fn register(world: &World, family: &str) -> ecs::TaskDefinition {
    let tag = ecs::Tag { key: Some("team".to_owned()), value: Some("web".to_owned()) };
    let request = ecs::RegisterTaskDefinitionRequest {
        family: Some(family.to_owned()),
        tags: Some(vec![tag]),
        ..definition()
    };
    let response = ready(register_task_definition(&world.root(), request)).expect("registered");
    assert_eq!(response.tags.map(|tags| tags.len()), Some(1));
    response.task_definition.expect("shown")
}

fn describe(world: &World, text: &str) -> Result<ecs::DescribeTaskDefinitionResponse, Error> {
    let request = ecs::DescribeTaskDefinitionRequest {
        task_definition: Some(text.to_owned()),
        include: Some(vec!["TAGS".to_owned()]),
    };
    describe_task_definition(&world.root(), request)
}

#[test]
fn revisions_are_counted_by_family() {
    let world = World::new();
    let numbers: Vec<_> =
        ["web", "web", "api", "web"].map(|family| register(&world, family).revision).into();
    assert_eq!(numbers, [Some(1), Some(2), Some(1), Some(3)]);
}

#[test]
fn what_is_registered_is_described() {
    let world = World::new();
    let first = register(&world, "web");
    let second = register(&world, "web");
    assert_eq!(first.status.as_deref(), Some("ACTIVE"));
    assert_eq!(first.compatibilities, Some(vec!["EC2".to_owned()]));
    assert_eq!(first.network_mode.as_deref(), Some("awsvpc"));
    assert_eq!(first.registered_by.as_deref(), Some("arn:aws:iam::000000000000:root"));
    let names: Vec<_> =
        first.requires_attributes.iter().flatten().filter_map(|a| a.name.clone()).collect();
    assert!(names.contains(&"ecs.capability.task-eni".to_owned()), "{names:?}");

    let shown = |text: &str| describe(&world, text).expect("there").task_definition;
    assert_eq!(shown("web"), Some(second));
    assert_eq!(shown("web:1"), Some(first.clone()));
    assert_eq!(shown(first.task_definition_arn.as_deref().expect("an ARN")), Some(first));
    assert_eq!(describe(&world, "web").expect("there").tags.map(|tags| tags.len()), Some(1));
    for unknown in ["api", "web:9"] {
        let fault = describe(&world, unknown).expect_err("unknown").fault();
        assert_eq!(
            (&*fault.code, &*fault.message),
            ("ClientException", "Unable to describe task definition.")
        );
    }
}

#[test]
fn listing_in_both_directions_page_by_page() {
    let world = World::new();
    for _ in 0..11 {
        register(&world, "web");
    }
    register(&world, "web-2");
    let list = |sort: &str, family: Option<&str>, size| {
        let mut token = None;
        let mut seen: Vec<String> = vec![];
        loop {
            let request = ecs::ListTaskDefinitionsRequest {
                family_prefix: family.map(str::to_owned),
                sort: Some(sort.to_owned()),
                max_results: Some(size),
                next_token: token,
                status: None,
            };
            let page = list_task_definitions(&world.root(), request).expect("listed");
            seen.extend(page.task_definition_arns.expect("a list"));
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        let name = |arn: &String| arn.rsplit('/').next().expect("a name").to_owned();
        seen.iter().map(name).collect::<Vec<_>>()
    };
    let up = list("ASC", Some("web"), 4);
    let wanted: Vec<_> = (1..=11).map(|revision| format!("web:{revision}")).collect();
    assert_eq!(up, wanted, "as numbers, not as text");
    let mut down = list("DESC", Some("web"), 3);
    down.reverse();
    assert_eq!(down, wanted);
    assert_eq!(list("ASC", None, 100).len(), 12);
    assert_eq!(list("ASC", Some("we"), 100), Vec::<String>::new());
}

fn deregister(world: &World, text: &str) -> Result<ecs::TaskDefinition, Error> {
    let request = ecs::DeregisterTaskDefinitionRequest { task_definition: Some(text.to_owned()) };
    let response = ready(deregister_task_definition(&world.root(), request))?;
    Ok(response.task_definition.expect("shown"))
}

fn delete(world: &World, texts: &[&str]) -> Result<ecs::DeleteTaskDefinitionsResponse, Error> {
    let task_definitions = Some(texts.iter().map(ToString::to_string).collect());
    let request = ecs::DeleteTaskDefinitionsRequest { task_definitions };
    ready(delete_task_definitions(&world.root(), request))
}

fn finish_deletions(world: &World) {
    ready(Deletion.reconcile(&world.platform)).expect("reconciles");
}

fn status(world: &World, text: &str) -> Option<String> {
    describe(world, text).ok()?.task_definition?.status
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let fault = result.expect_err("refused").fault();
    format!("{}: {}", fault.code, fault.message)
}

#[test]
fn a_deregistered_revision_is_shown_and_not_run() {
    let world = World::new();
    world.instance(1);
    register(&world, "web");
    let taken = deregister(&world, "web:1").expect("taken");
    assert_eq!(taken.status.as_deref(), Some("INACTIVE"));
    assert!(taken.deregistered_at.is_some());
    assert_eq!(describe(&world, "web:1").expect("there").task_definition, Some(taken));
    assert_eq!(status(&world, "web"), None, "without a number it is the newest active one");
    let run = world.run(|request| request.task_definition = Some("web:1".to_owned()));
    assert_eq!(refusal(run), "ClientException: TaskDefinition is inactive");

    for (text, wanted) in [
        ("web:1", "The specified task definition is inactive."),
        ("web:2", "The specified task definition does not exist."),
        ("api:1", "The specified task definition does not exist."),
        ("web", "Revision is missing."),
    ] {
        let refused = refusal(deregister(&world, text));
        assert!(refused.starts_with(&format!("ClientException: {wanted}")), "{refused}");
    }
}

#[test]
fn deletion_waits_for_the_tasks_and_numbers_are_not_given_twice() {
    let world = World::new();
    let instance = world.instance(1);
    register(&world, "web");
    let task = world.run_one();
    deregister(&world, "web:1").expect("taken");

    let answer = delete(&world, &["web:1", "web:7"]).expect("heard");
    let shown = answer.task_definitions.expect("shown");
    assert_eq!(shown[0].status.as_deref(), Some("DELETE_IN_PROGRESS"));
    assert!(shown[0].delete_requested_at.is_some());
    let failures = answer.failures.expect("listed");
    assert_eq!(failures[0].arn.as_deref(), Some("web:7"));
    assert_eq!((shown.len(), failures.len()), (1, 1));

    finish_deletions(&world);
    assert_eq!(status(&world, "web:1").as_deref(), Some("DELETE_IN_PROGRESS"), "a task runs of it");
    world.stop(&task, None).expect("stopping");
    world.settle(&instance);
    finish_deletions(&world);
    assert_eq!(status(&world, "web:1"), None);
    assert_eq!(world.shown(&task).last_status.as_deref(), Some("STOPPED"), "still described");
    assert_eq!(register(&world, "web").revision, Some(2));
}

#[test]
fn what_may_not_be_deleted_says_why() {
    let world = World::new();
    register(&world, "web");
    let failures = delete(&world, &["web:1"]).expect("heard").failures.expect("listed");
    let reason = failures[0].reason.as_deref().expect("a reason");
    assert!(reason.contains("still in ACTIVE status"), "{reason}");
    finish_deletions(&world);
    assert_eq!(status(&world, "web:1").as_deref(), Some("ACTIVE"));
    for many in [vec![], vec!["web:1"; 11]] {
        let refused = refusal(delete(&world, &many));
        assert!(refused.starts_with("InvalidParameterException: "), "{refused}");
    }
    assert!(refusal(delete(&world, &["web"])).contains("Revision is missing."));
}

#[test]
fn families_by_status_and_prefix() {
    let world = World::new();
    for family in ["api", "web", "web", "web-old"] {
        register(&world, family);
    }
    deregister(&world, "web:1").expect("taken");
    deregister(&world, "web-old:1").expect("taken");
    let list = |status: Option<&str>, prefix: &str| {
        let (mut token, mut seen) = (None, vec![]);
        loop {
            let request = ecs::ListTaskDefinitionFamiliesRequest {
                status: status.map(str::to_owned),
                family_prefix: Some(prefix.to_owned()),
                max_results: Some(1),
                next_token: token,
            };
            let page = list_task_definition_families(&world.root(), &request).expect("a page");
            seen.extend(page.families.expect("families"));
            token = page.next_token;
            if token.is_none() {
                return seen;
            }
        }
    };
    assert_eq!(list(None, ""), ["api", "web", "web-old"]);
    assert_eq!(list(Some("ALL"), "web"), ["web", "web-old"]);
    assert_eq!(list(Some("ACTIVE"), ""), ["api", "web"]);
    assert_eq!(list(Some("INACTIVE"), ""), ["web-old"]);
    delete(&world, &["web-old:1"]).expect("heard");
    finish_deletions(&world);
    assert_eq!(list(None, "web"), ["web"]);
}
