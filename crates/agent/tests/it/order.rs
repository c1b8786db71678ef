//! Containers that wait for one another, are looked after, and come again.

use crate::machine::{Machine, conclude, container, end, last, task, until, written};
use agent::engine::{
    Checkup, Condition, Dependency, Health, HealthCheck, Known, Network, RestartPolicy,
};
use std::time::Duration;

fn check(command: &str) -> HealthCheck {
    HealthCheck {
        command: ["sh", "-c", command].map(str::to_owned).to_vec(),
        interval: Duration::from_millis(300),
        timeout: Duration::from_secs(2),
        retries: 2,
        start_period: Duration::ZERO,
    }
}

fn on(name: &str, condition: Condition) -> Dependency {
    Dependency { on: name.into(), condition }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_waits_for_another_to_end_well_or_to_be_healthy() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let mut init = container("init", &["sh", "-c", "sleep 1; exit 0"]);
    init.essential = false;
    let mut db = container("db", &["sh", "-c", "sleep 1; echo up > /up; exec sleep 100"]);
    db.health_check = Some(check("cat /up"));
    let mut main = container("main", &["sh", "-c", "echo here; exec sleep 100"]);
    main.depends_on = vec![on("init", Condition::Success), on("db", Condition::Healthy)];
    let spec = task(Network::Isolated, vec![main, init, db]);
    agent.run(spec.clone()).await;
    let report = agent.running().await;
    assert_eq!(last(&report, "init").exit_code, Some(0), "it was over by then");
    written(&machine, &spec.arn, "main", "here").await;
    let state = agent.rim.state().await;
    let containers = &state.tasks[&spec.arn].containers;
    assert!(containers[0].started_at >= containers[1].finished_at, "after init");
    assert!(containers[0].started_at >= containers[2].health_since, "after db was healthy");
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(report.containers.len(), 2, "the end of init has been told");
    agent.finished(&spec.arn).await;

    let mut init = container("init", &["sh", "-c", "exit 4"]);
    init.essential = false;
    let mut main = container("main", &["sleep", "100"]);
    main.depends_on = vec![on("init", Condition::Success)];
    let spec = task(Network::Isolated, vec![init, main]);
    agent.run(spec.clone()).await;
    let report = agent.stopped().await;
    let reason = last(&report, "main").reason.clone().expect("a reason");
    assert!(reason.starts_with("CannotStartContainerError: dependency graph: "), "{reason}");
    assert_eq!(last(&report, "init").exit_code, Some(4));
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_what_the_check_says_inside_the_container() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let mut web = container("web", &["sh", "-c", "while :; do sleep 0.1; done"]);
    web.user = Some("web".into());
    web.environment.insert("WHO".into(), "me".into());
    // As the container's own user, in its environment, and able to change its mind.
    let ask = "echo asked; echo $WHO >&2; test $WHO-$(id -u) = me-33 && ! test -e /tmp/sick";
    web.health_check = Some(check(ask));
    let mut slow = container("slow", &["sleep", "100"]);
    slow.health_check = Some(HealthCheck {
        timeout: Duration::from_secs(1),
        ..check("yes | head -c 100000; sleep 9")
    });
    let mut lacking = container("lacking", &["sleep", "100"]);
    lacking.health_check = Some(HealthCheck { command: vec!["/no/such".into()], ..check("") });
    web.tmpfs.insert("/tmp".into(), "mode=1777".into());
    let spec = task(Network::Isolated, vec![web, slow, lacking]);
    agent.run(spec.clone()).await;
    agent.running().await;
    let healths = async |wanted: [Health; 3]| {
        let mut seen = Vec::new();
        for _ in 0..400 {
            let state = agent.rim.state().await;
            seen = state.tasks[&spec.arn].containers.iter().map(|c| c.health).collect();
            if seen == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{seen:?} and never {wanted:?}");
    };
    healths([Health::Healthy, Health::Unhealthy, Health::Unhealthy]).await;
    let state = agent.rim.state().await;
    let containers = &state.tasks[&spec.arn].containers;
    assert!(containers.iter().all(|c| c.known == Known::Running));
    let checkups = containers.iter().map(|c| c.checks.latest.clone().expect("a checkup"));
    let [web, slow, lacking]: [_; 3] = checkups.collect::<Vec<_>>().try_into().expect("three");
    // Which of two streams comes first, nobody promises.
    assert!(["asked\nme\n", "me\nasked\n"].contains(&web.output.as_str()), "{web:?}");
    assert_eq!(web.exit_code, 0);
    // Who writes much is not held up by it, and kept in part.
    assert_eq!(slow.exit_code, -1);
    let said = slow.output.strip_prefix("Health check exceeded timeout (1s): y\ny\n");
    assert!(said.is_some_and(|said| said.ends_with("y\n...")), "{}", slow.output);
    assert!((4096..4200).contains(&slow.output.len()), "{}", slow.output.len());
    assert_eq!(lacking, Checkup::silent(126));
    conclude(machine, agent, spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_comes_again_with_what_it_had_written() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    // It counts its lives in its own file system. The first holds the shim that all share.
    let script = "echo life >> /lives; echo lives $(cat /lives); sleep 2; exit 3";
    let mut web = container("web", &["sh", "-c", script]);
    web.restart_policy = Some(RestartPolicy {
        ignored_exit_codes: Vec::new(),
        attempt_period: Duration::from_secs(1),
    });
    let spec = task(Network::Isolated, vec![web, container("side", &["sleep", "100"])]);
    agent.run(spec.clone()).await;
    agent.running().await;
    written(&machine, &spec.arn, "web", "lives life life life").await;
    // The next agent goes on with it.
    agent.crash().await;
    let mut agent = machine.agent().await;
    written(&machine, &spec.arn, "web", "lives life life life life life").await;
    let state = agent.rim.state().await;
    let web = &state.tasks[&spec.arn].containers[0];
    assert!(web.restarts >= 3, "{web:?}");
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "side").exit_code, Some(137));
    agent.finished(&spec.arn).await;
    until("no report but the last", || agent.reports.is_empty()).await;
    end(machine, agent).await;
}
