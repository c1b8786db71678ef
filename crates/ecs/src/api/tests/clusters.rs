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

fn delete(world: &World, name: &str) -> Result<ecs::Cluster, String> {
    let request = ecs::DeleteClusterRequest { cluster: Some(name.to_owned()) };
    ready(delete_cluster(&world.root(), request))
        .map(|answer| answer.cluster.expect("shown"))
        .map_err(|error| error.fault().code.into_owned())
}

fn described(world: &World, name: &str) -> ecs::Cluster {
    let include = ["SETTINGS", "CONFIGURATIONS", "TAGS"].map(str::to_owned).to_vec();
    let request = ecs::DescribeClustersRequest {
        clusters: Some(vec![name.to_owned()]),
        include: Some(include),
    };
    let answer = describe_clusters(&world.root(), request).expect("described");
    answer.clusters.expect("clusters").remove(0)
}

#[test]
fn a_deleted_cluster_is_seen_and_not_found() {
    let world = World::new();
    create(&world, "web");
    assert_eq!(delete(&world, "web").expect("deleted").status.as_deref(), Some("INACTIVE"));
    assert_eq!(described(&world, "web").status.as_deref(), Some("INACTIVE"));
    assert_eq!(delete(&world, "web").expect_err("gone"), "ClusterNotFoundException");
    let listed = list_clusters(&world.root(), &ecs::ListClustersRequest::default());
    assert_eq!(listed.expect("listed").cluster_arns.map(|all| all.len()), Some(1), "default");

    let request =
        ecs::CreateClusterRequest { cluster_name: Some("web".to_owned()), ..Default::default() };
    let again = ready(create_cluster(&world.root(), request)).expect("anew");
    let again = again.cluster.expect("shown");
    assert_eq!(again.status.as_deref(), Some("ACTIVE"));
    assert_eq!(again.tags, Some(vec![]), "nothing is left of the one before");
}

#[test]
fn a_cluster_is_not_deleted_with_what_is_in_it() {
    let world = World::new();
    let instance = world.instance(1);
    world.define(|_| {});
    let task = world.run_one();
    assert_eq!(
        delete(&world, "default").expect_err("in use"),
        "ClusterContainsContainerInstancesException"
    );

    let mut record = world.instance_record(&instance.id);
    record.status = crate::records::InstanceStatus::Inactive;
    ready(world.platform.store.transact(|txn| {
        txn.put(record.clone());
        Ok::<_, store::StoreError>(())
    }))
    .expect("deregistered");
    assert_eq!(delete(&world, "default").expect_err("in use"), "ClusterContainsTasksException");

    let mut record = world.task(&task);
    record.phase = sched::lifecycle::Phase::Stopped;
    ready(world.platform.store.transact(|txn| {
        txn.put(record.clone());
        Ok::<_, store::StoreError>(())
    }))
    .expect("stopped");
    delete(&world, "default").expect("deleted");
}

#[test]
fn an_update_changes_what_it_names() {
    let world = World::new();
    create(&world, "web");
    let insights = |value: &str| {
        let (name, value) = (Some("containerInsights".to_owned()), Some(value.to_owned()));
        Some(vec![ecs::ClusterSetting { name, value }])
    };
    let named = |namespace: &str| {
        Some(ecs::ClusterServiceConnectDefaultsRequest { namespace: Some(namespace.to_owned()) })
    };
    let update = |change: fn(&mut ecs::UpdateClusterRequest)| {
        let mut request =
            ecs::UpdateClusterRequest { cluster: Some("web".to_owned()), ..Default::default() };
        change(&mut request);
        ready(update_cluster(&world.root(), request)).map(|answer| answer.cluster.expect("shown"))
    };
    let request = ecs::UpdateClusterRequest {
        cluster: Some("web".to_owned()),
        settings: insights("enhanced"),
        service_connect_defaults: named("backend"),
        configuration: None,
    };
    ready(update_cluster(&world.root(), request)).expect("updated");
    update(|request| {
        request.configuration = Some(ecs::ClusterConfiguration {
            execute_command_configuration: Some(ecs::ExecuteCommandConfiguration {
                logging: Some("NONE".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        });
    })
    .expect("updated");
    let seen = described(&world, "web");
    assert_eq!(seen.settings, insights("enhanced"));
    assert!(seen.configuration.is_some());
    assert_eq!(seen.service_connect_defaults.and_then(|d| d.namespace).as_deref(), Some("backend"));

    let without = update(|request| {
        request.service_connect_defaults =
            Some(ecs::ClusterServiceConnectDefaultsRequest { namespace: Some(String::new()) });
    });
    assert_eq!(without.expect("updated").service_connect_defaults, None);
    let refused = update(|request| {
        request.configuration = Some(ecs::ClusterConfiguration {
            execute_command_configuration: Some(ecs::ExecuteCommandConfiguration {
                logging: Some("OVERRIDE".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        });
    });
    assert_eq!(refused.expect_err("nowhere to log").fault().code, "InvalidParameterException");

    let settings = |cluster: &str, settings| {
        let cluster = Some(cluster.to_owned());
        let request = ecs::UpdateClusterSettingsRequest { cluster, settings };
        ready(update_cluster_settings(&world.root(), request))
            .map(|answer| answer.cluster.expect("shown").settings)
            .map_err(|error| error.fault().code.into_owned())
    };
    assert_eq!(settings("web", insights("disabled")), Ok(insights("disabled")));
    assert_eq!(settings("web", insights("on")), Err("InvalidParameterException".to_owned()));
    assert_eq!(settings("web", None), Err("InvalidParameterException".to_owned()));
    assert_eq!(settings("no", insights("disabled")), Err("ClusterNotFoundException".to_owned()));
}

#[test]
fn a_cluster_has_the_insights_of_its_makers_account() {
    let world = World::new();
    let request = ecs::PutAccountSettingDefaultRequest {
        name: Some("containerInsights".to_owned()),
        value: Some("enabled".to_owned()),
    };
    ready(put_account_setting_default(&world.root(), request)).expect("put");
    let settings = create(&world, "web").settings.expect("settings");
    assert_eq!(settings[0].value.as_deref(), Some("enabled"));
}

#[test]
fn a_strategy_keeps_its_rules() {
    let world = World::new();
    let item = |name: &str, base| ecs::CapacityProviderStrategyItem {
        capacity_provider: Some(name.to_owned()),
        base,
        weight: Some(1),
    };
    let create = |strategy| {
        let request = ecs::CreateClusterRequest {
            cluster_name: Some("web".to_owned()),
            capacity_providers: Some(vec!["FARGATE".to_owned(), "FARGATE_SPOT".to_owned()]),
            default_capacity_provider_strategy: Some(strategy),
            ..Default::default()
        };
        ready(create_cluster(&world.root(), request)).map_err(|error| error.fault().message)
    };
    let both = vec![item("FARGATE", Some(1)), item("FARGATE_SPOT", Some(1))];
    assert!(create(both).expect_err("two bases").starts_with("Only one capacity provider"));
    let twice = vec![item("FARGATE", None), item("FARGATE", None)];
    assert!(create(twice).expect_err("twice").ends_with("a capacity provider twice."));
    let cluster = create(vec![item("FARGATE", Some(1)), item("FARGATE_SPOT", None)]);
    let cluster = cluster.expect("created").cluster.expect("shown");
    assert_eq!(cluster.default_capacity_provider_strategy.map(|items| items.len()), Some(2));
}
