//! Those who want things, and what they were told they would get.

use crate::guest::Guest;
use crate::machines::short;
use crate::mail::Mail;
use crate::plane::{Plane, ready, scope};
use crate::roles::{ROLE, TRUST, role_arn};
use crate::world::{Answer, World};
use std::collections::{BTreeMap, BTreeSet};
use wire::Fault;
use wire::ec2::Api as _;
use wire::ecs::Api as _;
use wire::iam::Api as _;
use wire::{ec2 as shapes, ecs};

/// The definitions that [`World::move_in`] registers.
pub(crate) const FAMILIES: [&str; 3] = ["web", "job", "host"];
/// More orders than this are not waited for.
const MAX_ORDERS: usize = 60;

/// What people know.
#[derive(Debug, Default)]
pub(crate) struct Users {
    pub(crate) orders: Vec<Order>,
    /// Every task that an answer named, with its cluster.
    pub(crate) promised: BTreeMap<String, String>,
    /// The tasks that were acknowledged to be stopped.
    pub(crate) dismissed: BTreeSet<String>,
    pub(crate) subnets: Vec<String>,
    group: String,
    /// Whether the rule that comes and goes is there, as far as is known.
    rule: bool,
    /// Who comes with an account of his own.
    pub(crate) guest: Guest,
}

/// A RunTask, asked again until there is an answer.
#[derive(Debug)]
pub(crate) struct Order {
    request: ecs::RunTaskRequest,
    /// The nodes that its expression selects, by number, if it has one.
    pub(crate) among: Option<BTreeSet<usize>>,
    /// The container instance that it named, if it did (StartTask).
    pub(crate) on: Option<String>,
    /// What was answered: the tasks, or none for a refusal.
    pub(crate) answer: Option<BTreeSet<String>>,
    given_up: bool,
}

impl Order {
    /// Whether somebody still asks for it.
    pub(crate) fn is_open(&self) -> bool {
        self.answer.is_none() && !self.given_up
    }

    /// Whether each task is to have an instance of its own.
    pub(crate) fn distinct(&self) -> bool {
        let mut all = self.request.placement_constraints.iter().flatten();
        all.any(|it| it.r#type.as_deref() == Some("distinctInstance"))
    }

    /// The subnets that it names.
    pub(crate) fn subnets(&self) -> &[String] {
        let network = self.request.network_configuration.as_ref();
        let awsvpc = network.and_then(|network| network.awsvpc_configuration.as_ref());
        awsvpc.and_then(|awsvpc| awsvpc.subnets.as_deref()).unwrap_or_default()
    }
}

impl Users {
    /// Nobody wants anything more than what is on its way.
    pub(crate) fn calm_down(&mut self) {
        self.rule = false;
        self.guest.calm_down();
    }
}

impl World {
    /// What everybody finds: the clusters, the definitions, the subnets.
    pub(crate) fn move_in(&mut self) {
        let plane = self.plane.as_ref().expect("it has just been started");
        let cx = plane.root();
        for name in ["default", "blue"] {
            let request = ecs::CreateClusterRequest {
                cluster_name: Some(name.to_owned()),
                ..Default::default()
            };
            ready(plane.ecs.create_cluster(&cx, request)).expect("a cluster");
        }
        let iam = iam::Iam::new(plane.platform.store.clone());
        let request = wire::iam::CreateRoleRequest {
            role_name: Some(ROLE.to_owned()),
            assume_role_policy_document: Some(TRUST.to_owned()),
            ..Default::default()
        };
        ready(iam.create_role(&cx, request)).expect("a role");
        for family in FAMILIES {
            let request = definition(family);
            ready(plane.ecs.register_task_definition(&cx, request)).expect("a definition");
        }
        let all = shapes::DescribeSubnetsRequest::default();
        let found = ready(plane.ec2.describe_subnets(&cx, all)).expect("subnets");
        let ids = found.subnets.into_iter().flatten().filter_map(|subnet| subnet.subnet_id);
        self.users.subnets = ids.collect();
        let all = shapes::DescribeSecurityGroupsRequest::default();
        let found = ready(plane.ec2.describe_security_groups(&cx, all));
        let groups = found.expect("groups").security_groups.unwrap_or_default();
        self.users.group =
            groups.into_iter().next().and_then(|group| group.group_id).unwrap_or_default();
    }

    /// Somebody wants something, perhaps.
    pub(crate) fn wish(&mut self) {
        if !self.rng.one_in(self.weather.wishes) {
            return;
        }
        match self.rng.below(16) {
            0..=4 => self.order_any(),
            5..=8 => self.dismiss_any(),
            9 => self.change_rule(),
            10 => self.look(),
            11 => self.ask_nonsense(),
            12 => self.entertain(),
            _ => self.operate(),
        }
    }

    fn order_any(&mut self) {
        if self.users.orders.len() >= MAX_ORDERS {
            return;
        }
        let family = self.rng.pick(&FAMILIES).copied().unwrap_or("web");
        let cluster = if self.rng.one_in(3) { "blue" } else { "default" };
        let count = self.rng.between(1, 3);
        let mut request = self.run_request(cluster, family, i32::try_from(count).unwrap_or(1));
        if self.rng.one_in(4) {
            request.overrides =
                Some(ecs::TaskOverride { cpu: Some("512".to_owned()), ..Default::default() });
        }
        if self.rng.one_in(3) {
            request.client_token = None;
        }
        self.be_choosy(request);
    }

    /// A RunTask for `count` tasks of `family`, with a token of its own.
    fn run_request(&mut self, cluster: &str, family: &str, count: i32) -> ecs::RunTaskRequest {
        let mut subnets = self.users.subnets.clone();
        if self.rng.one_in(3) {
            let one = self.rng.index(subnets.len());
            subnets = vec![subnets.swap_remove(one)];
        } else {
            subnets.truncate(16);
        }
        let awsvpc = ecs::AwsVpcConfiguration { subnets: Some(subnets), ..Default::default() };
        ecs::RunTaskRequest {
            cluster: Some(cluster.to_owned()),
            task_definition: Some(family.to_owned()),
            count: Some(count),
            // By which the order is found again from a task.
            started_by: Some(format!("order-{}", self.users.orders.len())),
            client_token: Some(format!("order-{}", self.users.orders.len())),
            network_configuration: (family != "host")
                .then_some(ecs::NetworkConfiguration { awsvpc_configuration: Some(awsvpc) }),
            ..Default::default()
        }
    }

    /// Orders it with a wish for where it goes, or not.
    fn be_choosy(&mut self, mut request: ecs::RunTaskRequest) {
        let named = |kind: &str, what: Option<&str>| ecs::PlacementStrategy {
            r#type: Some(kind.to_owned()),
            field: what.map(str::to_owned),
        };
        let (mut constraints, mut among, mut on) = (vec![], None, None);
        let constraint = |kind: &str, expression: Option<String>| ecs::PlacementConstraint {
            r#type: Some(kind.to_owned()),
            expression,
        };
        match self.rng.below(8) {
            0 | 1 => constraints.push(constraint("distinctInstance", None)),
            2 => {
                let one = self.rng.index(self.nodes.len());
                let expression = format!("attribute:number == {one}");
                constraints.push(constraint("memberOf", Some(expression)));
                among = Some(BTreeSet::from([one]));
            }
            3 => {
                let expression = "attribute:number in [0, 2] and runningTasksCount < 9";
                constraints.push(constraint("memberOf", Some(expression.to_owned())));
                among = Some(BTreeSet::from([0, 2]));
            }
            4 => {
                let node = self.rng.index(self.nodes.len());
                on.clone_from(&self.nodes[node].agent.disk.instance_arn);
                request.cluster = Some(self.nodes[node].cluster.clone());
            }
            _ => {}
        }
        let strategies = match self.rng.below(6) {
            0 => vec![named("spread", Some("instanceId"))],
            1 => vec![named("binpack", Some("cpu"))],
            2 => vec![named("spread", Some("attribute:number")), named("binpack", Some("memory"))],
            3 => vec![named("random", None)],
            _ => vec![],
        };
        if on.is_some() {
            request.client_token = None;
        } else {
            request.placement_constraints = Some(constraints);
            request.placement_strategy = Some(strategies);
        }
        self.place(request, among, on);
    }

    fn place(
        &mut self,
        request: ecs::RunTaskRequest,
        among: Option<BTreeSet<usize>>,
        on: Option<String>,
    ) -> usize {
        let order = self.users.orders.len();
        self.users.orders.push(Order { request, among, on, answer: None, given_up: false });
        let due = self.soon();
        self.post.send(due, Mail::Run { order });
        order
    }

    /// Orders `count` tasks of `family` in the cluster `default`, and says under
    /// which number. [`World::tasks_of`] says what became of it.
    pub fn order(&mut self, family: &str, count: i32) -> usize {
        let mut request = self.run_request("default", family, count);
        if let Some(network) = &mut request.network_configuration
            && let Some(awsvpc) = &mut network.awsvpc_configuration
        {
            awsvpc.subnets = Some(self.users.subnets.iter().take(16).cloned().collect());
        }
        self.place(request, None, None)
    }

    /// The tasks of an order; `None` while there is no answer.
    pub fn tasks_of(&self, order: usize) -> Option<Vec<String>> {
        let order = self.users.orders.get(order)?;
        order.answer.as_ref().map(|tasks| tasks.iter().cloned().collect())
    }

    /// Asks for a task to be stopped, until that is acknowledged.
    pub fn dismiss(&mut self, task: &str) {
        let cluster = self.users.promised.get(task).cloned().unwrap_or_default();
        let (task, reason) = (task.to_owned(), "it is enough".to_owned());
        let due = self.soon();
        self.post.send(due, Mail::Stop { cluster, task, reason });
    }

    pub(crate) fn run_order(&mut self, number: usize) {
        let Some(order) = self.users.orders.get(number) else { return };
        let (request, before) = (order.request.clone(), order.answer.clone());
        let token = request.client_token.is_some();
        let cluster = request.cluster.clone().unwrap_or_default();
        let on = order.on.clone();
        // What is to be judged is how things are now.
        self.welcome();
        let answer = self.call(|plane| carry_out(plane, request, on));
        self.welcome();
        let again = token && self.rng.one_in(self.weather.doubled);
        if again {
            let due = self.soon();
            self.post.send(due, Mail::Run { order: number });
        }
        let tasks: BTreeSet<String> = match answer {
            Answer::None if token => {
                if !again && before.is_none() {
                    let due = self.soon() + 300;
                    self.post.send(due, Mail::Run { order: number });
                }
                return;
            }
            // Whatever it came to, its sender will not know.
            Answer::None => {
                self.users.orders[number].given_up = true;
                return;
            }
            Answer::Refused(fault) => {
                self.note(&format!("order {number} is refused: {}", fault.message));
                BTreeSet::new()
            }
            Answer::Given((tasks, failures)) => {
                for failure in &failures {
                    self.count(failure.reason.as_deref().unwrap_or("no reason"));
                }
                let refused = failures.len();
                let tasks: BTreeSet<String> =
                    tasks.into_iter().filter_map(|task| task.task_arn).collect();
                let names: Vec<&str> = tasks.iter().map(|arn| short(arn)).collect();
                let names = names.join(" ");
                self.note(&format!("order {number}: tasks {names}, {refused} refusals"));
                tasks
            }
        };
        let order = &mut self.users.orders[number];
        match before {
            // Who got nothing may ask again, and then gets something or not.
            Some(before) if !before.is_empty() => {
                // Those that were reaped meanwhile are not shown again.
                if !tasks.is_subset(&before) {
                    self.fail(&format!("order {number} got {before:?} and then {tasks:?}"));
                }
            }
            Some(_) | None => order.answer = Some(tasks.clone()),
        }
        for task in tasks {
            self.users.promised.insert(task, cluster.clone());
        }
    }

    fn dismiss_any(&mut self) {
        let tasks: Vec<String> = self.users.promised.keys().cloned().collect();
        if let Some(task) = self.rng.pick(&tasks).cloned() {
            self.dismiss(&task);
        }
    }

    pub(crate) fn stop(&mut self, cluster: &str, task: &str, reason: &str) {
        let request = ecs::StopTaskRequest {
            cluster: Some(cluster.to_owned()),
            task: Some(task.to_owned()),
            reason: Some(reason.to_owned()),
        };
        let answer = self.call(|plane| ready(plane.ecs.stop_task(&plane.root(), request)));
        match answer {
            Answer::None => {
                let due = self.soon() + 300;
                let (cluster, task) = (cluster.to_owned(), task.to_owned());
                self.post.send(due, Mail::Stop { cluster, task, reason: reason.to_owned() });
            }
            Answer::Given(_) => {
                self.note(&format!("{} is to stop", short(task)));
                self.users.dismissed.insert(task.to_owned());
            }
            Answer::Refused(fault) if self.oracle.was_reaped(task) => {
                self.note(&format!("{} is gone: {}", short(task), fault.message));
            }
            // So it has stopped, or the cluster could not have been deleted.
            Answer::Refused(fault) if fault.code == "ClusterNotFoundException" => {
                self.note(&format!("the cluster of {} is gone", short(task)));
            }
            Answer::Refused(fault) => self.fail(&format!("StopTask of {task}: {fault:?}")),
        }
    }

    /// A rule comes, or goes: every plan changes, no task does.
    fn change_rule(&mut self) {
        let group_id = Some(self.users.group.clone());
        let range = shapes::IpRange { cidr_ip: Some("10.1.0.0/16".to_owned()), description: None };
        let permission = shapes::IpPermission {
            ip_protocol: Some("tcp".to_owned()),
            from_port: Some(80),
            to_port: Some(80),
            ip_ranges: Some(vec![range]),
            ..Default::default()
        };
        let ip_permissions = Some(vec![permission]);
        let there = self.users.rule;
        let answer = self.call(|plane| {
            let cx = plane.root();
            if there {
                let request = shapes::RevokeSecurityGroupIngressRequest {
                    group_id,
                    ip_permissions,
                    ..Default::default()
                };
                ready(plane.ec2.revoke_security_group_ingress(&cx, request)).map(drop)
            } else {
                let request = shapes::AuthorizeSecurityGroupIngressRequest {
                    group_id,
                    ip_permissions,
                    ..Default::default()
                };
                ready(plane.ec2.authorize_security_group_ingress(&cx, request)).map(drop)
            }
        });
        // A refusal says that it was done before, by a request without an answer.
        if !matches!(answer, Answer::None) {
            self.users.rule = !there;
        }
    }

    /// Somebody looks at everything that he was promised.
    fn look(&mut self) {
        for cluster in ["default", "blue"] {
            let tasks = self.users.promised.iter().filter(|(_, home)| *home == cluster);
            let mut tasks: Vec<String> = tasks.map(|(task, _)| task.clone()).collect();
            tasks.truncate(99);
            let asked = tasks.len() + 1;
            tasks.push("0123456789abcdef0123456789abcdef".to_owned());
            let request = ecs::DescribeTasksRequest {
                cluster: Some(cluster.to_owned()),
                tasks: Some(tasks),
                include: None,
            };
            let answer = self.call(|plane| ready(plane.ecs.describe_tasks(&plane.root(), request)));
            let Answer::Given(given) = answer else { continue };
            let (shown, missing) =
                (given.tasks.unwrap_or_default(), given.failures.unwrap_or_default());
            if shown.len() + missing.len() != asked {
                self.fail(&format!("{asked} tasks were asked for, and some were passed over"));
            }
            for failure in missing {
                let arn = failure.arn.unwrap_or_default();
                if failure.reason.as_deref() != Some("MISSING") {
                    self.fail(&format!("{arn} is not there, but not MISSING"));
                }
                if self.users.promised.contains_key(&arn) && !self.oracle.was_reaped(&arn) {
                    self.fail(&format!("{arn} was promised and is MISSING"));
                }
            }
        }
    }

    /// What does not exist is refused in AWS's words, and changes nothing.
    fn ask_nonsense(&mut self) {
        let unknown = "arn:aws:ecs:us-east-1:000000000000:task/default/\
                       00000000000000000000000000000000";
        let stop = ecs::StopTaskRequest { task: Some(unknown.to_owned()), ..Default::default() };
        let run = ecs::RunTaskRequest {
            cluster: Some("default".to_owned()),
            task_definition: Some("nobody:7".to_owned()),
            ..Default::default()
        };
        let elsewhere = ecs::DescribeTasksRequest {
            cluster: Some("nowhere".to_owned()),
            tasks: Some(vec![unknown.to_owned()]),
            include: None,
        };
        let answers = [
            self.call(|plane| ready(plane.ecs.stop_task(&plane.root(), stop)).map(drop)),
            self.call(|plane| ready(plane.ecs.run_task(&plane.root(), run)).map(drop)),
            self.call(|plane| ready(plane.ecs.describe_tasks(&plane.root(), elsewhere)).map(drop)),
        ];
        let wanted = ["InvalidParameterException", "ClientException", "ClusterNotFoundException"];
        for (answer, wanted) in answers.into_iter().zip(wanted) {
            match answer {
                Answer::None => {}
                Answer::Refused(ref fault) if fault.code == wanted => {}
                Answer::Refused(_) | Answer::Given(()) => {
                    self.fail(&format!("nonsense got {answer:?} instead of {wanted}"));
                }
            }
        }
    }

    /// What the API says of a task now: its status, its stop code and its reason.
    pub fn show(&self, task: &str) -> Option<(String, String, String)> {
        let plane = self.plane.as_ref()?;
        let id = task.rsplit('/').next().unwrap_or_default();
        let record = plane.view().get::<::ecs::records::Task>(&scope(), id)?;
        let stop = record.stop.clone();
        let code = stop.as_ref().and_then(|stop| stop.code).map_or("", |code| code.as_str());
        let reason = stop.as_ref().map(|stop| stop.reason.clone()).unwrap_or_default();
        Some((record.phase.as_str().to_owned(), code.to_owned(), reason))
    }
}

/// Sends an order: a StartTask if it names an instance, else a RunTask.
fn carry_out(
    plane: &Plane,
    request: ecs::RunTaskRequest,
    on: Option<String>,
) -> Result<(Vec<ecs::Task>, Vec<ecs::Failure>), Fault> {
    let Some(on) = on else {
        let given = ready(plane.ecs.run_task(&plane.root(), request))?;
        return Ok((given.tasks.unwrap_or_default(), given.failures.unwrap_or_default()));
    };
    let request = ecs::StartTaskRequest {
        cluster: request.cluster,
        container_instances: Some(vec![on]),
        network_configuration: request.network_configuration,
        overrides: request.overrides,
        started_by: request.started_by,
        task_definition: request.task_definition,
        ..Default::default()
    };
    let given = ready(plane.ecs.start_task(&plane.root(), request))?;
    Ok((given.tasks.unwrap_or_default(), given.failures.unwrap_or_default()))
}

/// `web` has an interface and a helper, `job` an interface and more CPU, `host`
/// neither. All but `job` act in a role, and for all but `web` the agent does.
pub(crate) fn definition(family: &str) -> ecs::RegisterTaskDefinitionRequest {
    let container = |name: &str, cpu, essential| ecs::ContainerDefinition {
        name: Some(name.to_owned()),
        image: Some("busybox".to_owned()),
        cpu: Some(cpu),
        memory: Some(64),
        essential: Some(essential),
        ..Default::default()
    };
    let (mode, containers) = match family {
        "web" => ("awsvpc", vec![container("app", 192, true), container("helper", 64, false)]),
        "job" => ("awsvpc", vec![container("job", 512, true)]),
        _ => ("host", vec![container("daemon", 512, true)]),
    };
    ecs::RegisterTaskDefinitionRequest {
        family: Some(family.to_owned()),
        network_mode: Some(mode.to_owned()),
        container_definitions: Some(containers),
        task_role_arn: (family != "job").then(role_arn),
        execution_role_arn: (family != "web").then(role_arn),
        ..Default::default()
    }
}
