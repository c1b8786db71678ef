//! A small world for tests: a store in memory, a clock that stands still, chance
//! that repeats itself, and a region that is furnished.

use crate::awsvpc::{Awsvpc, resolve};
use crate::error::Error;
use crate::instances::{Machine, register};
use crate::records::{BY_VPC, DefaultVpc, Eni, Instance, SecurityGroup, Subnet, records};
use crate::task_eni::{Provision, provision};
use chassis::fake::{ManualClock, SeededEntropy};
use chassis::{Caller, Cx, Platform, Principal};
use futures::FutureExt as _;
use ident::{Arn, AttachmentId, InstanceId, Scope, SubnetId, Timestamp};
use ipnet::Ipv4Net;
use std::sync::Arc;
use store::{Backend, Commit, Loaded, MemoryBackend, Registry, Store, StoreError, Txn, View};

/// The time that it always is.
pub(crate) const NOW: Timestamp = Timestamp(1_795_330_800_000);

pub(crate) struct World {
    pub(crate) cx: Cx,
    backend: MemoryBackend,
}

/// Waits for what is ready at once, as everything on an inline store is.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("an inline store never waits")
}

pub(crate) fn scope() -> Scope {
    Scope {
        account: "123456789012".parse().expect("an account"),
        region: "us-east-1".parse().expect("a region"),
    }
}

impl World {
    /// A region with its default VPC and no machine.
    pub(crate) fn new() -> Self {
        Self::seeded(1)
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        let backend = MemoryBackend::new();
        let platform = Platform {
            store: open(&backend),
            clock: Arc::new(ManualClock::at(NOW)),
            entropy: Arc::new(SeededEntropy::new(seed)),
            quotas: chassis::Quotas::default(),
        };
        let caller = Caller {
            scope: scope(),
            principal: Principal::Root,
            access_key: "AKIATEST".to_owned(),
        };
        let cx = Cx { platform, caller, request_id: "r-1".to_owned() };
        now(crate::ensure_region(&cx.platform, cx.scope())).expect("furnished");
        Self { cx, backend }
    }

    /// The control plane starts anew, with what is durable.
    pub(crate) fn restart(&mut self) {
        self.cx.platform.store = open(&self.backend);
    }

    /// A second control plane on the same state, which has seen what there is now and
    /// whose commits come late. Its backend lets them through as long as their guards
    /// hold: that is all that holds between two who write at the same time.
    pub(crate) fn rival(&self) -> Self {
        let late = Late(self.backend.clone());
        let mut cx = self.cx.clone();
        cx.platform.store = Store::open_inline(Box::new(late), registry()).expect("a sound state");
        Self { cx, backend: self.backend.clone() }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.cx.view()
    }

    /// A context of somebody else.
    pub(crate) fn caller(&self, principal: Principal) -> Cx {
        let caller = Caller { principal, ..self.cx.caller.clone() };
        Cx { caller, ..self.cx.clone() }
    }

    pub(crate) fn transact<T>(
        &self,
        body: impl FnMut(&mut Txn) -> Result<T, Error>,
    ) -> Result<T, Error> {
        now(self.cx.store().transact(body))
    }

    /// A machine in all zones of the region.
    pub(crate) fn machine(&self) -> Instance {
        now(register(&self.cx.platform, self.cx.scope(), Machine::default())).expect("registered")
    }

    /// The default subnets, in the order of their zones.
    pub(crate) fn subnets(&self) -> Vec<Arc<Subnet>> {
        let mut subnets: Vec<Arc<Subnet>> = self.view().list(self.cx.scope()).collect();
        subnets.sort_by(|a, b| a.zone.cmp(&b.zone));
        subnets
    }

    pub(crate) fn default_group(&self) -> Arc<SecurityGroup> {
        let view = self.view();
        let home = view.get::<DefaultVpc>(self.cx.scope(), DefaultVpc::ID).expect("furnished");
        let mut groups = view.by::<SecurityGroup>(self.cx.scope(), BY_VPC, home.vpc.as_str());
        groups.find(|group| group.is_default()).expect("a default group")
    }

    /// Makes the first subnet a /28, which has eleven addresses to give.
    pub(crate) fn shrink_first_subnet(&self) -> SubnetId {
        let first = self.subnets().swap_remove(0);
        let mut small = Subnet::clone(&first);
        small.net.cidr = Ipv4Net::new(first.net.cidr.network(), 28).expect("a prefix");
        self.transact(|txn| {
            txn.put(small.clone());
            Ok(())
        })
        .expect("shrunk");
        small.net.id
    }

    pub(crate) fn awsvpc(&self, subnet: &SubnetId) -> Awsvpc {
        self.transact(|txn| {
            resolve(txn, self.cx.scope(), &[subnet.to_string()], &[], self.cx.platform.quotas)
        })
        .expect("a sound configuration")
    }

    /// An interface for a task on `instance`.
    pub(crate) fn provision(&self, instance: &InstanceId, subnet: &SubnetId) -> Result<Eni, Error> {
        let scope = self.cx.scope();
        let attachment = AttachmentId::mint(self.cx.bits());
        let arn = Arn::new("ecs", scope, format!("attachment/{attachment}"));
        self.transact(|txn| {
            let awsvpc = resolve(txn, scope, &[subnet.to_string()], &[], self.cx.platform.quotas)?;
            let request = Provision {
                scope,
                awsvpc: &awsvpc,
                subnet,
                instance,
                attachment_arn: &arn,
                now: self.cx.now(),
                bits: &mut || self.cx.bits(),
            };
            provision(txn, request)
        })
    }
}

fn open(backend: &MemoryBackend) -> Store {
    let opened: Result<Store, StoreError> =
        Store::open_inline(Box::new(backend.clone()), registry());
    opened.expect("a sound state")
}

fn registry() -> Registry {
    chassis::records(records(Registry::new()))
}

/// See [`World::rival`].
#[derive(Debug)]
struct Late(MemoryBackend);

impl Backend for Late {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.0.load()
    }

    fn commit(&mut self, batch: &[Commit]) -> Result<(), StoreError> {
        let mut revision = self.0.load()?.revision;
        let renumbered = batch.iter().map(|commit| {
            revision = revision.next();
            Commit { revision, ..commit.clone() }
        });
        let renumbered: Vec<Commit> = renumbered.collect();
        self.0.commit(&renumbered)
    }
}
