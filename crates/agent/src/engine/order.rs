//! In which order containers come up and go down: what `dependsOn` and its like ask.

use super::{Condition, Container, ContainerSpec, Dependency, Health, Known, Task, Work};
use ident::Timestamp;

/// Whether a container may come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Whatever it waited for is so.
    Open,
    /// Not yet.
    Shut,
    /// Never, for this reason.
    Never(String),
}

/// The exit code of a container that never came up because of another; the official
/// agent's.
pub(super) const UNRESOLVED: i32 = 143;

/// Whether the container at `index` may come up.
pub(super) fn gate(task: &Task, index: usize, now: Timestamp) -> Gate {
    let Some(spec) = task.spec.containers.get(index) else { return Gate::Open };
    let mut all = Gate::Open;
    for wanted in &spec.depends_on {
        let (on, target) = (&wanted.on, &spec.name);
        let never = |what: &str| Gate::Never(format!("dependency graph: {what}"));
        let Some(other) = position(task, on).and_then(|at| task.containers.get(at)) else {
            return never(&format!(
                "container ordering dependency [{on}] for target [{target}] does not exist."
            ));
        };
        if is_met(other, wanted.condition) {
            continue;
        }
        let over = other.known == Known::Stopped;
        let failed = format!(
            "failed to resolve the container ordering dependency [{on}] for target [{target}]"
        );
        if over && wanted.condition == Condition::Success && other.ran {
            return never(&format!("{failed} as dependency did not exit successfully."));
        }
        if over {
            return never(&failed);
        }
        if waiting_ends(task, on, wanted.condition).is_some_and(|at| at <= now) {
            return never(&format!(
                "container ordering dependency [{on}] for target [{target}] has timed out."
            ));
        }
        all = Gate::Shut;
    }
    all
}

/// Whether a container is as far as another needs it.
fn is_met(container: &Container, condition: Condition) -> bool {
    let over = container.known == Known::Stopped && container.ran;
    match condition {
        Condition::Create => container.known >= Known::Created,
        Condition::Start => container.ran,
        Condition::Complete => over && container.exit_code.is_some(),
        Condition::Success => over && container.exit_code == Some(0),
        Condition::Healthy => container.health == Health::Healthy,
    }
}

/// The moments at which somebody will have waited too long.
pub(super) fn deadlines(task: &Task) -> impl Iterator<Item = Timestamp> + '_ {
    let pairs = task.spec.containers.iter().zip(&task.containers);
    let waiting = pairs.filter(|(_, c)| {
        c.known < Known::Created && !c.doomed && matches!(c.work, None | Some(Work::Pull))
    });
    waiting.flat_map(|(spec, _)| {
        let ends = |wanted: &Dependency| waiting_ends(task, &wanted.on, wanted.condition);
        spec.depends_on.iter().filter_map(ends)
    })
}

/// When whoever waits for this gives up. Nobody waits for a start longer than the
/// start itself takes.
fn waiting_ends(task: &Task, on: &str, condition: Condition) -> Option<Timestamp> {
    let at = position(task, on)?;
    let (spec, other) = (task.spec.containers.get(at)?, task.containers.get(at)?);
    match condition {
        Condition::Create | Condition::Start => None,
        Condition::Complete | Condition::Success | Condition::Healthy => {
            let waits = other.known == Known::Running && !is_met(other, condition);
            let begun = other.started_at.filter(|_| waits)?;
            Some(begun.after(spec.start_timeout?))
        }
    }
}

/// Whether nobody who needs the container at `index` still runs, or is about to: those
/// go first.
pub(super) fn may_stop(task: &Task, index: usize) -> bool {
    let Some(name) = task.spec.containers.get(index).map(|spec| &spec.name) else { return true };
    task.spec.containers.iter().zip(&task.containers).all(|(spec, other)| {
        let needs = spec.depends_on.iter().any(|wanted| wanted.on == *name);
        !needs || other.doomed || other.known == Known::Stopped
    })
}

/// Whether the containers can come up at all: nobody waits for himself, however many
/// are between.
pub fn can_come_up(containers: &[ContainerSpec]) -> bool {
    let mut left: Vec<&ContainerSpec> = containers.iter().collect();
    while !left.is_empty() {
        let waits = |spec: &&ContainerSpec| {
            spec.depends_on.iter().any(|wanted| left.iter().any(|other| other.name == wanted.on))
        };
        let rest: Vec<_> = left.iter().copied().filter(waits).collect();
        if rest.len() == left.len() {
            return false;
        }
        left = rest;
    }
    true
}

fn position(task: &Task, name: &str) -> Option<usize> {
    task.spec.containers.iter().position(|spec| spec.name == name)
}
