//! Notes that agents are gone whose sessions ended without our noting it: those
//! of a process that died.

use super::BATCH;
use crate::acs::{Sessions, disconnect_in};
use crate::records::ContainerInstance;
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform};
use std::time::Duration;
use store::{StoreError, View};

/// See the module. What sessions there are is the world, as far as this is
/// concerned; what the state says of them follows it.
#[derive(Clone, Debug)]
pub struct Liveness {
    sessions: Sessions,
}

impl Liveness {
    /// The controller for the sessions of this process.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }

    fn plan(&self, view: &View) -> Vec<(ContainerInstance, String)> {
        view.all::<ContainerInstance>()
            .filter_map(|instance| {
                let id = instance.session.as_ref()?.id.clone();
                let live = self.sessions.is_live(&instance.scope, &instance.id, &id);
                (!live).then(|| (ContainerInstance::clone(&instance), id))
            })
            .collect()
    }
}

#[async_trait]
impl Controller for Liveness {
    fn name(&self) -> &'static str {
        "ecs-agent-liveness"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let plan = self.plan(&platform.store.view());
        for batch in plan.chunks(BATCH) {
            let now = platform.now();
            platform
                .store
                .transact(|txn| {
                    for (instance, session) in batch {
                        disconnect_in(txn, &instance.scope, &instance.id, session, now);
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, ready};

    #[test]
    fn a_session_that_nobody_holds_is_over() {
        let world = World::new();
        let instance = world.instance(1);
        let sessions = Sessions::default();
        let seat = sessions.open(&instance.scope, &instance.id, "s-1");
        world.connect(&instance, "s-1");
        let liveness = Liveness::new(sessions);
        let connected = || {
            ready(liveness.reconcile(&world.platform)).expect("reconciles");
            world.instance_record(&instance.id).connected()
        };
        assert!(connected(), "its session is alive");
        drop(seat);
        assert!(!connected(), "its session is over");
    }
}
