//! What containers ask of the kernel.

use crate::machine::{Machine, conclude, container, end, last, task, written};
use agent::engine::{
    Condition, ContainerSpec, Dependency, Device, Known, Network, Sharing, TaskSpec,
};

/// Runs one container to its end, and gives what it wrote.
async fn output(change: impl FnOnce(&mut ContainerSpec), script: &str) -> String {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let mut web = container("web", &["sh", "-c", script]);
    change(&mut web);
    let spec = task(Network::Isolated, vec![web]);
    agent.run(spec.clone()).await;
    let mut report = agent.report().await;
    while report.status != Known::Stopped {
        report = agent.report().await;
    }
    agent.finished(&spec.arn).await;
    let log = machine.log(&spec.arn, "web");
    let end_of = last(&report, "web").clone();
    end(machine, agent).await;
    format!("{log}code {:?} {}", end_of.exit_code, end_of.reason.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn system_calls_are_filtered_as_docker_does_unless_privileged() {
    let script = "cat /proc/self/status; mkdir /mnt; mount -t tmpfs none /mnt && echo mounted; \
                  unshare -U true && echo unshared; ls /dev";
    let seccomp = |log: &str| log.contains("Seccomp:\t2");
    let log = output(|_| {}, script).await;
    assert!(seccomp(&log) && log.contains("NoNewPrivs:\t0"), "{log}");
    assert!(!log.contains("mounted") && !log.contains("unshared"), "{log}");
    let log = output(|web| web.cap_add = vec!["SYS_ADMIN".into()], script).await;
    assert!(seccomp(&log) && log.contains("mounted"), "{log}");
    let log = output(|web| web.privileged = true, script).await;
    assert!(!seccomp(&log) && log.contains("mounted"), "{log}");
    assert!(log.contains("\nloop-control\n") || log.contains("\nkmsg\n"), "the host's: {log}");
    let options = |web: &mut ContainerSpec| web.security_options = vec!["no-new-privileges".into()];
    let log = output(options, script).await;
    assert!(log.contains("NoNewPrivs:\t1"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_file_systems_in_memory_are_as_asked() {
    let change = |web: &mut ContainerSpec| {
        web.devices = vec![Device {
            host: "/dev/null".into(),
            path: "/dev/hole".into(),
            access: "rw".into(),
        }];
        web.shm_size = Some(8 << 20);
        web.tmpfs.insert("/scratch".into(), "size=1m,exec".into());
        web.tmpfs.insert("/plain".into(), "size=1m".into());
    };
    let script = "ls -l /dev/hole; echo x > /dev/hole && echo swallowed; mount";
    let log = output(change, script).await;
    assert!(log.contains("1,   3") && log.contains("swallowed"), "{log}");
    let options = |path: &str| {
        let line = log.lines().find(|line| line.contains(&format!(" on {path} ")));
        line.expect("mounted").to_owned()
    };
    assert!(options("/dev/shm").contains("size=8192k"), "{log}");
    assert!(options("/plain").contains("noexec") && options("/plain").contains("size=1024k"));
    assert!(!options("/scratch").contains("noexec"), "{log}");

    let missing = Device { host: "/dev/no-such".into(), path: "/dev/x".into(), access: "r".into() };
    let log = output(|web| web.devices = vec![missing], "true").await;
    let said = "CannotStartContainerError: Error response from daemon: error gathering device \
                information while adding custom device \"/dev/no-such\": no such file or directory";
    assert!(log.contains(said), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_process_of_ours_reaps_and_passes_on() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    // The shell is no longer the first process, and does not ignore what it does not know.
    let script = "cat /proc/1/comm; (sleep 0.1 &); sleep 0.5; \
                  cat /proc/[0-9]*/stat | grep -c ' Z '; echo ready; sleep 100";
    let mut web = container("web", &["sh", "-c", script]);
    web.init = true;
    let spec = task(Network::Isolated, vec![web]);
    agent.run(spec.clone()).await;
    agent.running().await;
    let log = written(&machine, &spec.arn, "web", "ready").await;
    assert!(log.starts_with("docker-init\n0\n"), "{log}");
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, Some(143), "it heard");
    agent.finished(&spec.arn).await;
    let log = output(|web| web.init = true, "exit 7").await;
    assert!(log.contains("code Some(7)"), "{log}");
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_and_an_open_input() {
    let script = "tty; echo $TERM; echo end";
    let log = output(|web| web.terminal = true, script).await;
    assert!(log.contains("/dev/") && log.contains("xterm\r\n") && log.contains("end\r\n"), "{log}");
    let log = output(|_| {}, script).await;
    assert!(log.contains("not a tty"), "{log}");

    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let mut web = container("web", &["sh", "-c", "echo waiting; cat; echo the end of input"]);
    web.interactive = true;
    let mut both = web.clone();
    (both.name, both.terminal) = ("both".into(), true);
    let spec = task(Network::Isolated, vec![web, both]);
    agent.run(spec.clone()).await;
    agent.running().await;
    written(&machine, &spec.arn, "web", "waiting").await;
    written(&machine, &spec.arn, "both", "waiting").await;
    // Neither may end by itself.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let state = agent.rim.state().await;
    assert!(state.tasks[&spec.arn].containers.iter().all(|c| c.known == Known::Running));
    conclude(machine, agent, spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_files_come_after_those_of_the_definition() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let dir = machine.config.data_dir.join("s3/bucket/app");
    std::fs::create_dir_all(&dir).expect("made");
    std::fs::write(dir.join("one.env"), "# first\nA=file\nB=one\n").expect("written");
    std::fs::write(dir.join("two.env"), "B=two\nC=two\nFROM=two\n").expect("written");
    let mut web = container("web", &["sh", "-c", "echo $A-$B-$C-$FROM"]);
    web.environment.insert("A".into(), "own".into());
    web.environment_files =
        ["one", "two"].map(|name| format!("arn:aws:s3:::bucket/app/{name}.env")).to_vec();
    let mut lost = container("web", &["true"]);
    lost.environment_files = vec!["arn:aws:s3:::bucket/none.env".into()];
    let spec = task(Network::Isolated, vec![web]);
    agent.run(spec.clone()).await;
    written(&machine, &spec.arn, "web", "own-one-two-two").await;
    while agent.report().await.status != Known::Stopped {}
    let spec = task(Network::Isolated, vec![lost]);
    agent.run(spec.clone()).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    assert!(
        reason.starts_with("ResourceInitializationError: failed to download env files"),
        "{reason}"
    );
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

fn sharing(pids: Sharing, ipc: Sharing, containers: Vec<ContainerSpec>) -> TaskSpec {
    let mut spec = task(Network::Isolated, containers);
    (spec.pids, spec.ipc) = (pids, ipc);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_and_memory_are_the_tasks_or_the_hosts() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let on = || vec![Dependency { on: "pause".into(), condition: Condition::Start }];
    let mut pause = container("pause", &[]);
    (pause.command, pause.image, pause.internal) = (None, agent::runtime::PAUSE.into(), true);
    let mut one = container(
        "one",
        &["sh", "-c", "echo $$ > /dev/shm/pid; echo from one > /dev/shm/x; exec sleep 99"],
    );
    one.depends_on = on();
    let look = "until cat /dev/shm/x; do sleep 0.1; done; cat /proc/1/comm; \
                readlink /proc/1/ns/ipc; readlink /proc/self/ns/ipc; kill -0 $(cat /dev/shm/pid) \
                && echo seen; exec sleep 99";
    let mut two = container("two", &["sh", "-c", look]);
    two.depends_on = on();
    let spec = sharing(Sharing::Task, Sharing::Task, vec![pause, one, two]);
    agent.run(spec.clone()).await;
    let report = agent.running().await;
    let names: Vec<_> = report.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["one", "two"], "ours is nobody's business");
    let log = written(&machine, &spec.arn, "two", "seen").await;
    assert!(log.contains("from one") && log.contains("pause\n"), "{log}");
    let namespaces: Vec<_> = log.lines().filter(|line| line.starts_with("ipc:")).collect();
    assert!(namespaces.len() == 2 && namespaces[0] == namespaces[1], "{log}");
    let shared = std::path::Path::new("/dev/shm").join(format!(
        "{}-{}",
        machine.config.prefix,
        spec.arn.id()
    ));
    assert!(shared.exists());
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(report.containers.len(), 2);
    agent.finished(&spec.arn).await;
    assert!(!shared.exists());
    // Nor does it stay if its task is not there to take it along.
    std::fs::create_dir(&shared).expect("made");

    let ours = std::fs::read_link("/proc/self/ns/ipc").expect("a namespace");
    let script = "readlink /proc/self/ns/ipc; echo $$; exec sleep 99";
    let spec = sharing(Sharing::Host, Sharing::Host, vec![container("web", &["sh", "-c", script])]);
    agent.run(spec.clone()).await;
    agent.running().await;
    let log = written(&machine, &spec.arn, "web", "\n").await;
    assert!(log.contains(ours.to_str().expect("utf-8")), "{log}");
    let log = written(&machine, &spec.arn, "web", "]\n").await;
    assert!(!log.contains("\n1\n"), "it is not the first of the machine: {log}");
    conclude(machine, agent, spec).await;
}
