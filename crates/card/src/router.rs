//! One VPC on the node: its router namespace, from nothing or from whatever is
//! there to what the plan wants.
//!
//! The order is what makes it safe. An interface is made under a veil; its route,
//! its neighbour entry and its rules follow; then the router may forward; and
//! only then does the NIC end get the hardware address by which its user looks
//! for it.

use crate::card::Work;
use crate::error::CardError;
use crate::filter::Filter;
use crate::host::{self, Host};
use crate::netns::Netns;
use crate::nfnl;
use crate::nft::{self, Counters, Loaded};
use crate::rtnl::{Link, Route, Rtnl, Via};
use crate::{names, sysctl};
use ident::EniId;
use ipnet::Ipv4Net;
use net::mac::MacAddress;
use net::plan::{ENI_MTU, EniPlan, EniUser, VpcPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::Ipv4Addr;
use std::path::Path;
use tokio::time::Instant;

/// Where the indices of card ends begin. If both ends of a pair had the same
/// one, each in its own namespace, the kernel would take them for one link and
/// wait up to a second before it called them operational. Nobody else's index
/// is likely to be that high.
const LOWEST_INDEX: u32 = 1 << 20;

/// A router namespace, and a conversation with it.
#[derive(Debug)]
pub(crate) struct Router {
    netns: Netns,
    rtnl: Rtnl,
    rules: Loaded,
}

/// The interfaces that could not be made, and why.
pub(crate) type Failures = BTreeMap<EniId, CardError>;

impl Router {
    /// The router with this name, made now if there is none.
    pub(crate) async fn open(path: &Path, work: &mut Work) -> Result<Self, CardError> {
        let (netns, new) = Netns::ensure(path)?;
        work.adjusted += usize::from(new);
        let rtnl = Rtnl::connect(&netns).await?;
        Ok(Self { netns, rtnl, rules: Loaded::default() })
    }

    /// Whether `path` still is the name of this router.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.netns.is_at(path)
    }

    /// Makes the router obey `plan`. What concerns one interface alone is
    /// returned with it; an error concerns all of them.
    pub(crate) async fn converge(
        &mut self,
        plan: &VpcPlan,
        host: &Host,
        work: &mut Work,
    ) -> Result<Failures, CardError> {
        work.adjusted += self.netns.run(sysctl::prepare).await??;
        // Rules name links, and do not mind if those are not there yet or any
        // more. So the two are made at the same time: starting `nft` is what
        // takes longest.
        let mut rules = mem::take(&mut self.rules);
        let (loaded, ready) = tokio::join!(
            rules.converge(&self.netns, Filter::of(plan)),
            self.converge_network(plan, host, work),
        );
        self.rules = rules;
        let mut failures = ready?;
        work.loaded += usize::from(loaded?);
        self.forget_strangers(plan, host).await?;
        work.adjusted += self.netns.run(sysctl::forward).await??;
        let outside = host.links().await?;
        for eni in &plan.enis {
            if failures.contains_key(&eni.eni) {
                continue;
            }
            if let Err(error) = hand_over(eni, plan, &outside, host, work).await {
                failures.insert(eni.eni.clone(), error);
            }
        }
        Ok(failures)
    }

    /// Makes the tracker forget the flows of interfaces that nobody has used yet:
    /// whatever had their addresses before, what was permitted to it is not
    /// permitted to them.
    async fn forget_strangers(&self, plan: &VpcPlan, host: &Host) -> Result<(), CardError> {
        let outside = host.links().await?;
        let unused = plan.enis.iter().filter(|eni| {
            host::nic_end(&outside, eni).is_some_and(|nic_end| host::is_veiled(nic_end, eni))
        });
        let addresses: BTreeSet<Ipv4Addr> = unused.map(|eni| eni.ipv4).collect();
        if addresses.is_empty() {
            return Ok(());
        }
        let forget = move || nfnl::forget_flows(&addresses);
        let forgotten = self.netns.run(forget).await?;
        let forgotten = forgotten.map_err(|source| CardError::Conntrack { source })?;
        tracing::debug!(forgotten, "forgot the flows of former owners");
        Ok(())
    }

    /// Everything but the rules.
    async fn converge_network(
        &self,
        plan: &VpcPlan,
        host: &Host,
        work: &mut Work,
    ) -> Result<Failures, CardError> {
        let failures = self.converge_links(plan, host, work).await?;
        let links = self.rtnl.links().await?;
        let cards = self.converge_cards(plan, &links, work).await?;
        self.converge_addresses(plan, &links, work).await?;
        self.converge_neighbours(plan, &cards, work).await?;
        self.converge_routes(plan, &cards, work).await?;
        Ok(failures)
    }

    /// Removes the links that the plan does not want as they are, and makes
    /// those that are missing.
    async fn converge_links(
        &self,
        plan: &VpcPlan,
        host: &Host,
        work: &mut Work,
    ) -> Result<Failures, CardError> {
        let mut failures = Failures::new();
        let outside = host.links().await?;
        let mut inside = self.rtnl.links().await?;
        let fit: BTreeSet<String> = plan
            .enis
            .iter()
            .filter(|eni| is_fit(eni, &inside, &outside))
            .map(|eni| names::card_end(&eni.eni))
            .collect();
        let unfit = |link: &mut Link| is_ours(link) && !fit.contains(&link.name);
        let unfit: Vec<Link> = inside.extract_if(.., unfit).collect();
        self.remove(&unfit, work).await?;
        let indices = inside.iter().map(|link| link.index);
        let mut index = indices.fold(LOWEST_INDEX, |highest, index| highest.max(index + 1));
        for eni in &plan.enis {
            let card_end = names::card_end(&eni.eni);
            if inside.iter().any(|link| link.name == card_end) {
                continue;
            }
            let started = Instant::now();
            match self.make(eni, index, host).await {
                Ok(()) => {
                    index += 1;
                    work.made += 1;
                    let micros = started.elapsed().as_micros();
                    tracing::debug!(eni = %eni.eni, micros, "made an interface");
                }
                Err(error) => {
                    failures.insert(eni.eni.clone(), error);
                }
            }
        }
        Ok(failures)
    }

    async fn remove(&self, links: &[Link], work: &mut Work) -> Result<(), CardError> {
        let started = Instant::now();
        self.rtnl.delete_links(links).await?;
        work.removed += links.len();
        let micros = started.elapsed().as_micros();
        for link in links {
            tracing::debug!(link = link.name, eni = link.alias, micros, "removed an interface");
        }
        Ok(())
    }

    /// Makes an interface. Both ends say whose they are, and the NIC end is not
    /// yet what anybody looks for.
    async fn make(&self, eni: &EniPlan, index: u32, host: &Host) -> Result<(), CardError> {
        let (card_end, nic_end) = (names::card_end(&eni.eni), names::nic_end(&eni.eni));
        let mac = host::veiled(eni.mac);
        self.rtnl.add_pair(&card_end, index, &nic_end, mac, &host.netns).await?;
        self.rtnl.set_alias(&card_end, eni.eni.as_str()).await?;
        host.rtnl.set_alias(&nic_end, eni.eni.as_str()).await
    }

    /// Makes sure of every card end, and says which index each interface's has.
    async fn converge_cards(
        &self,
        plan: &VpcPlan,
        links: &[Link],
        work: &mut Work,
    ) -> Result<BTreeMap<EniId, u32>, CardError> {
        let mut cards = BTreeMap::new();
        let mut switches = Vec::new();
        for eni in &plan.enis {
            let name = names::card_end(&eni.eni);
            let Some(link) = links.iter().find(|link| link.name == name) else { continue };
            if !link.up || link.mtu != ENI_MTU {
                self.rtnl.set_up(link).await?;
                work.adjusted += 1;
            }
            if link.alias.is_none() {
                self.rtnl.set_alias(&link.name, eni.eni.as_str()).await?;
                work.adjusted += 1;
            }
            cards.insert(eni.eni.clone(), link.index);
            switches.push(name);
        }
        let set = move || switches.iter().map(|name| sysctl::link(name)).sum();
        let changed: Result<usize, CardError> = self.netns.run(set).await?;
        work.adjusted += changed?;
        Ok(cards)
    }

    /// The router has each subnet's gateway address, on `lo`: whoever asks for
    /// it on whichever link gets an answer.
    async fn converge_addresses(
        &self,
        plan: &VpcPlan,
        links: &[Link],
        work: &mut Work,
    ) -> Result<(), CardError> {
        let Some(lo) = links.iter().find(|link| link.name == "lo") else {
            return Err(CardError::Disappeared("lo".to_owned()));
        };
        if !lo.up {
            self.rtnl.set_lo_up().await?;
            work.adjusted += 1;
        }
        let gateways = plan.subnets.iter().map(|subnet| (lo.index, subnet.gateway.into()));
        let wanted: BTreeSet<(u32, Ipv4Net)> = gateways.collect();
        let present = self.rtnl.addresses().await?;
        for (index, address) in &present {
            if !address.addr().is_loopback() && !wanted.contains(&(*index, *address)) {
                self.rtnl.delete_address(*index, *address).await?;
                work.adjusted += 1;
            }
        }
        for (index, address) in wanted.iter().filter(|wanted| !present.contains(wanted)) {
            self.rtnl.add_address(*index, *address).await?;
            work.adjusted += 1;
        }
        Ok(())
    }

    /// The router never asks who has an address: it knows.
    async fn converge_neighbours(
        &self,
        plan: &VpcPlan,
        cards: &BTreeMap<EniId, u32>,
        work: &mut Work,
    ) -> Result<(), CardError> {
        let known = plan.enis.iter().filter_map(|eni| Some((*cards.get(&eni.eni)?, eni)));
        let wanted: BTreeSet<(u32, Ipv4Addr, MacAddress)> =
            known.map(|(index, eni)| (index, eni.ipv4, eni.mac)).collect();
        let present = self.rtnl.neighbours().await?;
        for (index, address, mac) in &present {
            let same =
                |other: &&(u32, Ipv4Addr, MacAddress)| (other.0, other.1) == (*index, *address);
            if !wanted.iter().any(|wanted| same(&wanted)) {
                tracing::debug!(%address, %mac, "a neighbour is gone");
                self.rtnl.delete_neighbour(*index, *address).await?;
                work.adjusted += 1;
            }
        }
        for wanted in wanted.iter().filter(|wanted| !present.contains(wanted)) {
            let (index, address, mac) = *wanted;
            self.rtnl.set_neighbour(index, address, mac).await?;
            work.adjusted += 1;
        }
        Ok(())
    }

    /// A route to each interface, and to everywhere else none, in silence, as on
    /// EC2. ARP is proxied along these routes and no others.
    async fn converge_routes(
        &self,
        plan: &VpcPlan,
        cards: &BTreeMap<EniId, u32>,
        work: &mut Work,
    ) -> Result<(), CardError> {
        let nowhere = plan.cidrs.iter().map(Ipv4Net::trunc).chain([Ipv4Net::default()]);
        let nowhere = nowhere.map(|destination| Route { destination, via: Via::Blackhole });
        let enis = plan.enis.iter().filter_map(|eni| {
            let via = Via::Link { index: *cards.get(&eni.eni)?, gateway: None };
            Some(Route { destination: eni.ipv4.into(), via })
        });
        let wanted: BTreeSet<Route> = nowhere.chain(enis).collect();
        let present = self.rtnl.routes().await?;
        for (route, message) in &present {
            if !wanted.contains(route) {
                self.rtnl.delete_route(message.clone()).await?;
                work.adjusted += 1;
            }
        }
        for route in wanted {
            if !present.iter().any(|(present, _)| *present == route) {
                self.rtnl.add_route(route).await?;
                work.adjusted += 1;
            }
        }
        Ok(())
    }

    /// What passed and what did not.
    pub(crate) async fn counters(&self) -> Result<BTreeMap<EniId, Counters>, CardError> {
        nft::counters(&self.netns).await
    }

    /// Removes every interface. Both ends go, wherever the other one is, and
    /// nobody is connected any more, even if somebody keeps the namespace alive.
    pub(crate) async fn clear(&self, work: &mut Work) -> Result<(), CardError> {
        self.netns.run(sysctl::halt).await??;
        let mut links = self.rtnl.links().await?;
        links.retain(is_ours);
        self.remove(&links, work).await
    }
}

/// Lets an interface be found, if it is not yet, and gives the node its own.
async fn hand_over(
    eni: &EniPlan,
    plan: &VpcPlan,
    outside: &[Link],
    host: &Host,
    work: &mut Work,
) -> Result<(), CardError> {
    let subnet = plan.subnets.iter().find(|subnet| subnet.subnet == eni.subnet);
    let subnet = subnet.ok_or(CardError::NoSubnet)?;
    if eni.user == EniUser::Host {
        host.refuse_overlap(eni, plan).await?;
    }
    if let Some(link) = host::nic_end(outside, eni) {
        if link.alias.is_none() {
            host.rtnl.set_alias(&link.name, eni.eni.as_str()).await?;
            work.adjusted += 1;
        }
        if host::is_veiled(link, eni) {
            host.rtnl.set_mac(link, eni.mac).await?;
            work.adjusted += 1;
        }
    }
    if eni.user == EniUser::Host {
        work.adjusted += host.converge(eni, subnet, plan).await?;
    }
    Ok(())
}

/// Whether a link of the router is one that the card makes there. The kernel
/// may have put others there, which it does not let anybody remove.
fn is_ours(link: &Link) -> bool {
    link.name.starts_with(names::CARD_END)
}

/// Whether an interface's pair, if there is one, can stay.
fn is_fit(eni: &EniPlan, inside: &[Link], outside: &[Link]) -> bool {
    let card_end = names::card_end(&eni.eni);
    let Some(card) = inside.iter().find(|link| link.name == card_end) else { return false };
    let alias_fits = card.alias.as_deref().is_none_or(|alias| alias == eni.eni.as_str());
    let nic_fits = match (host::nic_end(outside, eni), eni.user) {
        (Some(nic), _) => nic.mac == Some(eni.mac) || host::is_veiled(nic, eni),
        // It has left for a task's namespace.
        (None, EniUser::Task) => true,
        // It should be here, and is not.
        (None, EniUser::Host) => false,
    };
    alias_fits && nic_fits
}
