//! Images that nobody needs, out of a real containerd.

use crate::machine::{ARCHITECTURE, Machine, container, end, oci_archive, oci_archive_for, task};
use crate::pulls::runs;
use crate::registry::Registry;
use agent::engine::{Network, RegistryLogin};
use agent::images::Limits;
use ident::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: usize = 1 << 20;
/// After every use.
const LATE: Timestamp = Timestamp(i64::MAX);

fn push(machine: &Machine, registry: &Registry, name: &str, ballast: usize) -> String {
    let archive = machine.path(&format!("{name}.tar"));
    oci_archive_for(&archive, "pushed:1", ARCHITECTURE, ballast);
    registry.push_archive(&archive, &format!("{name}:1"), &[])
}

/// What is below a directory, in bytes.
fn bytes(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match fs::symlink_metadata(entry.path()) {
        Ok(found) if found.is_dir() => bytes(&entry.path()),
        Ok(found) => usize::try_from(found.len()).expect("small"),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Where containerd keeps blobs and file systems.
fn stores(machine: &Machine) -> [PathBuf; 2] {
    let root = machine.config.data_dir.join("containerd/root");
    [
        root.join("io.containerd.content.v1.content"),
        root.join("io.containerd.snapshotter.v1.overlayfs"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_old_goes_with_all_it_takes_up() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    let [old, held] =
        [("old", 6), ("held", 2)].map(|(name, mib)| push(&machine, &registry, name, mib * MIB));
    let nobodys = BTreeSet::new();
    let by_hand = format!("{}/by-hand:1", registry.name());
    let archive = machine.path("by-hand.tar");
    oci_archive(&archive, &by_hand);
    agent::load_image(&machine.config, &archive, None).await.expect("loads");
    let mut agent = machine.agent().await;
    let nobody = RegistryLogin::Anonymous;
    let mut web = container("web", &["sleep", "100"]);
    web.image.clone_from(&held);
    let held_by = task(Network::Isolated, vec![web]);
    agent.run(held_by.clone()).await;
    agent.running().await;
    runs(&mut agent, &old, &nobody).await;
    runs(&mut agent, &by_hand, &nobody).await;
    let images = agent.host.containers.images().clone();
    let root = images.root().await.expect("a directory");
    assert_eq!(root, stores(&machine)[1], "whose disk is measured");

    let young = Limits { full: 100, ..Limits::default() };
    let nothing = images.collect(&nobodys, LATE, true, &young, || 99).await.expect("collected");
    assert_eq!(nothing, [""; 0], "what was used within the hour stays");
    let before = stores(&machine).map(|store| bytes(&store));
    let limits = Limits { minimum_age: Duration::ZERO, ..young };
    let gone = images.collect(&nobodys, LATE, true, &limits, || 99).await.expect("collected");
    assert_eq!(gone, std::slice::from_ref(&old));
    let after = stores(&machine).map(|store| bytes(&store));
    println!("blobs and file systems were {before:?} bytes, and are {after:?}");
    for (before, after) in before.iter().zip(after) {
        assert!(after + 6 * MIB <= *before, "{before} {after}");
    }
    assert!(images.local(&old).await.is_err());
    runs(&mut agent, &held, &nobody).await;
    runs(&mut agent, &old, &nobody).await;
    drop(registry);
    runs(&mut agent, &by_hand, &nobody).await;
    agent.stop(held_by).await;
    agent.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_the_images_that_were_used_the_longest_ago() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    // Not in the order of their names.
    let [first, second, third] = [("c", 0), ("b", 32), ("a", 64)]
        .map(|(name, more)| push(&machine, &registry, name, 4 * MIB + more));
    let mut agent = machine.agent().await;
    let nobody = RegistryLogin::Anonymous;
    for image in [&first, &second, &third, &first] {
        runs(&mut agent, image, &nobody).await;
    }
    let memory = machine.config.data_dir.join("images.json");
    let used = |image: &str| {
        let known = fs::read_to_string(&memory).unwrap_or_default();
        let known: serde_json::Value = serde_json::from_str(&known).unwrap_or_default();
        known["images"][image]["used_at"].as_i64().unwrap_or(0)
    };
    crate::machine::until("it is on disk", || used(&third) > 0 && used(&first) > used(&third))
        .await;
    agent.crash().await;
    let agent = machine.agent().await;
    let images = agent.host.containers.images().clone();
    let [content, _] = stores(&machine);
    let all = bytes(&content);
    // A disk that is full with three, and relieved with two.
    let fill = || u8::try_from(bytes(&content) * 90 / all).expect("a percentage");
    let nobodys = BTreeSet::new();
    let limits = Limits { full: 85, relieved: 70, ..Limits::default() };
    let gone = images.collect(&nobodys, LATE, false, &limits, fill).await.expect("collected");
    assert_eq!(gone, [second]);
    assert_eq!(
        images.collect(&nobodys, LATE, false, &limits, fill).await.expect("collected"),
        [""; 0]
    );
    let all_but_one = BTreeSet::from([first.clone()]);
    let gone = images.collect(&all_but_one, LATE, false, &limits, || 100).await.expect("collected");
    assert_eq!(gone, [third], "what is in use stays, however full the disk is");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_looks_by_itself_and_leaves_what_tasks_have() {
    let mut machine = Machine::new();
    let registry = Registry::start(&machine).await;
    let [over, held] = ["over", "held"].map(|name| push(&machine, &registry, name, 32));
    let second = Duration::from_secs(1);
    machine.config.image_limits =
        Limits { interval: second / 4, minimum_age: second, full: 100, ..Limits::default() };
    let mut agent = machine.agent().await;
    let mut web = container("web", &["sleep", "100"]);
    web.image.clone_from(&held);
    let held_by = task(Network::Isolated, vec![web]);
    agent.run(held_by.clone()).await;
    agent.running().await;
    runs(&mut agent, &over, &RegistryLogin::Anonymous).await;
    let images = agent.host.containers.images().clone();
    let begun = tokio::time::Instant::now();
    while images.local(&over).await.is_ok() {
        assert!(begun.elapsed() < 20 * second, "it is there for ever");
        tokio::time::sleep(second / 20).await;
    }
    images.local(&held).await.expect("its task has it");
    agent.stop(held_by.clone()).await;
    agent.stopped().await;
    agent.finished(&held_by.arn).await;
    end(machine, agent).await;
}
