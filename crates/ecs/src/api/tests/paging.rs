//! Every list, page by page, while things come and go between the pages: what was
//! there all the time is shown once, what is gone is not shown, nothing is shown twice.

use crate::account_settings::SettingName;
use crate::api::*;
use crate::testing::{World, ready};
use std::collections::BTreeSet;
use wire::ecs;

/// What is on a page, and the token of the next.
type Page = (Vec<String>, Option<String>);

/// A list, and how things come to it and go from it.
struct List {
    name: &'static str,
    /// What has to be there first.
    prepare: fn(&World),
    /// A page of so many items.
    page: fn(&World, i32, Option<String>) -> Page,
    /// Adds something, which the number chooses.
    add: fn(&World, u128),
    /// Takes away an item, by what the list calls it.
    remove: fn(&World, &str),
}

/// How many walks each list is taken on.
const WALKS: u64 = 6;

const LISTS: [List; 8] = [
    List {
        name: "ListClusters",
        prepare: |_| {},
        page: |world, size, token| {
            let request = ecs::ListClustersRequest { max_results: Some(size), next_token: token };
            let answer = list_clusters(&world.root(), &request).expect("listed");
            (answer.cluster_arns.expect("a list"), answer.next_token)
        },
        add: |world, number| {
            let cluster_name = Some(format!("c{number:x}"));
            let request = ecs::CreateClusterRequest { cluster_name, ..Default::default() };
            ready(create_cluster(&world.root(), request)).expect("created");
        },
        remove: |world, arn| {
            let request = ecs::DeleteClusterRequest { cluster: Some(arn.to_owned()) };
            ready(delete_cluster(&world.root(), request)).expect("deleted");
        },
    },
    List {
        name: "ListTasks",
        prepare: |world| {
            (1..5).for_each(|number| drop(world.instance(number)));
            world.define(|_| {});
        },
        page: |world, size, token| {
            let request = ecs::ListTasksRequest {
                max_results: Some(size),
                next_token: token,
                ..Default::default()
            };
            let answer = list_tasks(&world.root(), &request).expect("listed");
            (answer.task_arns.expect("a list"), answer.next_token)
        },
        add: |world, _| drop(world.run_one()),
        remove: |world, arn| {
            let (_, id) = crate::names::task_from_arn(&crate::testing::scope(), arn).expect("ours");
            world.stop(&id, None).expect("stopping");
        },
    },
    List {
        name: "ListContainerInstances",
        prepare: |_| {},
        page: |world, size, token| {
            let request = ecs::ListContainerInstancesRequest {
                max_results: Some(size),
                next_token: token,
                ..Default::default()
            };
            let answer = list_container_instances(&world.root(), request).expect("listed");
            (answer.container_instance_arns.expect("a list"), answer.next_token)
        },
        add: |world, number| drop(world.register(number, None)),
        remove: |world, arn| {
            let request = ecs::DeregisterContainerInstanceRequest {
                container_instance: Some(arn.to_owned()),
                ..Default::default()
            };
            ready(deregister_container_instance(&world.root(), request)).expect("deregistered");
        },
    },
    List {
        name: "ListTaskDefinitions",
        prepare: |_| {},
        page: |world, size, token| definitions(world, size, token, "ASC"),
        add: add_definition,
        remove: remove_definition,
    },
    List {
        name: "ListTaskDefinitions, backwards",
        prepare: |_| {},
        page: |world, size, token| definitions(world, size, token, "DESC"),
        add: add_definition,
        remove: remove_definition,
    },
    List {
        name: "ListTaskDefinitionFamilies",
        prepare: |_| {},
        page: |world, size, token| {
            let request = ecs::ListTaskDefinitionFamiliesRequest {
                max_results: Some(size),
                next_token: token,
                status: Some("ACTIVE".to_owned()),
                ..Default::default()
            };
            let answer = list_task_definition_families(&world.root(), &request).expect("listed");
            (answer.families.expect("a list"), answer.next_token)
        },
        // A family of its own each, so that it goes with its only revision.
        add: |world, number| {
            world.define(|request| request.family = Some(format!("f{number:032x}")));
        },
        remove: |world, family| remove_definition(world, &format!("{family}:1")),
    },
    List {
        name: "ListAttributes",
        prepare: |world| (1..4).for_each(|number| drop(world.register(number, None))),
        page: |world, size, token| {
            let request = ecs::ListAttributesRequest {
                max_results: Some(size),
                next_token: token,
                target_type: Some("container-instance".to_owned()),
                ..Default::default()
            };
            let answer = list_attributes(&world.root(), &request).expect("listed");
            let name = |one: ecs::Attribute| {
                format!("{} {}", one.target_id.expect("a target"), one.name.expect("a name"))
            };
            (answer.attributes.expect("a list").into_iter().map(name).collect(), answer.next_token)
        },
        add: |world, number| {
            let view = world.view();
            let all: Vec<_> =
                crate::view::instances(&view, &crate::testing::scope(), &ClusterName::default())
                    .filter(|instance| instance.custom.len() < 10)
                    .collect();
            let Some(target) = all.get(usize::try_from(number % 3).expect("small")) else { return };
            let request = ecs::PutAttributesRequest {
                attributes: Some(vec![ecs::Attribute {
                    name: Some(format!("a{number:x}")),
                    target_id: Some(target.arn().to_string()),
                    ..Default::default()
                }]),
                ..Default::default()
            };
            ready(put_attributes(&world.root(), request)).expect("put");
        },
        remove: |world, item| {
            let (target, name) = item.split_once(' ').expect("two parts");
            let request = ecs::DeleteAttributesRequest {
                attributes: Some(vec![ecs::Attribute {
                    name: Some(name.to_owned()),
                    target_id: Some(target.to_owned()),
                    ..Default::default()
                }]),
                ..Default::default()
            };
            // What its agent registered stays: nobody may take that away.
            drop(ready(delete_attributes(&world.root(), request)));
        },
    },
    List {
        name: "ListAccountSettings",
        prepare: |_| {},
        page: |world, size, token| {
            let request = ecs::ListAccountSettingsRequest {
                max_results: Some(size),
                next_token: token,
                ..Default::default()
            };
            let answer = list_account_settings(&world.root(), &request).expect("listed");
            let name = |one: ecs::Setting| one.name.expect("a name");
            (answer.settings.expect("a list").into_iter().map(name).collect(), answer.next_token)
        },
        add: |world, number| {
            let names =
                SettingName::ALL.into_iter().filter(|it| *it != SettingName::GuardDutyActivate);
            let names: Vec<_> = names.collect();
            let name = names[usize::try_from(number % 11).expect("small")];
            let request = ecs::PutAccountSettingRequest {
                name: Some(name.as_str().to_owned()),
                value: Some(name.shipped().to_owned()),
                ..Default::default()
            };
            ready(put_account_setting(&world.root(), request)).expect("put");
        },
        remove: |world, name| {
            let request = ecs::DeleteAccountSettingRequest {
                name: Some(name.to_owned()),
                ..Default::default()
            };
            ready(delete_account_setting(&world.root(), request)).expect("deleted");
        },
    },
];

/// A page of task definitions, forwards or backwards.
fn definitions(world: &World, size: i32, token: Option<String>, sort: &str) -> Page {
    let request = ecs::ListTaskDefinitionsRequest {
        max_results: Some(size),
        next_token: token,
        sort: Some(sort.to_owned()),
        ..Default::default()
    };
    let answer = list_task_definitions(&world.root(), request).expect("listed");
    (answer.task_definition_arns.expect("a list"), answer.next_token)
}

fn add_definition(world: &World, number: u128) {
    world.define(|request| request.family = Some(format!("f{}", number % 4)));
}

fn remove_definition(world: &World, definition: &str) {
    let request =
        ecs::DeregisterTaskDefinitionRequest { task_definition: Some(definition.to_owned()) };
    ready(deregister_task_definition(&world.root(), request)).expect("deregistered");
}

/// All that a list has now.
fn all(world: &World, list: &List) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    let mut token = None;
    loop {
        let (items, next) = (list.page)(world, 10, token);
        there.extend(items);
        token = next;
        if token.is_none() {
            return there;
        }
    }
}

fn walk(list: &List, seed: u64) {
    let world = World::new();
    (list.prepare)(&world);
    let mut state = seed;
    let mut dice = move || {
        // Knuth's, of which the upper bits are good enough.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u128::from(state >> 24)
    };
    for _ in 0..7 {
        (list.add)(&world, dice());
    }
    let mut stayed = all(&world, list);
    let (mut gone, mut shown) = (BTreeSet::new(), BTreeSet::new());
    let mut token = None;
    loop {
        let size = i32::try_from(dice() % 3).expect("small") + 1;
        let (items, next) = (list.page)(&world, size, token);
        for item in items {
            let what = format!("{}, seed {seed}: {item}", list.name);
            assert!(!gone.contains(&item), "{what} is gone");
            assert!(shown.insert(item), "{what} comes again");
        }
        token = next;
        if token.is_none() {
            break;
        }
        let before = all(&world, list);
        (list.add)(&world, dice());
        let victims: Vec<String> = all(&world, list).into_iter().collect();
        let victim = &victims[usize::try_from(dice()).expect("a word") % victims.len()];
        (list.remove)(&world, victim);
        let after = all(&world, list);
        gone.extend(before.difference(&after).cloned());
        gone.retain(|item| !after.contains(item));
        stayed.retain(|item| after.contains(item));
    }
    let missed: Vec<_> = stayed.difference(&shown).collect();
    assert!(missed.is_empty(), "{}, seed {seed}: {missed:?} is never shown", list.name);
}

#[test]
fn pages_show_what_stays_once_and_what_went_not() {
    for list in &LISTS {
        (1..=WALKS).for_each(|seed| walk(list, seed));
    }
}
