//! A second account: somebody makes it, uses it, and deletes it. Its one machine
//! has a card that obeys and an agent that came once and stays away, so that what
//! runs there has to be given up.

use crate::plane::{Plane, ready, scope};
use crate::world::{Answer, World};
use ::ecs::acs::connect;
use ::ecs::records::{ContainerInstance, Task, VersionInfo};
use chassis::{Caller, Cx, Principal};
use ec2::CardSession;
use ec2::records::{Subnet, VniLease};
use iam::records::{AccessKey, Account};
use ident::{AccountId, InstanceId, Scope};
use net::plan::CardReport;
use sched::lifecycle::Phase;
use store::View;
use wire::ecs::{self, Api as _};
use wire::landfall::{CreateAccountRequest, DeleteAccountRequest};
use wire::{Fault, ec2 as shapes};

/// The account as its users know it.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    stage: Stage,
    machine: Option<InstanceId>,
}

#[derive(Debug, Default)]
enum Stage {
    /// There is none, or none that anybody knows of.
    #[default]
    Absent,
    /// It is used.
    Here(Scope),
    /// It is to be deleted, until that is acknowledged.
    Leaving(Scope),
}

impl Guest {
    /// Whoever is here leaves.
    pub(crate) fn calm_down(&mut self) {
        if let Stage::Here(scope) = &self.stage {
            self.stage = Stage::Leaving(scope.clone());
        }
    }
}

impl World {
    /// The guest comes, does something, or leaves.
    pub(crate) fn entertain(&mut self) {
        match self.users.guest.stage {
            Stage::Absent => self.invite(),
            Stage::Here(_) if self.rng.one_in(5) => self.users.guest.calm_down(),
            Stage::Here(_) => self.use_account(),
            Stage::Leaving(_) => {}
        }
    }

    /// What goes on by itself: the machine's card obeys, and who leaves insists.
    pub(crate) fn attend(&mut self) {
        self.obey_as_guest();
        let Stage::Leaving(here) = &self.users.guest.stage else { return };
        let account = here.account.clone();
        if !self.rng.one_in(6) {
            return;
        }
        let request = DeleteAccountRequest { account_id: Some(account.to_string()) };
        match self.call(|plane| refused(ready(iam::accounts::delete(&plane.root(), request)))) {
            Answer::None => {}
            Answer::Given(_) => {
                self.count("an account was deleted");
                self.note(&format!("account {account} is being deleted"));
                self.users.guest.stage = Stage::Absent;
            }
            // An earlier request was carried out to the end.
            Answer::Refused(fault) if fault.code == "ResourceNotFoundException" => {
                self.users.guest.stage = Stage::Absent;
            }
            Answer::Refused(fault) => self.fail(&format!("account {account} stays: {fault:?}")),
        }
    }

    fn invite(&mut self) {
        let made = self.call(|plane| {
            let request = CreateAccountRequest { name: Some("guest".to_owned()) };
            refused(ready(iam::accounts::create(&plane.root(), request)))
        });
        let Answer::Given(made) = made else { return };
        let id = made.account.and_then(|account| account.account_id).unwrap_or_default();
        let account: AccountId = id.parse().expect("the id of an account");
        self.note(&format!("account {account} is there"));
        self.users.guest.stage = Stage::Here(Scope { account, region: scope().region });
    }

    fn use_account(&mut self) {
        let Stage::Here(here) = &self.users.guest.stage else { return };
        let here = here.clone();
        let known = self.users.guest.machine.clone();
        let Some(plane) = &self.plane else { return };
        let machine = known.unwrap_or_else(|| InstanceId::mint(plane.platform.bits()));
        self.users.guest.machine = Some(machine.clone());
        let settled = plane.view().get::<ec2::records::Instance>(&here, machine.as_str()).is_some();
        let done = match self.rng.below(3) {
            0 | 1 if !settled => self.call(|plane| settle(plane, &here, &machine)),
            0 | 1 => self.call(|plane| run(plane, &here, &machine)),
            _ => self.call(|plane| decorate(plane, &here)),
        };
        if let Answer::Given(what) = done {
            self.count(what);
        }
    }

    /// The card of the guest's machine makes what it is told, at once.
    fn obey_as_guest(&mut self) {
        if !self.rng.one_in(3) {
            return;
        }
        let Some(plane) = self.plane.as_ref().filter(|plane| !plane.is_dead()) else { return };
        let view = plane.view();
        let machines = view.all::<ec2::records::Instance>();
        let others: Vec<_> = machines.filter(|machine| machine.scope != scope()).collect();
        for machine in others {
            let mut session = CardSession::new(machine.scope.clone(), machine.id.clone());
            let Some(plan) = session.poll(&view) else { continue };
            let enis = plan.vpcs.iter().flat_map(|vpc| &vpc.enis);
            let present = enis.map(|eni| eni.eni.clone()).collect();
            let failed = std::iter::empty().collect();
            let report = CardReport { generation: plan.generation, present, failed };
            // What fails here is reported again.
            drop(ready(session.on_report(&plane.platform.store, &report)));
        }
    }

    /// Whom there still is something of, although he left.
    pub(crate) fn lingering(&self, view: &View) -> Option<String> {
        if let Stage::Leaving(here) | Stage::Here(here) = &self.users.guest.stage {
            return Some(format!("account {} is still there", here.account));
        }
        let directory = iam::records::directory();
        let left = |account: &AccountId| {
            let keys = view.list::<AccessKey>(&directory).filter(|key| key.account == *account);
            let leases = view.all::<VniLease>().filter(|lease| lease.owner.account == *account);
            let records = view.keys_of(account).map(|key| key.kind.to_string());
            records
                .chain(keys.map(|key| format!("key {}", key.id)))
                .chain(leases.map(|lease| format!("lease of {}", lease.vni)))
                .next()
        };
        view.list::<Account>(&directory).filter(|it| it.closing.is_some()).find_map(|account| {
            let id = &account.id;
            if let Some(what) = left(id) {
                return Some(format!("account {id} left {what} behind"));
            }
            account.emptied.is_none().then(|| format!("account {id} is not emptied"))
        })
    }

    /// What belongs to nobody's account, or to one that was said to be empty; and
    /// tasks whose machine went before them.
    pub(crate) fn orphaned(view: &View) -> Option<String> {
        let directory = iam::records::directory();
        let at_sea = view.all::<Task>().filter(|task| task.phase < Phase::Stopped).find(|task| {
            let host = view.get::<ContainerInstance>(&task.scope, task.instance.as_str());
            let machine = host.and_then(|host| host.ec2_instance.clone());
            machine.is_none_or(|id| {
                view.get::<ec2::records::Instance>(&task.scope, id.as_str()).is_none()
            })
        });
        if let Some(task) = at_sea {
            return Some(format!("{} is {:?}, and its machine is gone", task.id, task.phase));
        }
        let lease = view.all::<VniLease>().find(|lease| {
            let owner = lease.owner.account.as_str();
            lease.owner.account != scope().account
                && view.get::<Account>(&directory, owner).is_none_or(|it| it.emptied.is_some())
        })?;
        Some(format!("{} of {} is still leased", lease.vni, lease.owner.account))
    }
}

fn refused<T>(answer: Result<T, iam::accounts::Error>) -> Result<T, Fault> {
    answer.map_err(|error| error.fault())
}

fn cx(plane: &Plane, here: &Scope, principal: Principal) -> Cx {
    Cx {
        platform: plane.platform.clone(),
        caller: Caller { scope: here.clone(), principal, access_key: "AKIAGUEST".to_owned() },
        request_id: "simulated".to_owned(),
    }
}

/// The guest's machine registers.
fn settle(plane: &Plane, here: &Scope, machine: &InstanceId) -> Result<&'static str, Fault> {
    let wanted = ec2::Machine { instance: Some(machine.clone()), zones: None, instance_type: None };
    let settled = ready(ec2::instances::register(&plane.platform, here, wanted));
    settled.map_err(|error| error.fault())?;
    // What fails here is found again when it is needed.
    drop(ready(iam::node_key(&plane.platform, here, machine)));
    Ok("a guest's machine came")
}

/// The guest's agent comes and goes; meanwhile something is started on its machine.
fn run(plane: &Plane, here: &Scope, machine: &InstanceId) -> Result<&'static str, Fault> {
    let owner = cx(plane, here, Principal::Root);
    let node = cx(plane, here, Principal::Instance(machine.clone()));
    let registered = ready(
        plane
            .ecs
            .register_container_instance(&node, crate::machines::registration("default", None)),
    )?;
    let arn = registered.container_instance.and_then(|it| it.container_instance_arn);
    let arn = arn.unwrap_or_default();
    let instance = arn.rsplit('/').next().unwrap_or_default().parse();
    let instance = instance.map_err(|_| Fault::client("Nonsense", arn.clone()))?;
    let seat = plane.sessions.open(here, &instance, "guest");
    let connected = ready(connect(&plane.platform, &seat, &VersionInfo::default()));
    connected.map_err(|error| error.fault())?;
    // The role is another account's.
    let request = ecs::RegisterTaskDefinitionRequest {
        task_role_arn: None,
        execution_role_arn: None,
        ..crate::users::definition("web")
    };
    ready(plane.ecs.register_task_definition(&owner, request))?;
    let subnets = plane.view().list::<Subnet>(here).map(|it| it.net.id.to_string()).collect();
    let awsvpc = ecs::AwsVpcConfiguration { subnets: Some(subnets), ..Default::default() };
    let request = ecs::RunTaskRequest {
        task_definition: Some("web".to_owned()),
        network_configuration: Some(ecs::NetworkConfiguration {
            awsvpc_configuration: Some(awsvpc),
        }),
        ..Default::default()
    };
    let ran = ready(plane.ecs.run_task(&owner, request))?;
    let some = ran.tasks.is_some_and(|tasks| !tasks.is_empty());
    Ok(if some { "a guest's task was started" } else { "a guest's task found no place" })
}

/// Things of all kinds that the guest makes.
fn decorate(plane: &Plane, here: &Scope) -> Result<&'static str, Fault> {
    use wire::ec2::Api as _;
    let owner = cx(plane, here, Principal::Root);
    let name = |name: &str| Some(name.to_owned());
    let cluster = ecs::CreateClusterRequest { cluster_name: name("party"), ..Default::default() };
    ready(plane.ecs.create_cluster(&owner, cluster))?;
    let setting = ecs::PutAccountSettingRequest {
        name: name("awsvpcTrunking"),
        value: name("enabled"),
        ..Default::default()
    };
    ready(plane.ecs.put_account_setting(&owner, setting))?;
    let vpc = shapes::CreateVpcRequest { cidr_block: name("10.9.0.0/16"), ..Default::default() };
    let vpc = ready(plane.ec2.create_vpc(&owner, vpc))?.vpc.and_then(|vpc| vpc.vpc_id);
    let subnet = shapes::CreateSubnetRequest {
        vpc_id: vpc.clone(),
        cidr_block: name("10.9.1.0/24"),
        ..Default::default()
    };
    let subnet = ready(plane.ec2.create_subnet(&owner, subnet))?;
    let eni = shapes::CreateNetworkInterfaceRequest {
        subnet_id: subnet.subnet.and_then(|subnet| subnet.subnet_id),
        ..Default::default()
    };
    ready(plane.ec2.create_network_interface(&owner, eni))?;
    Ok("a guest made himself at home")
}
