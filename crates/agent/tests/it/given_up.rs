//! Containers whose making or start fails, hangs, or is given up by whoever wanted it.

use crate::machine::{Machine, container, task, until};
use agent::engine::{FoundState, Network, TaskSpec};
use agent::netns::Networks;
use agent::runtime::process::{self, Paths};
use agent::runtime::{Containers, Order};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Starts the machine's containerd again, with a runc that fails, hangs or is slow when
/// the file `trouble` says so: `create fails`.
async fn with_troubled_runc(machine: &Machine) {
    let paths = Paths {
        data: machine.config.data_dir.join("containerd"),
        run: machine.config.run_dir.clone(),
    };
    process::stop(&paths).await.expect("stopped");
    let (bin, trouble) = (machine.path("bin"), machine.path("trouble"));
    fs::create_dir(&bin).expect("made");
    // Nobody ever writes to it.
    let never = machine.path("never");
    nix::unistd::mkfifo(&never, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let script = format!(
        "#!/bin/sh\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         read step how < {}\n\
         case \" $* \" in *\" $step \"*) case $how in\n\
         fails) echo no luck >&2; exit 1;;\n\
         hangs) read -r nothing < {};;\n\
         is-late) sleep 8 < /dev/null > /dev/null 2>&1;;\n\
         esac;; esac\n\
         exec runc \"$@\"\n",
        trouble.display(),
        never.display()
    );
    let runc = bin.join("runc");
    fs::write(&runc, script).expect("written");
    fs::set_permissions(&runc, fs::Permissions::from_mode(0o755)).expect("set");
    let path =
        format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    let config = paths.data.join("config.toml");
    let mut child = Command::new("containerd")
        .arg("--config")
        .arg(&config)
        .env("PATH", path)
        .stdout(fs::File::create(machine.path("containerd.log")).expect("a log"))
        .stderr(fs::File::create(machine.path("containerd.err")).expect("a log"))
        .spawn()
        .expect("runs");
    fs::write(paths.run.join("containerd.pid"), child.id().to_string()).expect("written");
    std::thread::spawn(move || drop(child.wait()));
    until("it runs", || process::running(&paths).is_some()).await;
}

fn order<'a>(machine: &Machine, spec: &'a TaskSpec, runtime_id: &'a str) -> Order<'a> {
    let dir = machine.config.data_dir.join("tasks").join(spec.arn.id());
    let files = dir.join("etc-0");
    fs::create_dir_all(&files).expect("made");
    for name in ["hosts", "hostname", "resolv.conf"] {
        fs::write(files.join(name), "").expect("written");
    }
    Order {
        runtime_id,
        task: spec,
        index: 0,
        netns: None,
        hostname: String::new(),
        files,
        log: dir.join("web.log"),
        volumes: dir.join("volumes"),
        environment: BTreeMap::new(),
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// What is there of a task: processes, mounts, and what shims and runc remember.
fn left(machine: &Machine, spec: &TaskSpec) -> Vec<String> {
    let id = spec.arn.id();
    let ours = |line: &String| line.contains(&id) || line.contains("containerd-shim");
    let mut left: Vec<_> = machine.traces().into_iter().filter(ours).collect();
    for dir in ["state/io.containerd.runtime.v2.task", "runc"] {
        left.extend(entries(&machine.config.run_dir.join(dir).join(&machine.config.prefix)));
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_given_up_leaves_no_shim_and_no_container() {
    let machine = Machine::with_image().await;
    with_troubled_runc(&machine).await;
    let agent = machine.agent().await;
    let containers = agent.host.containers.clone();
    let long = Duration::from_mins(1);
    for (trouble, create, start) in [
        ("none at-all", long, long),
        ("create fails", long, long),
        ("start fails", long, long),
        // Given up before, while and after containerd has a shim.
        ("none at-all", Duration::from_millis(1), long),
        ("none at-all", Duration::from_millis(30), long),
        ("none at-all", Duration::from_millis(120), long),
        ("none at-all", long, Duration::from_millis(1)),
        ("create hangs", Duration::from_secs(1), long),
        ("create is-late", Duration::from_secs(1), long),
        ("start hangs", long, Duration::from_secs(1)),
        ("start is-late", long, Duration::from_secs(1)),
    ] {
        fs::write(machine.path("trouble"), format!("{trouble}\n")).expect("written");
        let spec = task(Network::Isolated, vec![container("web", &["sleep", "1000"])]);
        let runtime_id = format!("{}-0", spec.arn.id());
        let mut order = order(&machine, &spec, &runtime_id);
        agent.host.networks.room(&spec, 0).await.expect("a namespace");
        order.netns = agent.host.networks.path(&spec, 0);
        let begun = tokio::time::Instant::now();
        let created = tokio::time::timeout(create, containers.create(&order)).await;
        let created = created.map(|it| it.map_err(|failure| failure.to_string()));
        let mut started = None;
        if matches!(created, Ok(Ok(()))) {
            started = Some(tokio::time::timeout(start, containers.start(&runtime_id)).await);
        }
        let when = format!("{trouble}, {create:?}, {start:?}: {created:?}, {started:?}");
        // Again and again, as the rim does.
        loop {
            let id = spec.arn.id();
            let removed = match containers.delete(&runtime_id).await {
                Ok(()) => containers.delete_task(&id).await,
                failed => failed,
            };
            let Err(error) = removed else { break };
            let passed = begun.elapsed();
            assert!(passed < Duration::from_secs(40), "{when}: {}", agent::chain(&error));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        agent.host.networks.remove(&spec.arn.short_id()).await.expect("removed");
        println!("{when}: {:?}", begun.elapsed());
        // Whatever is late comes within this time, and nothing is to be there after it.
        let late = if trouble.ends_with("late") { Duration::from_secs(10) } else { Duration::ZERO };
        tokio::time::sleep(late).await;
        let limit = begun + late + Duration::from_secs(20);
        loop {
            // containerd takes a moment to forget a shim that was ended.
            let listed = containers.list().await.expect("listed");
            let left = left(&machine, &spec);
            if listed.is_empty() && left.is_empty() {
                break;
            }
            // What it was asked for when we gave up, it may have done after what it was asked
            // for since: a record without a process, which the next agent finds.
            let is_recorded = listed.get(&runtime_id) == Some(&FoundState::Recorded);
            if is_recorded && created.is_err() {
                containers.delete(&runtime_id).await.expect("removed, as by the next agent");
            }
            assert!(tokio::time::Instant::now() < limit, "{when}: {listed:?}, {left:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    crate::machine::end(machine, agent).await;
}
