//! Images from a registry.

use crate::machine::{Machine, container, last, oci_archive, task, which};
use agent::engine::{Network, Work};
use agent::images::PullBehavior;
use futures::FutureExt as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

/// A registry that goes when it goes.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    async fn start(machine: &Machine) -> Self {
        assert!(which("docker-registry"), "these tests need docker-registry");
        // Below the ports that outgoing connections use: to knock on one of those
        // while nobody listens can be answered by the knocker itself.
        let first = 10_000 + u16::try_from(std::process::id() % 20_000).expect("small");
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..first + 100).find(free).expect("a port");
        let root = machine.path("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n",
            root.display()
        );
        let path = machine.path("registry.yml");
        std::fs::write(&path, config).expect("configuration");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry");
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, port }
    }

    fn push(&self, machine: &Machine, name: &str, multi: bool) -> String {
        let archive = machine.path("push.tar");
        oci_archive(&archive, "pushed:1");
        let target = format!("127.0.0.1:{}/{name}", self.port);
        let copied = Command::new("skopeo")
            .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
            .args(if multi { &["--all"][..] } else { &["--format", "v2s2"] })
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{target}"))
            .output()
            .expect("these tests need skopeo");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        target
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_for_all_and_then_needs_no_registry() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    let image = registry.push(&machine, "team/app:1", false);
    let mut agent = machine.agent().await;
    let specs: Vec<_> = (0..3)
        .map(|_| {
            let mut web = container("web", &["sleep", "100"]);
            web.image.clone_from(&image);
            task(Network::Isolated, vec![web])
        })
        .collect();
    let begun = Instant::now();
    for spec in &specs {
        agent.run(spec.clone()).await;
    }
    for _ in &specs {
        let report = agent.running().await;
        assert!(report.pull_started_at <= report.pull_stopped_at);
        assert!(last(&report, "web").image_digest.is_some());
    }
    println!("three tasks from a cold image: {:?}", begun.elapsed());
    drop(registry);
    let mut web = container("web", &["true"]);
    web.image.clone_from(&image);
    let cached = task(Network::Isolated, vec![web]);
    agent.run(cached.clone()).await;
    agent.running().await;
    agent.stopped().await;
    agent.crash().await;
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

/// Whether the other end hangs up.
async fn hung_up(line: &mut tokio::net::TcpStream) -> bool {
    let mut bytes = [0; 4096];
    let read = async {
        loop {
            match line.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_never_answers_keeps_no_task_from_stopping() {
    let machine = Machine::new();
    let registry = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = registry.local_addr().expect("an address").port();
    let mut agent = machine.agent().await;
    let wish = || {
        let mut web = container("web", &["true"]);
        web.image = format!("127.0.0.1:{port}/app:1");
        task(Network::Isolated, vec![web])
    };
    let (first, second) = (wish(), wish());
    agent.run(first.clone()).await;
    let (mut line, _) = registry.accept().await.expect("a caller");
    agent.run(second.clone()).await;
    let pulls = |state: agent::engine::EngineState| {
        let known = state.tasks.get(&second.arn).expect("known").containers[0].work;
        known == Some(Work::Pull)
    };
    assert!(pulls(agent.rim.state().await));
    for spec in [first, second.clone()] {
        let begun = Instant::now();
        agent.stop(spec.clone()).await;
        let report = agent.stopped().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(report.task, spec.arn);
        let web = last(&report, "web");
        assert_eq!((web.exit_code, web.reason.as_deref()), (None, None), "it is not to blame");
        assert_eq!(report.reason, "");
        assert!(report.pull_started_at.is_some() && report.execution_stopped_at.is_some());
        agent.finished(&spec.arn).await;
    }
    // One pull served both, or each had its own if the second came late; none
    // goes on when nobody waits for it.
    assert!(hung_up(&mut line).await);
    while let Some(Ok((mut line, _))) = registry.accept().now_or_never() {
        assert!(hung_up(&mut line).await);
    }
    agent.crash().await;
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn always_means_always_and_digests_are_obeyed() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let registry = Registry::start(&machine).await;
    let image = registry.push(&machine, "app:1", true);
    let mut agent = machine.agent().await;
    let run = |image: &str| {
        let mut web = container("web", &["true"]);
        web.image = image.to_owned();
        task(Network::Isolated, vec![web])
    };
    agent.run(run(&image)).await;
    let digest = last(&agent.running().await, "web").image_digest.clone().expect("a digest");
    agent.stopped().await;
    let repository = image.rsplit_once(':').expect("a tag").0;
    agent.run(run(&format!("{repository}@{digest}"))).await;
    agent.running().await;
    agent.stopped().await;
    agent.run(run(&format!("{repository}:missing"))).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    assert!(
        reason.starts_with(
            "CannotPullContainerError: The task can’t pull the image. Check whether the image exists."
        ),
        "{reason}"
    );
}
