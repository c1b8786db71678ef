//! The resolver of a VPC, which its interfaces find at the address after the router's
//! at the base of the VPC, at 169.254.169.253 and at fd00:ec2::253.
//!
//! It answers from the plan what the VPC itself knows ([`zone`]), and passes on
//! everything else to the resolvers of the machine ([`upstream`]). How much one
//! interface may ask is bounded ([`limits`]); how it is asked, by UDP and TCP, is told
//! in [`serve`].
//!
//! Its sockets are the only thing of it that is in the router's namespace, and so what
//! is asked in one VPC is answered from that VPC's names, whoever else has the same
//! addresses. What it passes on is asked in the namespace of the process.
//!
//! What the machine itself asks is never passed on: the machine's own resolvers may ask
//! here in turn, and that would go round.

mod limits;
mod serve;
mod upstream;
mod zone;

pub use upstream::Resolvers;
pub(crate) use upstream::Upstream;

use crate::netns::Netns;
use limits::Limits;
use net::model::Service;
use net::plan::VpcPlan;
use serve::{Server, Sockets};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zone::Zone;

/// The first pause after a resolver failed; each further one is twice as long.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
/// A resolver that lasted this long was a good one.
const GOOD: Duration = Duration::from_mins(1);

/// The resolver of one VPC, running or not.
#[derive(Debug, Default)]
pub(crate) struct Dns {
    running: Option<Running>,
    /// How often it has failed since it last was good, and when it may be tried again.
    failures: u32,
    not_before: Option<Instant>,
}

/// What answers, for as long as this is kept.
#[derive(Debug)]
struct Running {
    zone: watch::Sender<Arc<Zone>>,
    limits: Limits,
    at: BTreeSet<IpAddr>,
    since: Instant,
    /// One task for each socket. They go on for ever, unless something is wrong.
    tasks: JoinSet<()>,
}

impl Dns {
    /// Makes the resolver answer as `plan` says; the router has its addresses. Trouble
    /// with names is none of the interfaces': it is logged, and mended later.
    pub(crate) async fn converge(
        &mut self,
        netns: &Netns,
        plan: &VpcPlan,
        upstream: &Arc<Upstream>,
    ) {
        let wanted: BTreeSet<IpAddr> = match &plan.dns {
            Some(_) if plan.services().contains(&Service::Resolver) => {
                plan.service_addresses(Service::Resolver).collect()
            }
            Some(_) | None => BTreeSet::new(),
        };
        if let Some(running) = &mut self.running
            && let Some(ended) = running.tasks.try_join_next()
        {
            let reason = ended.err().map(|error| error.to_string());
            if running.since.elapsed() > GOOD {
                self.failures = 0;
            }
            tracing::error!(vpc = %plan.vpc, reason, "the resolver ended");
            self.fail();
        }
        if let Some(mut other) = self.running.take_if(|running| running.at != wanted) {
            // Its sockets must be closed before others take their places.
            other.tasks.shutdown().await;
        }
        if wanted.is_empty() {
            *self = Self::default();
            return;
        }
        let zone = Arc::new(Zone::of(plan));
        if let Some(running) = &self.running {
            running.limits.forget_all_but(&zone);
            running.zone.send_if_modified(|current| {
                let changed = *current != zone;
                *current = zone;
                changed
            });
            return;
        }
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return;
        }
        match Running::start(netns, wanted, zone, upstream).await {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                tracing::error!(vpc = %plan.vpc, error, "the resolver did not start");
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

impl Running {
    async fn start(
        netns: &Netns,
        at: BTreeSet<IpAddr>,
        zone: Arc<Zone>,
        upstream: &Arc<Upstream>,
    ) -> Result<Self, String> {
        let sockets = Sockets::open(netns, &at).await.map_err(|error| error.chain())?;
        let (zone, told) = watch::channel(zone);
        let limits = Limits::default();
        let server = Arc::new(Server::new(told, limits.clone(), Arc::clone(upstream)));
        let mut tasks = JoinSet::new();
        for socket in sockets.udp {
            tasks.spawn(serve::datagrams(socket, Arc::clone(&server)));
        }
        for listener in sockets.tcp {
            tasks.spawn(serve::connections(listener, Arc::clone(&server)));
        }
        Ok(Self { zone, limits, at, since: Instant::now(), tasks })
    }
}
