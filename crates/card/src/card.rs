//! The card: a plan in, a report out.

use crate::dns::{Resolvers, Upstream};
use crate::error::CardError;
use crate::fastpath::{FastPath, FastPaths};
use crate::host::Host;
use crate::imds::Metadata;
use crate::netns::{self, Netns};
use crate::nft::Counters;
use crate::router::{Answering, Router};
use crate::seen::Seen;
use crate::{keep, names};
use ident::{EniId, Generation};
use net::model::Service;
use net::plan::{CardPlan, CardReport, EniUser, VpcPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often a VPC is looked at anew in one call, if things change meanwhile.
const ATTEMPTS: u32 = 3;

/// What a card needs to know about its machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the names of its namespaces begin. Two installations on one machine
    /// must not have the same.
    pub prefix: String,
    /// Where it keeps the last plan.
    pub state_dir: PathBuf,
    /// Where namespaces have their names: `/run/netns`, unless a test says
    /// otherwise.
    pub netns_dir: PathBuf,
    /// The namespace in which interfaces appear.
    pub host: Netns,
    /// How often it looks whether everything is still as it should be.
    pub period: Duration,
    /// Who is asked for names that no VPC knows, in the namespace of the process.
    pub resolvers: Resolvers,
    /// What tasks can ask about the machine, at 169.254.169.254 and fd00:ec2::254. With
    /// `None` they cannot: who asks there gets the credentials of the machine's role.
    pub task_metadata: Option<Arc<Metadata>>,
}

impl Config {
    /// A card for the namespace that the calling thread is in.
    pub fn new(prefix: &str, state_dir: impl Into<PathBuf>) -> Result<Self, CardError> {
        Ok(Self {
            prefix: prefix.to_owned(),
            state_dir: state_dir.into(),
            netns_dir: PathBuf::from(netns::RUN_DIR),
            host: Netns::current()?,
            period: Duration::from_secs(2),
            resolvers: Resolvers::File(PathBuf::from("/etc/resolv.conf")),
            task_metadata: None,
        })
    }
}

/// What one call had to do. After a call that changed nothing, all counts are
/// zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Interfaces made.
    pub made: usize,
    /// Interfaces removed.
    pub removed: usize,
    /// Rule sets loaded.
    pub loaded: usize,
    /// Everything else: namespaces, addresses, routes, neighbours, switches, and
    /// interfaces handed over.
    pub adjusted: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl Work {
    /// How many things were not as they should be.
    pub fn changes(&self) -> usize {
        self.made + self.removed + self.loaded + self.adjusted
    }
}

/// The card of a node.
#[derive(Debug)]
pub struct Card {
    config: Config,
    host: Option<Host>,
    /// The routers that were opened, by the names of their namespaces. They are
    /// a convenience: a card without any finds them again.
    routers: BTreeMap<String, Router>,
    upstream: Arc<Upstream>,
    fast_paths: FastPaths,
    /// The plan that was accepted last.
    plan: Option<CardPlan>,
    /// Whether that is the one that a successor would find.
    is_kept: bool,
    /// Writes it down, if that is going on.
    keeping: JoinSet<Result<(), CardError>>,
    /// Makes the disk have it, if that is going on. Nobody waits for that but the
    /// next plan.
    syncing: JoinSet<Result<(), CardError>>,
    last_work: Work,
}

impl Card {
    /// A card that has the plan which its predecessor kept, if it did; nothing
    /// has happened yet.
    pub fn new(config: Config) -> Self {
        // What cannot be read is as good as lost: whatever the kernel still has
        // stays until the control plane sends the next plan.
        let plan = keep::load(&config.state_dir).unwrap_or_else(|error| {
            tracing::error!(error = error.chain(), "the last plan is lost");
            None
        });
        let upstream = Arc::new(Upstream::new(config.resolvers.clone()));
        Self {
            config,
            host: None,
            routers: BTreeMap::new(),
            upstream,
            fast_paths: FastPaths::default(),
            is_kept: plan.is_some(),
            keeping: JoinSet::new(),
            syncing: JoinSet::new(),
            plan,
            last_work: Work::default(),
        }
    }

    /// Who looks at the flows of its interfaces, beside it and without it.
    pub fn seen(&self) -> Seen {
        Seen::new(&self.config, &self.fast_paths)
    }

    /// How the card was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The generation of the plan that was accepted last.
    pub fn generation(&self) -> Option<Generation> {
        self.plan.as_ref().map(|plan| plan.generation)
    }

    /// What the last call of [`Card::apply`], [`Card::reapply`] or
    /// [`Card::teardown`] had to do.
    pub fn last_work(&self) -> Work {
        self.last_work
    }

    /// Makes the kernel match `plan`, and says what is there now.
    ///
    /// A plan that is older than the last one is refused, and changes nothing.
    pub async fn apply(&mut self, plan: &CardPlan) -> Result<CardReport, CardError> {
        if let Some(current) = self.generation().filter(|current| *current > plan.generation) {
            return Err(CardError::Outdated { current, offered: plan.generation });
        }
        if self.plan.as_ref() != Some(plan) {
            self.plan = Some(plan.clone());
            // Who keeps another now must not be believed to have kept this one.
            self.kept().await;
            self.is_kept = false;
        }
        self.converge(plan).await
    }

    /// Makes the kernel match the last plan, if there is one: after a start
    /// without the control plane, or because somebody may have meddled.
    pub async fn reapply(&mut self) -> Option<Result<CardReport, CardError>> {
        let plan = self.plan.clone()?;
        Some(self.converge(&plan).await)
    }

    /// Removes everything that a card with this configuration ever made.
    pub async fn teardown(&mut self) -> Result<(), CardError> {
        let started = Instant::now();
        let mut work = Work::default();
        self.remove_routers_except(&BTreeSet::new(), &mut work).await?;
        self.kept().await;
        self.synced().await;
        keep::forget(&self.config.state_dir)?;
        (self.plan, self.is_kept) = (None, false);
        self.last_work = Work { elapsed: started.elapsed(), ..work };
        Ok(())
    }

    /// What passed and what did not, by interface, since the interface was made.
    pub async fn counters(&self) -> Result<BTreeMap<EniId, Counters>, CardError> {
        let mut all = BTreeMap::new();
        for router in self.routers.values() {
            all.append(&mut router.counters().await?);
        }
        Ok(all)
    }

    async fn converge(&mut self, plan: &CardPlan) -> Result<CardReport, CardError> {
        let started = Instant::now();
        let mut work = Work::default();
        self.keep(plan).await;
        let plan = &self.opened(plan);
        let wanted: BTreeSet<String> =
            plan.vpcs.iter().map(|vpc| names::router(&self.config.prefix, &vpc.vpc)).collect();
        self.remove_routers_except(&wanted, &mut work).await?;
        let own = plan.vpcs.iter().flat_map(|vpc| vpc.service_addresses(Service::Resolver));
        self.upstream.refresh(&own.collect());

        let mut report = CardReport { generation: plan.generation, ..CardReport::default() };
        for vpc in &plan.vpcs {
            let failed: BTreeMap<EniId, String> = match self.converge_vpc(vpc, &mut work).await {
                Ok(failures) => failures,
                Err(error) => {
                    // What was opened may be what is broken.
                    self.routers.remove(&names::router(&self.config.prefix, &vpc.vpc));
                    self.host = None;
                    let text = error.chain();
                    vpc.enis.iter().map(|eni| (eni.eni.clone(), text.clone())).collect()
                }
            };
            let enis = vpc.enis.iter().map(|eni| &eni.eni);
            report.present.extend(enis.filter(|eni| !failed.contains_key(*eni)).cloned());
            report.failed.extend(failed);
        }
        report.present.sort();
        for (eni, reason) in &report.failed {
            tracing::warn!(%eni, reason, "an interface is not as it should be");
        }

        self.kept().await;
        work.elapsed = started.elapsed();
        self.last_work = work;
        tracing::debug!(
            generation = plan.generation.0,
            made = work.made,
            removed = work.removed,
            loaded = work.loaded,
            adjusted = work.adjusted,
            micros = work.elapsed.as_micros(),
            "the plan is applied",
        );
        Ok(report)
    }

    /// The plan, with what this machine lets its tasks do beside.
    fn opened(&self, plan: &CardPlan) -> CardPlan {
        let mut plan = plan.clone();
        if self.config.task_metadata.is_some() {
            let enis = plan.vpcs.iter_mut().flat_map(|vpc| &mut vpc.enis);
            for eni in enis.filter(|eni| eni.user == EniUser::Task) {
                eni.services.insert(Service::Metadata);
            }
        }
        plan
    }

    /// Begins to keep the plan, if it is not kept.
    async fn keep(&mut self, plan: &CardPlan) {
        // A call that was given up may have left one behind: one after another.
        self.kept().await;
        if !self.is_kept {
            self.synced().await;
            let (directory, plan) = (self.config.state_dir.clone(), plan.clone());
            self.keeping.spawn_blocking(move || keep::write(&directory, &plan));
        }
    }

    /// Waits until the plan is kept, which it is when it is written: that the disk must
    /// be waited for is no reason for the network to wait. A full disk is no reason to
    /// leave tasks without their network; the next call tries again.
    async fn kept(&mut self) {
        match self.keeping.join_next().await {
            Some(Ok(Ok(()))) => {
                self.is_kept = true;
                let directory = self.config.state_dir.clone();
                self.syncing.spawn_blocking(move || keep::sync(&directory));
            }
            Some(Ok(Err(error))) => {
                tracing::error!(error = error.chain(), "the plan was not kept");
            }
            Some(Err(error)) => tracing::error!(%error, "the plan was not kept"),
            None => {}
        }
    }

    /// Waits until the disk has what was kept.
    async fn synced(&mut self) {
        match self.syncing.join_next().await {
            Some(Ok(Err(error))) => {
                // Written again, and with it synced again, by the next call.
                self.is_kept = false;
                tracing::error!(error = error.chain(), "the plan may not outlast a loss of power");
            }
            Some(Err(error)) => tracing::error!(%error, "the plan was not synced"),
            Some(Ok(Ok(()))) | None => {}
        }
    }

    async fn converge_vpc(
        &mut self,
        vpc: &VpcPlan,
        work: &mut Work,
    ) -> Result<BTreeMap<EniId, String>, CardError> {
        let host = match self.host.take() {
            Some(host) => host,
            None => Host::open(self.config.host.clone()).await?,
        };
        let host = self.host.insert(host);
        let name = names::router(&self.config.prefix, &vpc.vpc);
        let path = self.config.netns_dir.join(&name);
        // A router whose name was taken away is not the one that the name means.
        let mut router = match self.routers.remove(&name) {
            Some(router) if router.is_at(&path) => router,
            Some(_) | None => {
                let fast_path = FastPath::new(&name, &self.fast_paths);
                Router::open(&path, fast_path, work).await?
            }
        };
        let mut attempts = 1..=ATTEMPTS;
        let failures = loop {
            let last = attempts.next().is_none_or(|attempt| attempt == ATTEMPTS);
            let answering = Answering {
                upstream: &self.upstream,
                metadata: self.config.task_metadata.as_ref(),
            };
            match router.converge(vpc, host, answering, work).await {
                Err(error) if !last && error.is_race() => {
                    tracing::debug!(error = error.chain(), "something changed meanwhile");
                }
                Ok(failures) if !last && failures.values().any(CardError::is_race) => {}
                other => break other?,
            }
        };
        self.routers.insert(name, router);
        Ok(failures.into_iter().map(|(eni, error)| (eni, error.chain())).collect())
    }

    /// Removes the routers that bear our name and are not `wanted`.
    async fn remove_routers_except(
        &mut self,
        wanted: &BTreeSet<String>,
        work: &mut Work,
    ) -> Result<(), CardError> {
        for name in self.named_routers()? {
            if wanted.contains(&name) {
                continue;
            }
            self.routers.remove(&name);
            let path = self.config.netns_dir.join(&name);
            // A name without a namespace has nothing to clear.
            if Netns::is_named(&path) {
                let fast_path = FastPath::new(&name, &self.fast_paths);
                Router::open(&path, fast_path, work).await?.clear(work).await?;
            }
            Netns::remove(&path)?;
            work.adjusted += 1;
            tracing::debug!(router = name, "removed a router");
        }
        Ok(())
    }

    fn named_routers(&self) -> Result<Vec<String>, CardError> {
        let directory: &Path = &self.config.netns_dir;
        let fail = |source| CardError::Netns { action: "list", path: directory.to_owned(), source };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            if let Some(name) = name.to_str().filter(|n| names::is_router(&self.config.prefix, n)) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}
