//! Something that answers at addresses of a router, for as long as the plan wants it.
//!
//! Trouble with it is none of the interfaces': it is logged, and tried again when the
//! router is looked at next, with a pause that grows.

use crate::error::CardError;
use ident::VpcId;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The first pause after a failure; each further one is twice as long.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
/// What lasted this long was good.
const GOOD: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Supervised {
    /// What it is, for the log.
    what: &'static str,
    running: Option<Running>,
    /// How often it has failed since it last was good, and when it may be tried again.
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    at: BTreeSet<IpAddr>,
    since: Instant,
    /// They go on for ever, unless something is wrong.
    tasks: JoinSet<()>,
}

impl Supervised {
    /// Nothing yet.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, running: None, failures: 0, not_before: None }
    }

    /// Ends what is not wanted, or not at these addresses, and says whether it is to be
    /// started there now.
    pub(crate) async fn is_to_start(&mut self, vpc: &VpcId, wanted: &BTreeSet<IpAddr>) -> bool {
        if let Some(running) = &mut self.running
            && let Some(ended) = running.tasks.try_join_next()
        {
            if running.since.elapsed() > GOOD {
                self.failures = 0;
            }
            let reason = ended.err().map(|error| error.to_string());
            tracing::error!(%vpc, reason, "{} ended", self.what);
            self.fail();
        }
        if let Some(mut other) = self.running.take_if(|running| running.at != *wanted) {
            // Its sockets must be closed before others take their places.
            other.tasks.shutdown().await;
        }
        if wanted.is_empty() {
            *self = Self::new(self.what);
            return false;
        }
        let must_wait = self.not_before.is_some_and(|time| Instant::now() < time);
        self.running.is_none() && !must_wait
    }

    /// Keeps what was started at these addresses, if it was.
    pub(crate) fn keep(
        &mut self,
        vpc: &VpcId,
        at: BTreeSet<IpAddr>,
        started: Result<JoinSet<()>, CardError>,
    ) {
        match started {
            Ok(tasks) => self.running = Some(Running { at, since: Instant::now(), tasks }),
            Err(error) => {
                tracing::error!(%vpc, error = error.chain(), "{} did not start", self.what);
                self.fail();
            }
        }
    }

    /// Tries it again later, and each time later.
    fn fail(&mut self) {
        self.running = None;
        let pause = BACKOFF.saturating_mul(1 << self.failures.min(16)).min(LONGEST_BACKOFF);
        self.not_before = Some(Instant::now() + pause);
        self.failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn at(last: u8) -> BTreeSet<IpAddr> {
        BTreeSet::from([IpAddr::from([127, 0, 0, last])])
    }

    fn tasks(ends: bool) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if !ends {
                pending::<()>().await;
            }
        });
        tasks
    }

    #[tokio::test(start_paused = true)]
    async fn what_dies_is_started_again_later_and_later() {
        let (mut service, vpc) = (Supervised::new("a thing"), VpcId::mint(1));
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(service.is_to_start(&vpc, &at(1)).await);
            service.keep(&vpc, at(1), Ok(tasks(true)));
            tokio::task::yield_now().await;
            assert!(!service.is_to_start(&vpc, &at(1)).await, "it has just died");
            tokio::time::advance(Duration::from_millis(pause * 1000 - 1)).await;
            assert!(!service.is_to_start(&vpc, &at(1)).await, "{pause} s are not over");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(service.is_to_start(&vpc, &at(1)).await);
        service.keep(&vpc, at(1), Err(CardError::NoSubnet));
        assert!(!service.is_to_start(&vpc, &at(1)).await, "it did not start");
        assert!(!service.is_to_start(&vpc, &at(2)).await, "nor would it elsewhere");
        assert!(!service.is_to_start(&vpc, &BTreeSet::new()).await);
        assert!(service.is_to_start(&vpc, &at(1)).await, "it was not wanted for a while");
    }

    #[tokio::test(start_paused = true)]
    async fn what_lives_is_left_alone_where_it_is_wanted() {
        let (mut service, vpc) = (Supervised::new("a thing"), VpcId::mint(1));
        assert!(service.is_to_start(&vpc, &at(1)).await);
        service.keep(&vpc, at(1), Ok(tasks(false)));
        assert!(!service.is_to_start(&vpc, &at(1)).await);
        assert!(service.is_to_start(&vpc, &at(2)).await, "it is elsewhere");
        service.keep(&vpc, at(2), Ok(tasks(false)));
        assert!(!service.is_to_start(&vpc, &BTreeSet::new()).await);
        assert!(service.is_to_start(&vpc, &at(2)).await);
    }
}
