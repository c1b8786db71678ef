//! One VPC on the node: its router namespace, from nothing or from whatever is
//! there to what the plan wants.
//!
//! The order is what makes it safe. An interface is made under a veil; its route,
//! its neighbour entry and its rules follow; then the router may forward; and
//! only then does the NIC end get the hardware address by which its user looks
//! for it.

use crate::advertise::{Advertiser, Links};
use crate::card::Work;
use crate::dns::{Dns, Upstream};
use crate::error::CardError;
use crate::fastpath::{At, FastPath};
use crate::filter::Filter;
use crate::flows::{self, Tracked};
use crate::host::{self, Host};
use crate::imds::{Door, Metadata};
use crate::netns::Netns;
use crate::nft::{self, Counters, Loaded};
use crate::rtnl::{Link, Route, Rtnl, Via};
use crate::{names, sysctl, untracked};
use futures::future::try_join_all;
use ident::EniId;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use net::mac::MacAddress;
use net::plan::{ENI_MTU, EniPlan, EniUser, VpcPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// Where the indices of card ends begin. If both ends of a pair had the same
/// one, each in its own namespace, the kernel would take them for one link and
/// wait up to a second before it called them operational. Nobody else's index
/// is likely to be that high.
const LOWEST_INDEX: u32 = 1 << 20;

/// The router's address on every link to an interface that has IPv6.
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// A router namespace, and a conversation with it.
#[derive(Debug)]
pub(crate) struct Router {
    netns: Netns,
    rtnl: Rtnl,
    rules: Loaded,
    fast_path: FastPath,
    advertiser: Option<Advertiser>,
    dns: Dns,
    metadata: Door,
    /// Whether it was there before this card opened it, and had a life of its own.
    was_found: bool,
    /// Whether there may be flows that began under other rules than those in force.
    has_lived: bool,
    /// Which interface was the last to have each address, since the card opened it.
    owners: BTreeMap<IpAddr, EniId>,
    /// The plan that it obeyed when it was last looked at.
    obeyed: Option<VpcPlan>,
    leaving: Leaving,
}

/// Links that are down and do nothing any more, while the kernel removes them.
///
/// It takes some 20 ms to be sure that nobody uses them. Nobody waits for that but who
/// wants their names again; whatever a crash leaves of them, the next look finds.
#[derive(Debug, Default)]
struct Leaving {
    links: BTreeMap<u32, String>,
    deletions: JoinSet<Result<(), CardError>>,
}

impl Leaving {
    /// Removes links of a namespace in the background.
    fn begin(&mut self, netns: &Netns, links: Vec<Link>) {
        if links.is_empty() {
            return;
        }
        self.links.extend(links.iter().map(|link| (link.index, link.name.clone())));
        let netns = netns.clone();
        self.deletions.spawn(async move { netns.run(move || Rtnl::delete_links(&links)).await? });
    }

    /// Notes what has been removed meanwhile.
    fn note(&mut self) {
        while let Some(deleted) = self.deletions.try_join_next() {
            told(deleted);
        }
        self.forget_if_done();
    }

    /// Waits until all of them are gone.
    async fn end(&mut self) {
        while let Some(deleted) = self.deletions.join_next().await {
            told(deleted);
        }
        self.forget_if_done();
    }

    fn forget_if_done(&mut self) {
        if self.deletions.is_empty() {
            self.links.clear();
        }
    }
}

/// Who could not be removed is seen again, and removed again, at the next look.
fn told(deleted: Result<Result<(), CardError>, JoinError>) {
    match deleted {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = error.chain(), "links are not removed yet"),
        Err(error) => tracing::warn!(%error, "links are not removed yet"),
    }
}

/// What a router needs to answer at its services' addresses.
#[derive(Clone, Copy)]
pub(crate) struct Answering<'a> {
    pub(crate) upstream: &'a Arc<Upstream>,
    pub(crate) metadata: Option<&'a Arc<Metadata>>,
}

/// What a router has come to, rules apart.
struct Ready {
    failures: Failures,
    outside: Vec<Link>,
    advertise_on: Links,
    shut: Vec<Link>,
    /// The card ends of interfaces.
    cards: BTreeMap<EniId, At>,
}

/// The links of a router and of its host, after those were made that were missing.
struct Pairs {
    inside: Vec<Link>,
    outside: Vec<Link>,
    made: BTreeSet<EniId>,
    /// Those that are to be removed, and are down already.
    shut: Vec<Link>,
    failures: Failures,
}

/// The interfaces that could not be made, and why.
pub(crate) type Failures = BTreeMap<EniId, CardError>;

impl Router {
    /// The router with this name, made now if there is none.
    pub(crate) async fn open(
        path: &Path,
        fast_path: FastPath,
        work: &mut Work,
    ) -> Result<Self, CardError> {
        let (netns, new) = Netns::ensure(path)?;
        work.adjusted += usize::from(new);
        let rtnl = Rtnl::connect(&netns).await?;
        if !new {
            let links = rtnl.links().await?;
            FastPath::clear(&rtnl, links.iter().filter(|link| is_ours(link))).await?;
        }
        Ok(Self {
            netns,
            rtnl,
            rules: Loaded::default(),
            fast_path,
            advertiser: None,
            dns: Dns::default(),
            metadata: Door::default(),
            was_found: !new,
            has_lived: !new,
            owners: BTreeMap::new(),
            obeyed: None,
            leaving: Leaving::default(),
        })
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
        answering: Answering<'_>,
        work: &mut Work,
    ) -> Result<Failures, CardError> {
        // There are many switches, and each is a file. A new plan changes none of
        // those that were there before; the next look at the same plan is at all.
        let before = self.obeyed.take();
        let is_same = before.as_ref() == Some(plan);
        let is_narrower = match &before {
            Some(before) => untracked::narrows(before, plan),
            None => self.has_lived,
        };
        self.fast_path.keep(|eni, _| plan.enis.iter().any(|kept| kept.eni == *eni));
        let tuned = before.filter(|before| before != plan);
        if tuned.is_none() {
            work.adjusted += self.netns.run(sysctl::prepare).await??;
        }
        let adjusted = work.changes();
        // Rules name links, and do not mind if those are not there yet or any
        // more. So the two are made at the same time.
        let (mut rules, netns) = (mem::take(&mut self.rules), self.netns.clone());
        let (loaded, ready) = tokio::join!(
            rules.converge(&netns, Filter::of(plan)),
            self.converge_network(plan, tuned.as_ref(), host, work),
        );
        self.rules = rules;
        // Whatever else has gone wrong, the rules and the routes may be others now.
        let is_other = !is_same || !matches!(loaded, Ok(false)) || work.changes() != adjusted;
        if is_other {
            self.fast_path.forget();
        }
        let Ready { mut failures, outside, advertise_on, shut, cards } = ready?;
        work.loaded += usize::from(loaded?);
        self.forget_strangers(plan, &outside).await?;
        if is_narrower {
            self.cut(plan).await?;
        }
        if is_other {
            // Somebody may have come by a flow that has just ended.
            self.fast_path.forget();
        }
        if tuned.is_none() {
            work.adjusted += self.netns.run(sysctl::forward).await??;
        }
        self.advertise(advertise_on).await?;
        // An interface may be used as soon as it is there, and so may its services.
        self.dns.converge(&self.netns, plan, answering.upstream).await;
        self.metadata.converge(&self.netns, plan, answering.metadata).await;
        for eni in &plan.enis {
            if failures.contains_key(&eni.eni) {
                continue;
            }
            if let Err(error) = hand_over(eni, plan, &outside, host, work).await {
                failures.insert(eni.eni.clone(), error);
            }
        }
        self.has_lived = true;
        self.fast_path.add(&self.rtnl, &cards).await;
        // Last of all: the kernel does nothing else with links meanwhile.
        self.leaving.begin(&self.netns, shut);
        self.obeyed = failures.is_empty().then(|| plan.clone());
        Ok(failures)
    }

    /// Makes the tracker forget the flows of addresses that another interface had
    /// before: what was permitted to that one is not permitted to the one that has
    /// them now. Whoever had those of an interface that nobody has used yet was
    /// another one in any case; a secondary address may also come to one in use.
    ///
    /// To look for these flows, the kernel goes through those of the whole machine.
    /// So it is not asked about an address that had no owner before.
    async fn forget_strangers(
        &mut self,
        plan: &VpcPlan,
        outside: &[Link],
    ) -> Result<(), CardError> {
        let is_unused = |eni: &EniPlan| {
            host::nic_end(outside, eni).is_some_and(|nic_end| host::is_veiled(nic_end, eni))
        };
        let all = plan.enis.iter().flat_map(|eni| eni.addresses().map(move |own| (own, eni)));
        let suspect = all.filter(|(address, eni)| match self.owners.get(address) {
            Some(owner) => *owner != eni.eni,
            None => self.was_found && is_unused(eni),
        });
        let addresses: BTreeSet<IpAddr> = suspect.map(|(address, _)| address).collect();
        if !addresses.is_empty() {
            let concerns = move |flow: &Tracked| {
                addresses.contains(&flow.tuple.source)
                    || addresses.contains(&flow.tuple.destination)
            };
            let forget = move || flows::forget(concerns);
            let forgotten = self.netns.run(forget).await?;
            let forgotten = forgotten.map_err(|source| CardError::Conntrack { source })?;
            tracing::debug!(forgotten, "forgot the flows of former owners");
        }
        for eni in &plan.enis {
            self.owners.extend(eni.addresses().map(|own| (own, eni.eni.clone())));
        }
        Ok(())
    }

    /// Ends the flows that nobody tracks and that are no longer permitted.
    async fn cut(&self, plan: &VpcPlan) -> Result<(), CardError> {
        let plan = plan.clone();
        let ended = self.netns.run(move || untracked::cut(&plan)).await?;
        let ended = ended.map_err(|source| CardError::Conntrack { source })?;
        tracing::debug!(ended, "ended flows that are no longer permitted");
        Ok(())
    }

    async fn advertise(&mut self, links: Links) -> Result<(), CardError> {
        let advertiser = match self.advertiser.take() {
            Some(mut advertiser) => (!advertiser.has_ended()).then_some(advertiser),
            None => None,
        };
        let advertiser = match advertiser {
            Some(advertiser) => advertiser,
            None if links.is_empty() => return Ok(()),
            None => Advertiser::open(&self.netns).await?,
        };
        self.advertiser.insert(advertiser).advertise_on(links);
        Ok(())
    }

    /// Everything but the rules.
    async fn converge_network(
        &mut self,
        plan: &VpcPlan,
        tuned: Option<&VpcPlan>,
        host: &Host,
        work: &mut Work,
    ) -> Result<Ready, CardError> {
        let Pairs { inside: links, outside, made, shut, failures } =
            self.converge_links(plan, host, work).await?;
        let tuned = tuned.map(|tuned| (tuned, &made));
        let cards = self.converge_cards(plan, tuned, &links, work).await?;
        // One after another: a socket can list one thing at a time.
        let addresses = self.converge_addresses(plan, &links, &cards).await?;
        let neighbours = self.converge_neighbours(plan, &cards).await?;
        let proxies = self.converge_proxies(plan, &cards).await?;
        let routes = self.converge_routes(plan, &cards).await?;
        work.adjusted += addresses + neighbours + proxies + routes;
        // The node itself would take the VPC's router for its own way out.
        let asking = plan.enis.iter().filter(|eni| eni.user == EniUser::Task);
        let asking = asking.filter(|eni| !eni.ipv6.is_empty());
        let indices: BTreeSet<u32> =
            asking.filter_map(|eni| cards.get(&eni.eni).copied()).collect();
        let told = links.iter().filter(|link| indices.contains(&link.index));
        let advertise_on = told.filter_map(|link| Some((link.index, link.mac?))).collect();
        let at = |eni: &EniPlan| {
            Some((eni.eni.clone(), At { index: *cards.get(&eni.eni)?, mac: eni.mac }))
        };
        let cards = plan.enis.iter().filter_map(at).collect();
        Ok(Ready { failures, outside, advertise_on, shut, cards })
    }

    /// Removes the links that the plan does not want as they are, and makes
    /// those that are missing.
    async fn converge_links(
        &mut self,
        plan: &VpcPlan,
        host: &Host,
        work: &mut Work,
    ) -> Result<Pairs, CardError> {
        let (mut failures, mut made) = (Failures::new(), BTreeSet::new());
        let wanted: BTreeSet<String> =
            plan.enis.iter().map(|eni| names::card_end(&eni.eni)).collect();
        if self.leaving.links.values().any(|name| wanted.contains(name)) {
            self.leaving.end().await;
        }
        self.leaving.note();
        let (outside, inside) = tokio::try_join!(host.links(), self.rtnl.links())?;
        let (mut outside, mut inside) = (outside, inside);
        let indices = inside.iter().map(|link| link.index);
        let mut index = indices.fold(LOWEST_INDEX, |highest, index| highest.max(index + 1));
        inside.retain(|link| self.leaving.links.get(&link.index) != Some(&link.name));
        let fit: BTreeSet<String> = plan
            .enis
            .iter()
            .filter(|eni| is_fit(eni, &inside, &outside))
            .map(|eni| names::card_end(&eni.eni))
            .collect();
        let unfit = |link: &mut Link| is_ours(link) && !fit.contains(&link.name);
        let unfit: Vec<Link> = inside.extract_if(.., unfit).collect();
        // Whose NIC end is still on the machine may have lent it addresses.
        let is_outside = |link: &Link| {
            outside.iter().any(|other| other.alias.is_some() && other.alias == link.alias)
        };
        let (awaited, shut): (Vec<_>, Vec<_>) =
            unfit.into_iter().partition(|link| wanted.contains(&link.name) || is_outside(link));
        for link in &shut {
            self.rtnl.set_down(link).await?;
            tracing::debug!(link = link.name, eni = link.alias, "shut an interface");
        }
        work.removed += shut.len();
        self.remove(&awaited, work).await?;
        if !awaited.is_empty() {
            outside = host.links().await?;
        }
        for eni in &plan.enis {
            let card_end = names::card_end(&eni.eni);
            if inside.iter().any(|link| link.name == card_end) {
                continue;
            }
            let started = Instant::now();
            match self.make(eni, index, host).await {
                Ok((card, nic)) => {
                    inside.push(card);
                    outside.push(nic);
                    index += 1;
                    work.made += 1;
                    made.insert(eni.eni.clone());
                    let micros = started.elapsed().as_micros();
                    tracing::debug!(eni = %eni.eni, micros, "made an interface");
                }
                Err(error) => {
                    failures.insert(eni.eni.clone(), error);
                }
            }
        }
        Ok(Pairs { inside, outside, made, shut, failures })
    }

    /// Removes links that must be gone before anything else happens. The kernel shuts
    /// them and lists them no more, and then takes its time to be sure that nobody uses
    /// them. That is waited for on a thread of its own, and not here.
    async fn remove(&self, links: &[Link], work: &mut Work) -> Result<(), CardError> {
        if links.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let (netns, doomed) = (self.netns.clone(), links.to_vec());
        let mut deletion = JoinSet::new();
        deletion.spawn(async move { netns.run(move || Rtnl::delete_links(&doomed)).await });
        let doomed: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        // The kernel answers when it is not changing links, so this waits for it.
        while self.rtnl.links().await?.iter().any(|link| doomed.contains(&link.index)) {
            match deletion.try_join_next() {
                Some(Ok(deleted)) => deleted??,
                Some(Err(error)) => {
                    return Err(CardError::Netns {
                        action: "remove links of",
                        path: self.netns.path().to_owned(),
                        source: std::io::Error::other(error),
                    });
                }
                None => {}
            }
        }
        deletion.detach_all();
        work.removed += links.len();
        let micros = started.elapsed().as_micros();
        for link in links {
            tracing::debug!(link = link.name, eni = link.alias, micros, "removed an interface");
        }
        Ok(())
    }

    /// Makes an interface, and returns its card end and its NIC end. Both say whose
    /// they are, and the NIC end is not yet what anybody looks for.
    async fn make(
        &self,
        eni: &EniPlan,
        index: u32,
        host: &Host,
    ) -> Result<(Link, Link), CardError> {
        let (card_end, nic_end) = (names::card_end(&eni.eni), names::nic_end(&eni.eni));
        let mac = host::veiled(eni.mac);
        self.rtnl.add_pair(&card_end, index, &nic_end, mac, &host.netns).await?;
        let near = self.rtnl.set_alias(&card_end, eni.eni.as_str());
        let far = host.rtnl.set_alias(&nic_end, eni.eni.as_str());
        tokio::try_join!(near, far)?;
        tokio::try_join!(self.rtnl.link(&card_end), host.rtnl.link(&nic_end))
    }

    /// Makes sure of every card end, and says which index each interface's has. The
    /// switches of those in `tuned` are not looked at, but for those made since.
    async fn converge_cards(
        &self,
        plan: &VpcPlan,
        tuned: Option<(&VpcPlan, &BTreeSet<EniId>)>,
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
            let is_tuned = tuned.is_some_and(|(before, made)| {
                before.enis.iter().any(|old| old.eni == eni.eni) && !made.contains(&eni.eni)
            });
            if !is_tuned {
                switches.push(name);
            }
        }
        if !switches.is_empty() {
            let set = move || switches.iter().map(|name| sysctl::link(name)).sum();
            let changed: Result<usize, CardError> = self.netns.run(set).await?;
            work.adjusted += changed?;
        }
        Ok(cards)
    }

    /// The router has each subnet's IPv4 gateway address, and those of the VPC's
    /// services, on `lo`: whoever asks for one on whichever link gets an answer.
    /// In IPv6 a link answers for its own addresses only, so each card end has the
    /// gateway's, and the same link-local one.
    async fn converge_addresses(
        &self,
        plan: &VpcPlan,
        links: &[Link],
        cards: &BTreeMap<EniId, u32>,
    ) -> Result<usize, CardError> {
        let mut changed = 0;
        let Some(lo) = links.iter().find(|link| link.name == "lo") else {
            return Err(CardError::Disappeared("lo".to_owned()));
        };
        if !lo.up {
            self.rtnl.set_lo_up().await?;
            changed += 1;
        }
        let near_gateway = |eni: &EniPlan| {
            let subnet = plan.subnets.iter().find(|subnet| subnet.subnet == eni.subnet)?;
            subnet.ipv6_gateway
        };
        let on_cards: BTreeSet<IpAddr> =
            plan.subnets.iter().filter_map(|s| s.ipv6_gateway).map(IpAddr::V6).collect();
        let on_lo = plan.own_addresses().filter(|own| !on_cards.contains(own));
        let mut wanted: BTreeSet<(u32, IpNet)> = on_lo.map(|own| (lo.index, own.into())).collect();
        for eni in plan.enis.iter().filter(|eni| !eni.ipv6.is_empty()) {
            let Some(index) = cards.get(&eni.eni) else { continue };
            let near = [Some(LINK_LOCAL), near_gateway(eni)];
            wanted.extend(near.into_iter().flatten().map(|own| (*index, IpAddr::V6(own).into())));
        }
        let present = self.rtnl.addresses().await?;
        for (index, address) in &present {
            if !address.addr().is_loopback() && !wanted.contains(&(*index, *address)) {
                self.rtnl.delete_address(*index, *address).await?;
                changed += 1;
            }
        }
        let missing: Vec<_> = wanted.iter().filter(|wanted| !present.contains(wanted)).collect();
        let add = |(index, address): &&(u32, IpNet)| self.rtnl.add_address(*index, *address);
        try_join_all(missing.iter().map(add)).await?;
        changed += missing.len();
        Ok(changed)
    }

    /// The router never asks who has an address: it knows.
    async fn converge_neighbours(
        &self,
        plan: &VpcPlan,
        cards: &BTreeMap<EniId, u32>,
    ) -> Result<usize, CardError> {
        let mut changed = 0;
        let known = plan.enis.iter().filter_map(|eni| Some((*cards.get(&eni.eni)?, eni)));
        let wanted: BTreeSet<(u32, IpAddr, MacAddress)> = known
            .flat_map(|(index, eni)| eni.addresses().map(move |own| (index, own, eni.mac)))
            .collect();
        let present = self.rtnl.neighbours().await?;
        for (index, address, mac) in &present {
            let same =
                |other: &&(u32, IpAddr, MacAddress)| (other.0, other.1) == (*index, *address);
            if !wanted.iter().any(|wanted| same(&wanted)) {
                tracing::debug!(%address, %mac, "a neighbour is gone");
                self.rtnl.delete_neighbour(*index, *address).await?;
                changed += 1;
            }
        }
        let missing: Vec<_> = wanted.iter().filter(|wanted| !present.contains(wanted)).collect();
        let set = |(index, address, mac): &&(u32, IpAddr, MacAddress)| {
            self.rtnl.set_neighbour(*index, *address, *mac)
        };
        try_join_all(missing.iter().map(set)).await?;
        changed += missing.len();
        Ok(changed)
    }

    /// An interface may take all of its subnet to be on its own link, so its card
    /// end answers for every other address there. IPv4 has a switch for that; in
    /// IPv6 each is named.
    async fn converge_proxies(
        &self,
        plan: &VpcPlan,
        cards: &BTreeMap<EniId, u32>,
    ) -> Result<usize, CardError> {
        let mut changed = 0;
        let mut wanted = BTreeSet::new();
        for eni in plan.enis.iter().filter(|eni| !eni.ipv6.is_empty()) {
            let Some(index) = cards.get(&eni.eni) else { continue };
            let others = plan.enis.iter().filter(|other| other.subnet == eni.subnet);
            let others = others.filter(|other| other.eni != eni.eni);
            wanted.extend(
                others.flat_map(|other| {
                    other.ipv6.iter().map(|address| (*index, IpAddr::V6(*address)))
                }),
            );
        }
        let present: BTreeSet<(u32, IpAddr)> = self.rtnl.proxies().await?.into_iter().collect();
        let gone: Vec<_> = present.difference(&wanted).collect();
        let missing: Vec<_> = wanted.difference(&present).collect();
        let delete = |(index, address): &&(u32, IpAddr)| self.rtnl.delete_proxy(*index, *address);
        let add = |(index, address): &&(u32, IpAddr)| self.rtnl.add_proxy(*index, *address);
        try_join_all(gone.iter().map(delete)).await?;
        try_join_all(missing.iter().map(add)).await?;
        changed += gone.len() + missing.len();
        Ok(changed)
    }

    /// A route to each interface, and to everywhere else none, in silence, as on
    /// EC2. ARP is proxied along these routes and no others.
    async fn converge_routes(
        &self,
        plan: &VpcPlan,
        cards: &BTreeMap<EniId, u32>,
    ) -> Result<usize, CardError> {
        let mut changed = 0;
        let everywhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let nowhere = host::blocks(plan).chain(everywhere);
        let nowhere = nowhere.map(|destination| Route { destination, via: Via::Blackhole });
        let enis = plan.enis.iter().flat_map(|eni| {
            let index = cards.get(&eni.eni).copied();
            let via = index.map(|index| Via::Link { index, gateway: None });
            eni.addresses()
                .filter_map(move |own| Some(Route { destination: own.into(), via: via? }))
        });
        let wanted: BTreeSet<Route> = nowhere.chain(enis).collect();
        let present = self.rtnl.routes().await?;
        for (route, message) in &present {
            if !wanted.contains(route) {
                self.rtnl.delete_route(message.clone()).await?;
                changed += 1;
            }
        }
        let present: BTreeSet<Route> = present.into_iter().map(|(route, _)| route).collect();
        let missing: Vec<Route> = wanted.difference(&present).copied().collect();
        try_join_all(missing.iter().map(|route| self.rtnl.add_route(*route))).await?;
        changed += missing.len();
        Ok(changed)
    }

    /// What passed and what did not.
    pub(crate) async fn counters(&self) -> Result<BTreeMap<EniId, Counters>, CardError> {
        let mut counters = nft::counters(&self.netns).await?;
        let counted = self.fast_path.count(&mut counters);
        counted.map_err(|source| CardError::FastPath { source })?;
        Ok(counters)
    }

    /// Removes every interface. Both ends go, wherever the other one is, and
    /// nobody is connected any more, even if somebody keeps the namespace alive.
    pub(crate) async fn clear(&mut self, work: &mut Work) -> Result<(), CardError> {
        self.netns.run(sysctl::halt).await??;
        self.leaving.end().await;
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
