//! Death at every step: of the agent, of containerd, of a shim.
//!
//! Whatever dies, and whenever: the task comes up once, ends as it was told to, the
//! control plane hears that, and nothing is left.

use crate::calls::{Calls, Side};
use crate::machine::{Agent, Machine, container, end, last, task, until, written};
use crate::victim::{self, SCRIPT, told};
use agent::engine::{
    Condition, Dependency, HealthCheck, Known, MountPoint, Network, PortMapping, Protocol, TaskArn,
    TaskSpec, VolumeSource,
};
use agent::netns::Networks;
use agent::runtime::Containers;
use agent::runtime::process::{self, Paths};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// More steps than any task has.
const NEVER: usize = 10_000;

fn containerd(machine: &Machine) -> PathBuf {
    machine.config.run_dir.join("containerd.sock")
}

/// Which task it is that lives while others die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One container, with an interface of its own, that is told to stop.
    Interface,
    /// The same on the bridge, at some port of the machine.
    Bridge,
    /// One that waits for the good end of the second and the good health of the third,
    /// and ends by itself.
    Three,
}

/// A task, and what is to become of it.
struct Life {
    spec: TaskSpec,
    /// The file that makes it end; without one it has to be stopped.
    go: Option<PathBuf>,
    /// With what each container ends.
    ends: &'static [(&'static str, i32)],
}

/// What the one that ends by itself does.
const WAITS: &str = "echo began; until test -e /go/now; do sleep 0.05; done; exit 6";
/// What the one does that is asked for its health.
const SERVES: &str = "trap 'exit 7' TERM; echo began; touch /up; while :; do sleep 0.05; done";

fn life(machine: &mut Machine, kind: Kind, round: usize) -> Life {
    let mut web = container("web", &["sh", "-c", SCRIPT]);
    web.stop_timeout = Some(Duration::from_secs(20));
    let ends = &[("web", 6)];
    match kind {
        Kind::Interface => {
            let eni = machine.eni(&format!("10.97.{round}.1"), &format!("10.97.{round}.7"));
            Life { spec: task(Network::Awsvpc(eni), vec![web]), go: None, ends }
        }
        Kind::Bridge => {
            let any = PortMapping {
                container: (80, 80),
                is_range: false,
                host: None,
                protocol: Protocol::Tcp,
            };
            web.ports = vec![any];
            Life { spec: task(Network::Bridge, vec![web]), go: None, ends }
        }
        Kind::Three => {
            let dir = machine.path(&format!("go-{round}"));
            web.command = Some(["sh", "-c", WAITS].map(str::to_owned).to_vec());
            let on = |name: &str, condition| Dependency { on: name.into(), condition };
            web.depends_on = vec![on("init", Condition::Success), on("side", Condition::Healthy)];
            web.mount_points =
                vec![MountPoint { volume: "go".into(), path: "/go".into(), read_only: true }];
            let mut init = container("init", &["sh", "-c", "echo began"]);
            init.essential = false;
            let mut side = container("side", &["sh", "-c", SERVES]);
            side.stop_timeout = web.stop_timeout;
            side.health_check = Some(HealthCheck {
                command: ["cat", "/up"].map(str::to_owned).to_vec(),
                interval: Duration::from_millis(300),
                timeout: Duration::from_secs(2),
                retries: 10,
                start_period: Duration::ZERO,
            });
            let mut spec = task(Network::Isolated, vec![web, init, side]);
            let source = VolumeSource::Host(dir.to_str().expect("utf-8").into());
            spec.volumes.insert("go".into(), source);
            let ends = &[("web", 6), ("init", 0), ("side", 7)];
            Life { spec, go: Some(dir.join("now")), ends }
        }
    }
}

/// What a control plane does with an agent that comes back: it says again what it
/// wants. Returns what is reported from then on.
async fn see_through(machine: &Machine, agent: &mut Agent, life: &Life) -> Vec<String> {
    let (spec, arn) = (&life.spec, &life.spec.arn);
    agent.run(spec.clone()).await;
    let limit = Instant::now() + Duration::from_secs(40);
    loop {
        let state = agent.rim.state().await;
        let known = state.tasks.get(arn).map(agent::engine::Task::known);
        match known {
            Some(Known::Running) => {
                written(machine, arn, "web", "began").await;
                break;
            }
            Some(Known::Stopped) => break,
            _ => assert!(Instant::now() < limit, "it never came up: {state:#?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    match &life.go {
        Some(go) => drop(fs::write(go, "")),
        None => agent.stop(spec.clone()).await,
    }
    agent.finished(arn).await;
    let mut reports = Vec::new();
    while let Ok(report) = agent.reports.try_recv() {
        reports.push(told(&report));
    }
    reports
}

/// What is left of a task that is over.
async fn left(machine: &Machine, agent: &Agent, arn: &TaskArn) -> Vec<String> {
    let mut left: Vec<String> =
        agent.host.containers.list().await.expect("listed").into_keys().collect();
    left.extend(agent.host.networks.list().expect("listed"));
    let (id, short_id) = (arn.id(), arn.short_id());
    let ours = |line: &String| line.contains(&short_id) || line.contains("containerd-shim");
    left.extend(machine.traces().into_iter().filter(ours));
    let found = ["/sys/fs/cgroup", "-maxdepth", "3", "-name", &id];
    let found = Command::new("find").args(found).output().expect("find");
    left.extend(String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned));
    for dir in ["state/io.containerd.runtime.v2.task", "runc"] {
        let dir = machine.config.run_dir.join(dir).join(&machine.config.prefix);
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    let volumes = machine.config.data_dir.join("tasks").join(&id).join("volumes");
    left.extend(volumes.exists().then(|| volumes.display().to_string()));
    left
}

async fn assert_nothing_left(machine: &Machine, agent: &Agent, arn: &TaskArn, when: &str) {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        let left = left(machine, agent, arn).await;
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < limit, "{when}: this is left: {left:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// That the story a control plane heard is one: up, then down, each container with its
/// own exit code, and what was told twice was told alike.
fn assert_one_life(machine: &Machine, life: &Life, reports: &[String], when: &str) {
    let is = |known: Known| move |line: &&String| line.starts_with(&format!("report {known:?} "));
    let ups = reports.iter().take_while(is(Known::Running)).count();
    let downs = reports.iter().skip(ups);
    assert!(ups > 0 && ups < reports.len(), "{when}: {reports:#?}");
    assert!(downs.clone().all(|line| is(Known::Stopped)(&line)), "{when}: {reports:#?}");
    assert!(downs.into_iter().all(|line| line.ends_with(" \"\"")), "{when}: {reports:#?}");
    for (name, code) in life.ends {
        let (words, ours) = (reports.iter().flat_map(|line| line.split(' ')), format!("{name}="));
        let mut told: Vec<_> = words.filter(|word| word.starts_with(&ours)).collect();
        let end = told.last().copied().unwrap_or_default();
        assert_eq!(end, format!("{name}={code}"), "{when}: {reports:#?}");
        told.sort_unstable();
        told.dedup();
        let up = told.iter().filter(|word| **word != end).count();
        assert!(up <= 1, "{when}: {reports:#?}");
        let log = machine.log(&life.spec.arn, name);
        assert_eq!(log.matches("began").count(), 1, "{when}: {name} ran more than once: {log}");
    }
}

/// Which side of a call it is whose turn is in this round.
type Turn = fn(usize) -> Side;

const BEFORE: Turn = |_| Side::Before;
const AFTER: Turn = |_| Side::After;
/// Between two calls there is not much: one death there is enough where there are many.
const IN_TURN: Turn = |round| if round % 2 == 0 { Side::Before } else { Side::After };

/// Lets an agent run a task until its end, again and again: each dies one step later
/// than the one before, until one lives. Without a line steps are those of networks and
/// reports.
async fn walk(kind: Kind, turn: Option<Turn>) {
    let mut machine = Machine::with_image().await;
    let (socket, journal) = (machine.path("calls.sock"), machine.path("journal"));
    let mut round = 0;
    loop {
        let life = life(&mut machine, kind, round);
        let side = turn.map(|turn| turn(round));
        drop(fs::remove_file(&journal));
        let victim = Arc::new(Mutex::new(None));
        let struck = victim.clone();
        let calls = side.map(|side| {
            Calls::on(&socket, containerd(&machine), round, side, move || {
                if let Some(pid) = *struck.lock().expect("a lock") {
                    _ = kill(pid, Signal::SIGKILL);
                }
            })
        });
        let (at, step) = match side {
            Some(_) => (socket.clone(), NEVER),
            None => (containerd(&machine), round),
        };
        let mut child =
            victim::start(&machine, &at, step, &journal, &life.spec, life.go.as_deref());
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        *victim.lock().expect("a lock") = Some(pid);
        let ended = tokio::task::spawn_blocking(move || child.wait().expect("waited for"));
        let ended = tokio::time::timeout(Duration::from_mins(1), ended).await;
        let Ok(ended) = ended else {
            _ = kill(pid, Signal::SIGKILL);
            let said = fs::read_to_string(machine.path("victim.log")).unwrap_or_default();
            panic!("round {round}: the agent neither died nor finished: {said}");
        };
        let ended = ended.expect("no panic");
        let died = ended.signal() == Some(Signal::SIGKILL as i32);
        let said = || fs::read_to_string(machine.path("victim.log")).unwrap_or_default();
        assert!(died || ended.success(), "round {round}: {ended}: {}", said());
        let calls_seen = calls.as_ref().map(Calls::disarm);
        drop(calls);
        let told = fs::read_to_string(&journal).unwrap_or_default();
        let when = format!("round {round}, {side:?}, {calls_seen:?} calls, {told}");
        let mut reports: Vec<String> =
            told.lines().filter(|it| it.starts_with("report")).map(str::to_owned).collect();
        let mut agent = machine.agent().await;
        reports.extend(see_through(&machine, &mut agent, &life).await);
        assert_one_life(&machine, &life, &reports, &when);
        assert_nothing_left(&machine, &agent, &life.spec.arn, &when).await;
        agent.crash().await;
        if !died {
            println!("{round} deaths, {kind:?}, {side:?}");
            assert!(round > 5, "there are more steps than that");
            break;
        }
        round += 1;
    }
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_dies_at_every_step_of_network_and_reports() {
    walk(Kind::Interface, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_dies_before_every_call() {
    walk(Kind::Interface, Some(BEFORE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_dies_after_every_call() {
    walk(Kind::Interface, Some(AFTER)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_a_task_on_the_bridge_dies_at_every_step() {
    walk(Kind::Bridge, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_a_task_on_the_bridge_dies_at_every_call() {
    walk(Kind::Bridge, Some(IN_TURN)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_three_containers_dies_at_every_step() {
    walk(Kind::Three, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_three_containers_dies_at_every_call() {
    walk(Kind::Three, Some(IN_TURN)).await;
}

/// Lets containerd die at each call of a task's life; another is there at once.
async fn walk_of_containerd(kind: Kind, turn: Turn) {
    let mut machine = Machine::with_image().await;
    let paths = Paths {
        data: machine.config.data_dir.join("containerd"),
        run: machine.config.run_dir.clone(),
    };
    let socket = machine.path("calls.sock");
    let mut round = 0;
    loop {
        let life = life(&mut machine, kind, round);
        let side = turn(round);
        let (tell, mut deaths) = tokio::sync::mpsc::unbounded_channel();
        let own = paths.clone();
        let calls = Calls::on(&socket, paths.socket(), round, side, move || {
            let pid = process::running(&own).expect("a containerd");
            kill(pid, Signal::SIGKILL).expect("killed");
            tell.send(pid).expect("a test");
        });
        machine.config.containerd = Some(socket.clone());
        let (own, prefix) = (paths.clone(), machine.config.prefix.clone());
        let mut again = JoinSet::new();
        again.spawn(async move {
            let pid = deaths.recv().await.expect("a death");
            until("it is dead", || process::running(&own) != Some(pid)).await;
            // Again and again, as an agent does with its own.
            while let Err(error) = process::start(&own, &prefix).await {
                println!("{}", agent::chain(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut agent = machine.agent().await;
        let reports = see_through(&machine, &mut agent, &life).await;
        let (seen, struck) = calls.disarm();
        if struck {
            again.join_next().await.expect("one").expect("started again");
        }
        let when = format!("round {round}, {side:?}, {seen} calls");
        assert_one_life(&machine, &life, &reports, &when);
        assert_nothing_left(&machine, &agent, &life.spec.arn, &when).await;
        agent.crash().await;
        machine.config.containerd = None;
        if !struck {
            println!("{round} deaths, {kind:?}, {side:?}");
            assert!(round > 5, "there are more calls than that");
            break;
        }
        round += 1;
    }
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_dies_before_every_call() {
    walk_of_containerd(Kind::Interface, BEFORE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_dies_after_every_call() {
    walk_of_containerd(Kind::Interface, AFTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_dies_at_every_call_of_a_task_on_the_bridge() {
    walk_of_containerd(Kind::Bridge, IN_TURN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_dies_at_every_call_of_three_containers() {
    walk_of_containerd(Kind::Three, IN_TURN).await;
}

/// The process of the shim of this machine's containers.
fn shim(machine: &Machine) -> Option<Pid> {
    let found = fs::read_dir("/proc").expect("proc").flatten().find_map(|entry| {
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let ours = command.contains("containerd-shim") && command.contains(&machine.config.prefix);
        entry.file_name().to_str().filter(|_| ours)?.parse().ok()
    });
    found.map(Pid::from_raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_dies_takes_its_task_along_and_leaves_nothing() {
    let mut machine = Machine::with_image().await;
    for (round, watched) in [(0, true), (1, false)] {
        let Life { spec, .. } = life(&mut machine, Kind::Interface, round);
        let mut agent = machine.agent().await;
        agent.run(spec.clone()).await;
        agent.running().await;
        written(&machine, &spec.arn, "web", "began").await;
        let pid = shim(&machine).expect("a shim");
        if watched {
            kill(pid, Signal::SIGKILL).expect("killed");
        } else {
            agent.crash().await;
            kill(pid, Signal::SIGKILL).expect("killed");
            agent = machine.agent().await;
        }
        // One that was ended before it knew that it was heard says it again.
        let mut report = agent.report().await;
        while !watched && report.status == Known::Running {
            report = agent.report().await;
        }
        assert_eq!(report.status, Known::Stopped, "{report:?}");
        let web = last(&report, "web");
        let reason = web.reason.as_deref().unwrap_or_default();
        assert_eq!(web.exit_code, None, "nobody saw it");
        assert!(reason.starts_with("ContainerVanishedError: "), "watched {watched}: {reason}");
        agent.finished(&spec.arn).await;
        assert_nothing_left(&machine, &agent, &spec.arn, "after the shim").await;
        agent.crash().await;
    }
    let life = life(&mut machine, Kind::Interface, 2);
    let mut agent = machine.agent().await;
    let reports = see_through(&machine, &mut agent, &life).await;
    assert_one_life(&machine, &life, &reports, "the next task");
    end(machine, agent).await;
}
