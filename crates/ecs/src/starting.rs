//! Making tasks, once it is known where each of them goes.

use crate::launch::Launch;
use crate::records::{
    Container, ContainerInstance, Definition, Interface, LaunchType, Task, TaskRole, Times,
};
use crate::{Error, names, view};
use chassis::Cx;
use ec2::awsvpc::Awsvpc;
use ec2::task_eni::{self, Provision};
use iam::task_roles;
use ident::{AttachmentId, ClusterName, Tags, TaskId, Timestamp};
use sched::placement::Place;
use std::sync::Arc;
use store::Txn;
use wire::ecs::TaskOverride;

/// What the tasks of one request have in common.
pub(crate) struct Start<'a> {
    /// The cluster they run in.
    pub(crate) cluster: &'a ClusterName,
    /// What they are made from.
    pub(crate) definition: &'a Definition,
    /// The same with the request's overrides.
    pub(crate) launch: &'a Launch<'a>,
    /// What differs from the definition, to be kept.
    pub(crate) overrides: &'a TaskOverride,
    /// Where their interfaces are to be, if they have some of their own.
    pub(crate) awsvpc: Option<&'a Awsvpc>,
    /// What they are launched as.
    pub(crate) launch_type: LaunchType,
    /// The group they belong to.
    pub(crate) group: &'a str,
    /// Who starts them, in his own words.
    pub(crate) started_by: Option<&'a str>,
    /// All tags that they get.
    pub(crate) tags: &'a Tags,
    /// When this happens.
    pub(crate) now: Timestamp,
}

/// Makes one task in its place.
pub(crate) fn start(
    cx: &Cx,
    txn: &mut Txn,
    start: &Start<'_>,
    place: Place,
) -> Result<Arc<Task>, Error> {
    let id = TaskId::mint(start.now, cx.bits());
    let interface =
        start.awsvpc.map(|awsvpc| provide(cx, txn, awsvpc, &place, start.now)).transpose()?;
    let needs = start.launch.needs();
    let mut containers = start.launch.containers(|| cx.bits());
    if start.launch.need().gpus > 0 {
        hand_out_gpus(cx, txn, start.launch, &place, &mut containers);
    }
    let mut act =
        |role: Option<&str>| role.map(|arn| assume(cx, txn, arn, &id, start.now)).transpose();
    let role = act(start.launch.role())?;
    let execution_role = act(start.launch.execution_role())?;
    let task = Task {
        scope: cx.scope().clone(),
        id,
        cluster: start.cluster.clone(),
        family: start.definition.family.clone(),
        revision: start.definition.revision,
        instance: place.instance,
        zone: place.zone,
        phase: sched::lifecycle::first(needs),
        needs,
        need: start.launch.need().clone(),
        launch_type: start.launch_type,
        group: start.group.to_owned(),
        started_by: start.started_by.map(str::to_owned),
        overrides: start.overrides.clone(),
        tags: start.tags.clone(),
        containers,
        interface,
        role,
        execution_role,
        times: Times { created: start.now, ..Times::default() },
        stop: None,
        protected_until: None,
        version: 1,
    };
    Ok(txn.put(task))
}

/// Credentials of a role of a task.
fn assume(
    cx: &Cx,
    txn: &mut Txn,
    arn: &str,
    task: &TaskId,
    now: Timestamp,
) -> Result<TaskRole, Error> {
    let account = &cx.scope().account;
    let made = task_roles::issue(&cx.platform, txn, account, (arn, task.as_str()), now);
    let session = made.map_err(|_| {
        Error::refused(format!(
            "ECS was unable to assume the role '{arn}' that was provided for this task. Please \
             verify that the role being passed has the proper trust relationship and \
             permissions and that your IAM user has permissions to pass this role."
        ))
    })?;
    let credentials_id = AttachmentId::mint(cx.bits()).to_string();
    Ok(TaskRole { arn: arn.to_owned(), credentials_id, key: Some(session.id), older: None })
}

/// Gives each container as many GPUs of its machine as it is to have, of those that no
/// task has. That there are enough was decided with the place.
fn hand_out_gpus(
    cx: &Cx,
    txn: &Txn,
    launch: &Launch<'_>,
    place: &Place,
    containers: &mut [Container],
) {
    let host = txn.get::<ContainerInstance>(cx.scope(), place.instance.as_str());
    let free = host.map(|host| view::free_gpus(txn.view(), &host)).unwrap_or_default();
    let mut free = free.into_iter();
    for (container, many) in containers.iter_mut().zip(launch.gpus()) {
        container.gpu_ids = (0..many).map_while(|_| free.next()).collect();
    }
}

/// A task's own interface, in a subnet of the zone that it was placed in.
fn provide(
    cx: &Cx,
    txn: &mut Txn,
    awsvpc: &Awsvpc,
    place: &Place,
    now: Timestamp,
) -> Result<Interface, Error> {
    let host = txn
        .get::<ContainerInstance>(cx.scope(), place.instance.as_str())
        .and_then(|host| host.ec2_instance.clone())
        .ok_or_else(|| Error::NoContainerInstance(place.instance.to_string()))?;
    let attachment = AttachmentId::mint(cx.bits());
    let attachment_arn = names::attachment_arn(cx.scope(), &attachment);
    let mut full = ec2::Error::NoSubnets;
    for subnet in awsvpc.subnets.iter().filter(|subnet| subnet.zone.name == place.zone) {
        let provided = task_eni::provision(
            txn,
            Provision {
                scope: cx.scope(),
                awsvpc,
                subnet: &subnet.net.id,
                instance: &host,
                attachment_arn: &attachment_arn,
                now,
                bits: &mut || cx.bits(),
            },
        );
        match provided {
            Ok(eni) => {
                return Ok(Interface {
                    attachment,
                    eni: eni.net.id,
                    subnet: eni.net.subnet,
                    mac: eni.net.mac,
                    ipv4: eni.net.ipv4,
                    private_dns_name: eni.private_dns_name,
                });
            }
            // Another subnet of the zone may have an address left.
            Err(error @ ec2::Error::NoAddress(_)) => full = error,
            Err(other) => return Err(other.into()),
        }
    }
    Err(full.into())
}
