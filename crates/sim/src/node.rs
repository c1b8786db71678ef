//! A machine: a card, a container runtime, and the real engine and the real ACS
//! conversation of the agent around it.

use crate::card::{Card, Kernel};
use crate::roles::Wallet;
use crate::runtime::Runtime;
use agent::acs::Session;
use agent::engine::{Effect, Engine, EngineState, Input, Task, TaskArn, Which};
use ident::{InstanceId, Timestamp};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: InstanceId,
    pub(crate) cluster: String,
    pub(crate) card: Card,
    pub(crate) kernel: Kernel,
    pub(crate) runtime: Runtime,
    pub(crate) agent: Agent,
    /// Whether nothing reaches it, and nothing comes from it.
    pub(crate) cut_off: bool,
}

/// The agent's process, and its disk.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    /// Counts its processes, so that what one began is not another's.
    pub(crate) life: u64,
    pub(crate) engine: Engine,
    /// The connection, and the conversation on it.
    pub(crate) session: Option<(u64, Session)>,
    /// When something was heard last, in the world's time.
    pub(crate) heard_at: u64,
    /// Whose end is waited for, by the runtime's name of it.
    pub(crate) awaited: BTreeMap<String, Which>,
    /// The networks that are being prepared, and when that is given up.
    pub(crate) preparing: BTreeMap<TaskArn, u64>,
    /// The life in which it registered last.
    pub(crate) registered_in: Option<u64>,
    /// The credentials of its tasks, which no disk has.
    pub(crate) wallet: Wallet,
    pub(crate) disk: Disk,
}

/// What an agent finds again after it died.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// The tasks, encoded as on any disk.
    tasks: BTreeMap<TaskArn, Vec<u8>>,
    /// The latest number that ACS sent.
    pub(crate) latest: Option<i64>,
    /// What the control plane calls the machine.
    pub(crate) instance_arn: Option<String>,
}

impl Agent {
    /// Takes news in. What was decided is on disk before its effects are known.
    pub(crate) fn take_in(&mut self, inputs: Vec<Input>, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for input in inputs {
            effects.extend(self.engine.handle(input, now));
        }
        for arn in self.engine.take_dirty() {
            if let Some(task) = self.engine.state().tasks.get(&arn) {
                let bytes = serde_json::to_vec(task).expect("a task serializes");
                self.disk.tasks.insert(arn, bytes);
            }
        }
        effects
    }

    /// Forgets a task that is over.
    pub(crate) fn forget(&mut self, arn: &TaskArn) {
        self.disk.tasks.remove(arn);
        self.wallet.retain(|_, (task, _)| task != arn);
    }

    /// The process dies, and another comes up with what is on disk. It has seen
    /// nothing of the machine yet.
    pub(crate) fn restart(&mut self) {
        let read = |bytes: &Vec<u8>| serde_json::from_slice::<Task>(bytes).expect("reads its own");
        let tasks = self.disk.tasks.iter().map(|(arn, bytes)| (arn.clone(), read(bytes)));
        self.engine = Engine::resume(EngineState { tasks: tasks.collect() });
        self.life += 1;
        self.session = None;
        self.awaited.clear();
        self.wallet.clear();
        self.preparing.clear();
    }
}
