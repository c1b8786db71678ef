//! Task definitions.

use crate::api::*;
use crate::testing::{World, definition, ready};
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
