//! The host's namespace, where interfaces appear, and what the node itself gets
//! if one is its own: its addresses, and the VPC's blocks by way of the router.
//!
//! Moving a link from one namespace to another takes the kernel some 20 ms, so
//! the NIC end is made here at once, but under a hardware address by which
//! nobody looks for it ([`veiled`]). It gets its own when the router is ready.

use crate::error::CardError;
use crate::names;
use crate::netns::Netns;
use crate::rtnl::{Link, Route, Rtnl, Via, is_between_neighbours};
use ipnet::IpNet;
use net::mac::MacAddress;
use net::plan::{ENI_MTU, EniPlan, SubnetPlan, VpcPlan};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The host's namespace.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) netns: Netns,
    pub(crate) rtnl: Rtnl,
}

impl Host {
    /// Opens a conversation with the host's namespace.
    pub(crate) async fn open(netns: Netns) -> Result<Self, CardError> {
        let rtnl = Rtnl::connect(&netns).await?;
        Ok(Self { netns, rtnl })
    }

    /// The links of the host.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, CardError> {
        self.rtnl.links().await
    }

    /// Refuses a VPC whose addresses the machine uses for something else: its
    /// routes would take them away from there.
    pub(crate) async fn refuse_overlap(
        &self,
        eni: &EniPlan,
        vpc: &VpcPlan,
    ) -> Result<(), CardError> {
        let links = self.rtnl.links().await?;
        let own = nic_end(&links, eni).map(|link| link.index);
        let addresses = self.rtnl.addresses().await?;
        let on_links = addresses.iter().map(|(index, address)| (Some(*index), address.trunc()));
        let routes = self.rtnl.routes().await?;
        let destinations = routes.iter().map(|(route, _)| match route.via {
            Via::Link { index, .. } => (Some(index), route.destination),
            Via::Blackhole | Via::Other => (None, route.destination),
        });
        let foreign = on_links
            .chain(destinations)
            // The default route is for what is nowhere else.
            .filter(|(index, block)| block.prefix_len() > 0 && (index.is_none() || *index != own))
            .filter(|(_, block)| !is_between_neighbours(block));
        let blocks: Vec<IpNet> = blocks(vpc).collect();
        for (index, existing) in foreign {
            let overlaps = |block: &&IpNet| block.contains(&existing) || existing.contains(*block);
            if let Some(block) = blocks.iter().find(overlaps) {
                let link = links.iter().find(|link| Some(link.index) == index);
                let link = link.map_or_else(|| "no link".to_owned(), |link| link.name.clone());
                return Err(CardError::Overlap { block: *block, existing, link });
            }
        }
        Ok(())
    }

    /// Gives the node its interface, which is already here. Returns how much had
    /// to be changed.
    pub(crate) async fn converge(
        &self,
        eni: &EniPlan,
        subnet: &SubnetPlan,
        vpc: &VpcPlan,
    ) -> Result<usize, CardError> {
        let links = self.rtnl.links().await?;
        let link =
            nic_end(&links, eni).ok_or_else(|| CardError::Disappeared(eni.eni.to_string()))?;
        let mut changed = 0;
        if !link.up || link.mtu != ENI_MTU {
            self.rtnl.set_up(link).await?;
            changed += 1;
        }
        changed += self.converge_addresses(link, eni, subnet).await?;
        changed += self.converge_routes(link, subnet, vpc).await?;
        Ok(changed)
    }

    async fn converge_addresses(
        &self,
        link: &Link,
        eni: &EniPlan,
        subnet: &SubnetPlan,
    ) -> Result<usize, CardError> {
        let wanted = eni.addresses().map(|address| {
            let prefix = match address {
                // With the subnet's length, the kernel would take whichever of them
                // came first for the source of what leaves here, and the others for
                // its dependants, to be removed with it.
                IpAddr::V4(ipv4) if eni.ipv4 != Some(ipv4) => Some(32),
                IpAddr::V4(_) => subnet.cidr.map(|block| block.prefix_len()),
                IpAddr::V6(_) => subnet.ipv6_cidr.map(|block| block.prefix_len()),
            };
            IpNet::new(address, prefix?).ok()
        });
        let wanted: Option<BTreeSet<IpNet>> = wanted.collect();
        let wanted = wanted.ok_or(CardError::NoSubnet)?;
        let addresses = self.rtnl.addresses().await?;
        let own = addresses.iter().filter(|(index, _)| *index == link.index);
        let own: BTreeSet<IpNet> = own.map(|(_, address)| *address).collect();
        let mut changed = 0;
        // The link-local address is the kernel's own affair.
        let foreign = own.difference(&wanted).filter(|address| !is_between_neighbours(address));
        for address in foreign {
            self.rtnl.delete_address(link.index, *address).await?;
            changed += 1;
        }
        for address in wanted.difference(&own) {
            self.rtnl.add_address(link.index, *address).await?;
            changed += 1;
        }
        Ok(changed)
    }

    async fn converge_routes(
        &self,
        link: &Link,
        subnet: &SubnetPlan,
        vpc: &VpcPlan,
    ) -> Result<usize, CardError> {
        let gateways = [subnet.gateway.map(IpAddr::V4), subnet.ipv6_gateway.map(IpAddr::V6)];
        let via = |block: &IpNet| {
            let gateway = gateways.iter().flatten();
            let gateway = gateway.copied().find(|own| own.is_ipv4() == block.addr().is_ipv4())?;
            Some(Via::Link { index: link.index, gateway: Some(gateway) })
        };
        // The kernel makes the subnet's own routes with the addresses, but they can
        // get lost alone.
        let near = [subnet.cidr.map(IpNet::V4), subnet.ipv6_cidr.map(IpNet::V6)];
        let near: Vec<IpNet> = near.into_iter().flatten().collect();
        let on_link = near.iter().map(|block| Route {
            destination: *block,
            via: Via::Link { index: link.index, gateway: None },
        });
        let far = blocks(vpc).filter(|block| !near.contains(block));
        let far = far.filter_map(|block| Some(Route { destination: block, via: via(&block)? }));
        let wanted: Vec<Route> = on_link.chain(far).collect();
        let routes = self.rtnl.routes().await?;
        let mut changed = 0;
        // Somebody may have routed more through the VPC's router. That is theirs,
        // unless it looks like what we made of another plan.
        for (route, message) in &routes {
            let ours = Some(route.via) == via(&route.destination);
            if ours && !wanted.contains(route) && route.destination.prefix_len() >= 16 {
                self.rtnl.delete_route(message.clone()).await?;
                changed += 1;
            }
        }
        for route in wanted {
            if !routes.iter().any(|(existing, _)| *existing == route) {
                self.rtnl.add_route(route).await?;
                changed += 1;
            }
        }
        Ok(changed)
    }
}

/// The blocks of a VPC.
pub(crate) fn blocks(vpc: &VpcPlan) -> impl Iterator<Item = IpNet> {
    let v4 = vpc.cidrs.iter().map(|block| IpNet::V4(block.trunc()));
    v4.chain(vpc.ipv6_cidrs.iter().map(|block| IpNet::V6(block.trunc())))
}

/// The NIC end of an interface, among the links of a namespace. Whoever has it
/// may rename it, but the alias stays; only a crash leaves it without.
pub(crate) fn nic_end<'a>(links: &'a [Link], eni: &EniPlan) -> Option<&'a Link> {
    let name = names::nic_end(&eni.eni);
    links.iter().find(|link| match &link.alias {
        Some(alias) => alias == eni.eni.as_str(),
        None => link.name == name && (link.mac == Some(eni.mac) || is_veiled(link, eni)),
    })
}

/// Whether the NIC end still waits for its own hardware address.
pub(crate) fn is_veiled(nic_end: &Link, eni: &EniPlan) -> bool {
    nic_end.mac == Some(veiled(eni.mac))
}

/// The hardware address that the NIC end has before it may be used. It is
/// given, not random: programs on the host may replace random ones.
pub(crate) fn veiled(mac: MacAddress) -> MacAddress {
    let MacAddress(mut bytes) = mac;
    bytes[0] ^= 0x80;
    MacAddress(bytes)
}
