//! A small world to test in: a store in memory, a clock that stands still, and a
//! card and an agent that behave as real ones do.

use crate::acs::{self, AcsSession, Sessions};
use crate::controllers::lifecycle::Lifecycle;
use crate::records::{ContainerInstance, Task, VersionInfo};
use crate::{Error, api};
use chassis::fake::{ManualClock, SeededEntropy};
use chassis::{Caller, Controller, Cx, Platform, Principal};
use ec2::instances::Machine;
use ec2::records::{Eni, Subnet};
use ec2::{CardSession, default_vpc};
use futures::FutureExt as _;
use ident::{AccountId, ContainerInstanceId, InstanceId, Scope, TaskId, Timestamp};
use net::plan::CardReport;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use store::{Registry, Store, View};
use wire::acs::Message;
use wire::ecs as shape;

/// The account and region of the tests.
pub(crate) fn scope() -> Scope {
    Scope { account: AccountId::first(), region: "us-east-1".parse().expect("a region") }
}

/// The outcome of a future that has nothing to wait for, as in memory none has.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

/// See the module.
pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) clock: Arc<ManualClock>,
    lifecycle: Lifecycle,
}

/// How long the agents of the tests may be away.
pub(crate) const AGENT_GRACE: Duration = Duration::from_mins(3);

/// A test's agent: it does what it is told, and says so.
pub(crate) struct Agent<'w> {
    world: &'w World,
    instance: ContainerInstance,
    session: AcsSession,
    /// What it runs, by ARN.
    pub(crate) runs: BTreeMap<String, wire::acs::Task>,
}

impl World {
    /// A world with a default VPC and a default cluster.
    pub(crate) fn new() -> Self {
        let registry =
            crate::records(ec2::records(iam::records(chassis::records(Registry::new()))));
        let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
        let platform = Platform {
            store: Store::in_memory(registry),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(7)),
            quotas: chassis::Quotas::default(),
        };
        let world = Self { platform, clock, lifecycle: Lifecycle::new(AGENT_GRACE) };
        ready(default_vpc::ensure_region(&world.platform, &scope())).expect("furnished");
        ready(api::create_cluster(&world.root(), shape::CreateClusterRequest::default()))
            .expect("a cluster");
        world
    }

    /// The context of a request by `principal`.
    pub(crate) fn cx(&self, principal: Principal) -> Cx {
        Cx {
            platform: self.platform.clone(),
            caller: Caller { scope: scope(), principal, access_key: "AKIDEXAMPLE".to_owned() },
            request_id: "r-1".to_owned(),
        }
    }

    pub(crate) fn root(&self) -> Cx {
        self.cx(Principal::Root)
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.platform.store.view()
    }

    /// A connected instance with 2 vCPU and 4 GiB, in all zones.
    pub(crate) fn instance(&self, number: u128) -> ContainerInstance {
        self.instance_in(number, None)
    }

    /// The same, in some zones only.
    pub(crate) fn instance_in(&self, number: u128, zones: Option<&[&str]>) -> ContainerInstance {
        let instance = self.register(number, zones);
        self.connect(&instance, "s-0");
        self.instance_record(&instance.id)
    }

    /// An instance whose agent is not connected yet.
    pub(crate) fn register(&self, number: u128, zones: Option<&[&str]>) -> ContainerInstance {
        let id = InstanceId::mint(number);
        let zones = zones.map(|zones| zones.iter().map(ToString::to_string).collect());
        let machine = Machine { instance: Some(id.clone()), zones, instance_type: None };
        ready(ec2::instances::register(&self.platform, &scope(), machine)).expect("a machine");
        let shown = ready(api::register_container_instance(
            &self.cx(Principal::Instance(id)),
            registration(),
        ));
        let arn = shown.expect("registered").container_instance.expect("shown");
        let arn = arn.container_instance_arn.expect("an ARN");
        let (_, id) = crate::names::instance_from_arn(&scope(), &arn).expect("an ARN of ours");
        self.instance_record(&id)
    }

    pub(crate) fn connect(&self, instance: &ContainerInstance, session: &str) {
        let seat = Sessions::default().open(&instance.scope, &instance.id, session);
        let version = VersionInfo::default();
        let connected = ready(acs::connect(&self.platform, &seat, &version));
        connected.expect("connected").expect("nobody else has the seat");
    }

    pub(crate) fn instance_record(&self, id: &ContainerInstanceId) -> ContainerInstance {
        let found = self.view().get::<ContainerInstance>(&scope(), id.as_str());
        ContainerInstance::clone(&found.expect("an instance"))
    }

    /// The default subnets, in the order of their zones.
    pub(crate) fn subnets(&self) -> Vec<String> {
        let mut all: Vec<_> = self.view().list::<Subnet>(&scope()).collect();
        all.sort_by(|a, b| a.zone.cmp(&b.zone));
        all.iter().map(|subnet| subnet.net.id.to_string()).collect()
    }

    /// Registers a definition with one container of 128 CPU units and 64 MiB.
    pub(crate) fn define(&self, change: impl FnOnce(&mut shape::RegisterTaskDefinitionRequest)) {
        let mut request = definition();
        change(&mut request);
        ready(api::register_task_definition(&self.root(), request)).expect("registered");
    }

    /// Runs `web` in the first subnet.
    pub(crate) fn run(
        &self,
        change: impl FnOnce(&mut shape::RunTaskRequest),
    ) -> Result<shape::RunTaskResponse, Error> {
        let mut request = shape::RunTaskRequest {
            task_definition: Some("web".to_owned()),
            network_configuration: Some(network(&self.subnets()[..1], &[])),
            ..Default::default()
        };
        change(&mut request);
        ready(api::run_task(&self.root(), request))
    }

    /// Makes a role that tasks can act in, and says its ARN.
    pub(crate) fn role(&self, name: &str) -> String {
        let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
        let request = wire::iam::CreateRoleRequest {
            role_name: Some(name.to_owned()),
            assume_role_policy_document: Some(trust.to_owned()),
            ..Default::default()
        };
        let iam = iam::Iam::new(self.platform.store.clone());
        let made = ready(wire::iam::Api::create_role(&iam, &self.root(), request));
        made.expect("made").role.and_then(|role| role.arn).expect("an ARN")
    }

    /// Runs one `web` and says which task that is.
    pub(crate) fn run_one(&self) -> TaskId {
        let response = self.run(|_| {}).expect("accepted");
        assert_eq!(response.failures, Some(vec![]));
        let task = response.tasks.expect("tasks").pop().expect("one task");
        task_id(&task)
    }

    pub(crate) fn task_if_any(&self, id: &TaskId) -> Option<Task> {
        self.view().get::<Task>(&scope(), id.as_str()).map(|task| Task::clone(&task))
    }

    pub(crate) fn task(&self, id: &TaskId) -> Task {
        self.task_if_any(id).expect("a task")
    }

    /// The task as DescribeTasks has it.
    pub(crate) fn shown(&self, id: &TaskId) -> shape::Task {
        crate::show::task(&self.view(), &self.task(id), true)
    }

    /// A task that ran `web` and stopped.
    pub(crate) fn stopped_task(&self, instance: &ContainerInstance) -> TaskId {
        self.define(|_| {});
        let id = self.run_one();
        self.stop(&id, None).expect("stopping");
        self.settle(instance);
        assert_eq!(self.task(&id).phase.as_str(), "STOPPED");
        id
    }

    pub(crate) fn stop(
        &self,
        id: &TaskId,
        reason: Option<&str>,
    ) -> Result<shape::StopTaskResponse, Error> {
        let request = shape::StopTaskRequest {
            task: Some(id.to_string()),
            reason: reason.map(str::to_owned),
            ..Default::default()
        };
        ready(api::stop_task(&self.root(), request))
    }

    /// Runs the lifecycle controller once.
    pub(crate) fn reconcile(&self) {
        ready(self.lifecycle.reconcile(&self.platform)).expect("reconciles");
    }

    /// Time passes, and the lifecycle controller is run all the while.
    pub(crate) fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(self.lifecycle.period());
            self.clock.advance(step);
            self.reconcile();
            left = left.saturating_sub(step);
        }
    }

    /// Another process of the control plane goes on with the state.
    pub(crate) fn restart(&mut self) {
        self.lifecycle = Lifecycle::new(AGENT_GRACE);
    }

    /// The agent of an instance is away.
    pub(crate) fn disconnect(&self, instance: &ContainerInstance, session: &str) {
        let gone = acs::disconnect(&self.platform, &instance.scope, &instance.id, session);
        ready(gone).expect("noted");
    }

    /// The card of an instance does all that it was told, and the controller what
    /// follows, until nothing is left to do.
    pub(crate) fn settle(&self, instance: &ContainerInstance) {
        for _ in 0..4 {
            self.reconcile();
            self.card(instance, &[]);
            self.reconcile();
        }
    }

    /// The card obeys its plan, except that it cannot make the interfaces that
    /// are named as `broken`.
    pub(crate) fn card(&self, instance: &ContainerInstance, broken: &[&str]) {
        let host = instance.ec2_instance.clone().expect("an EC2 instance");
        let mut session = CardSession::new(scope(), host);
        let Some(plan) = session.poll(&self.view()) else { return };
        let all = plan.vpcs.iter().flat_map(|vpc| &vpc.enis).map(|eni| eni.eni.clone());
        let (failed, present): (Vec<_>, Vec<_>) =
            all.partition(|eni| broken.contains(&eni.as_str()));
        let failed = failed.into_iter().map(|eni| (eni, "no such device".to_owned())).collect();
        let report = CardReport { generation: plan.generation, present, failed };
        ready(session.on_report(&self.platform.store, &report)).expect("reported");
    }

    /// The interfaces that tasks have.
    pub(crate) fn task_enis(&self) -> Vec<Arc<Eni>> {
        self.view().list::<Eni>(&scope()).filter(|eni| eni.requester_managed).collect()
    }

    /// An agent with a session of its own.
    pub(crate) fn agent(&self, instance: &ContainerInstance, session: &str) -> Agent<'_> {
        self.connect(instance, session);
        let instance = self.instance_record(&instance.id);
        let session = AcsSession::new(&instance, session, self.platform.now());
        Agent { world: self, instance, session, runs: BTreeMap::new() }
    }

    /// What an agent of `instance` reports of a task.
    pub(crate) fn report(
        &self,
        instance: &ContainerInstance,
        request: shape::SubmitTaskStateChangeRequest,
    ) -> Result<(), Error> {
        let host = instance.ec2_instance.clone().expect("an EC2 instance");
        let cx = self.cx(Principal::Instance(host));
        ready(api::submit_task_state_change(&cx, request)).map(drop)
    }

    /// An agent reports a task with its one container in `status`.
    pub(crate) fn report_status(
        &self,
        instance: &ContainerInstance,
        task: &str,
        status: &str,
        exit_code: Option<i32>,
    ) {
        let container = shape::ContainerStateChange {
            container_name: Some("web".to_owned()),
            status: Some(status.to_owned()),
            runtime_id: Some("0badc0de".to_owned()),
            exit_code,
            ..Default::default()
        };
        let request = shape::SubmitTaskStateChangeRequest {
            task: Some(task.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(String::new()),
            containers: Some(vec![container]),
            ..Default::default()
        };
        self.report(instance, request).expect("heard");
    }
}

impl Agent<'_> {
    /// What is said to it now.
    pub(crate) fn poll(&mut self) -> Vec<Message> {
        self.session.poll(&self.world.view(), self.world.platform.now())
    }

    pub(crate) fn says(&mut self, frame: impl Into<Message>) {
        self.session.on_frame(&self.world.view(), &frame.into(), self.world.platform.now());
    }

    pub(crate) fn session(&self) -> &AcsSession {
        &self.session
    }

    /// Does as it is told, and reports it.
    pub(crate) fn obey(&mut self) {
        for frame in self.poll() {
            let Message::PayloadMessage(payload) = frame else { continue };
            for task in payload.tasks.into_iter().flatten() {
                let arn = task.arn.clone().expect("an ARN");
                if task.desired_status.as_deref() == Some("RUNNING") {
                    self.world.report_status(&self.instance, &arn, "RUNNING", None);
                    self.runs.insert(arn, task);
                } else {
                    self.runs.remove(&arn);
                    self.world.report_status(&self.instance, &arn, "STOPPED", Some(143));
                }
            }
        }
    }
}

/// What a machine with an agent sends when it registers.
pub(crate) fn registration() -> shape::RegisterContainerInstanceRequest {
    let integer = |name: &str, value| shape::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(value),
        ..Default::default()
    };
    let ports = |name: &str, ports: &[&str]| shape::Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        string_set_value: Some(ports.iter().map(ToString::to_string).collect()),
        ..Default::default()
    };
    let attribute = |name: &str, value: Option<&str>| shape::Attribute {
        name: Some(name.to_owned()),
        value: value.map(str::to_owned),
        ..Default::default()
    };
    shape::RegisterContainerInstanceRequest {
        total_resources: Some(vec![
            integer("CPU", 2048),
            integer("MEMORY", 4096),
            ports("PORTS", &["22", "51678"]),
            ports("PORTS_UDP", &[]),
        ]),
        attributes: Some(vec![
            attribute("com.amazonaws.ecs.capability.docker-remote-api.1.17", None),
            attribute("com.amazonaws.ecs.capability.docker-remote-api.1.18", None),
            attribute("com.amazonaws.ecs.capability.docker-remote-api.1.21", None),
            attribute("com.amazonaws.ecs.capability.docker-remote-api.1.24", None),
            attribute("com.amazonaws.ecs.capability.task-iam-role", None),
            attribute("ecs.capability.container-health-check", None),
            attribute("ecs.capability.task-eni", None),
            attribute("ecs.os-type", Some("linux")),
            attribute("ecs.cpu-architecture", Some("x86_64")),
        ]),
        ..Default::default()
    }
}

/// A definition `web` in awsvpc mode.
pub(crate) fn definition() -> shape::RegisterTaskDefinitionRequest {
    let port = shape::PortMapping { container_port: Some(80), ..Default::default() };
    shape::RegisterTaskDefinitionRequest {
        family: Some("web".to_owned()),
        network_mode: Some("awsvpc".to_owned()),
        container_definitions: Some(vec![shape::ContainerDefinition {
            name: Some("web".to_owned()),
            image: Some("web:1".to_owned()),
            cpu: Some(128),
            memory: Some(64),
            port_mappings: Some(vec![port]),
            ..Default::default()
        }]),
        ..Default::default()
    }
}

/// An `awsvpcConfiguration`.
pub(crate) fn network(subnets: &[String], groups: &[String]) -> shape::NetworkConfiguration {
    shape::NetworkConfiguration {
        awsvpc_configuration: Some(shape::AwsVpcConfiguration {
            subnets: Some(subnets.to_vec()),
            security_groups: Some(groups.to_vec()),
            assign_public_ip: None,
        }),
    }
}

/// The id in a task's ARN.
pub(crate) fn task_id(task: &shape::Task) -> TaskId {
    let arn = task.task_arn.as_deref().expect("an ARN");
    crate::names::task_from_arn(&scope(), arn).expect("an ARN of ours").1
}
