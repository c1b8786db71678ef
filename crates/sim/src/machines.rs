//! What agents do, and what their machines do to them.

use crate::mail::Mail;
use crate::plane::ready;
use crate::runtime::Container;
use crate::world::{Answer, World};
use agent::engine::{
    Checkup, ContainerReport, Effect, Exit, Failure, FailureKind, FoundState, Input, Known,
    Network, Orphan, Report, Signal, TaskSpec, Which, limits,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::Timestamp;
use wire::ecs::{self, Api as _};

/// How long an agent waits between two attempts of anything, in milliseconds.
const PAUSE: u64 = 700;

impl World {
    /// Gives an agent news, and sets its machine to work on what it decides.
    pub(crate) fn tell(&mut self, node: usize, inputs: Vec<Input>) {
        let now = self.clock_now();
        let effects = self.nodes[node].agent.take_in(inputs, now);
        // The worst moment to die: all is decided, nothing is done.
        if !effects.is_empty() && self.rng.one_in(self.weather.agent_dies.saturating_mul(2)) {
            self.note(&format!("agent {node} dies after it decided"));
            self.restart_agent(node);
            return;
        }
        self.begin(node, effects);
    }

    /// News of an agent's own work reaches it, if it is still there.
    pub(crate) fn hear(&mut self, node: usize, life: u64, input: Input) {
        let here = &mut self.nodes[node];
        if here.agent.life != life {
            return;
        }
        // The rim waits for the end of a process after it has said that it began.
        if let Input::Started(which, Ok(())) | Input::Restarted(which, Ok(())) = &input
            && let Some(task) = here.agent.engine.state().tasks.get(&which.task)
            && let Some(container) = task.containers.get(which.index)
        {
            here.agent.awaited.insert(container.runtime_id.clone(), which.clone());
        }
        self.tell(node, vec![input]);
    }

    fn begin(&mut self, node: usize, effects: Vec<Effect>) {
        let life = self.nodes[node].agent.life;
        for effect in effects {
            let due = self.soon();
            match effect {
                Effect::Report(report) => {
                    self.post.send(due, Mail::Submit { node, life, report });
                }
                Effect::PrepareNetwork(spec) => {
                    let limit = self.now + u64::try_from(limits::NETWORK.as_millis()).unwrap_or(0);
                    self.nodes[node].agent.preparing.insert(spec.arn.clone(), limit);
                    let effect = Effect::PrepareNetwork(spec);
                    self.post.send(due, Mail::Work { node, life, effect });
                }
                Effect::RemoveNetwork(spec) => {
                    self.nodes[node].agent.preparing.remove(&spec.arn);
                    let effect = Effect::RemoveNetwork(spec);
                    self.post.send(due, Mail::Work { node, life, effect });
                }
                Effect::Pull { .. }
                | Effect::GiveUpPull(_)
                | Effect::Create { .. }
                | Effect::Start { .. }
                | Effect::Restart { .. }
                | Effect::Check { .. }
                | Effect::Await { .. }
                | Effect::Signal { .. }
                | Effect::Delete { .. }
                | Effect::DeleteOrphan { .. }
                | Effect::RemoveOrphanNetwork { .. }
                | Effect::Forget(_) => self.post.send(due, Mail::Work { node, life, effect }),
            }
        }
    }

    /// An effect's turn has come.
    pub(crate) fn work(&mut self, node: usize, life: u64, effect: &Effect) {
        if self.nodes[node].agent.life != life {
            return;
        }
        if let Effect::PrepareNetwork(spec) = effect {
            self.prepare(node, life, Arc::clone(spec));
            return;
        }
        if let Some(input) = self.perform(node, effect) {
            let due = self.soon();
            self.post.send(due, Mail::News { node, life, input });
        }
    }

    /// Waits for the interface, which the card brings or not.
    fn prepare(&mut self, node: usize, life: u64, spec: Arc<TaskSpec>) {
        let fails = self.rng.one_in(self.weather.step_fails);
        let here = &mut self.nodes[node];
        let Some(limit) = here.agent.preparing.get(&spec.arn).copied() else { return };
        here.runtime.make_room(&spec);
        let there = match &spec.network {
            Network::Awsvpc(eni) => here.kernel.keys().any(|id| id.as_str() == eni.id),
            Network::Isolated | Network::Bridge | Network::Host => true,
        };
        let result = if fails || self.now > limit {
            Err(Failure::new(FailureKind::Network, "the interface did not appear"))
        } else if there {
            Ok(BTreeMap::new())
        } else {
            let due = self.now + PAUSE;
            let effect = Effect::PrepareNetwork(spec);
            self.post.send(due, Mail::Work { node, life, effect });
            return;
        };
        here.agent.preparing.remove(&spec.arn);
        let due = self.soon();
        let input = Input::NetworkReady { task: spec.arn.clone(), result };
        self.post.send(due, Mail::News { node, life, input });
    }

    /// Does one piece of work on the machine, and says what the agent hears of it
    /// if it is still there.
    fn perform(&mut self, node: usize, effect: &Effect) -> Option<Input> {
        let fails = self.rng.one_in(self.weather.step_fails);
        let which = |spec: &TaskSpec, index| Which { task: spec.arn.clone(), index };
        let outcome = |kind, text: &str| if fails { Err(Failure::new(kind, text)) } else { Ok(()) };
        match effect {
            Effect::Pull { spec, index, .. } => {
                let pulled = outcome(FailureKind::Pull, "the registry is asleep");
                let digest = Some("sha256:5e1f".to_owned());
                Some(Input::Pulled(which(spec, *index), pulled.map(|()| digest)))
            }
            Effect::Create { spec, index, runtime_id } => {
                let container = Container {
                    task: spec.arn.as_str().to_owned(),
                    eni: match &spec.network {
                        Network::Awsvpc(eni) => Some(eni.id.clone()),
                        Network::Isolated | Network::Bridge | Network::Host => None,
                    },
                    // One half made has a name and no process.
                    state: if fails { FoundState::Recorded } else { FoundState::Created },
                    stubborn: self.rng.one_in(self.weather.step_fails.div_ceil(3)),
                    clings: 0,
                };
                let runtime = &mut self.nodes[node].runtime;
                runtime.make_room(spec);
                let before = runtime.containers.insert(runtime_id.clone(), container);
                if before.is_some_and(|before| before.state == FoundState::Running) {
                    self.fail(&format!("{runtime_id} is made anew while it runs"));
                }
                let made = outcome(FailureKind::Create, "no space left on device");
                Some(Input::Created(which(spec, *index), made))
            }
            Effect::Start { which, runtime_id } => {
                let started = if fails {
                    self.start_in_doubt(node, runtime_id);
                    Err("timed out".to_owned())
                } else {
                    self.nodes[node].runtime.start(runtime_id)
                };
                let started = started.map_err(|text| Failure::new(FailureKind::Start, text));
                Some(Input::Started(which.clone(), started))
            }
            Effect::Restart { spec, index, runtime_id } => {
                let restarted = if fails {
                    Err("timed out".to_owned())
                } else {
                    self.nodes[node].runtime.restart(runtime_id)
                };
                let restarted = restarted.map_err(|text| Failure::new(FailureKind::Start, text));
                Some(Input::Restarted(which(spec, *index), restarted))
            }
            Effect::Check { spec, index, .. } => {
                Some(Input::Checked(which(spec, *index), Some(Checkup::silent(i32::from(fails)))))
            }
            Effect::Await { which, runtime_id } => {
                self.nodes[node].agent.awaited.insert(runtime_id.clone(), which.clone());
                None
            }
            Effect::Signal { spec, index, runtime_id, signal } => {
                if fails {
                    return Some(Input::SignalFailed(which(spec, *index)));
                }
                self.signal(node, runtime_id, *signal);
                None
            }
            Effect::Delete { which, runtime_id } => {
                let gone = !fails && self.nodes[node].runtime.remove(runtime_id);
                Some(Input::Deleted { which: which.clone(), gone })
            }
            Effect::DeleteOrphan { runtime_id, .. } => {
                let gone = !fails && self.nodes[node].runtime.remove(runtime_id);
                let orphan = Orphan::Container(runtime_id.clone());
                Some(Input::OrphanRemoved { orphan, gone })
            }
            Effect::RemoveOrphanNetwork { short_id } => {
                if !fails {
                    self.nodes[node].runtime.networks.remove(short_id);
                }
                let orphan = Orphan::Network(short_id.clone());
                Some(Input::OrphanRemoved { orphan, gone: !fails })
            }
            Effect::RemoveNetwork(spec) => {
                if !fails {
                    self.nodes[node].runtime.networks.remove(&spec.arn.short_id());
                }
                Some(Input::NetworkRemoved { task: spec.arn.clone(), gone: !fails })
            }
            Effect::Forget(task) => {
                self.nodes[node].agent.forget(task);
                None
            }
            // What arrives nevertheless, nobody waits for.
            Effect::GiveUpPull(_) | Effect::PrepareNetwork(_) | Effect::Report(_) => None,
        }
    }

    /// The agent is told that a start failed. That may be so; or the process runs all
    /// the same, now or in a while, and is hard to get rid of.
    fn start_in_doubt(&mut self, node: usize, runtime_id: &str) {
        if let Some(container) = self.nodes[node].runtime.containers.get_mut(runtime_id) {
            container.clings = u32::try_from(self.rng.below(4)).unwrap_or(0);
        }
        match self.rng.below(3) {
            0 => {}
            1 => drop(self.nodes[node].runtime.start(runtime_id)),
            _ => {
                let due = self.soon();
                let container = runtime_id.to_owned();
                self.post.send(due, Mail::Birth { node, container });
            }
        }
        self.count("a start was in doubt");
    }

    fn signal(&mut self, node: usize, runtime_id: &str, signal: Signal) {
        let stubborn =
            self.nodes[node].runtime.containers.get(runtime_id).is_none_or(|it| it.stubborn);
        let code = match signal {
            Signal::Stop if stubborn => return,
            Signal::Stop => 143,
            Signal::Kill => 137,
        };
        let due = self.soon();
        let exit = Exit { code, out_of_memory: false };
        let container = runtime_id.to_owned();
        self.post.send(due, Mail::Death { node, container, exit });
    }

    /// What an agent does without being told.
    pub(crate) fn drive_agent(&mut self, node: usize) {
        let now = self.clock_now();
        let life = self.nodes[node].agent.life;
        let here = &mut self.nodes[node];
        let runtime = &here.runtime;
        let mut news = Vec::new();
        here.agent.awaited.retain(|id, which| {
            let state = runtime.containers.get(id).map(|container| container.state);
            match state {
                Some(FoundState::Running) => return true,
                Some(FoundState::Stopped(exit)) => news.push(Input::Exited(which.clone(), exit)),
                Some(FoundState::Recorded | FoundState::Created) | None => {
                    news.push(Input::Vanished(which.clone()));
                }
            }
            false
        });
        for input in news {
            let due = self.soon();
            self.post.send(due, Mail::News { node, life, input });
        }
        if self.nodes[node].agent.engine.next_deadline().is_some_and(|at| at <= now) {
            self.tell(node, vec![Input::Tick]);
        }
    }

    /// The agent's process dies and comes back. Of what it had begun, some is
    /// done all the same; nobody is there to hear of it.
    pub(crate) fn restart_agent(&mut self, node: usize) {
        let life = self.nodes[node].agent.life;
        for effect in self.post.abandoned(node, life) {
            if self.rng.one_in(2) {
                self.perform(node, &effect);
            }
        }
        self.hang_up_agent(node);
        self.nodes[node].agent.restart();
        self.note(&format!("agent {node} begins anew"));
        self.count("an agent died");
        let found = Input::Found(self.nodes[node].runtime.inventory());
        let now = self.clock_now();
        let effects = self.nodes[node].agent.take_in(vec![found], now);
        self.begin(node, effects);
    }

    /// Every agent's process dies and comes back.
    pub fn reboot_agents(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.restart_agent(node));
    }

    /// The agent loses its memory: it comes up as another container instance, and
    /// what it ran is strange to it.
    pub(crate) fn forget_everything(&mut self, node: usize) {
        self.note(&format!("agent {node} forgets everything"));
        self.count("an agent forgot everything");
        self.nodes[node].agent.disk = crate::node::Disk::default();
        self.restart_agent(node);
    }

    /// The machine loses what is not on a disk.
    pub(crate) fn reboot(&mut self, node: usize) {
        self.note(&format!("node {node} reboots"));
        let all: Vec<String> = self.nodes[node].runtime.containers.keys().cloned().collect();
        for id in &all {
            self.lose_evidence(node, id);
        }
        let here = &mut self.nodes[node];
        here.kernel.clear();
        here.runtime.networks.clear();
        for container in here.runtime.containers.values_mut() {
            container.state = FoundState::Recorded;
        }
        self.restart_card(node);
        self.restart_agent(node);
    }

    /// Something happens to a container that nobody wanted.
    pub(crate) fn strike_down(&mut self, node: usize) {
        let running: Vec<String> =
            self.nodes[node].runtime.running().map(|(id, _)| id.clone()).collect();
        let Some(id) = self.rng.pick(&running).cloned() else { return };
        self.note(&format!("{} comes to an end", &id[..6.min(id.len())]));
        let code = i32::try_from(self.rng.below(3)).unwrap_or(0);
        match self.rng.below(4) {
            0 => {
                self.lose_evidence(node, &id);
                self.nodes[node].runtime.containers.remove(&id);
            }
            1 => {
                let exit = Exit { code: 137, out_of_memory: true };
                self.nodes[node].runtime.end(&id, exit);
            }
            _ => {
                self.nodes[node].runtime.end(&id, Exit { code, out_of_memory: false });
            }
        }
    }

    /// A process is lost without a trace. If its agent has not yet heard that it
    /// ran, nobody has, and it may as well not have been.
    fn lose_evidence(&mut self, node: usize, runtime_id: &str) {
        let here = &mut self.nodes[node];
        let mut containers = here.agent.engine.state().tasks.values().flat_map(|t| &t.containers);
        if containers.any(|c| c.runtime_id == runtime_id && c.known < Known::Running) {
            here.runtime.starts.remove(runtime_id);
        }
    }

    /// The ARN of the machine's container instance, once a process of the agent
    /// has registered it.
    pub(crate) fn registered(&mut self, node: usize) -> Option<String> {
        let here = &self.nodes[node];
        let (life, id) = (here.agent.life, here.id.clone());
        if here.agent.registered_in == Some(life) {
            return here.agent.disk.instance_arn.clone();
        }
        let mut request = registration(&here.cluster, here.agent.disk.instance_arn.clone());
        let number = ecs::Attribute {
            name: Some("number".to_owned()),
            value: Some(node.to_string()),
            ..Default::default()
        };
        request.attributes.get_or_insert_default().push(number);
        let here_before = here.agent.disk.instance_arn.is_some();
        let answer = self
            .call(|plane| ready(plane.ecs.register_container_instance(&plane.node(&id), request)));
        let registered = match answer {
            Answer::None => return None,
            // Somebody deleted it, and will make it again.
            Answer::Refused(fault) if fault.code == "ClusterNotFoundException" => return None,
            // Somebody took it out of its cluster.
            Answer::Refused(_) if here_before => {
                self.come_anew(node);
                return None;
            }
            Answer::Refused(fault) => {
                self.fail(&format!("node {node} may not register: {fault:?}"));
            }
            Answer::Given(registered) => registered,
        };
        let shown = registered.container_instance.unwrap_or_default();
        if shown.status.as_deref() != Some("ACTIVE") && shown.status.as_deref() != Some("DRAINING")
        {
            self.fail(&format!("node {node} registered, and is {:?}", shown.status));
        }
        let arn = shown.container_instance_arn;
        let agent = &mut self.nodes[node].agent;
        if agent.disk.instance_arn.is_some() && agent.disk.instance_arn != arn {
            self.fail(&format!("node {node} became another container instance"));
        }
        agent.disk.instance_arn.clone_from(&arn);
        agent.registered_in = Some(life);
        arn
    }

    /// The agent hears that its container instance is no more: it will register as
    /// another, and keeps what it runs until it is told.
    pub(crate) fn come_anew(&mut self, node: usize) {
        self.note(&format!("agent {node} is told that it was deregistered"));
        self.count("an agent came anew");
        self.hang_up_agent(node);
        let agent = &mut self.nodes[node].agent;
        agent.disk.instance_arn = None;
        agent.registered_in = None;
    }

    /// An agent reports a task, until it is heard or refused.
    pub(crate) fn submit(&mut self, node: usize, life: u64, report: Report) {
        let alive = self.nodes[node].agent.life == life;
        // What a dead agent had sent may still arrive.
        if !alive && self.rng.one_in(2) {
            return;
        }
        if self.rng.one_in(self.weather.doubled) {
            let due = self.soon() + self.weather.delay;
            self.post.send(due, Mail::Echo { node, report: report.clone() });
        }
        let id = self.nodes[node].id.clone();
        let request = submission(&report);
        let answer = if self.nodes[node].cut_off {
            Answer::None
        } else {
            self.call(|plane| ready(plane.ecs.submit_task_state_change(&plane.node(&id), request)))
        };
        self.note(&format!(
            "agent {node} reports {} {:?}: {}",
            short(report.task.as_str()),
            report.status,
            match &answer {
                Answer::None => "no answer".to_owned(),
                Answer::Refused(fault) => format!("refused: {}", fault.message),
                Answer::Given(_) => "heard".to_owned(),
            }
        ));
        if !alive {
            return;
        }
        let due = self.soon();
        match answer {
            Answer::None => self.post.send(due + PAUSE, Mail::Submit { node, life, report }),
            Answer::Given(_) | Answer::Refused(_) => {
                let input = Input::Reported { task: report.task, number: report.number };
                self.post.send(due, Mail::News { node, life, input });
            }
        }
    }

    /// A copy of a report arrives late.
    pub(crate) fn echo(&mut self, node: usize, report: &Report) {
        let id = self.nodes[node].id.clone();
        let request = submission(report);
        self.note(&format!("an echo of {} {:?}", short(report.task.as_str()), report.status));
        drop(
            self.call(|plane| ready(plane.ecs.submit_task_state_change(&plane.node(&id), request))),
        );
    }
}

/// The last digits of a task's id: its first are the time.
pub(crate) fn short(arn: &str) -> &str {
    let id = arn.rsplit('/').next().unwrap_or_default();
    id.len().checked_sub(6).and_then(|from| id.get(from..)).unwrap_or(id)
}

/// What the machine of every node says of itself.
pub(crate) fn registration(
    cluster: &str,
    arn: Option<String>,
) -> ecs::RegisterContainerInstanceRequest {
    let resource = |name: &str, value| ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(value),
        ..Default::default()
    };
    let names = [
        "com.amazonaws.ecs.capability.docker-remote-api.1.17",
        "com.amazonaws.ecs.capability.docker-remote-api.1.18",
        "com.amazonaws.ecs.capability.docker-remote-api.1.19",
        "com.amazonaws.ecs.capability.docker-remote-api.1.21",
        "com.amazonaws.ecs.capability.task-iam-role",
        "com.amazonaws.ecs.capability.task-iam-role-network-host",
        "ecs.capability.task-eni",
        "ecs.capability.container-ordering",
    ];
    let attribute =
        |name: &str| ecs::Attribute { name: Some(name.to_owned()), ..Default::default() };
    ecs::RegisterContainerInstanceRequest {
        cluster: Some(cluster.to_owned()),
        container_instance_arn: arn,
        attributes: Some(names.into_iter().map(attribute).collect()),
        // No slack: two tasks with interfaces and one without fill it.
        total_resources: Some(vec![resource("CPU", 1024), resource("MEMORY", 2048)]),
        ..Default::default()
    }
}

/// A report as the API wants it.
fn submission(report: &Report) -> ecs::SubmitTaskStateChangeRequest {
    let moment = |at: Option<ident::Timestamp>| at.map(|at| Timestamp::from_millis(at.0));
    ecs::SubmitTaskStateChangeRequest {
        cluster: Some(report.cluster.clone()),
        task: Some(report.task.as_str().to_owned()),
        status: Some(status(report.status).to_owned()),
        reason: Some(report.reason.clone()),
        containers: Some(report.containers.iter().map(change).collect()),
        pull_started_at: moment(report.pull_started_at),
        pull_stopped_at: moment(report.pull_stopped_at),
        execution_stopped_at: moment(report.execution_stopped_at),
        ..Default::default()
    }
}

fn change(container: &ContainerReport) -> ecs::ContainerStateChange {
    ecs::ContainerStateChange {
        container_name: Some(container.name.clone()),
        status: Some(status(container.status).to_owned()),
        exit_code: container.exit_code,
        reason: container.reason.clone(),
        runtime_id: Some(container.runtime_id.clone()),
        image_digest: container.image_digest.clone(),
        ..Default::default()
    }
}

fn status(known: Known) -> &'static str {
    match known {
        Known::Stopped => "STOPPED",
        Known::Running => "RUNNING",
        Known::None | Known::Pulled | Known::Created => "PENDING",
    }
}
