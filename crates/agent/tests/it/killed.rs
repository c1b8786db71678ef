//! Death at every step: of the agent, of containerd, of a shim.
//!
//! Whatever dies, and whenever: the task comes up once, ends as it was told to, the
//! control plane hears that, and nothing is left.

use crate::calls::{Calls, Side};
use crate::machine::{Agent, Machine, container, end, last, task, until, written};
use crate::victim::{self, SCRIPT, told};
use agent::engine::{Known, Network, TaskArn, TaskSpec};
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

fn wish(machine: &mut Machine, round: usize) -> TaskSpec {
    let eni = machine.eni(&format!("10.97.{round}.1"), &format!("10.97.{round}.7"));
    let mut web = container("web", &["sh", "-c", SCRIPT]);
    web.stop_timeout = Some(Duration::from_secs(20));
    task(Network::Awsvpc(eni), vec![web])
}

/// What a control plane does with an agent that comes back: it says again what it
/// wants. Returns what is reported from then on.
async fn see_through(machine: &Machine, agent: &mut Agent, spec: &TaskSpec) -> Vec<String> {
    let arn = &spec.arn;
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
    agent.stop(spec.clone()).await;
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

/// That the story a control plane heard is one: up, then down with its own exit code.
fn assert_one_life(machine: &Machine, arn: &TaskArn, reports: &[String], when: &str) {
    let running = format!("report {:?}", Known::Running);
    let stopped = format!("report {:?} [6] \"\"", Known::Stopped);
    let ups = reports.iter().take_while(|line| line.starts_with(&running)).count();
    let downs = reports.iter().skip(ups);
    assert!(ups > 0 && ups < reports.len(), "{when}: {reports:#?}");
    assert!(downs.into_iter().all(|line| *line == stopped), "{when}: {reports:#?}");
    let log = machine.log(arn, "web");
    assert_eq!(log.matches("began").count(), 1, "{when}: it ran more than once: {log}");
}

/// Lets an agent run a task and stop it, again and again: each dies one step later
/// than the one before, until one lives.
async fn walk(line: Option<Side>) {
    let mut machine = Machine::with_image().await;
    let (socket, journal) = (machine.path("calls.sock"), machine.path("journal"));
    let mut round = 0;
    loop {
        let spec = wish(&mut machine, round);
        drop(fs::remove_file(&journal));
        let victim = Arc::new(Mutex::new(None));
        let struck = victim.clone();
        let calls = line.map(|side| {
            Calls::on(&socket, containerd(&machine), round, side, move || {
                if let Some(pid) = *struck.lock().expect("a lock") {
                    _ = kill(pid, Signal::SIGKILL);
                }
            })
        });
        let (at, step) = match line {
            Some(_) => (socket.clone(), NEVER),
            None => (containerd(&machine), round),
        };
        let mut child = victim::start(&machine, &at, step, &journal, &spec);
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
        let when = format!("round {round}, {line:?}, {calls_seen:?} calls, {told}");
        let mut reports: Vec<String> =
            told.lines().filter(|it| it.starts_with("report")).map(str::to_owned).collect();
        let mut agent = machine.agent().await;
        reports.extend(see_through(&machine, &mut agent, &spec).await);
        assert_one_life(&machine, &spec.arn, &reports, &when);
        assert_nothing_left(&machine, &agent, &spec.arn, &when).await;
        agent.crash().await;
        if !died {
            println!("{round} deaths, {line:?}");
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
    walk(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_dies_before_every_call() {
    walk(Some(Side::Before)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_dies_after_every_call() {
    walk(Some(Side::After)).await;
}

/// Lets containerd die at each call of a task's life; another is there at once.
async fn walk_of_containerd(side: Side) {
    let mut machine = Machine::with_image().await;
    let paths = Paths {
        data: machine.config.data_dir.join("containerd"),
        run: machine.config.run_dir.clone(),
    };
    let socket = machine.path("calls.sock");
    let mut round = 0;
    loop {
        let spec = wish(&mut machine, round);
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
        let reports = see_through(&machine, &mut agent, &spec).await;
        let (seen, struck) = calls.disarm();
        if struck {
            again.join_next().await.expect("one").expect("started again");
        }
        let when = format!("round {round}, {side:?}, {seen} calls");
        assert_one_life(&machine, &spec.arn, &reports, &when);
        assert_nothing_left(&machine, &agent, &spec.arn, &when).await;
        agent.crash().await;
        machine.config.containerd = None;
        if !struck {
            println!("{round} deaths, {side:?}");
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
    walk_of_containerd(Side::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_dies_after_every_call() {
    walk_of_containerd(Side::After).await;
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
        let spec = wish(&mut machine, round);
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
        let report = agent.stopped().await;
        let web = last(&report, "web");
        let reason = web.reason.as_deref().unwrap_or_default();
        assert_eq!(web.exit_code, None, "nobody saw it");
        assert!(reason.starts_with("ContainerVanishedError: "), "watched {watched}: {reason}");
        agent.finished(&spec.arn).await;
        assert_nothing_left(&machine, &agent, &spec.arn, "after the shim").await;
        agent.crash().await;
    }
    let spec = wish(&mut machine, 2);
    let mut agent = machine.agent().await;
    let reports = see_through(&machine, &mut agent, &spec).await;
    assert_one_life(&machine, &spec.arn, &reports, "the next task");
    end(machine, agent).await;
}
