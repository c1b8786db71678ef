//! What the official agent (1.105.1) said in two recorded conversations, said
//! again to us: nothing of it may be refused.

use crate::Ecs;
use crate::acs::AcsSession;
use crate::api;
use crate::records::{ContainerInstance, Health, StopCode, Task};
use crate::tcs::{TcsSession, record};
use crate::testing::{World, network, ready, scope, task_id};
use chassis::{Cx, Principal};
use ec2::records::Instance;
use ident::{InstanceId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use store::StoreError;
use wire::acs::Message;
use wire::ecs as shape;

/// An EC2 instance with a task in awsvpc mode.
const AWSVPC: &str = include_str!("../../tests/fixtures/agent-awsvpc.jsonl");
/// A machine outside of EC2, with many tasks that fail in many ways. They were in
/// bridge mode; of what the agent says nothing depends on that.
const EXTERNAL: &str = include_str!("../../tests/fixtures/agent-bridge.jsonl");

/// The name of the recorded cluster, which ours has too.
const CLUSTER: &str = "demo";
const RECORDED_ACCOUNT: &str = "123456789012";
const RECORDED_VPC: &str = "vpc-11";
const RECORDED_SUBNET: &str = "subnet-11";
const RECORDED_INSTANCE: &str = "0123456789abcdef0123456789abcdef";

/// A recorded conversation, and the world that hears it.
struct Replay {
    world: World,
    caller: Principal,
    said: Vec<Said>,
    instance: Option<ContainerInstance>,
    /// Our task for each recorded one, by the recorded id.
    tasks: BTreeMap<String, TaskId>,
}

#[derive(Clone, serde::Deserialize)]
struct Said {
    what: String,
    said: String,
}

impl Replay {
    /// The conversation up to where the tasks are to run.
    fn begin(recorded: &str, caller: Principal) -> Self {
        let world = World::new();
        let request = shape::CreateClusterRequest {
            cluster_name: Some(CLUSTER.to_owned()),
            ..Default::default()
        };
        ready(api::create_cluster(&world.root(), request)).expect("a cluster");
        if let Principal::Instance(id) = &caller {
            let machine =
                ec2::Machine { instance: Some(id.clone()), zones: None, instance_type: None };
            ready(ec2::instances::register(&world.platform, &scope(), machine)).expect("a machine");
        }
        let read = |line| serde_json::from_str(line).expect("a line of the recording");
        let said = recorded.lines().map(read).collect();
        let mut replay = Self { world, caller, said, instance: None, tasks: BTreeMap::new() };
        let registration = replay.all("RegisterContainerInstance").remove(0);
        replay.register(&registration);
        let instance = replay.instance();
        replay.world.connect(&instance, "s-1");
        replay
    }

    fn cx(&self) -> Cx {
        self.world.cx(self.caller.clone())
    }

    fn instance(&self) -> ContainerInstance {
        self.instance.clone().expect("it has registered")
    }

    /// All that was said of this kind, with our names in place of the recorded.
    fn all(&self, what: &str) -> Vec<String> {
        let said = self.said.iter().filter(|said| said.what == what);
        said.map(|said| self.translated(&said.said)).collect()
    }

    fn translated(&self, text: &str) -> String {
        let mut text = text.replace(RECORDED_ACCOUNT, scope().account.as_str());
        // What the metadata of its machine would have told it.
        if let Some(machine) = self.world.view().list::<Instance>(&scope()).next() {
            text = text.replace(RECORDED_SUBNET, machine.subnet.as_str());
            text = text.replace(RECORDED_VPC, machine.vpc.as_str());
        }
        if let Some(instance) = &self.instance {
            text = text.replace(RECORDED_INSTANCE, instance.id.as_str());
        }
        for (recorded, ours) in &self.tasks {
            text = text.replace(recorded, ours.as_str());
        }
        text
    }

    fn register(&mut self, body: &str) {
        let request: shape::RegisterContainerInstanceRequest =
            serde_json::from_str(body).expect("a request");
        let answer = ready(api::register_container_instance(&self.cx(), request.clone()));
        let shown = answer.expect("registered").container_instance.expect("shown");
        let arn = shown.container_instance_arn.expect("an ARN");
        if request.container_instance_arn.is_some() {
            assert_eq!(request.container_instance_arn.as_ref(), Some(&arn));
        }
        // An agent that does not hear its attributes again ends for good.
        let echoed = shown.attributes.expect("attributes");
        for sent in request.attributes.iter().flatten() {
            assert!(echoed.contains(sent), "{sent:?}");
        }
        let (_, id) = crate::names::instance_from_arn(&scope(), &arn).expect("an ARN of ours");
        self.instance = Some(self.world.instance_record(&id));
    }

    fn reports(&self) -> Vec<shape::SubmitTaskStateChangeRequest> {
        let all = self.all("SubmitTaskStateChange").into_iter();
        all.map(|body| serde_json::from_str(&body).expect("a report")).collect()
    }

    /// Runs a task for each that is reported on, with the containers that are.
    fn run(&mut self, mode: &str, launch_type: &str) {
        let mut recorded: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for report in self.reports() {
            let arn = report.task.expect("a task");
            let id = arn.rsplit('/').next().expect("an id").to_owned();
            let names = report.containers.into_iter().flatten().filter_map(|it| it.container_name);
            recorded.entry(id).or_default().extend(names);
        }
        for (id, mut names) in recorded {
            if names.is_empty() {
                names.insert("a".to_owned());
            }
            let container = |name: &String| shape::ContainerDefinition {
                name: Some(name.clone()),
                image: Some("busybox:1".to_owned()),
                memory: Some(32),
                ..Default::default()
            };
            self.world.define(|request| {
                request.network_mode = Some(mode.to_owned());
                request.container_definitions = Some(names.iter().map(container).collect());
            });
            let subnets = self.world.subnets();
            let run = self.world.run(|request| {
                request.cluster = Some(CLUSTER.to_owned());
                request.launch_type = Some(launch_type.to_owned());
                request.network_configuration =
                    (mode == "awsvpc").then(|| network(&subnets[..1], &[]));
            });
            let run = run.expect("accepted");
            assert_eq!(run.failures, Some(vec![]));
            let ours = task_id(&run.tasks.expect("tasks")[0]);
            self.tasks.insert(id, ours);
        }
    }

    /// The agent reports all that it reported, and after each how it went so far
    /// is looked at: nothing goes back.
    fn report(&self) {
        for report in self.reports() {
            let arn = report.task.clone().expect("a task");
            let (_, id) = crate::names::task_from_arn(&scope(), &arn).expect("an ARN of ours");
            let before = self.world.task(&id).phase;
            let heard = ready(api::submit_task_state_change(&self.cx(), report));
            assert!(heard.expect("heard").acknowledgment.is_some());
            assert!(self.world.task(&id).phase >= before);
        }
    }

    fn task(&self, first: char) -> Task {
        let mut found = self.tasks.iter().filter(|(id, _)| id.starts_with(first));
        self.world.task(found.next().expect("a recorded task").1)
    }

    /// Every frame is understood; what is answered, in order.
    fn acs(&self) -> Vec<Message> {
        let now = self.world.platform.now();
        let mut session = AcsSession::new(&self.instance(), "s-1", now);
        session.poll(&self.world.view(), now);
        let mut answers = vec![];
        for text in self.all("ACS") {
            let frame = Message::decode(&text).expect("a frame");
            session.on_frame(&self.world.view(), &frame, now);
            answers.extend(session.poll(&self.world.view(), now));
        }
        answers
    }

    /// Every frame is acknowledged as what it is, and kept.
    fn tcs(&self) -> BTreeMap<String, usize> {
        let session = TcsSession::new(self.world.platform.now());
        let mut kinds = BTreeMap::new();
        for text in self.all("TCS") {
            let (answer, news) = session.on_frame(&text).expect("understood");
            *kinds.entry(answer.expect("an answer").kind().to_owned()).or_default() += 1;
            let Some(news) = news else { continue };
            ready(self.world.platform.store.transact(|txn| {
                record(txn, &scope(), &self.instance().id, &news);
                Ok::<_, StoreError>(())
            }))
            .expect("kept");
        }
        kinds
    }

    fn discovers(&self) {
        let service = Ecs { public_url: "http://127.0.0.1:9800".to_owned(), identity: None };
        for body in self.all("DiscoverPollEndpoint") {
            let request = serde_json::from_str(&body).expect("a request");
            let answer = api::discover_poll_endpoint(&service, &self.cx(), &request);
            let answer = answer.expect("answered");
            assert_eq!(answer.endpoint.as_deref(), Some("http://127.0.0.1:9800/acs/"));
            assert_eq!(answer.telemetry_endpoint.as_deref(), Some("http://127.0.0.1:9800/tcs/"));
        }
    }
}

/// How a task stands: status, stop code, and the beginning of the reason.
#[track_caller]
fn assert_ended(task: &Task, code: &str, reason: &str) {
    let stop = task.stop.as_ref().expect("a reason");
    assert_eq!(stop.code.map(StopCode::as_str), Some(code), "{stop:?}");
    assert!(stop.reason.starts_with(reason), "{stop:?}");
    assert!(task.phase.as_str() == "STOPPED" || task.interface.is_some(), "{:?}", task.phase);
}

#[test]
fn an_ec2_instance_with_awsvpc_tasks() {
    let mut replay = Replay::begin(AWSVPC, Principal::Instance(InstanceId::mint(1)));
    replay.discovers();
    replay.run("awsvpc", "EC2");
    replay.world.settle(&replay.instance());
    assert_eq!(replay.task('8').phase.as_str(), "PENDING");
    assert_eq!(replay.acs(), [], "acknowledgements are not answered");
    replay.report();
    replay.world.settle(&replay.instance());
    let refused = "CannotCreateContainerError: Error response from daemon: conflicting options";
    assert_ended(&replay.task('9'), "TaskFailedToStart", refused);
    let ran = replay.task('8');
    assert_ended(&ran, "EssentialContainerExited", "Essential container in task exited");
    assert_eq!(ran.phase.as_str(), "STOPPED");
    assert_eq!(ran.containers[0].exit_code, Some(137));
    assert_eq!(ran.times.execution_stopped.map(|at| at.0), Some(1_795_289_968_034));
    let kinds = replay.tcs();
    assert_eq!(kinds.get("AckPublishInstanceStatus"), Some(&1));
    assert_eq!(kinds.get("AckPublishMetric"), Some(&2));
    let health = replay.world.instance_record(&replay.instance().id).health;
    assert_eq!(health[0].r#type.as_deref(), Some("CONTAINER_RUNTIME"));
}

#[test]
fn an_external_machine_whose_tasks_fail() {
    let mut replay = Replay::begin(EXTERNAL, Principal::Root);
    replay.discovers();
    assert!(replay.instance().is_external());
    replay.run("host", "EXTERNAL");

    // It asks about a task that is to run: it is not to stop it.
    let answers = replay.acs();
    let [Message::TaskStopVerificationAck(ack)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(ack.stop_tasks, Some(vec![]));
    assert!(ack.message_id.is_some());

    let kinds = replay.tcs();
    assert_eq!(kinds.get("AckPublishHealth"), Some(&2));
    let app = replay.task('a');
    let app = app.containers.iter().find(|it| it.name == "app").expect("a container");
    assert_eq!(app.health, Health::Healthy, "the last that was said");

    replay.report();
    let exited = "Essential container in task exited";
    let ends = [
        ('2', "TaskFailedToStart", "HostConfigError: Invalid volume referenced: zz"),
        ('3', "TaskFailedToStart", "UnrecogniedTaskError: Error loading task"),
        ('4', "EssentialContainerExited", exited),
        ('5', "TaskFailedToStart", "Fetching secret data from SSM Parameter Store"),
        ('a', "EssentialContainerExited", exited),
        ('b', "TaskFailedToStart", "CannotPullImageManifestError: "),
        ('c', "TaskFailedToStart", "CannotStartContainerError: "),
        ('d', "EssentialContainerExited", exited),
        ('e', "TaskFailedToStart", "Task dependencies cannot be resolved"),
        ('f', "TaskFailedToStart", "DockerClientConfigError: "),
    ];
    for (task, code, reason) in ends {
        assert_ended(&replay.task(task), code, reason);
    }
    let ran = replay.task('a');
    let bindings = ran.containers.iter().flat_map(|it| &it.network_bindings);
    assert_eq!(bindings.filter_map(|it| it.host_port).collect::<Vec<_>>(), [32768]);
    let init = ran.containers.iter().find(|it| it.name == "init").expect("a container");
    assert_eq!(init.exit_code, Some(0));
    let pulled = replay.task('b').times;
    assert!(pulled.pull_started.is_some() && pulled.pull_started < pulled.pull_stopped);
    let killed = replay.task('d').containers[0].reason.clone();
    assert_eq!(killed.as_deref(), Some("OutOfMemoryError: Container killed due to memory usage"));

    // The process comes again, as whom it remembers; and once as nobody.
    for again in replay.all("RegisterContainerInstance").split_off(1) {
        replay.register(&again);
    }
}
