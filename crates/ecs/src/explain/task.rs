//! `ExplainTask`: what a task waits for follows from its phase and from who owes it
//! something there, as in [`sched::lifecycle::duties`].

use crate::records::{ContainerInstance, ContainerStatus, Task};
use crate::{Error, names, show};
use chassis::Cx;
use ec2::records::Eni;
use ident::Timestamp;
use sched::lifecycle::Phase;
use store::View;
use wire::landfall::{ExplainTaskRequest, ExplainTaskResponse, TaskMoment, TaskWait};

pub(super) fn explain(cx: &Cx, request: &ExplainTaskRequest) -> Result<ExplainTaskResponse, Error> {
    let scope = cx.scope();
    let view = cx.view();
    let cluster = names::cluster(scope, request.cluster.as_deref())?;
    let text = request.task.as_deref().unwrap_or_default();
    let id = names::task(scope, &cluster, text)?;
    let found = view.get::<Task>(scope, id.as_str()).filter(|task| task.cluster == cluster);
    let task = found.ok_or_else(|| Error::NoTask { cluster, task: text.to_owned() })?;
    let waits = waits(&view, &task).into_iter().map(|wait| TaskWait {
        what: Some(wait.what.to_owned()),
        detail: Some(wait.detail),
        since: wait.since.map(show::moment),
    });
    Ok(ExplainTaskResponse {
        task_arn: Some(task.arn().to_string()),
        last_status: Some(task.phase.as_str().to_owned()),
        desired_status: Some(task.phase.desired().as_str().to_owned()),
        stop_code: task.stop.as_ref().and_then(|stop| Some(stop.code?.as_str().to_owned())),
        stopped_reason: task.stop.as_ref().map(|stop| stop.reason.clone()),
        waits_for: Some(waits.collect()),
        history: Some(history(&task)),
    })
}

/// Something that has to happen before the task moves on.
struct Wait {
    what: &'static str,
    detail: String,
    since: Option<Timestamp>,
}

fn waits(view: &View, task: &Task) -> Vec<Wait> {
    let host = view.get::<ContainerInstance>(&task.scope, task.instance.as_str());
    let machine = host.as_ref().and_then(|host| host.ec2_instance.as_ref());
    let machine = machine.map_or_else(|| "the machine".to_owned(), ToString::to_string);
    match task.phase {
        Phase::Provisioning => vec![attaching(view, task, &machine)],
        Phase::Deprovisioning => {
            let eni = task.interface.as_ref().map(|interface| interface.eni.to_string());
            vec![Wait {
                what: "NETWORK_INTERFACE",
                detail: format!(
                    "the card of {machine} has not reported yet that {} is gone",
                    eni.as_deref().unwrap_or("the interface")
                ),
                since: task.times.execution_stopped.or(task.times.stopping),
            }]
        }
        Phase::Pending | Phase::Activating | Phase::Deactivating | Phase::Stopping => {
            let away = host.filter(|host| !host.connected()).map(|host| Wait {
                what: "AGENT",
                detail: format!("the agent of container instance {} is not connected", host.id),
                since: Some(host.session_changed_at),
            });
            away.into_iter().chain(containers(task)).collect()
        }
        Phase::Running | Phase::Stopped => vec![],
    }
}

fn attaching(view: &View, task: &Task, machine: &str) -> Wait {
    let interface = task.interface.as_ref();
    let eni = interface.and_then(|own| view.get::<Eni>(&task.scope, own.eni.as_str()));
    let attachment = eni.as_ref().and_then(|eni| eni.attachment.as_ref());
    let name = interface.map_or_else(|| "the interface".to_owned(), |own| own.eni.to_string());
    let failure = attachment.and_then(|attachment| attachment.failure.as_deref());
    Wait {
        what: "NETWORK_INTERFACE",
        detail: match failure {
            Some(failure) => format!("the card of {machine} cannot attach {name}: {failure}"),
            None => format!("the card of {machine} has not reported yet that {name} is attached"),
        },
        since: Some(attachment.map_or(task.times.created, |attachment| attachment.attached_at)),
    }
}

/// The containers that the agent has not brought to where they are to be.
fn containers(task: &Task) -> Vec<Wait> {
    let starts = matches!(task.phase, Phase::Pending | Phase::Activating);
    let (wanted, verb) = if starts {
        (ContainerStatus::Running, "started")
    } else {
        (ContainerStatus::Stopped, "stopped")
    };
    let pulls = task.times.pull_started.is_some() && task.times.pull_stopped.is_none();
    let late = task.containers.iter().filter(|container| container.status < wanted);
    late.map(|container| Wait {
        what: "CONTAINER",
        detail: if starts && pulls {
            let (name, image) = (&container.name, &container.image);
            format!("container {name} is not started: the agent pulls images, its own is {image}")
        } else {
            format!("the agent has not reported yet that container {} is {verb}", container.name)
        },
        since: if starts {
            task.times.pull_started.or(Some(task.times.created))
        } else {
            task.times.stopping
        },
    })
    .collect()
}

/// What is known of the task's life, in order.
fn history(task: &Task) -> Vec<TaskMoment> {
    let times = &task.times;
    let mut moments: Vec<(Timestamp, &str)> = [
        (Some(times.created), "CREATED"),
        (times.pull_started, "PULL_STARTED"),
        (times.pull_stopped, "PULL_STOPPED"),
        (times.started, "RUNNING"),
        (times.stopping, "STOPPING"),
        (times.execution_stopped, "EXECUTION_STOPPED"),
        (times.stopped, "STOPPED"),
    ]
    .into_iter()
    .filter_map(|(at, what)| Some((at?, what)))
    .collect();
    // Agents' clocks may differ from ours.
    moments.sort_by_key(|(at, _)| *at);
    let moment = |(at, what): (Timestamp, &str)| TaskMoment {
        status: Some(what.to_owned()),
        at: Some(show::moment(at)),
    };
    moments.into_iter().map(moment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, ready};
    use wire::landfall::ExplainPlacementRequest;

    fn waiting(world: &World, task: &ident::TaskId) -> (String, Vec<String>) {
        let request = ExplainTaskRequest { task: Some(task.to_string()), ..Default::default() };
        let answer = explain(&world.root(), &request).expect("explained");
        let waits = answer.waits_for.expect("told").into_iter().filter_map(|wait| wait.what);
        (answer.last_status.expect("told"), waits.collect())
    }

    #[test]
    fn a_task_waits_for_its_interface_its_agent_and_its_containers() {
        let world = World::new();
        let instance = world.instance(1);
        world.define(|_| {});
        let id = world.run_one();
        let expect = |status: &str, waits: &[&str]| {
            assert_eq!(
                waiting(&world, &id),
                (status.to_owned(), waits.iter().map(ToString::to_string).collect())
            );
        };
        expect("PROVISIONING", &["NETWORK_INTERFACE"]);
        world.card(&instance, &[]);
        world.reconcile();
        expect("PENDING", &["CONTAINER"]);
        let gone = crate::acs::disconnect(&world.platform, &instance.scope, &instance.id, "s-0");
        ready(gone).expect("noted");
        expect("PENDING", &["AGENT", "CONTAINER"]);
        let mut agent = world.agent(&instance, "s-1");
        agent.obey();
        expect("RUNNING", &[]);
    }

    #[test]
    fn a_task_that_is_not_there_is_aws_error() {
        let world = World::new();
        let task = Some("0123456789abcdef0123456789abcdef".to_owned());
        let request = ExplainTaskRequest { task, ..Default::default() };
        let error = explain(&world.root(), &request).expect_err("unknown");
        assert_eq!(error.fault().code, "InvalidParameterException");
    }

    fn placement(world: &World, count: i32) -> (usize, Vec<(bool, Vec<String>)>) {
        let request = ExplainPlacementRequest {
            task_definition: Some("web".to_owned()),
            count: Some(count),
            subnets: Some(world.subnets()),
            ..Default::default()
        };
        let answer = ready(super::super::placement(&world.root(), request)).expect("explained");
        let verdict = |verdict: wire::landfall::InstanceVerdict| {
            let refusals = verdict.refusals.expect("told").into_iter();
            (verdict.fits.expect("told"), refusals.filter_map(|it| it.code).collect())
        };
        let verdicts = answer.instances.expect("told").into_iter().map(verdict).collect();
        (answer.places.expect("told").len(), verdicts)
    }

    #[test]
    fn placement_is_explained_and_nothing_is_started() {
        let world = World::new();
        world.instance(1);
        world.register(2, None);
        world.define(|request| request.cpu = Some("1024".to_owned()));
        let (places, mut verdicts) = placement(&world, 2);
        verdicts.sort();
        let away = (false, vec!["AGENT".to_owned()]);
        assert_eq!((places, &verdicts), (2, &vec![away.clone(), (true, vec![])]));
        // The third of them finds no room, and it is the one that is explained.
        let (places, mut verdicts) = placement(&world, 3);
        verdicts.sort();
        let full = (false, vec!["RESOURCE:CPU".to_owned()]);
        assert_eq!((places, verdicts), (2, vec![away, full]));
        assert_eq!(world.view().count::<Task>(&crate::testing::scope()), 0);
    }
}
