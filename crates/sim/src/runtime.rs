//! A container runtime that behaves: containers outlive the agent, steps fail,
//! and it counts what must not happen twice.

use agent::engine::{Exit, FoundState, Inventory, Network, TaskSpec};
use std::collections::{BTreeMap, BTreeSet};

/// The containers and the network namespaces of a node.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    pub(crate) containers: BTreeMap<String, Container>,
    /// The namespaces, by the short ids of their tasks.
    pub(crate) networks: BTreeSet<String>,
    /// How often each container's process was started. Never forgotten.
    pub(crate) starts: BTreeMap<String, u32>,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    /// The task's ARN.
    pub(crate) task: String,
    /// Its interface, if it has its own.
    pub(crate) eni: Option<String>,
    pub(crate) state: FoundState,
    /// Whether it ignores every signal but the last.
    pub(crate) stubborn: bool,
    /// How many attempts to remove it will fail.
    pub(crate) clings: u32,
}

impl Runtime {
    /// What a starting agent finds.
    pub(crate) fn inventory(&self) -> Inventory {
        let states = self.containers.iter().map(|(id, container)| (id.clone(), container.state));
        Inventory { containers: states.collect(), networks: self.networks.clone() }
    }

    /// Makes the namespace of a task, if it has one of its own.
    pub(crate) fn make_room(&mut self, task: &TaskSpec) {
        if task.network != Network::Host {
            self.networks.insert(task.arn.short_id());
        }
    }

    /// Starts a process, once.
    pub(crate) fn start(&mut self, id: &str) -> Result<(), String> {
        let Some(container) = self.containers.get_mut(id) else {
            return Err("no such container".to_owned());
        };
        match container.state {
            FoundState::Created => {
                container.state = FoundState::Running;
                *self.starts.entry(id.to_owned()).or_default() += 1;
                Ok(())
            }
            FoundState::Recorded | FoundState::Running | FoundState::Stopped(_) => {
                Err("cannot start a container that is not created".to_owned())
            }
        }
    }

    /// Starts a process that has ended once more.
    pub(crate) fn restart(&mut self, id: &str) -> Result<(), String> {
        match self.containers.get_mut(id) {
            Some(container) if container.state != FoundState::Running => {
                container.state = FoundState::Running;
                Ok(())
            }
            Some(_) => Err("it runs".to_owned()),
            None => Err("no such container".to_owned()),
        }
    }

    /// Removes a container by force, unless it clings to life. One that is not there
    /// is gone.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        if let Some(container) = self.containers.get_mut(id)
            && container.clings > 0
        {
            container.clings -= 1;
            return false;
        }
        self.containers.remove(id);
        true
    }

    /// Ends a process, if it runs.
    pub(crate) fn end(&mut self, id: &str, exit: Exit) -> bool {
        match self.containers.get_mut(id) {
            Some(container) if container.state == FoundState::Running => {
                container.state = FoundState::Stopped(exit);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The containers that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&String, &Container)> {
        self.containers.iter().filter(|(_, container)| container.state == FoundState::Running)
    }
}
