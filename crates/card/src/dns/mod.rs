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

use crate::error::CardError;
use crate::netns::Netns;
use crate::supervised::Supervised;
use limits::Limits;
use net::model::Service;
use net::plan::VpcPlan;
use serve::{Server, Sockets};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zone::Zone;

/// The resolver of one VPC, running or not.
#[derive(Debug)]
pub(crate) struct Dns {
    supervised: Supervised,
    /// What the one that runs is told, and the accounts of who asks it.
    told: Option<(watch::Sender<Arc<Zone>>, Limits)>,
}

impl Default for Dns {
    fn default() -> Self {
        Self { supervised: Supervised::new("the resolver"), told: None }
    }
}

impl Dns {
    /// Makes the resolver answer as `plan` says; the router has its addresses.
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
        let zone = Arc::new(Zone::of(plan));
        if self.supervised.is_to_start(&plan.vpc, &wanted).await {
            let (sender, heard) = watch::channel(zone);
            let limits = Limits::default();
            let server = Arc::new(Server::new(heard, limits.clone(), Arc::clone(upstream)));
            let started = start(netns, &wanted, &server).await;
            self.supervised.keep(&plan.vpc, wanted, started);
            self.told = Some((sender, limits));
        } else if let Some((sender, limits)) = &self.told {
            limits.forget_all_but(&zone);
            sender.send_if_modified(|current| {
                let changed = *current != zone;
                *current = zone;
                changed
            });
        }
    }
}

/// One task for each socket.
async fn start(
    netns: &Netns,
    at: &BTreeSet<IpAddr>,
    server: &Arc<Server>,
) -> Result<JoinSet<()>, CardError> {
    let sockets = Sockets::open(netns, at).await?;
    let mut tasks = JoinSet::new();
    for socket in sockets.udp {
        tasks.spawn(serve::datagrams(socket, Arc::clone(server)));
    }
    for listener in sockets.tcp {
        tasks.spawn(serve::connections(listener, Arc::clone(server)));
    }
    Ok(tasks)
}
