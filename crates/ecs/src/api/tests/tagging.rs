//! Tags of what there is.

use crate::api::*;
use crate::testing::{World, ready, scope};
use wire::ecs;

fn tag(world: &World, arn: &str, keys: &[&str]) -> Result<(), wire::Fault> {
    let tags = keys
        .iter()
        .map(|key| ecs::Tag { key: Some((*key).to_owned()), value: Some("v".to_owned()) });
    let (resource_arn, tags) = (Some(arn.to_owned()), Some(tags.collect()));
    let request = ecs::TagResourceRequest { resource_arn, tags };
    ready(tag_resource(&world.root(), request)).map(drop).map_err(|error| error.fault())
}

fn untag(world: &World, arn: &str, keys: &[&str]) -> Result<(), wire::Fault> {
    let keys = keys.iter().map(ToString::to_string).collect();
    let (resource_arn, tag_keys) = (Some(arn.to_owned()), Some(keys));
    let request = ecs::UntagResourceRequest { resource_arn, tag_keys };
    ready(untag_resource(&world.root(), request)).map(drop).map_err(|error| error.fault())
}

fn list(world: &World, arn: &str) -> Vec<String> {
    let request = ecs::ListTagsForResourceRequest { resource_arn: Some(arn.to_owned()) };
    let answer = list_tags_for_resource(&world.root(), &request).expect("listed");
    answer.tags.into_iter().flatten().map(|tag| tag.key.expect("a key")).collect()
}

fn arn(resource: &str) -> String {
    format!("arn:aws:ecs:us-east-1:{}:{resource}", scope().account)
}

#[test]
fn everything_that_there_is_has_tags() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let task = world.run_one();
    for arn in [
        arn("cluster/default"),
        arn("task-definition/web:1"),
        arn(&format!("task/default/{task}")),
        instance.arn().to_string(),
    ] {
        tag(&world, &arn, &["a", "b"]).expect("tagged");
        tag(&world, &arn, &["c", "b"]).expect("tagged");
        assert_eq!(list(&world, &arn), ["a", "b", "c"], "{arn}");
        untag(&world, &arn, &["b", "never-there"]).expect("untagged");
        assert_eq!(list(&world, &arn), ["a", "c"], "{arn}");
    }
    assert_eq!(world.task(&task).tags.0.len(), 2);
}

#[test]
fn what_is_not_there_or_ours_is_refused() {
    let world = World::new();
    let stopped = {
        let instance = world.instance(1);
        world.stopped_task(&instance)
    };
    let id = "0".repeat(32);
    for (resource, code, text) in [
        (arn("cluster/nowhere"), "ClusterNotFoundException", "Cluster not found."),
        (arn(&format!("task/nowhere/{id}")), "ClusterNotFoundException", "Cluster not found."),
        (arn(&format!("task/default/{id}")), "ResourceNotFoundException", "The specified"),
        (arn("task-definition/web:9"), "ResourceNotFoundException", "The specified"),
        (arn("task-definition/web"), "InvalidParameterException", "Invalid identifier"),
        (arn("service/default/web"), "ResourceNotFoundException", "The specified"),
        (arn("service/web"), "InvalidParameterException", "Long arn format must be used"),
        (arn(&format!("task/{id}")), "InvalidParameterException", "Long arn format must be used"),
        (arn("castle/x"), "InvalidParameterException", "Invalid identifier"),
        ("default".to_owned(), "InvalidParameterException", "Invalid identifier"),
        (
            "arn:aws:ecs:us-east-1:999999999999:cluster/default".to_owned(),
            "InvalidParameterException",
            "Invalid identifier: Identifier is for 999999999999.",
        ),
        (
            arn(&format!("task/default/{stopped}")),
            "InvalidParameterException",
            "The specified task is stopped. Specify a running task and try again.",
        ),
    ] {
        for fault in [
            tag(&world, &resource, &["a"]).expect_err(&resource),
            untag(&world, &resource, &["a"]).expect_err(&resource),
        ] {
            assert_eq!(fault.code, code, "{resource}");
            assert!(fault.message.starts_with(text), "{} is not {text}", fault.message);
        }
    }
}

#[test]
fn fifty_tags_are_enough() {
    let world = World::new();
    let cluster = arn("cluster/default");
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    tag(&world, &cluster, &keys).expect("fifty");
    assert_eq!(tag(&world, &cluster, &["x"]).expect_err("more").code, "LimitExceededException");
    let fault = untag(&world, &cluster, &["aws:x"]).expect_err("not ours");
    assert_eq!(fault.code, "InvalidParameterException");
    assert_eq!(list(&world, &cluster).len(), 50);
}
