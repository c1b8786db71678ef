//! Tasks, from wish to cleanup.

use crate::machine::{Machine, container, last, task};
use agent::engine::Network;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_in_its_namespace_with_its_interface() {
    let mut machine = Machine::with_image().await;
    let eni = machine.eni("10.91.0.1", "10.91.0.7");
    let mut agent = machine.agent().await;
    let script = "ip -4 addr show dev eth0; ip route; cat /etc/hosts; hostname; exec sleep 100";
    let spec = task(Network::Awsvpc(eni), vec![container("web", &["sh", "-c", script])]);
    let begun = Instant::now();
    agent.run(spec.clone()).await;
    let report = agent.running().await;
    eprintln!("RunTask to RUNNING, the first: {:?}", begun.elapsed());
    assert!(last(&report, "web").image_digest.as_ref().is_some_and(|d| d.starts_with("sha256:")));
    let begun = Instant::now();
    while !machine.log(&spec.arn, "web").contains("ec2.internal\nip-10") {
        assert!(begun.elapsed().as_secs() < 5, "{}", machine.log(&spec.arn, "web"));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let log = machine.log(&spec.arn, "web");
    assert!(log.contains("inet 10.91.0.7/24"), "{log}");
    assert!(log.contains("default via 10.91.0.1 dev eth0"), "{log}");
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    // A first process without a handler does not hear SIGTERM.
    assert_eq!(last(&report, "web").exit_code, Some(137));
    agent.finished(&spec.arn).await;
}
