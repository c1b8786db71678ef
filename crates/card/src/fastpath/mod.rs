//! The fast path: packets of known flows go from their sender's link straight to their
//! receiver, and do not ask the rules each time.
//!
//! The rules stay the only ones who decide. They mark a packet whose flow the connection
//! tracker knows; as it leaves the router, a program notes by which link that flow leaves.
//! Packets that follow are found in these notes as they come in, and given to the
//! receiver. A note is believed for a second and in one *epoch*: whenever rules, flows or
//! links may have changed, the next epoch begins, and everybody takes the long way once.
//! What begins or ends a TCP connection always takes it, so that the tracker sees it.
//!
//! Nothing depends on it: a kernel without it, a flow that finds no room, and a packet
//! that is unusual in any way go the long way. What it is worth and what it costs is in
//! `docs/adr/0019-flows-that-are-known.md`.

mod attach;
mod program;

use crate::error::CardError;
use crate::flows::Tuple;
use crate::nft::{Counters, Tally};
use crate::rtnl::{Link, Rtnl};
use bpf::Program;
use ident::EniId;
use net::flow::Counted;
use net::mac::MacAddress;
use program::Maps;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Whether this machine's kernel has what the fast path needs, and takes its programs.
pub fn fast_path() -> io::Result<()> {
    Loaded::new().map(drop)
}

/// The fast paths there are, for those who want to know what went there.
#[derive(Clone, Debug, Default)]
pub(crate) struct FastPaths(Arc<Mutex<BTreeMap<String, Weak<Loaded>>>>);

impl FastPaths {
    /// What went the fast way in the router of that name, by what the packets said.
    pub(crate) fn carried(&self, router: &str) -> io::Result<HashMap<Tuple, Counted>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = all.get(router).and_then(Weak::upgrade);
        drop(all);
        let mut carried = HashMap::new();
        if let Some(loaded) = loaded {
            loaded.maps.flows.each(|key, flow| {
                if let Some((tuple, counted)) = program::flow(key, flow) {
                    carried.insert(tuple, counted);
                }
            })?;
        }
        Ok(carried)
    }

    fn add(&self, router: &str, loaded: &Arc<Loaded>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, other| other.strong_count() > 0);
        all.insert(router.to_owned(), Arc::downgrade(loaded));
    }
}

/// What the kernel has of a router's fast path.
#[derive(Debug)]
struct Loaded {
    maps: Maps,
    ingress: Program,
    egress: Program,
}

impl Loaded {
    fn new() -> io::Result<Self> {
        let maps = Maps::new()?;
        let ingress = program::load("landfall_in", program::ingress(&maps))?;
        let egress = program::load("landfall_out", program::egress(&maps))?;
        Ok(Self { maps, ingress, egress })
    }
}

/// A link of a router, to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) index: u32,
    pub(crate) mac: MacAddress,
}

/// The fast path of one router.
#[derive(Debug)]
pub(crate) struct FastPath {
    router: String,
    all: FastPaths,
    /// Nothing before there is somebody to use it.
    loaded: Option<Arc<Loaded>>,
    /// Whether this kernel cannot.
    is_refused: bool,
    /// The number of the epoch, of which packets carry 16 bits.
    epoch: u16,
    links: BTreeMap<EniId, At>,
}

impl FastPath {
    /// Of the router of that name, with no interface on it.
    pub(crate) fn new(router: &str, all: &FastPaths) -> Self {
        let links = BTreeMap::new();
        let (router, all) = (router.to_owned(), all.clone());
        Self { router, all, loaded: None, is_refused: false, epoch: 0, links }
    }

    /// Takes off it what another card has put there, whose notes nobody looks after.
    pub(crate) async fn clear(
        rtnl: &Rtnl,
        links: impl Iterator<Item = &Link>,
    ) -> Result<(), CardError> {
        for link in links {
            attach::detach(rtnl, link.index).await?;
        }
        Ok(())
    }

    /// Forgets all notes: what the rules permit now is asked again. Also those packets
    /// that are on their way through the rules at this moment leave none that is believed.
    pub(crate) fn forget(&mut self) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        let Some(loaded) = &self.loaded else { return };
        let number = u32::from(self.epoch).to_ne_bytes();
        if let Err(error) = loaded.maps.epoch.set(&[0; 4], &number) {
            // It never happens to an array; what is noted ends in a second.
            tracing::error!(%error, "notes of the fast path are believed for another second");
        }
    }

    /// Takes the interfaces off it that are not `wanted`.
    pub(crate) fn keep(&mut self, mut wanted: impl FnMut(&EniId, At) -> bool) {
        let gone = |eni: &EniId, at: &mut At| !wanted(eni, *at);
        for (eni, at) in self.links.extract_if(.., gone) {
            let links = self.loaded.as_ref().map(|loaded| &loaded.maps.links);
            if let Some(Err(error)) = links.map(|links| links.remove(&at.index.to_ne_bytes())) {
                tracing::error!(%error, %eni, "the fast path knows a link that is gone");
            }
        }
    }

    /// Puts those interfaces on it that are not there yet. A kernel that cannot is said so
    /// once.
    pub(crate) async fn add(&mut self, rtnl: &Rtnl, wanted: &BTreeMap<EniId, At>) {
        self.keep(|eni, at| wanted.get(eni) == Some(&at));
        if self.is_refused || wanted.len() == self.links.len() {
            return;
        }
        let Some(loaded) = self.load().await else { return };
        for (eni, at) in wanted {
            if self.links.contains_key(eni) {
                continue;
            }
            let known = loaded.maps.links.set(&at.index.to_ne_bytes(), &program::link(at.mac));
            if let Err(error) = known {
                tracing::warn!(%error, %eni, "an interface goes without the fast path");
                continue;
            }
            match attach::attach(rtnl, at.index, &loaded.ingress, &loaded.egress).await {
                Ok(()) => {
                    self.links.insert(eni.clone(), *at);
                }
                // It may be gone already; the next look tries again.
                Err(error) => {
                    let error = error.chain();
                    tracing::debug!(error, %eni, "an interface goes without the fast path");
                    drop(loaded.maps.links.remove(&at.index.to_ne_bytes()));
                    drop(attach::detach(rtnl, at.index).await);
                }
            }
        }
    }

    async fn load(&mut self) -> Option<Arc<Loaded>> {
        if self.loaded.is_none() {
            let loaded = tokio::task::spawn_blocking(Loaded::new).await;
            match loaded.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(loaded) => {
                    let loaded = Arc::new(loaded);
                    self.all.add(&self.router, &loaded);
                    self.loaded = Some(loaded);
                    self.forget();
                }
                Err(error) => {
                    self.is_refused = true;
                    tracing::info!(%error, "every packet asks the rules: no fast path here");
                }
            }
        }
        self.loaded.clone()
    }

    /// Adds what went the fast way to what the rules have counted.
    pub(crate) fn count(&self, counters: &mut BTreeMap<EniId, Counters>) -> io::Result<()> {
        let Some(loaded) = &self.loaded else { return Ok(()) };
        for (eni, at) in &self.links {
            let link = loaded.maps.links.get(&at.index.to_ne_bytes())?;
            let carried = link.as_deref().and_then(program::carried);
            let Some([sent, sent_bytes, received, received_bytes]) = carried else { continue };
            let counters = counters.entry(eni.clone()).or_default();
            let add = |tally: &mut Tally, packets, bytes| {
                tally.packets += packets;
                tally.bytes += bytes;
            };
            add(&mut counters.sent, sent, sent_bytes);
            add(&mut counters.received, received, received_bytes);
        }
        Ok(())
    }
}
