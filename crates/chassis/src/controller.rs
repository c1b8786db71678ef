//! What keeps the world as the state says it should be.
//!
//! A controller takes no input. It is woken whenever the state changes, and on a
//! timer in case a hint was lost or the world moved by itself, and looks at the
//! state alone. So there is one path for the normal case, for a restart and for
//! an error: do it again.

use crate::{Platform, Shutdown};
use async_trait::async_trait;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// An error whose type nobody but its maker needs.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How soon a controller that failed is run again; doubled each time it fails.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest it is left alone.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// How soon a controller whose task died is started again.
const REVIVAL: Duration = Duration::from_secs(1);
/// How long a round may take to finish once we are stopping.
const GRACE: Duration = Duration::from_secs(10);

/// One concern, reconciled again and again.
#[async_trait]
pub trait Controller: Send + Sync {
    /// What the logs call it.
    fn name(&self) -> &'static str;

    /// How often it runs when nothing changes.
    fn period(&self) -> Duration;

    /// Looks at the state and does what is owed. Must be right to call at any
    /// time and any number of times. It is never run twice at once, and not
    /// cancelled half-way, unless the process stops and it takes too long.
    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError>;
}

/// Runs controllers, each in a task of its own: the one place that spawns them.
pub struct Supervisor {
    platform: Platform,
    controllers: Vec<Arc<dyn Controller>>,
}

impl Supervisor {
    /// A supervisor of nothing yet.
    pub fn new(platform: Platform) -> Self {
        Self { platform, controllers: Vec::new() }
    }

    /// With these controllers too.
    #[must_use]
    pub fn with(mut self, controllers: impl IntoIterator<Item = Box<dyn Controller>>) -> Self {
        self.controllers.extend(controllers.into_iter().map(Arc::from));
        self
    }

    /// Runs until told to stop, and then until every round under way is over.
    ///
    /// Failures and panics of a round are dealt with in the controller's task. If
    /// the task dies all the same, that is noticed, and it is started again.
    pub async fn run(self, shutdown: Shutdown) {
        let mut tasks = JoinSet::new();
        let mut names = std::collections::BTreeMap::new();
        let start = |tasks: &mut JoinSet<()>, controller: &Arc<dyn Controller>| {
            let run = attend(Arc::clone(controller), self.platform.clone(), shutdown.clone());
            tasks.spawn(run).id()
        };
        for controller in &self.controllers {
            names.insert(start(&mut tasks, controller), controller);
        }
        while let Some(ended) = tasks.join_next_with_id().await {
            let id = match &ended {
                Ok((id, ())) => *id,
                Err(error) => error.id(),
            };
            let Some(controller) = names.remove(&id) else { continue };
            if shutdown.is_requested() {
                tracing::debug!(controller = controller.name(), "stopped");
                continue;
            }
            tracing::error!(controller = controller.name(), ?ended, bug = true, "died");
            tokio::select! {
                () = shutdown.requested() => continue,
                () = sleep(REVIVAL) => {}
            }
            names.insert(start(&mut tasks, controller), controller);
        }
        // Without a controller there is still something to wait for.
        shutdown.requested().await;
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.controllers.iter().map(|c| c.name())).finish()
    }
}

/// The life of one controller.
async fn attend(controller: Arc<dyn Controller>, platform: Platform, shutdown: Shutdown) {
    // Subscribed before the first look, so that no change falls between.
    let mut changes = platform.store.subscribe();
    let mut failures = 0;
    loop {
        let ended = tokio::select! {
            biased;
            ended = round(&*controller, &platform) => ended,
            // Told to stop in the middle of a round: it may finish, not dawdle.
            () = dawdling(&shutdown) => {
                tracing::warn!(controller = controller.name(), "cut short by the shutdown");
                return;
            }
        };
        let now = Instant::now();
        let (earliest, latest) = match ended {
            Ok(()) => {
                failures = 0;
                (now, now + controller.period())
            }
            Err(error) => {
                failures += 1;
                let wait = backoff(failures);
                tracing::warn!(
                    controller = controller.name(),
                    error = &*error as &dyn std::error::Error,
                    failures,
                    retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    "reconciliation failed"
                );
                (now + wait, now + wait)
            }
        };
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            () = sleep_until(latest) => {}
            // Changes do not shorten the wait after a failure: the failed round
            // may have caused them.
            _ = async { sleep_until(earliest).await; changes.changed().await } => {}
        }
    }
}

/// One round. A panic is a failure like any other, and a bug besides.
async fn round(controller: &dyn Controller, platform: &Platform) -> Result<(), BoxError> {
    AssertUnwindSafe(controller.reconcile(platform)).catch_unwind().await.unwrap_or_else(|panic| {
        let text = crate::panic_text(&*panic);
        tracing::error!(controller = controller.name(), panic = text, bug = true, "panicked");
        Err(format!("panicked: {text}").into())
    })
}

async fn dawdling(shutdown: &Shutdown) {
    shutdown.requested().await;
    sleep(GRACE).await;
}

fn backoff(failures: u32) -> Duration {
    BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_BACKOFF)
}
