//! An agent in a process of its own, to be killed.
//!
//! [`killed`](crate::killed) starts this program once more, with the order of what to do
//! in a file. What it did is in another, line by line, since it may end at any.

use crate::machine::Machine;
use agent::engine::{
    Attachment, ContainerReport, Desired, Failure, Input, Known, Report, Settings, TaskArn,
    TaskSpec,
};
use agent::netns::{self, Networks};
use agent::rim::{Reporter, Rim, Tools};
use agent::{Config, Host};
use async_trait::async_trait;
use nix::sys::signal::{Signal, raise};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Names the file with the order.
const ORDER: &str = "LANDFALL_TEST_VICTIM";
/// What the container writes when it has begun, and with what it ends when asked to.
pub(crate) const SCRIPT: &str = "trap 'exit 6' TERM; echo began; while :; do sleep 0.05; done";

/// What a victim is to do.
#[derive(Serialize, Deserialize)]
struct Order {
    containerd: PathBuf,
    data: PathBuf,
    run: PathBuf,
    prefix: String,
    /// At which step it dies.
    step: usize,
    journal: PathBuf,
    task: TaskSpec,
    /// The file that makes the task end; without one it has to be stopped.
    go: Option<PathBuf>,
}

/// Starts a victim that runs `task` and stops it, or makes the file by which it ends, by
/// the containerd at this socket.
pub(crate) fn start(
    machine: &Machine,
    containerd: &Path,
    step: usize,
    journal: &Path,
    task: &TaskSpec,
    go: Option<&Path>,
) -> Child {
    let order = Order {
        containerd: containerd.to_owned(),
        data: machine.config.data_dir.clone(),
        run: machine.config.run_dir.clone(),
        prefix: machine.config.prefix.clone(),
        step,
        journal: journal.to_owned(),
        task: task.clone(),
        go: go.map(Path::to_path_buf),
    };
    let path = machine.path("order.json");
    fs::write(&path, serde_json::to_vec(&order).expect("JSON")).expect("written");
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "victim::an_agent_that_is_to_be_killed", "--nocapture"])
        .env(ORDER, path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(machine.path("victim.log")).expect("a log"))
        .spawn()
        .expect("starts")
}

/// Writes what has happened, and dies when it is time to.
struct Journal {
    file: File,
    steps: AtomicUsize,
    last: usize,
}

impl Journal {
    fn write(&self, line: &str) {
        (&self.file).write_all(format!("{line}\n").as_bytes()).expect("written");
    }

    fn step(&self, what: &str) {
        if self.steps.fetch_add(1, Ordering::SeqCst) == self.last {
            self.write(&format!("killed {what}"));
            raise(Signal::SIGKILL).expect("dies");
        }
    }
}

/// The networks of an agent that dies before or after one of these steps.
struct Mortal(Arc<dyn Networks>, Arc<Journal>);

#[async_trait]
impl Networks for Mortal {
    fn attach(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        self.0.attach(task)
    }

    async fn room(&self, task: &TaskSpec, index: usize) -> Result<Option<PathBuf>, Failure> {
        self.1.step("before a namespace is made");
        let made = self.0.room(task, index).await;
        self.1.step("after a namespace was made");
        made
    }

    async fn prepare(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        self.1.step("before a network is made");
        let made = self.0.prepare(task).await;
        self.1.step("after a network was made");
        made
    }

    async fn remove(&self, short_id: &str) -> Result<(), netns::Error> {
        self.1.step("before a network is removed");
        let removed = self.0.remove(short_id).await;
        self.1.step("after a network was removed");
        removed
    }

    fn list(&self) -> Result<BTreeSet<String>, netns::Error> {
        self.0.list()
    }

    fn path(&self, task: &TaskSpec, index: usize) -> Option<PathBuf> {
        self.0.path(task, index)
    }
}

/// Reports into the journal.
struct Scribe(Arc<Journal>, mpsc::UnboundedSender<Known>);

#[async_trait]
impl Reporter for Scribe {
    async fn submit(&self, report: &Report) {
        self.0.step("before a report");
        self.0.write(&told(report));
        _ = self.1.send(report.status);
        self.0.step("after a report");
    }
}

/// A report in one line: each container that is up with its ports, or its exit code.
pub(crate) fn told(report: &Report) -> String {
    let of = |it: &ContainerReport| {
        let ports: Vec<_> = it.bindings.iter().map(|binding| binding.host.0).collect();
        let how = match (it.status, it.exit_code, &it.reason) {
            (Known::Stopped, Some(code), None) => code.to_string(),
            (Known::Stopped, code, reason) => format!("{code:?}:{reason:?}"),
            (known, ..) => format!("{known:?}:{ports:?}"),
        };
        format!("{}={}", it.name, how.replace(' ', "_"))
    };
    let containers: Vec<_> = report.containers.iter().map(of).collect();
    format!("report {:?} {} {:?}", report.status, containers.join(" "), report.reason)
}

/// No test by itself: what those in [`killed`](crate::killed) kill.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_to_be_killed() {
    #[expect(clippy::disallowed_methods, reason = "how a test program is told anything")]
    let Ok(path) = std::env::var(ORDER) else { return };
    let order: Order = serde_json::from_slice(&fs::read(path).expect("an order")).expect("JSON");
    let journal = OpenOptions::new().create(true).append(true).open(&order.journal);
    let file = journal.expect("a journal");
    let journal = Arc::new(Journal { file, steps: AtomicUsize::new(0), last: order.step });
    let config = Config {
        containerd: Some(order.containerd),
        data_dir: order.data,
        run_dir: order.run,
        prefix: order.prefix,
        ..Machine::any_config()
    };
    let host = Host::open(&config).await.expect("containerd");
    let (sender, mut reports) = mpsc::unbounded_channel();
    let tools = Tools {
        containers: host.containers.clone(),
        networks: Arc::new(Mortal(host.networks.clone(), journal.clone())),
        reporter: Arc::new(Scribe(journal.clone(), sender)),
        state: host.state.clone(),
        environment: BTreeMap::new(),
        settings: Settings::default(),
    };
    let (rim, worker) = Rim::start(tools).await.expect("starts");
    let (_stop, stopped) = watch::channel(false);
    let life = async {
        for (desired, known) in
            [(Desired::Running, Known::Running), (Desired::Stopped, Known::Stopped)]
        {
            let spec = Box::new(order.task.clone());
            journal.step("before an order is accepted");
            match order.go.as_ref().filter(|_| desired == Desired::Stopped) {
                Some(go) => fs::write(go, "").expect("written"),
                None => assert!(rim.accept(vec![Input::Want { spec, desired }]).await),
            }
            journal.write(&format!("accepted {desired:?}"));
            journal.step("after an order was accepted");
            while reports.recv().await.expect("an agent") != known {}
            if known == Known::Running {
                began(&config, &order.task.arn).await;
            }
        }
        loop {
            let state = rim.state().await;
            if state.tasks.get(&order.task.arn).is_some_and(|task| task.finished_at.is_some()) {
                return journal.write("finished");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = worker.run(stopped) => panic!("the agent ended"),
        () = life => {}
    }
}

/// Waits for the container to hear signals.
async fn began(config: &Config, task: &TaskArn) {
    loop {
        let outputs = agent::outputs(config).expect("readable");
        let mut of = outputs.iter().filter(|output| output.task == task.id());
        if of.any(|it| fs::read_to_string(&it.path).is_ok_and(|text| text.contains("began"))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
