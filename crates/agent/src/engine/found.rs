//! What a new agent finds on the machine, squared with what it remembers.

use super::{
    Effect, Failure, FoundState, Inventory, Known, Network, NetworkPhase, Task, Which, steps,
};
use ident::Timestamp;

/// Squares what we remember with what there is.
pub(super) fn found(
    task: &mut Task,
    inventory: &Inventory,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    // In the machine's network there is nothing to be seen of a task.
    let unseen = task.spec.network == Network::Host;
    let network = unseen || inventory.networks.contains(&task.spec.arn.short_id());
    if task.network < NetworkPhase::Removing && !network {
        task.network = NetworkPhase::Absent;
    }
    if network {
        task.network = task.network.max(NetworkPhase::Preparing);
    }
    let mut ended = Vec::new();
    for (index, container) in task.containers.iter_mut().enumerate() {
        if container.work.is_some() {
            continue;
        }
        let state = inventory.containers.get(&container.runtime_id).copied();
        if container.lingers() {
            if state.is_none() {
                container.deleted = true;
                container.known = Known::Stopped;
                container.finished_at = Some(now);
            }
            continue;
        }
        match (container.known, state) {
            (
                Known::Running,
                Some(FoundState::Recorded | FoundState::Created | FoundState::Stopped(_)),
            ) if container.restarting => {} // Half done: it is done again.
            (Known::Stopped, None) => container.deleted = true,
            (Known::Stopped, Some(_)) => {}
            // Its image may be gone by now: that is cheap to ask again.
            (Known::None | Known::Pulled, None | Some(FoundState::Recorded)) => {
                container.known = Known::None;
            }
            (Known::Created | Known::Running, None) => {
                container.deleted = true;
                steps::give_up(container, &Failure::vanished(), now);
            }
            (Known::Created | Known::Running, Some(FoundState::Recorded)) => {
                steps::fail(container, &Failure::vanished());
            }
            (
                Known::None | Known::Pulled | Known::Created | Known::Running,
                Some(FoundState::Created),
            ) => {
                container.known = container.known.max(Known::Created);
                container.created_at.get_or_insert(now);
            }
            (_, Some(FoundState::Running)) => {
                if container.restarting {
                    steps::note_restart(container, now);
                }
                container.known = Known::Running;
                container.ran = true;
                container.created_at.get_or_insert(now);
                container.started_at.get_or_insert(now);
                // Whether the signal went out before the agent did is unknown.
                container.retry_at = container.kill_at.map(|_| now);
                let which = Which { task: task.spec.arn.clone(), index };
                effects.push(Effect::Await { which, runtime_id: container.runtime_id.clone() });
            }
            // Perhaps it is to be started again.
            (Known::Running, Some(FoundState::Stopped(exit))) => ended.push((index, exit)),
            (_, Some(FoundState::Stopped(exit))) => {
                container.known = Known::Stopped;
                container.ran = true;
                container.exit_code = Some(exit.code);
                container.finished_at = Some(now);
                if exit.out_of_memory && exit.code != 0 {
                    container.reason = Some(Failure::out_of_memory().to_string());
                }
            }
        }
    }
    for (index, exit) in ended {
        steps::exited(task, index, exit, now);
    }
    // Whatever ran did so in it; what was only made may have been made before it.
    if network && task.containers.iter().any(|c| c.ran && !c.deleted) {
        task.network = task.network.max(NetworkPhase::Ready);
    }
    // The bridge is made again all the same: the ports of its containers are held by
    // whoever is the agent.
    if task.spec.network == Network::Bridge && task.network == NetworkPhase::Ready {
        task.network = NetworkPhase::Preparing;
    }
}
