//! What containers mount.

use crate::machine::{Machine, conclude, container, end, last, task, until, written};
use agent::engine::{
    Condition, Dependency, Known, MountPoint, Network, TaskSpec, VolumeSource, VolumesFrom,
};

fn point(volume: &str, path: &str, read_only: bool) -> MountPoint {
    MountPoint { volume: volume.into(), path: path.into(), read_only }
}

fn with_volumes(mut spec: TaskSpec, volumes: &[(&str, VolumeSource)]) -> TaskSpec {
    spec.volumes = volumes.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect();
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_share_volumes_and_hosts_directories_and_some_stay() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let host = machine.path("made/for/it");
    let volumes = [
        ("own", VolumeSource::Task),
        ("kept", VolumeSource::Shared),
        ("host", VolumeSource::Host(host.to_str().expect("utf-8").into())),
    ];
    // A program that the first one brings is what the second one runs.
    let script = "cp /bin/busybox /v/sh; echo kept >> /kept/x; echo host > /host/x";
    let mut init = container("init", &["sh", "-c", script]);
    init.essential = false;
    init.mount_points = vec![
        point("own", "/v", false),
        point("kept", "/kept", false),
        point("host", "/host", false),
    ];
    let see = "cat /kept/x /host/x; echo no > /host/x || echo sealed; exec sleep 100";
    let mut main = container("main", &["-c", see]);
    main.entry_point = Some(vec!["/v/sh".into()]);
    main.volumes_from = vec![VolumesFrom { container: "init".into(), read_only: true }];
    main.depends_on = vec![Dependency { on: "init".into(), condition: Condition::Success }];
    let spec = with_volumes(task(Network::Isolated, vec![init.clone(), main]), &volumes);
    agent.run(spec.clone()).await;
    agent.running().await;
    let log = written(&machine, &spec.arn, "main", "sealed").await;
    assert!(log.contains("kept\nhost\n"), "{log}");
    assert_eq!(std::fs::read_to_string(host.join("x")).ok().as_deref(), Some("host\n"));
    let own = machine.config.data_dir.join("tasks").join(spec.arn.id()).join("volumes/own");
    assert!(own.join("sh").exists());
    agent.stop(spec.clone()).await;
    agent.stopped().await;
    agent.finished(&spec.arn).await;
    assert!(!own.exists(), "what was the task's is gone with it");

    // Another task finds what the first one left, and an empty volume where the image has
    // something is filled with that.
    init.mount_points = vec![point("kept", "/kept", false), point("own", "/etc", false)];
    init.command = Some(
        ["sh", "-c", "echo again >> /kept/x; cat /kept/x; ls /etc"].map(String::from).to_vec(),
    );
    let spec = with_volumes(task(Network::Isolated, vec![init]), &volumes);
    agent.run(spec.clone()).await;
    while agent.report().await.status != Known::Stopped {}
    let log = machine.log(&spec.arn, "init");
    assert!(log.contains("kept\nagain\n") && log.contains("passwd\n"), "{log}");
    agent.finished(&spec.arn).await;

    let mut lost = container("lost", &["true"]);
    lost.mount_points = vec![point("zz", "/v", false)];
    let spec = task(Network::Isolated, vec![lost]);
    agent.run(spec.clone()).await;
    let report = agent.stopped().await;
    let reason = last(&report, "lost").reason.as_deref();
    assert_eq!(reason, Some("HostConfigError: Invalid volume referenced: zz"));
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_wrote_leaves_the_disk_with_it() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let holder = task(Network::Isolated, vec![container("main", &["sleep", "100"])]);
    agent.run(holder.clone()).await;
    agent.running().await;
    let root = machine.config.data_dir.join("containerd/root");
    let root = root.join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    let layers = || std::fs::read_dir(&root).expect("layers").count();
    // Of an image and of a container that stays. Nobody else comes who could cause
    // containerd to tidy up.
    let before = layers();
    let write = "dd if=/dev/zero of=/x bs=1M count=8; echo written; exec sleep 100";
    let spec = task(Network::Isolated, vec![container("main", &["sh", "-c", write])]);
    agent.run(spec.clone()).await;
    agent.running().await;
    written(&machine, &spec.arn, "main", "written").await;
    assert_eq!(layers(), before + 1);
    agent.stop(spec.clone()).await;
    agent.stopped().await;
    agent.finished(&spec.arn).await;
    until("its layer is gone", || layers() == before).await;
    conclude(machine, agent, holder).await;
}
