//! Tasks, from wish to cleanup.

use crate::machine::{Machine, conclude, container, end, last, oci_archive, task, until, written};
use agent::engine::{Known, MountPoint, Network, TaskArn, VolumeSource};
use std::time::Duration;
use tokio::time::Instant;

/// Waits for a task's namespace: from then on its interface is looked for.
async fn awaited(machine: &Machine, arn: &TaskArn) {
    let name = format!("/run/netns/{}-{}", machine.config.prefix, arn.short_id());
    until("a namespace", || std::fs::exists(&name).is_ok_and(|exists| exists)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_in_its_namespace_with_its_interface() {
    let mut machine = Machine::with_image().await;
    let eni = machine.eni("10.91.0.1", "10.91.0.7");
    let mut agent = machine.agent().await;
    let script = "ip addr; ip route; cat /etc/hosts; hostname; exec sleep 100";
    let spec = task(Network::Awsvpc(eni), vec![container("web", &["sh", "-c", script])]);
    let begun = Instant::now();
    agent.run(spec.clone()).await;
    let report = agent.running().await;
    println!("wish to RUNNING: {:?}", begun.elapsed());
    assert!(last(&report, "web").image_digest.as_ref().is_some_and(|d| d.starts_with("sha256:")));
    let log = written(&machine, &spec.arn, "web", "ec2.internal\nip-10").await;
    assert!(log.contains("inet 10.91.0.7/24"), "{log}");
    assert!(log.contains("inet 169.254.170.2/32 scope global lo"), "{log}");
    assert!(log.contains("default via 10.91.0.1 dev eth0"), "{log}");
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    // A first process without a handler does not hear SIGTERM.
    assert_eq!(last(&report, "web").exit_code, Some(137));
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_task_share_localhost_and_one_shim() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let serve = "echo hello > /index.html; exec httpd -f -p 127.0.0.1:8080 -h /";
    let ask = "until wget -q -O - http://localhost:8080/index.html; do sleep 0.1; done; sleep 100";
    let spec = task(
        Network::Isolated,
        vec![container("server", &["sh", "-c", serve]), container("client", &["sh", "-c", ask])],
    );
    agent.run(spec.clone()).await;
    let report = agent.running().await;
    assert_eq!(report.containers.len(), 2);
    written(&machine, &spec.arn, "client", "hello").await;
    let shims = machine.traces();
    let shims = shims.iter().filter(|line| line.contains("containerd-shim-runc-v2")).count();
    assert_eq!(shims, 1);
    conclude(machine, agent, spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_and_who_takes_whom_along() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let mut side = container("side", &["sh", "-c", "exit 3"]);
    side.essential = false;
    let trap = "trap 'exit 5' TERM; echo began; while :; do sleep 0.05; done";
    let mut polite = container("polite", &["sh", "-c", trap]);
    polite.stop_timeout = Some(Duration::from_secs(20));
    let mut main = container("main", &["sh", "-c", "read told < /told/go; exit 7"]);
    let (volume, path) = ("told".to_owned(), "/told".to_owned());
    main.mount_points = vec![MountPoint { volume, path, read_only: true }];
    let mut spec = task(Network::Isolated, vec![side, polite, main]);
    let told = machine.path("told");
    std::fs::create_dir(&told).expect("made");
    nix::unistd::mkfifo(&told.join("go"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    let source = VolumeSource::Host(told.display().to_string());
    spec.volumes.insert("told".to_owned(), source);
    agent.run(spec.clone()).await;
    let mut report = agent.running().await;
    // A shell that has not come to its trap yet would not hear the signal.
    written(&machine, &spec.arn, "polite", "began").await;
    tokio::fs::write(told.join("go"), "go\n").await.expect("told");
    let mut codes = Vec::new();
    loop {
        codes.extend(report.containers.iter().filter(|c| c.status == Known::Stopped).cloned());
        if report.status == Known::Stopped {
            break;
        }
        report = agent.report().await;
    }
    let codes: Vec<_> = codes.iter().map(|c| (c.name.as_str(), c.exit_code)).collect();
    assert_eq!(codes.len(), 3, "each once: {codes:?}");
    for expected in [("side", Some(3)), ("main", Some(7)), ("polite", Some(5))] {
        assert!(codes.contains(&expected), "{codes:?}");
    }
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_bear_their_official_names() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;

    let spec = task(Network::Isolated, vec![container("web", &["/no/such/program"])]);
    agent.run(spec.clone()).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    let beginning = "CannotStartContainerError: Error response from daemon: failed to create task \
                     for container: failed to create shim task: OCI runtime create failed: ";
    assert!(reason.starts_with(beginning), "{reason}");
    assert!(reason.contains("/no/such/program"), "{reason}");
    assert_eq!(last(&report, "web").exit_code, None);
    assert_eq!(report.reason, "");
    agent.finished(&spec.arn).await;

    let mut stranger = container("web", &["true"]);
    stranger.image = "127.0.0.1:1/nothing:here".into();
    let mut user = container("web", &["true"]);
    user.user = Some("nobody-here".into());
    let spec = task(Network::Isolated, vec![user]);
    agent.run(spec.clone()).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    // Where Docker looks for it.
    assert_eq!(
        reason,
        "CannotStartContainerError: Error response from daemon: unable to find user \
         nobody-here: no matching entries in passwd file"
    );
    agent.finished(&spec.arn).await;

    let spec = task(Network::Isolated, vec![stranger]);
    agent.run(spec.clone()).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    assert!(reason.starts_with("CannotPullImageManifestError: "), "{reason}");
    agent.finished(&spec.arn).await;

    let hog = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";
    let mut hog = container("web", &["sh", "-c", hog]);
    hog.memory_mib = Some(16);
    let spec = task(Network::Isolated, vec![hog]);
    agent.run(spec.clone()).await;
    let mut report = agent.report().await;
    while report.status != Known::Stopped {
        report = agent.report().await;
    }
    let web = last(&report, "web");
    assert_eq!(web.exit_code, Some(137));
    assert_eq!(
        web.reason.as_deref(),
        Some("OutOfMemoryError: Container killed due to memory usage")
    );
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_environment_and_directory_are_as_asked() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let script = "id; pwd; echo $FROM-$OWN-$HOSTNAME; ulimit -n; touch /x || echo sealed";
    let mut spec = container("web", &["sh", "-c", script]);
    spec.user = Some("web".into());
    spec.working_dir = Some("/etc".into());
    spec.environment.insert("OWN".into(), "mine".into());
    spec.ulimits.insert("nofile".into(), (64, 128));
    spec.readonly_rootfs = true;
    let spec = task(Network::Host, vec![spec]);
    agent.run(spec.clone()).await;
    let report = agent.report().await;
    assert_eq!(last(&report, "web").status, Known::Running.max(last(&report, "web").status));
    let log = written(&machine, &spec.arn, "web", "sealed").await;
    for expected in ["uid=33(web) gid=34(web)", "/etc\n", "image-mine-", "64\n"] {
        assert!(log.contains(expected), "no {expected:?} in {log}");
    }
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_leaves_its_containers_to_the_next() {
    let mut machine = Machine::with_image().await;
    let eni = machine.eni("10.92.0.1", "10.92.0.7");
    let mut agent = machine.agent().await;
    let script = "trap 'exit 9' TERM; echo began; while :; do sleep 0.05; done";
    let spec = task(Network::Awsvpc(eni), vec![container("web", &["sh", "-c", script])]);
    let brief = task(
        Network::Isolated,
        vec![container("brief", &["sh", "-c", "sleep 1; echo over; exit 4"])],
    );
    agent.run(spec.clone()).await;
    agent.running().await;
    agent.run(brief.clone()).await;
    agent.running().await;
    written(&machine, &spec.arn, "web", "began").await;
    agent.crash().await;
    // One ends while nobody looks.
    written(&machine, &brief.arn, "brief", "over").await;

    let mut agent = machine.agent().await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|r: &agent::engine::Report| r.status != Known::Stopped) {
        seen.push(agent.report().await);
    }
    let report = seen.last().expect("a report");
    assert_eq!(report.task, brief.arn);
    assert_eq!(last(report, "brief").exit_code, Some(4));
    // The payload comes again, as after every reconnection, and changes nothing.
    agent.run(spec.clone()).await;
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(machine.log(&spec.arn, "web").matches("began").count(), 1);
    assert_eq!((report.task.clone(), last(&report, "web").exit_code), (spec.arn.clone(), Some(9)));
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_its_interface_and_can_be_stopped_meanwhile() {
    let mut machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let late = Machine::planned_eni("10.94.0.1", "10.94.0.7");
    let spec = task(Network::Awsvpc(late.clone()), vec![container("web", &["sleep", "100"])]);
    agent.run(spec.clone()).await;
    awaited(&machine, &spec.arn).await;
    machine.make_links(&late);
    agent.running().await;
    agent.stop(spec.clone()).await;
    agent.stopped().await;
    agent.finished(&spec.arn).await;

    let eni = Machine::planned_eni("10.93.0.1", "10.93.0.7");
    let spec = task(Network::Awsvpc(eni), vec![container("web", &["sleep", "100"])]);
    agent.run(spec.clone()).await;
    awaited(&machine, &spec.arn).await;
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, None);
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_either_kind_load_and_starting_is_quick() {
    let machine = Machine::new();
    let oci = machine.path("oci.tar");
    oci_archive(&oci, "example.com/app:2");
    let docker = machine.path("docker.tar");
    let copied = std::process::Command::new("skopeo")
        .arg("copy")
        .arg("--insecure-policy")
        .arg(format!("oci-archive:{}", oci.display()))
        .arg(format!("docker-archive:{}:app:3", docker.display()))
        .output()
        .expect("these tests need skopeo");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let zipped = std::process::Command::new("gzip").arg(&docker).status().expect("gzip");
    assert!(zipped.success());
    let first = agent::load_image(&machine.config, &oci, None).await.expect("loads");
    assert_eq!(first[0].name, "example.com/app:2");
    let zipped = machine.path("docker.tar.gz");
    let second = agent::load_image(&machine.config, &zipped, None).await.expect("loads");
    assert_eq!(second[0].name, "docker.io/library/app:3");

    let mut agent = machine.agent().await;
    let mut times = Vec::new();
    for image in ["example.com/app:2", "app:3", "app:3", "app:3", "app:3"] {
        let mut web = container("web", &["sleep", "100"]);
        web.image = image.into();
        let spec = task(Network::Isolated, vec![web]);
        let begun = Instant::now();
        agent.run(spec.clone()).await;
        agent.running().await;
        times.push(begun.elapsed());
        agent.stop(spec.clone()).await;
        agent.stopped().await;
        agent.finished(&spec.arn).await;
    }
    println!("wish to RUNNING: {times:?}");
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_may_die_too_and_another_may_be_used() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let script = "trap 'exit 9' TERM; echo began; while :; do sleep 0.05; done";
    let spec = task(Network::Isolated, vec![container("web", &["sh", "-c", script])]);
    agent.run(spec.clone()).await;
    agent.running().await;
    written(&machine, &spec.arn, "web", "began").await;
    let pid_file = machine.config.run_dir.join("containerd.pid");
    let pid = || std::fs::read_to_string(&pid_file).ok()?.parse().ok();
    let before: i32 = pid().expect("a pid");
    let killed = nix::unistd::Pid::from_raw(before);
    nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).expect("killed");
    until("another containerd", || pid().is_some_and(|now| now != before)).await;
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, Some(9));
    agent.finished(&spec.arn).await;

    // Another installation, on the same machine, as a guest in that containerd.
    let mut guest = Machine::new();
    guest.config.containerd = Some(machine.config.run_dir.join("containerd.sock"));
    let archive = guest.path("busybox.tar");
    oci_archive(&archive, crate::machine::IMAGE);
    agent::load_image(&guest.config, &archive, None).await.expect("loads");
    let mut second = guest.agent().await;
    let spec = task(Network::Isolated, vec![container("web", &["sh", "-c", "exit 8"])]);
    second.run(spec.clone()).await;
    second.running().await;
    assert_eq!(last(&second.stopped().await, "web").exit_code, Some(8));
    end(guest, second).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_containerd_is_away_tasks_go_on_and_none_is_lost() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let kill = || {
        let pid = std::fs::read_to_string(machine.config.run_dir.join("containerd.pid"));
        let pid = pid.expect("a pid").parse().expect("a number");
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    };
    let steady = "trap 'exit 9' TERM; echo began; while :; do sleep 0.05; done";
    let steady = task(Network::Isolated, vec![container("web", &["sh", "-c", steady])]);
    let brief = task(Network::Isolated, vec![container("web", &["sh", "-c", "sleep 1; exit 4"])]);
    agent.run(steady.clone()).await;
    agent.running().await;
    agent.run(brief.clone()).await;
    agent.running().await;
    // One ends meanwhile, and is begun at each of its steps when it happens.
    for (round, pause) in [0, 15, 22, 30, 40, 55, 100].into_iter().enumerate() {
        let middle = task(Network::Isolated, vec![container("web", &["sleep", "100"])]);
        agent.run(middle.clone()).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        kill();
        let mut seen = agent.report().await;
        if round == 0 {
            let mut other = agent.report().await;
            if seen.task == middle.arn {
                std::mem::swap(&mut seen, &mut other);
            }
            assert_eq!((seen.task.clone(), seen.status), (brief.arn.clone(), Known::Stopped));
            assert_eq!(last(&seen, "web").exit_code, Some(4));
            seen = other;
        }
        assert_eq!((&seen.task, seen.status), (&middle.arn, Known::Running), "{pause}: {seen:?}");
        agent.stop(middle.clone()).await;
        assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(137));
        agent.finished(&middle.arn).await;
    }
    assert_eq!(machine.log(&steady.arn, "web").matches("began").count(), 1);
    agent.stop(steady.clone()).await;
    assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(9));
    agent.finished(&steady.arn).await;
    agent.finished(&brief.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_a_container_is_removed() {
    let machine = Machine::with_image().await;
    let ctr = |words: &[&str]| {
        let socket = machine.config.run_dir.join("containerd.sock");
        let mut ctr = std::process::Command::new("ctr");
        ctr.arg("--address").arg(socket).args(["--namespace", &machine.config.prefix]);
        let done = ctr.arg("snapshots").args(words).output().expect("ctr");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    ctr(&["prepare", "7a5cdead-0"]);
    ctr(&["label", "7a5cdead-0", "containerd.io/gc.root=made"]);
    let agent = machine.agent().await;
    let begun = Instant::now();
    while ctr(&["ls"]).contains("7a5cdead-0") {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_start_and_stop_at_once() {
    const TASKS: u8 = 12;
    let mut machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let specs: Vec<_> = (0..TASKS)
        .map(|n| {
            let eni = machine.eni(&format!("10.95.{n}.1"), &format!("10.95.{n}.7"));
            let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done";
            task(Network::Awsvpc(eni), vec![container("web", &["sh", "-c", script])])
        })
        .collect();
    let begun = Instant::now();
    for spec in &specs {
        agent.run(spec.clone()).await;
    }
    for _ in &specs {
        agent.running().await;
    }
    println!("{TASKS} tasks RUNNING after {:?}", begun.elapsed());
    for spec in &specs {
        // A shell that has not come to its trap yet would not hear the signal.
        written(&machine, &spec.arn, "web", "ready").await;
    }
    let begun = Instant::now();
    for spec in &specs {
        agent.stop(spec.clone()).await;
    }
    for _ in &specs {
        let report = agent.stopped().await;
        assert_eq!(last(&report, "web").exit_code, Some(0));
    }
    println!("{TASKS} tasks STOPPED after {:?}", begun.elapsed());
    for spec in &specs {
        agent.finished(&spec.arn).await;
    }
    end(machine, agent).await;
}
