//! The host's namespace, where interfaces appear, and what the node itself gets
//! if one is its own: the address, and the VPC's blocks by way of the router.
//!
//! Moving a link from one namespace to another takes the kernel some 20 ms, so
//! the NIC end is made here at once, but under a hardware address by which
//! nobody looks for it ([`veiled`]). It gets its own when the router is ready.

use crate::error::CardError;
use crate::names;
use crate::netns::Netns;
use crate::rtnl::{Link, Route, Rtnl, Via};
use ipnet::Ipv4Net;
use net::mac::MacAddress;
use net::plan::{ENI_MTU, EniPlan, SubnetPlan, VpcPlan};

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
            .filter(|(index, block)| block.prefix_len() > 0 && (index.is_none() || *index != own));
        for (index, existing) in foreign {
            let overlaps =
                |block: &&Ipv4Net| block.contains(&existing) || existing.contains(*block);
            if let Some(block) = vpc.cidrs.iter().find(overlaps) {
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
        changed += self.converge_address(link, eni, subnet).await?;
        changed += self.converge_routes(link, subnet, vpc).await?;
        Ok(changed)
    }

    async fn converge_address(
        &self,
        link: &Link,
        eni: &EniPlan,
        subnet: &SubnetPlan,
    ) -> Result<usize, CardError> {
        let Ok(wanted) = Ipv4Net::new(eni.ipv4, subnet.cidr.prefix_len()) else {
            return Err(CardError::NoSubnet);
        };
        let addresses = self.rtnl.addresses().await?;
        let mut changed = 0;
        for (index, address) in &addresses {
            if *index == link.index && *address != wanted {
                self.rtnl.delete_address(*index, *address).await?;
                changed += 1;
            }
        }
        if !addresses.contains(&(link.index, wanted)) {
            self.rtnl.add_address(link.index, wanted).await?;
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
        let via = Via::Link { index: link.index, gateway: Some(subnet.gateway) };
        // The kernel makes the subnet's own route with the address, but it can get
        // lost alone.
        let on_link =
            Route { destination: subnet.cidr, via: Via::Link { index: link.index, gateway: None } };
        let blocks = vpc.cidrs.iter().filter(|block| **block != subnet.cidr);
        let blocks = blocks.map(|block| Route { destination: block.trunc(), via });
        let wanted: Vec<Route> = std::iter::once(on_link).chain(blocks).collect();
        let routes = self.rtnl.routes().await?;
        let mut changed = 0;
        // Somebody may have routed more through the VPC's router. That is theirs,
        // unless it looks like what we made of another plan.
        for (route, message) in &routes {
            if route.via == via && !wanted.contains(route) && route.destination.prefix_len() >= 16 {
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
