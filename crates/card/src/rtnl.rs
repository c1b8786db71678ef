//! A netlink conversation with one namespace: what is there, as values, and the
//! few changes that the card makes.

use crate::error::CardError;
use crate::netns::Netns;
use futures::{Stream, TryStreamExt};
use ipnet::Ipv4Net;
use net::mac::MacAddress;
use net::plan::ENI_MTU;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr};
use tokio::task::JoinSet;

/// The group of links that are about to be removed.
const DOOMED: u32 = 0x4c46;

/// A connection to the kernel that sees one namespace.
#[derive(Debug)]
pub(crate) struct Rtnl {
    handle: Handle,
    /// The task that moves messages. Should it die, every request fails.
    _speaker: JoinSet<()>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
}

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Net,
    pub(crate) via: Via,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Via {
    /// Nowhere, in silence.
    Blackhole,
    /// To a link, perhaps to a gateway on it.
    Link { index: u32, gateway: Option<Ipv4Addr> },
    /// Somewhere that the card never sends anything.
    Other,
}

impl Rtnl {
    /// Opens a conversation with `netns`.
    pub(crate) async fn connect(netns: &Netns) -> Result<Self, CardError> {
        let runtime = tokio::runtime::Handle::current();
        let opened = netns
            .run(move || {
                // The socket is made here, in the namespace, and watched by the
                // runtime, which is somewhere else.
                let _context = runtime.enter();
                rtnetlink::new_connection()
            })
            .await?;
        let (connection, handle, _unsolicited) = opened.map_err(|source| CardError::Netns {
            action: "talk to",
            path: netns.path().to_owned(),
            source,
        })?;
        let mut speaker = JoinSet::new();
        speaker.spawn(connection);
        Ok(Self { handle, _speaker: speaker })
    }

    /// All links.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, CardError> {
        let links = collect("list links", self.handle.link().get().execute()).await?;
        Ok(links.into_iter().map(link).collect())
    }

    /// Makes a veth pair: `near`, which is up and gets this index, here, and
    /// `far`, which is down and has the hardware address `mac`, in the namespace
    /// `there`.
    pub(crate) async fn add_pair(
        &self,
        near: &str,
        index: u32,
        far: &str,
        mac: MacAddress,
        there: &Netns,
    ) -> Result<(), CardError> {
        let far_end = LinkMessageBuilder::<LinkUnspec>::new()
            .name(far)
            .mtu(ENI_MTU)
            .address(mac.0.to_vec())
            .setns_by_fd(there.fd())
            .build();
        let pair = LinkVeth::new(near, far)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .mtu(ENI_MTU)
            .index(index)
            .up()
            .build();
        let made = self.handle.link().add(pair).execute().await;
        made.map_err(refused(|| format!("make the pair {near} and {far}")))
    }

    /// Says on a link whose it is.
    pub(crate) async fn set_alias(&self, name: &str, alias: &str) -> Result<(), CardError> {
        self.change(name, LinkUnspec::new_with_name(name).alias(alias).build()).await
    }

    /// Changes a link's hardware address.
    pub(crate) async fn set_mac(&self, link: &Link, mac: MacAddress) -> Result<(), CardError> {
        let message = LinkUnspec::new_with_index(link.index).address(mac.0.to_vec()).build();
        self.change(&link.name, message).await
    }

    /// Brings a link up, with the MTU of an interface.
    pub(crate) async fn set_up(&self, link: &Link) -> Result<(), CardError> {
        let up = LinkUnspec::new_with_index(link.index).mtu(ENI_MTU).up().build();
        self.change(&link.name, up).await
    }

    /// Brings up `lo`.
    pub(crate) async fn set_lo_up(&self) -> Result<(), CardError> {
        self.change("lo", LinkUnspec::new_with_name("lo").up().build()).await
    }

    async fn change(&self, name: &str, message: LinkMessage) -> Result<(), CardError> {
        let changed = self.handle.link().set(message).execute().await;
        changed.map_err(refused(|| format!("change the link {name}")))
    }

    /// Removes links, and with each the other end of its pair; one that is gone
    /// already is no trouble.
    ///
    /// The kernel takes some 15 ms to be sure that nobody uses a link any more,
    /// and as long for a whole group of them.
    pub(crate) async fn delete_links(&self, links: &[Link]) -> Result<(), CardError> {
        let mut request = self.handle.link().del(0);
        match links {
            [] => return Ok(()),
            [link] => request.message_mut().header.index = link.index,
            several => {
                for link in several {
                    let doomed = LinkUnspec::new_with_index(link.index).link_group(DOOMED).build();
                    unless_gone(self.change(&link.name, doomed).await)?;
                }
                request.message_mut().attributes.push(LinkAttribute::Group(DOOMED));
            }
        }
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let deleted = request.execute().await;
        unless_gone(deleted.map_err(refused(|| format!("remove {}", names.join(", ")))))
    }

    /// All IPv4 addresses, with the index of the link each is on.
    pub(crate) async fn addresses(&self) -> Result<Vec<(u32, Ipv4Net)>, CardError> {
        let addresses = collect("list addresses", self.handle.address().get().execute()).await?;
        Ok(addresses.iter().filter_map(address).collect())
    }

    /// Adds an address to a link.
    pub(crate) async fn add_address(&self, index: u32, address: Ipv4Net) -> Result<(), CardError> {
        let host = IpAddr::V4(address.addr());
        let added = self.handle.address().add(index, host, address.prefix_len()).execute().await;
        added.map_err(refused(|| format!("add the address {address}")))
    }

    /// Takes an address from a link.
    pub(crate) async fn delete_address(
        &self,
        index: u32,
        address: Ipv4Net,
    ) -> Result<(), CardError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address.addr())));
        let gone = self.handle.address().del(message).execute().await;
        gone.map_err(refused(|| format!("remove the address {address}")))
    }

    /// The IPv4 routes of the main table, each with what names it to the kernel.
    pub(crate) async fn routes(&self) -> Result<Vec<(Route, RouteMessage)>, CardError> {
        let every = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes = collect("list routes", self.handle.route().get(every).execute()).await?;
        let main = routes.into_iter().filter(in_main_table);
        Ok(main.filter_map(|message| Some((route(&message)?, message))).collect())
    }

    /// Adds a route.
    pub(crate) async fn add_route(&self, route: Route) -> Result<(), CardError> {
        use rtnetlink::packet_route::route::RouteScope;
        let to = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination.addr(), route.destination.prefix_len());
        let message = match route.via {
            Via::Blackhole => to.kind(RouteType::BlackHole).build(),
            Via::Link { index, gateway: None } => {
                to.scope(RouteScope::Link).output_interface(index).build()
            }
            Via::Link { index, gateway: Some(gateway) } => {
                to.output_interface(index).gateway(gateway).build()
            }
            Via::Other => return Ok(()),
        };
        let added = self.handle.route().add(message).execute().await;
        added.map_err(refused(|| format!("add the route to {}", route.destination)))
    }

    /// Removes a route that [`Rtnl::routes`] found.
    pub(crate) async fn delete_route(&self, message: RouteMessage) -> Result<(), CardError> {
        let gone = self.handle.route().del(message).execute().await;
        gone.map_err(refused(|| "remove a route".to_owned()))
    }

    /// The permanent IPv4 neighbours: link, address, hardware address.
    pub(crate) async fn neighbours(&self) -> Result<Vec<(u32, Ipv4Addr, MacAddress)>, CardError> {
        let request = self.handle.neighbours().get().set_address_family(AddressFamily::Inet);
        let neighbours = collect("list neighbours", request.execute()).await?;
        Ok(neighbours.iter().filter_map(neighbour).collect())
    }

    /// Makes `address` permanently known as `mac` on a link.
    pub(crate) async fn set_neighbour(
        &self,
        index: u32,
        address: Ipv4Addr,
        mac: MacAddress,
    ) -> Result<(), CardError> {
        let request = self.handle.neighbours().add(index, IpAddr::V4(address));
        let request = request.link_layer_address(&mac.0).state(NeighbourState::Permanent);
        let set = request.replace().execute().await;
        set.map_err(refused(|| format!("make the neighbour {address} known")))
    }

    /// Forgets a neighbour.
    pub(crate) async fn delete_neighbour(
        &self,
        index: u32,
        address: Ipv4Addr,
    ) -> Result<(), CardError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index;
        let destination = NeighbourAttribute::Destination(NeighbourAddress::Inet(address));
        message.attributes.push(destination);
        let gone = self.handle.neighbours().del(message).execute().await;
        gone.map_err(refused(|| format!("forget the neighbour {address}")))
    }
}

async fn collect<T>(
    action: &str,
    items: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, CardError> {
    items.try_collect().await.map_err(refused(|| action.to_owned()))
}

fn unless_gone(result: Result<(), CardError>) -> Result<(), CardError> {
    match result {
        Err(CardError::Netlink { source: rtnetlink::Error::NetlinkError(error), .. })
            if error.raw_code() == -libc::ENODEV =>
        {
            Ok(())
        }
        other => other,
    }
}

fn refused(action: impl FnOnce() -> String) -> impl FnOnce(rtnetlink::Error) -> CardError {
    |source| CardError::Netlink { action: action(), source }
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: None,
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name = name;
        } else if let LinkAttribute::IfAlias(alias) = attribute {
            link.alias = Some(alias);
        } else if let LinkAttribute::Address(bytes) = attribute {
            link.mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddress);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = mtu;
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<(u32, Ipv4Net)> {
    let local = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Local(IpAddr::V4(local)) = attribute { Some(*local) } else { None }
    })?;
    Some((message.header.index, Ipv4Net::new(local, message.header.prefix_len).ok()?))
}

fn in_main_table(message: &RouteMessage) -> bool {
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    let table = message.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Table(table) = attribute { Some(*table) } else { None }
    });
    table.unwrap_or_else(|| message.header.table.into()) == main
}

fn route(message: &RouteMessage) -> Option<Route> {
    if message.header.address_family != AddressFamily::Inet {
        return None;
    }
    let (mut to, mut index, mut gateway) = (Ipv4Addr::UNSPECIFIED, None, None);
    let mut strange = false;
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            to = *address;
        } else if let RouteAttribute::Oif(oif) = attribute {
            index = Some(*oif);
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
            gateway = Some(*address);
        } else if let RouteAttribute::MultiPath(_) = attribute {
            strange = true;
        }
    }
    let via = match (message.header.kind, index) {
        (RouteType::BlackHole, _) => Via::Blackhole,
        (RouteType::Unicast, Some(index)) if !strange => Via::Link { index, gateway },
        _ => Via::Other,
    };
    let destination = Ipv4Net::new(to, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, via })
}

fn neighbour(message: &NeighbourMessage) -> Option<(u32, Ipv4Addr, MacAddress)> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(destination)) = attribute {
            address = Some(*destination);
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddress);
        }
    }
    Some((message.header.ifindex, address?, mac?))
}
