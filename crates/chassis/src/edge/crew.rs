//! The tasks that an edge has running, held together.

use futures::FutureExt as _;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

/// What a panic left behind.
pub(super) type Panic = Box<dyn Any + Send>;

/// Connections, conversations and requests, each in a task of its own.
#[derive(Debug, Default)]
pub(super) struct Crew(Mutex<JoinSet<()>>);

impl Crew {
    /// Runs `task` beside the others.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            report(ended);
        }
        tasks.spawn(task);
    }

    /// Runs `task` to its end, even if whoever waits for it here stops waiting,
    /// and confines its panics.
    pub(super) async fn confine<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Panic> {
        let (tell, told) = oneshot::channel();
        self.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            // Nobody may be waiting any more.
            drop(tell.send(ended));
        });
        told.await.unwrap_or_else(|_| Err(Box::new("aborted by the shutdown")))
    }

    /// Waits until all are done, those included that they start meanwhile. Says
    /// whether that took no longer than `grace`; who is late is aborted.
    pub(super) async fn finish(&self, grace: Duration) -> bool {
        let all = async {
            loop {
                let mut tasks =
                    std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
                if tasks.is_empty() {
                    return;
                }
                while let Some(ended) = tasks.join_next().await {
                    report(ended);
                }
            }
        };
        timeout(grace, all).await.is_ok()
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = &error as &dyn std::error::Error, bug = true, "a task panicked");
    }
}
