//! The steps of a task: what news changes, and what is owed afterwards.

use super::order::{self, Gate, UNRESOLVED};
use super::{
    Attachment, ContainerReport, DEFAULT_STOP_TIMEOUT, Desired, Effect, Exit, Failure, FailureKind,
    Known, NetworkPhase, PullFrom, RETRY, Report, STOP_ATTEMPTS, Signal, Task, Which, Work, clip,
    health, next_attempt,
};
use ident::Timestamp;
use std::collections::BTreeMap;

/// Derives what is owed to a task from the state it is in.
pub(super) fn drive(task: &mut Task, now: Timestamp, effects: &mut Vec<Effect>) {
    if task.finished_at.is_some() {
        return;
    }
    note_running(task);
    essential_gone(task, now);
    if task.desired == Desired::Running {
        give_up_hopeless(task, now, effects);
        essential_gone(task, now);
    }
    match task.desired {
        Desired::Running => start(task, now, effects),
        Desired::Stopped => {
            stop(task, now, effects);
            // What was never begun has stopped by this very line.
            essential_gone(task, now);
        }
    }
    health::check(task, now, effects);
    remove_doomed(task, now, effects);
    if task.known() == Known::Stopped {
        clean_up(task, now, effects);
    }
    report(task, effects);
    if task.acked == Known::Stopped
        && task.network == NetworkPhase::Gone
        && task.containers.iter().all(|c| c.deleted)
    {
        task.finished_at = Some(now);
    }
}

/// Every moment at which a step of it becomes due although nothing happens.
pub(super) fn deadlines(task: &Task) -> impl Iterator<Item = Timestamp> + '_ {
    let containers = task.containers.iter().flat_map(|c| {
        let kill = c.kill_at.filter(|_| c.known == Known::Running && !c.killed && !c.doomed);
        let retry = c.retry_at.filter(|_| c.known == Known::Running || !c.deleted);
        kill.into_iter().chain(retry)
    });
    let network = task.network_retry_at.filter(|_| task.network == NetworkPhase::Removing);
    let running = (task.desired == Desired::Running).then_some(task);
    let waiting = running.into_iter().flat_map(order::deadlines);
    containers.chain(waiting).chain(health::deadlines(task)).chain(network)
}

fn note_running(task: &mut Task) {
    let up = task.known() >= Known::Running && task.containers.iter().any(|c| c.ran);
    if up && task.desired == Desired::Running {
        task.reached_running = true;
    }
}

/// The task stops with any essential container, and with the last of the others.
/// One that is doomed takes it along at once, though it may take long to be rid of.
fn essential_gone(task: &mut Task, now: Timestamp) {
    let gone = task
        .spec
        .containers
        .iter()
        .zip(&task.containers)
        .any(|(spec, c)| spec.essential && (c.known == Known::Stopped || c.doomed));
    if gone || task.known() == Known::Stopped {
        task.desired = Desired::Stopped;
        task.execution_stopped_at.get_or_insert(now);
    }
}

/// What could not be made or started may be there all the same, and may even run:
/// the answer was late, or got lost. It is removed by force, and only then has it
/// stopped.
fn remove_doomed(task: &mut Task, now: Timestamp, effects: &mut Vec<Effect>) {
    let mut due = None;
    for (index, container) in task.containers.iter_mut().enumerate() {
        if container.lingers() && container.retry_at.is_none_or(|at| at <= now) {
            container.retry_at = None;
            due = Some(index);
        }
    }
    // Not while another is being made or removed: they share a shim.
    let busy = |c: &super::Container| c.work.is_some_and(|work| work != Work::Pull);
    if task.containers.iter().any(busy) {
        return;
    }
    if let Some(index) = due
        && let Some(container) = task.containers.get_mut(index)
    {
        container.work = Some(Work::Delete);
        let which = Which { task: task.spec.arn.clone(), index };
        effects.push(Effect::Delete { which, runtime_id: container.runtime_id.clone() });
    }
}

fn start(task: &mut Task, now: Timestamp, effects: &mut Vec<Effect>) {
    if task.network == NetworkPhase::Absent {
        task.network = NetworkPhase::Preparing;
    }
    if task.network == NetworkPhase::Preparing && !task.network_busy {
        task.network_busy = true;
        effects.push(Effect::PrepareNetwork(task.spec.clone()));
    }
    for index in 0..task.containers.len() {
        // What may come up does so one after another, because they share a shim: only
        // the first to be made starts it.
        let waits = |at: usize| order::gate(task, at, now) == Gate::Shut;
        let before = || task.containers.iter().enumerate().take(index);
        let far =
            |known: Known| before().all(|(at, c)| (c.known >= known && !c.lingers()) || waits(at));
        let free = !task.containers.iter().any(is_being_made);
        let ready = task.network == NetworkPhase::Ready;
        let make = free
            && far(Known::Created)
            && (ready || !is_tuned(task, index))
            && order::gate(task, index, now) == Gate::Open;
        let go = ready && far(Known::Running);
        let from = task.pull_from;
        let way = from == PullFrom::Host || ready;
        let spec = task.spec.clone();
        let Some(container) = task.containers.get_mut(index).filter(|c| !c.doomed) else {
            continue;
        };
        let runtime_id = container.runtime_id.clone();
        match (container.known, container.work) {
            (Known::None, None) if way => {
                container.work = Some(Work::Pull);
                task.pull_started_at.get_or_insert(now);
                effects.push(Effect::Pull { spec, index, runtime_id, from });
            }
            (Known::Pulled, None) if make => {
                container.work = Some(Work::Create);
                effects.push(Effect::Create { spec, index, runtime_id });
            }
            (Known::Created, None) if go => {
                container.work = Some(Work::Start);
                let which = Which { task: spec.arn.clone(), index };
                effects.push(Effect::Start { which, runtime_id });
            }
            (Known::Running, None) if container.restarting && free => {
                container.work = Some(Work::Restart);
                effects.push(Effect::Restart { spec, index, runtime_id });
            }
            (Known::None | Known::Pulled | Known::Created | Known::Running | Known::Stopped, _) => {
            }
        }
    }
}

/// Whether a container sets switches of its network. Only then can it not be made beside
/// that: a switch may be one of the interface, and they are set before its process is
/// there.
fn is_tuned(task: &Task, index: usize) -> bool {
    let spec = task.spec.containers.get(index);
    spec.is_some_and(|spec| spec.sysctls.keys().any(|name| name.starts_with("net.")))
}

/// Whether it is being made, or removed: the shim takes one of these at a time.
fn is_being_made(container: &super::Container) -> bool {
    match container.work {
        Some(Work::Create | Work::Restart | Work::Delete) => true,
        Some(Work::Pull | Work::Start) | None => false,
    }
}

/// What waits for something that will never be so does not come up at all.
fn give_up_hopeless(task: &mut Task, now: Timestamp, effects: &mut Vec<Effect>) {
    // The end of one may be what another waited for in vain.
    for _ in 0..task.containers.len() {
        for index in 0..task.containers.len() {
            let Gate::Never(text) = order::gate(task, index, now) else { continue };
            let arn = task.spec.arn.clone();
            let Some(container) = task.containers.get_mut(index) else { continue };
            if container.doomed || container.known > Known::Pulled {
                continue;
            }
            if let Some(Work::Pull) = container.work {
                container.work = None;
                effects.push(Effect::GiveUpPull(Which { task: arn, index }));
            } else if container.work.is_some() {
                continue; // It was let in before.
            }
            container.exit_code = Some(UNRESOLVED);
            give_up(container, &Failure::new(FailureKind::Start, text), now);
        }
    }
}

/// Last to first, and nobody before those who need it.
fn stop(task: &mut Task, now: Timestamp, effects: &mut Vec<Effect>) {
    for index in (0..task.containers.len()).rev() {
        let Some(container) = task.containers.get_mut(index).filter(|c| !c.doomed) else {
            continue; // It is being removed.
        };
        match (container.known, container.work) {
            (Known::None | Known::Pulled, None | Some(Work::Pull)) => {
                if container.work.take().is_some() {
                    let which = Which { task: task.spec.arn.clone(), index };
                    effects.push(Effect::GiveUpPull(which));
                }
                container.known = Known::Stopped;
                container.finished_at = Some(now);
            }
            // An agent that died may have told it to start, and been heard late.
            (Known::Created, None) => container.doomed = true,
            // It has ended, with the code that we know.
            (Known::Running, None) if container.restarting => {
                container.restarting = false;
                container.known = Known::Stopped;
            }
            // Wait for what is under way; it is bounded.
            (Known::None | Known::Pulled | Known::Created | Known::Running | Known::Stopped, _) => {
            }
        }
    }
    for index in (0..task.containers.len()).rev() {
        let free = order::may_stop(task, index);
        let spec = task.spec.clone();
        let (Some(container), Some(definition)) =
            (task.containers.get_mut(index), spec.containers.get(index))
        else {
            continue;
        };
        if container.known != Known::Running || container.restarting || container.doomed {
            continue;
        }
        let signal = match container.kill_at {
            None if !free => None,
            None => {
                let patience = definition.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT);
                container.kill_at = Some(now.after(patience));
                Some(Signal::Stop)
            }
            Some(at) if now >= at && !container.killed => {
                container.killed = true;
                Some(Signal::Kill)
            }
            Some(_) if container.retry_at.is_some_and(|at| at <= now) => {
                Some(if container.killed { Signal::Kill } else { Signal::Stop })
            }
            Some(_) => None,
        };
        if let Some(signal) = signal {
            // Asking twice might skip a second, graver handler; killing again
            // cannot hurt.
            container.retry_at = container.killed.then(|| now.after(RETRY));
            let runtime_id = container.runtime_id.clone();
            effects.push(Effect::Signal { spec, index, runtime_id, signal });
        }
    }
}

/// Once nothing runs: containers last to first, then the network. Also those
/// that were never made, as far as we know: an agent that died over one may have
/// left half of it.
fn clean_up(task: &mut Task, now: Timestamp, effects: &mut Vec<Effect>) {
    for (index, container) in task.containers.iter_mut().enumerate().rev() {
        if container.deleted {
            continue;
        }
        // One at a time: the shim they share goes with the last.
        if container.work.is_none() && container.retry_at.is_none_or(|at| at <= now) {
            container.work = Some(Work::Delete);
            container.retry_at = None;
            let which = Which { task: task.spec.arn.clone(), index };
            effects.push(Effect::Delete { which, runtime_id: container.runtime_id.clone() });
        }
        return;
    }
    match task.network {
        NetworkPhase::Absent => task.network = NetworkPhase::Gone,
        NetworkPhase::Preparing | NetworkPhase::Ready => {
            task.network = NetworkPhase::Removing;
            task.network_busy = true;
            effects.push(Effect::RemoveNetwork(task.spec.clone()));
        }
        NetworkPhase::Removing => {
            if !task.network_busy && task.network_retry_at.is_none_or(|at| at <= now) {
                task.network_busy = true;
                task.network_retry_at = None;
                effects.push(Effect::RemoveNetwork(task.spec.clone()));
            }
        }
        NetworkPhase::Gone => {}
    }
}

/// One report at a time per task, each with all that changed since the last:
/// order is kept without a queue, and nothing can pile up.
fn report(task: &mut Task, effects: &mut Vec<Effect>) {
    if task.reporting.is_some() || task.acked == Known::Stopped {
        return;
    }
    // Of a task that stops, the end is reported as one.
    let news = task.desired == Desired::Running
        && task.containers.iter().any(|c| c.known == Known::Stopped && c.acked < c.known);
    let status = if task.reached_running && task.acked < Known::Running {
        Known::Running
    } else if task.known() == Known::Stopped {
        Known::Stopped
    } else if task.acked == Known::Running && news {
        Known::Running
    } else {
        return;
    };
    task.report_number += 1;
    let told = task.spec.containers.iter().zip(&task.containers).enumerate();
    let told = told.filter(|(_, (spec, _))| !spec.internal);
    let containers = told.flat_map(|(index, (_, container))| {
        let entry = |status| ContainerReport {
            index,
            name: container.name.clone(),
            status,
            exit_code: container.exit_code.filter(|_| status == Known::Stopped),
            reason: container.reason.clone().filter(|_| status == Known::Stopped),
            runtime_id: container.runtime_id.clone(),
            image_digest: container.image_digest.clone(),
            bindings: container.attachment.iter().flat_map(|at| at.bindings.clone()).collect(),
        };
        let running = container.ran && container.acked < Known::Running;
        let stopped = container.known == Known::Stopped
            && container.acked < Known::Stopped
            && (status == Known::Stopped || task.desired == Desired::Running);
        let running = running.then(|| entry(Known::Running));
        running.into_iter().chain(stopped.then(|| entry(Known::Stopped)))
    });
    let report = Report {
        task: task.spec.arn.clone(),
        cluster: task.spec.cluster.clone(),
        number: task.report_number,
        status,
        reason: task.reason.clone().filter(|_| status == Known::Stopped).unwrap_or_default(),
        containers: containers.collect(),
        pull_started_at: task.pull_started_at,
        pull_stopped_at: task.pull_stopped_at,
        execution_stopped_at: task.execution_stopped_at.filter(|_| status == Known::Stopped),
    };
    task.reporting = Some(report.clone());
    effects.push(Effect::Report(report));
}

pub(super) fn reported(task: &mut Task, number: u64) {
    let Some(report) = task.reporting.take_if(|report| report.number == number) else { return };
    task.acked = task.acked.max(report.status);
    for entry in report.containers {
        if let Some(container) = task.containers.get_mut(entry.index) {
            container.acked = container.acked.max(entry.status);
        }
    }
}

pub(super) fn network_ready(
    task: &mut Task,
    result: Result<BTreeMap<usize, Attachment>, Failure>,
    now: Timestamp,
) {
    if task.network != NetworkPhase::Preparing {
        return; // It is being removed meanwhile.
    }
    task.network_busy = false;
    match result {
        Ok(mut attachments) => {
            task.network = NetworkPhase::Ready;
            for (index, container) in task.containers.iter_mut().enumerate() {
                container.attachment = attachments.remove(&index);
            }
        }
        Err(failure) => {
            // No container is to blame, so the task says it.
            task.reason = Some(clip(&failure.to_string()));
            task.desired = Desired::Stopped;
            task.execution_stopped_at.get_or_insert(now);
        }
    }
}

pub(super) fn network_removed(task: &mut Task, gone: bool, now: Timestamp) {
    if task.network == NetworkPhase::Removing {
        task.network_busy = false;
        if gone {
            task.network = NetworkPhase::Gone;
        } else {
            task.network_retry_at = Some(next_attempt(&mut task.network_failures, now));
        }
    }
}

pub(super) fn pulled(
    task: &mut Task,
    index: usize,
    result: Result<Option<String>, Failure>,
    now: Timestamp,
) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.work != Some(Work::Pull) {
        return;
    }
    container.work = None;
    task.pull_stopped_at = Some(now);
    match result {
        Ok(digest) => {
            container.known = Known::Pulled;
            container.image_digest = digest;
        }
        Err(failure) => give_up(container, &failure, now),
    }
}

pub(super) fn created(task: &mut Task, index: usize, result: Result<(), Failure>, now: Timestamp) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.work != Some(Work::Create) {
        return;
    }
    container.work = None;
    match result {
        Ok(()) => {
            container.known = Known::Created;
            container.created_at = Some(now);
        }
        Err(failure) => fail(container, &failure),
    }
}

pub(super) fn started(task: &mut Task, index: usize, result: Result<(), Failure>, now: Timestamp) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.work != Some(Work::Start) {
        return;
    }
    container.work = None;
    match result {
        Ok(()) => {
            container.known = Known::Running;
            container.ran = true;
            container.started_at = Some(now);
        }
        Err(failure) => fail(container, &failure),
    }
}

/// Of this one nothing can be left that runs.
pub(super) fn give_up(container: &mut super::Container, failure: &Failure, now: Timestamp) {
    container.known = Known::Stopped;
    container.reason = Some(clip(&failure.to_string()));
    container.finished_at = Some(now);
}

/// This one is in doubt until it is removed.
pub(super) fn fail(container: &mut super::Container, failure: &Failure) {
    container.doomed = true;
    container.reason = Some(clip(&failure.to_string()));
    container.retry_at = None;
}

pub(super) fn exited(task: &mut Task, index: usize, exit: Exit, now: Timestamp) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.known == Known::Stopped || container.known < Known::Created || container.restarting
    {
        return;
    }
    // One that is being removed goes on being removed.
    container.work.take_if(|work| *work != Work::Delete);
    container.retry_at = None;
    container.exit_code = Some(exit.code);
    container.finished_at = Some(now);
    if container.work.is_none()
        && task.desired == Desired::Running
        && restarts(task.spec.containers.get(index), container, exit, now)
    {
        container.restarting = true;
        health::reset(container, now);
        return;
    }
    container.ran = true;
    container.known = Known::Stopped;
    if exit.out_of_memory && exit.code != 0 {
        container.reason = Some(Failure::out_of_memory().to_string());
    }
}

/// Whether a container that has ended is to be started again.
fn restarts(
    spec: Option<&super::ContainerSpec>,
    container: &super::Container,
    exit: Exit,
    now: Timestamp,
) -> bool {
    let Some(policy) = spec.and_then(|spec| spec.restart_policy.as_ref()) else { return false };
    let begun = container.restarted_at.or(container.started_at);
    container.known == Known::Running
        && !container.doomed
        && !policy.ignored_exit_codes.contains(&exit.code)
        && begun.is_some_and(|at| now >= at.after(policy.attempt_period))
}

pub(super) fn restarted(
    task: &mut Task,
    index: usize,
    result: Result<(), Failure>,
    now: Timestamp,
) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.work != Some(Work::Restart) {
        return;
    }
    container.work = None;
    match result {
        Ok(()) => note_restart(container, now),
        Err(failure) => {
            container.restarting = false;
            fail(container, &failure);
        }
    }
}

/// It runs again, and of its end before nothing is left but the count.
pub(super) fn note_restart(container: &mut super::Container, now: Timestamp) {
    container.restarting = false;
    container.restarts = container.restarts.saturating_add(1);
    container.restarted_at = Some(now);
    container.exit_code = None;
    container.finished_at = None;
}

pub(super) fn vanished(task: &mut Task, index: usize) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.known == Known::Running && !container.doomed && !container.restarting {
        fail(container, &Failure::vanished());
    }
}

/// A container that could not be asked to stop is asked again, and has the time
/// that it was promised from then on; until it cannot be asked at all.
pub(super) fn signal_failed(task: &mut Task, index: usize, now: Timestamp) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.known != Known::Running || container.doomed {
        return;
    }
    if container.killed || container.failures >= STOP_ATTEMPTS {
        container.retry_at = Some(now.after(RETRY));
        return;
    }
    let definition = task.spec.containers.get(index);
    let patience = definition.and_then(|c| c.stop_timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
    let again = next_attempt(&mut container.failures, now);
    container.retry_at = Some(again);
    container.kill_at = Some(again.after(patience));
}

pub(super) fn deleted(task: &mut Task, index: usize, gone: bool, now: Timestamp) {
    let Some(container) = task.containers.get_mut(index) else { return };
    if container.work == Some(Work::Delete) {
        container.work = None;
        container.deleted = gone;
        container.retry_at = (!gone).then(|| next_attempt(&mut container.failures, now));
        if gone && container.lingers() {
            container.known = Known::Stopped;
            container.finished_at = Some(now);
        }
    }
}
