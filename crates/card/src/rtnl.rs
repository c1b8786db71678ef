//! A netlink conversation with one namespace: what is there, as values, and the
//! few changes that the card makes.

use crate::error::CardError;
use crate::netns::Netns;
use futures::{Stream, TryStreamExt};
use ipnet::IpNet;
use net::mac::MacAddress;
use net::plan::ENI_MTU;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::io;
use std::net::IpAddr;
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
    pub(crate) destination: IpNet,
    pub(crate) via: Via,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Via {
    /// Nowhere, in silence.
    Blackhole,
    /// To a link, perhaps to a gateway on it.
    Link { index: u32, gateway: Option<IpAddr> },
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
                Self::open()
            })
            .await?;
        opened.map_err(|source| CardError::Netns {
            action: "talk to",
            path: netns.path().to_owned(),
            source,
        })
    }

    /// For what only one place says to the kernel.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Opens a conversation with the namespace of the calling thread, in a runtime.
    fn open() -> io::Result<Self> {
        let (connection, handle, _unsolicited) = rtnetlink::new_connection()?;
        let mut speaker = JoinSet::new();
        speaker.spawn(connection);
        Ok(Self { handle, _speaker: speaker })
    }

    /// All links.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, CardError> {
        // Without what they have counted: it is most of what there is to a link.
        let lean = vec![LinkExtentMask::SkipStats];
        let request = self.handle.link().get().set_filter_mask(AddressFamily::Unspec, lean);
        let links = collect("list links", request.execute()).await?;
        Ok(links.into_iter().map(link).collect())
    }

    /// The link of this name.
    pub(crate) async fn link(&self, name: &str) -> Result<Link, CardError> {
        let request = self.handle.link().get().match_name(name);
        let links = collect("look at a link", request.execute()).await?;
        let found = links.into_iter().next().map(link);
        found.ok_or_else(|| CardError::Disappeared(name.to_owned()))
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

    /// Takes a link down, and with it the carrier of its other end, the routes that lead
    /// to it and the neighbours behind it; one that is gone already is no trouble.
    pub(crate) async fn set_down(&self, link: &Link) -> Result<(), CardError> {
        let down = LinkUnspec::new_with_index(link.index).down().build();
        unless_gone(self.change(&link.name, down).await)
    }

    /// Brings up `lo`.
    pub(crate) async fn set_lo_up(&self) -> Result<(), CardError> {
        self.change("lo", LinkUnspec::new_with_name("lo").up().build()).await
    }

    async fn change(&self, name: &str, message: LinkMessage) -> Result<(), CardError> {
        let changed = self.handle.link().set(message).execute().await;
        changed.map_err(refused(|| format!("change the link {name}")))
    }

    /// Removes links of the calling thread's namespace, and with each the other end
    /// of its pair, and waits until the kernel has quite done with them; one that is
    /// gone already is no trouble.
    pub(crate) fn delete_links(links: &[Link]) -> Result<(), CardError> {
        let failed = |source: io::Error| CardError::Netns {
            action: "remove links of",
            path: "/proc/thread-self/ns/net".into(),
            source,
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().build().map_err(failed)?;
        let context = runtime.enter();
        let rtnl = Self::open().map_err(failed)?;
        drop(context);
        runtime.block_on(rtnl.delete(links))
    }

    async fn delete(&self, links: &[Link]) -> Result<(), CardError> {
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

    /// All addresses, with the index of the link each is on.
    pub(crate) async fn addresses(&self) -> Result<Vec<(u32, IpNet)>, CardError> {
        let addresses = collect("list addresses", self.handle.address().get().execute()).await?;
        Ok(addresses.iter().filter_map(address).collect())
    }

    /// Adds an address to a link. It may be used at once: nobody is asked whether
    /// it is taken, for the plan says that it is not.
    pub(crate) async fn add_address(&self, index: u32, address: IpNet) -> Result<(), CardError> {
        let request = self.handle.address().add(index, address.addr(), address.prefix_len());
        let mut request = request;
        if address.addr().is_ipv6() {
            // Routes are the plan's too, and not what the kernel thinks follows.
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            request.message_mut().attributes.push(AddressAttribute::Flags(flags));
        }
        let added = request.execute().await;
        added.map_err(refused(|| format!("add the address {address}")))
    }

    /// Takes an address from a link.
    pub(crate) async fn delete_address(&self, index: u32, address: IpNet) -> Result<(), CardError> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.attributes.push(AddressAttribute::Local(address.addr()));
        let gone = self.handle.address().del(message).execute().await;
        gone.map_err(refused(|| format!("remove the address {address}")))
    }

    /// The routes of the main tables, each with what names it to the kernel; those
    /// that every link has by itself are left out.
    pub(crate) async fn routes(&self) -> Result<Vec<(Route, RouteMessage)>, CardError> {
        let every = RouteMessage::default();
        let routes = collect("list routes", self.handle.route().get(every).execute()).await?;
        let main = routes.into_iter().filter(in_main_table);
        let routes = main.filter_map(|message| Some((route(&message)?, message)));
        Ok(routes.filter(|(route, _)| !is_between_neighbours(&route.destination)).collect())
    }

    /// Adds a route.
    pub(crate) async fn add_route(&self, route: Route) -> Result<(), CardError> {
        use rtnetlink::packet_route::route::RouteScope;
        let (block, prefix) = (route.destination.addr(), route.destination.prefix_len());
        let refuse = |error: &dyn std::fmt::Display| CardError::Route {
            route: route.destination.to_string(),
            source: io::Error::other(error.to_string()),
        };
        let to = RouteMessageBuilder::<IpAddr>::new();
        let to = to.destination_prefix(block, prefix).map_err(|error| refuse(&error))?;
        let message = match route.via {
            Via::Blackhole => to.kind(RouteType::BlackHole).build(),
            Via::Link { index, gateway: None } => {
                to.scope(RouteScope::Link).output_interface(index).build()
            }
            Via::Link { index, gateway: Some(gateway) } => {
                to.output_interface(index).gateway(gateway).map_err(|error| refuse(&error))?.build()
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

    /// The permanent neighbours: link, address, hardware address.
    pub(crate) async fn neighbours(&self) -> Result<Vec<(u32, IpAddr, MacAddress)>, CardError> {
        let request = self.handle.neighbours().get();
        let neighbours = collect("list neighbours", request.execute()).await?;
        Ok(neighbours.iter().filter_map(neighbour).collect())
    }

    /// Makes `address` permanently known as `mac` on a link.
    pub(crate) async fn set_neighbour(
        &self,
        index: u32,
        address: IpAddr,
        mac: MacAddress,
    ) -> Result<(), CardError> {
        let request = self.handle.neighbours().add(index, address);
        let request = request.link_layer_address(&mac.0).state(NeighbourState::Permanent);
        let set = request.replace().execute().await;
        set.map_err(refused(|| format!("make the neighbour {address} known")))
    }

    /// Forgets a neighbour.
    pub(crate) async fn delete_neighbour(
        &self,
        index: u32,
        address: IpAddr,
    ) -> Result<(), CardError> {
        self.delete_neighbour_of(index, address, NeighbourFlags::empty()).await
    }

    /// For which addresses the kernel answers on a link in place of who has them.
    pub(crate) async fn proxies(&self) -> Result<Vec<(u32, IpAddr)>, CardError> {
        let request = self.handle.neighbours().get().proxies();
        let proxies = collect("list the proxied neighbours", request.execute()).await?;
        let answered_for = |message: &NeighbourMessage| {
            let address = destination(message).filter(|_| {
                // A kernel without proxies lists the others.
                message.header.flags.contains(NeighbourFlags::Proxy)
            });
            Some((message.header.ifindex, address?))
        };
        Ok(proxies.iter().filter_map(answered_for).collect())
    }

    /// Makes the kernel answer on a link for `address`.
    pub(crate) async fn add_proxy(&self, index: u32, address: IpAddr) -> Result<(), CardError> {
        let request = self.handle.neighbours().add(index, address);
        let request = request.flags(NeighbourFlags::Proxy).replace();
        let added = request.execute().await;
        added.map_err(refused(|| format!("answer for {address}")))
    }

    /// Makes the kernel answer on a link for `address` no more.
    pub(crate) async fn delete_proxy(&self, index: u32, address: IpAddr) -> Result<(), CardError> {
        self.delete_neighbour_of(index, address, NeighbourFlags::Proxy).await
    }

    async fn delete_neighbour_of(
        &self,
        index: u32,
        address: IpAddr,
        flags: NeighbourFlags,
    ) -> Result<(), CardError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = index;
        message.header.flags = flags;
        let destination = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        message.attributes.push(NeighbourAttribute::Destination(destination));
        let gone = self.handle.neighbours().del(message).execute().await;
        gone.map_err(refused(|| format!("forget the neighbour {address}")))
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// Whether a block is of the addresses that IPv6 has on every link.
pub(crate) fn is_between_neighbours(block: &IpNet) -> bool {
    match block.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => {
            (address.is_unicast_link_local() || address.is_multicast()) && block.prefix_len() > 0
        }
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

pub(crate) fn refused(
    action: impl FnOnce() -> String,
) -> impl FnOnce(rtnetlink::Error) -> CardError {
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

fn address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            local = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            peer = Some(*address);
        }
    }
    // IPv6 has the address where IPv4 has the peer's, and the other only if there
    // is a peer.
    let address = local.or(peer)?;
    Some((message.header.index, IpNet::new(address, message.header.prefix_len).ok()?))
}

fn in_main_table(message: &RouteMessage) -> bool {
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    let table = message.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Table(table) = attribute { Some(*table) } else { None }
    });
    table.unwrap_or_else(|| message.header.table.into()) == main
}

fn route(message: &RouteMessage) -> Option<Route> {
    let ip = |address: &RouteAddress| {
        if let RouteAddress::Inet(address) = address {
            Some(IpAddr::V4(*address))
        } else if let RouteAddress::Inet6(address) = address {
            Some(IpAddr::V6(*address))
        } else {
            None
        }
    };
    let mut to = if message.header.address_family == AddressFamily::Inet {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    } else if message.header.address_family == AddressFamily::Inet6 {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    } else {
        return None;
    };
    let (mut index, mut gateway) = (None, None);
    let mut strange = false;
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(address) = attribute {
            to = ip(address)?;
        } else if let RouteAttribute::Oif(oif) = attribute {
            index = Some(*oif);
        } else if let RouteAttribute::Gateway(address) = attribute {
            gateway = ip(address);
        } else if let RouteAttribute::MultiPath(_) = attribute {
            strange = true;
        }
    }
    let via = match (message.header.kind, index) {
        (RouteType::BlackHole, _) => Via::Blackhole,
        (RouteType::Unicast, Some(index)) if !strange => Via::Link { index, gateway },
        _ => Via::Other,
    };
    let destination = IpNet::new(to, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, via })
}

fn neighbour(message: &NeighbourMessage) -> Option<(u32, IpAddr, MacAddress)> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let mac = message.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::LinkLayerAddress(bytes) = attribute else { return None };
        <[u8; 6]>::try_from(bytes.as_slice()).ok()
    });
    Some((message.header.ifindex, destination(message)?, MacAddress(mac?)))
}

fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::Destination(destination) = attribute else { return None };
        if let NeighbourAddress::Inet(address) = destination {
            Some(IpAddr::V4(*address))
        } else if let NeighbourAddress::Inet6(address) = destination {
            Some(IpAddr::V6(*address))
        } else {
            None
        }
    })
}
