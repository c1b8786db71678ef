//! What the node itself gets, if an interface is its own: the address, and the
//! VPC's blocks by way of the router. For a task's interface there is nothing to
//! do here but to see whether it is still waiting.

use crate::error::CardError;
use crate::netns::Netns;
use crate::rtnl::{Link, Route, Rtnl, Via};
use ident::EniId;
use ipnet::Ipv4Net;
use net::plan::{ENI_MTU, EniPlan, SubnetPlan, VpcPlan};

/// The host's namespace.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) netns: Netns,
    rtnl: Rtnl,
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
        let own = nic_end(&links, &eni.eni).map(|link| link.index);
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
            nic_end(&links, &eni.eni).ok_or_else(|| CardError::Disappeared(eni.eni.to_string()))?;
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
        // The kernel has routed the subnet itself, on the link, with the address.
        let blocks = vpc.cidrs.iter().filter(|block| **block != subnet.cidr);
        let wanted: Vec<Route> =
            blocks.map(|block| Route { destination: block.trunc(), via }).collect();
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
/// may rename it, but the alias stays.
pub(crate) fn nic_end<'a>(links: &'a [Link], eni: &EniId) -> Option<&'a Link> {
    links.iter().find(|link| link.alias.as_deref() == Some(eni.as_str()))
}
