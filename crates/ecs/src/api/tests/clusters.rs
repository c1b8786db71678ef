//! Clusters.

use crate::api::*;
use crate::testing::{World, ready};
use wire::ecs;

fn create(world: &World, name: &str) -> ecs::Cluster {
    let tag = ecs::Tag { key: Some("team".to_owned()), value: Some("web".to_owned()) };
    let request = ecs::CreateClusterRequest {
        cluster_name: Some(name.to_owned()),
        tags: Some(vec![tag]),
        ..Default::default()
    };
    ready(create_cluster(&world.root(), request)).expect("created").cluster.expect("shown")
}

#[test]
fn creating_twice_is_creating_once() {
    let world = World::new();
    let first = create(&world, "web");
    let revision = world.view().revision();
    assert_eq!(create(&world, "web"), first);
    assert_eq!(world.view().revision(), revision);
    let arn = "arn:aws:ecs:us-east-1:000000000000:cluster/web";
    assert_eq!(first.cluster_arn.as_deref(), Some(arn));
    assert_eq!(first.status.as_deref(), Some("ACTIVE"));
}

#[test]
fn what_a_cluster_cannot_be_is_refused() {
    let world = World::new();
    create(&world, "web");
    let revision = world.view().revision();
    let insights = |value: &str| {
        let (name, value) = (Some("containerInsights".to_owned()), Some(value.to_owned()));
        Some(vec![ecs::ClusterSetting { name, value }])
    };
    let strategy = ecs::CapacityProviderStrategyItem {
        capacity_provider: Some("FARGATE".to_owned()),
        ..Default::default()
    };
    let tag = |key: &str| ecs::Tag { key: Some(key.to_owned()), value: None };
    let plain = || ecs::CreateClusterRequest::default();
    for (request, text) in [
        (
            ecs::CreateClusterRequest { settings: insights("on"), ..plain() },
            "Invalid value 'on' for the setting containerInsights.",
        ),
        (
            ecs::CreateClusterRequest {
                cluster_name: Some("web".to_owned()),
                settings: insights("enabled"),
                ..plain()
            },
            "Arguments on this idempotent request are inconsistent",
        ),
        (
            ecs::CreateClusterRequest {
                capacity_providers: Some(vec!["spare".to_owned()]),
                ..plain()
            },
            "The specified capacity provider was not found.",
        ),
        (
            ecs::CreateClusterRequest {
                default_capacity_provider_strategy: Some(vec![strategy]),
                ..plain()
            },
            "The specified capacity provider strategy cannot contain",
        ),
        (
            ecs::CreateClusterRequest { tags: Some(vec![tag("AWS:x")]), ..plain() },
            "Tag keys starting with 'aws:' are reserved",
        ),
        (
            ecs::CreateClusterRequest { tags: Some(vec![tag("a"), tag("a")]), ..plain() },
            "Duplicate tag keys",
        ),
        (
            ecs::CreateClusterRequest { tags: Some(vec![ecs::Tag::default()]), ..plain() },
            "Tag keys can not be null.",
        ),
    ] {
        let fault = ready(create_cluster(&world.root(), request)).expect_err(text).fault();
        assert_eq!(fault.code, "InvalidParameterException");
        assert!(fault.message.starts_with(text), "{} is not {text}", fault.message);
    }
    assert_eq!(world.view().revision(), revision);
}

#[test]
fn describing_counts_and_shows_what_was_asked_for() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    world.run_one();
    world.settle(&instance);
    world.agent(&instance, "s-1").obey();
    world.run_one();
    let describe = |clusters: &[&str], include: &[&str]| {
        let text = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect());
        let request =
            ecs::DescribeClustersRequest { clusters: text(clusters), include: text(include) };
        describe_clusters(&world.root(), request).expect("described")
    };

    let plain = describe(&[], &[]).clusters.expect("clusters").remove(0);
    assert_eq!(plain.cluster_name.as_deref(), Some("default"));
    assert_eq!(plain.registered_container_instances_count, Some(1));
    assert_eq!((plain.running_tasks_count, plain.pending_tasks_count), (Some(1), Some(1)));
    assert_eq!(plain.statistics, Some(vec![]));

    create(&world, "web");
    let full = describe(&["web", "default", "nowhere"], &["TAGS", "STATISTICS", "SETTINGS"]);
    let names: Vec<_> =
        full.clusters.iter().flatten().map(|c| c.cluster_name.clone().expect("a name")).collect();
    assert_eq!(names, ["web", "default"]);
    let web = &full.clusters.as_ref().expect("clusters")[0];
    assert_eq!(web.tags.as_ref().map(Vec::len), Some(1));
    assert_eq!(web.settings.as_ref().map(Vec::len), Some(1));
    let statistics = full.clusters.expect("clusters")[1].statistics.clone().expect("statistics");
    let running = statistics.iter().find(|s| s.name.as_deref() == Some("runningEC2TasksCount"));
    assert_eq!(running.expect("there").value.as_deref(), Some("1"));
    let failure = &full.failures.expect("failures")[0];
    assert_eq!(failure.reason.as_deref(), Some("MISSING"));
    assert!(failure.arn.as_ref().expect("an ARN").ends_with(":cluster/nowhere"));
}

#[test]
fn listing_goes_page_by_page() {
    let world = World::new();
    for name in ["b", "a", "c"] {
        create(&world, name);
    }
    let mut token = None;
    let mut seen = vec![];
    loop {
        let request = ecs::ListClustersRequest { max_results: Some(3), next_token: token };
        let page = list_clusters(&world.root(), &request).expect("listed");
        seen.extend(page.cluster_arns.expect("a list"));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    let names: Vec<_> = seen.iter().filter_map(|arn| arn.rsplit('/').next()).collect();
    assert_eq!(names, ["a", "b", "c", "default"]);
}
