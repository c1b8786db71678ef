//! The instance metadata in a router: for those tasks that may ask for it.

use super::{Metadata, serve};
use crate::error::CardError;
use crate::netns::Netns;
use crate::supervised::Supervised;
use net::model::Service;
use net::plan::VpcPlan;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const PORT: u16 = 80;

/// A door to the metadata in one router, open or not.
#[derive(Debug)]
pub(crate) struct Door(Supervised);

impl Default for Door {
    fn default() -> Self {
        Self(Supervised::new("the instance metadata"))
    }
}

impl Door {
    /// Opens or closes it as `plan` says; the router has its addresses.
    pub(crate) async fn converge(
        &mut self,
        netns: &Netns,
        plan: &VpcPlan,
        metadata: Option<&Arc<Metadata>>,
    ) {
        let asked = plan.services().contains(&Service::Metadata);
        let metadata = metadata.filter(|_| asked);
        let wanted: BTreeSet<IpAddr> = match metadata {
            Some(_) => plan.service_addresses(Service::Metadata).collect(),
            None => BTreeSet::new(),
        };
        if self.0.is_to_start(&plan.vpc, &wanted).await
            && let Some(metadata) = metadata
        {
            let opened = open(netns, &wanted, metadata).await;
            self.0.keep(&plan.vpc, wanted, opened);
        }
    }
}

async fn open(
    netns: &Netns,
    at: &BTreeSet<IpAddr>,
    metadata: &Arc<Metadata>,
) -> Result<JoinSet<()>, CardError> {
    let runtime = tokio::runtime::Handle::current();
    let at: Vec<SocketAddr> = at.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect();
    let opened = netns.run(move || {
        let _context = runtime.enter();
        let listen = |at: &SocketAddr| {
            let listener = std::net::TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        at.iter().map(listen).collect::<Result<Vec<_>, std::io::Error>>()
    });
    let listeners = opened.await?.map_err(|source| CardError::Netns {
        action: "answer for the machine in",
        path: netns.path().to_owned(),
        source,
    })?;
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(serve(listener, Arc::clone(metadata)));
    }
    Ok(tasks)
}
