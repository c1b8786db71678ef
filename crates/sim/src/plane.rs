//! One life of the control plane: everything that a process of it holds.
//!
//! The sockets are not here, as the services around them need a runtime; what
//! they do for a session is done by [`World`](crate::World) in the same order.

use crate::drive::{Drive, Outage};
use chassis::fake::{ManualClock, SeededEntropy};
use chassis::{Caller, Controller, Cx, Platform, Principal, Tenancy};
use ec2::{CardSession, Ec2};
use ecs::Ecs;
use ecs::acs::{AcsSession, Seat, Sessions};
use futures::FutureExt as _;
use ident::{AccountId, InstanceId, Scope};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use store::{MemoryBackend, Registry, Store, View};

/// How long an agent may be away: short, so that it comes to that.
const AGENT_GRACE: Duration = Duration::from_mins(2);

/// The outcome of something that waits for nothing but the store, which in here
/// is ready at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("an inline store never makes anybody wait")
}

/// The account and region that all of this happens in.
pub fn scope() -> Scope {
    let region = "us-east-1".parse().expect("a region");
    Scope { account: AccountId::first(), region }
}

/// What the sockets hold for an agent's session.
pub(crate) struct AgentLine {
    /// Which connection it is.
    pub(crate) line: u64,
    pub(crate) instance: ident::ContainerInstanceId,
    pub(crate) id: String,
    pub(crate) session: AcsSession,
    pub(crate) seat: Seat,
}

/// What the sockets hold for a card's session.
pub(crate) struct CardLine {
    /// Which connection it is.
    pub(crate) line: u64,
    pub(crate) session: CardSession,
}

/// See the module.
pub(crate) struct Plane {
    pub(crate) platform: Platform,
    pub(crate) ecs: Ecs,
    pub(crate) ec2: Ec2,
    pub(crate) controllers: Vec<Box<dyn Controller>>,
    pub(crate) sessions: Sessions,
    /// By the number of the node.
    pub(crate) agents: BTreeMap<usize, AgentLine>,
    /// By the number of the node.
    pub(crate) cards: BTreeMap<usize, CardLine>,
    drive: Drive,
}

impl Plane {
    /// Starts a process on what the disk holds.
    pub(crate) fn start(
        disk: &MemoryBackend,
        clock: &Arc<ManualClock>,
        entropy: &Arc<SeededEntropy>,
        outage: Option<Outage>,
    ) -> Self {
        let drive = Drive::new(disk, outage);
        let registry = Registry::new();
        let registry = ecs::records(ec2::records(iam::records(chassis::records(registry))));
        let store = Store::open_inline(Box::new(drive.clone()), registry)
            .expect("what was written can be read");
        let platform = Platform {
            store,
            clock: Arc::clone(clock) as _,
            entropy: Arc::clone(entropy) as _,
            quotas: chassis::Quotas::default(),
        };
        let sessions = Sessions::default();
        let settings = ecs::Settings { agent_grace: AGENT_GRACE, ..Default::default() };
        let mut controllers = ecs::controllers(&sessions, settings);
        controllers.push(Box::new(chassis::idempotency::Sweeper));
        let tenancies: Vec<Box<dyn Tenancy>> =
            vec![Box::new(ecs::tenancy::Evict), Box::new(ec2::Evict)];
        controllers.push(Box::new(iam::Closer::new(tenancies)));
        Self {
            platform,
            ecs: Ecs { public_url: "http://10.0.0.1:4566".to_owned(), identity: None },
            ec2: Ec2,
            controllers,
            sessions,
            agents: BTreeMap::new(),
            cards: BTreeMap::new(),
            drive,
        }
    }

    /// Whether the power has failed. What was answered since does not count.
    pub(crate) fn is_dead(&self) -> bool {
        self.drive.is_dead()
    }

    /// Lets the power fail at a coming commit.
    pub(crate) fn doom(&self, outage: Outage) {
        self.drive.doom(outage);
    }

    /// Lets others who share the disk be quicker once in so many commits.
    pub(crate) fn overtake(&self, odds: u64) {
        self.drive.overtake(odds);
    }

    /// How many commits it has made.
    pub(crate) fn commits(&self) -> u64 {
        self.drive.commits()
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.platform.store.view()
    }

    /// The state, to be looked at by way of transactions.
    pub(crate) fn store(&self) -> &Store {
        &self.platform.store
    }

    /// A request of the account's owner.
    pub(crate) fn root(&self) -> Cx {
        self.cx(Principal::Root)
    }

    /// A request of a node.
    pub(crate) fn node(&self, instance: &InstanceId) -> Cx {
        self.cx(Principal::Instance(instance.clone()))
    }

    fn cx(&self, principal: Principal) -> Cx {
        Cx {
            platform: self.platform.clone(),
            caller: Caller { scope: scope(), principal, access_key: "AKIASIMULATION".to_owned() },
            request_id: "simulated".to_owned(),
        }
    }
}
