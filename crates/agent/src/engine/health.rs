//! Health checks: when the next is due, and what the answers amount to.
//!
//! The rules are Docker's. A check begins when the interval has passed since the end
//! of the one before; one success makes a container healthy, and `retries` failures in
//! a row make it unhealthy; within the start period failures count for nothing, and
//! until then, or until the first success, checks come every few seconds.

use super::{Checkup, Effect, Health, HealthCheck, Known, Task};
use ident::Timestamp;
use std::time::Duration;

/// Between checks within the start period, if the interval is not shorter.
const STARTING: Duration = Duration::from_secs(5);

/// Begins the checks that are due.
pub(super) fn check(task: &mut Task, now: Timestamp, effects: &mut Vec<Effect>) {
    let spec = task.spec.clone();
    for (index, (definition, container)) in
        spec.containers.iter().zip(&mut task.containers).enumerate()
    {
        let Some(wish) = &definition.health_check else { continue };
        if !container.serves() || container.checks.busy {
            continue;
        }
        let pause = pause(wish, container, now);
        if *container.checks.due.get_or_insert_with(|| now.after(pause)) <= now {
            container.checks.busy = true;
            let runtime_id = container.runtime_id.clone();
            effects.push(Effect::Check { spec: spec.clone(), index, runtime_id });
        }
    }
}

/// The moments at which a check is due.
pub(super) fn deadlines(task: &Task) -> impl Iterator<Item = Timestamp> + '_ {
    let containers = task.containers.iter().filter(|c| c.serves() && !c.checks.busy);
    containers.filter_map(|c| c.checks.due)
}

/// Takes the answer of a check; nothing if nobody could be asked.
pub(super) fn checked(task: &mut Task, index: usize, checkup: Option<Checkup>, now: Timestamp) {
    let spec = task.spec.clone();
    let wish = spec.containers.get(index).and_then(|spec| spec.health_check.as_ref());
    let (Some(container), Some(wish)) = (task.containers.get_mut(index), wish) else { return };
    // Of a process that is gone by now it says nothing.
    if !std::mem::take(&mut container.checks.busy) || container.known != Known::Running {
        return;
    }
    let starting = is_starting(wish, container, now);
    let passed = checkup.as_ref().map(|checkup| checkup.exit_code == 0);
    container.checks.latest = checkup.or(container.checks.latest.take());
    let health = match passed {
        Some(true) => {
            container.checks.failures = 0;
            Health::Healthy
        }
        Some(false) if !starting => {
            container.checks.failures = container.checks.failures.saturating_add(1);
            if container.checks.failures >= wish.retries {
                Health::Unhealthy
            } else {
                container.health
            }
        }
        Some(false) | None => container.health,
    };
    if health != container.health {
        container.health = health;
        container.health_since = Some(now);
    }
    container.checks.due = Some(now.after(pause(wish, container, now)));
}

/// Forgets what is known of a process that is gone.
pub(super) fn reset(container: &mut super::Container, now: Timestamp) {
    container.checks = super::Checks::default();
    if container.health != Health::Unknown {
        container.health = Health::Unknown;
        container.health_since = Some(now);
    }
}

fn pause(wish: &HealthCheck, container: &super::Container, now: Timestamp) -> Duration {
    if is_starting(wish, container, now) { wish.interval.min(STARTING) } else { wish.interval }
}

fn is_starting(wish: &HealthCheck, container: &super::Container, now: Timestamp) -> bool {
    let begun = container.restarted_at.or(container.started_at).unwrap_or(now);
    container.health == Health::Unknown && now < begun.after(wish.start_period)
}
