//! Links, addresses and routes, by netlink.

use super::Error;
use crate::engine::Eni;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, MulticastGroup, RouteMessageBuilder};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use tokio::task::JoinSet;

const EEXIST: i32 = 17;
const ENODEV: i32 = 19;

/// A netlink socket, with the task that reads it.
pub(super) struct Socket {
    handle: Handle,
    /// Ends with us.
    _connection: JoinSet<()>,
}

impl std::ops::Deref for Socket {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// A socket in the namespace of this thread.
pub(super) fn open() -> Result<Socket, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Socket)?;
    let mut reader = JoinSet::new();
    reader.spawn(connection);
    Ok(Socket { handle, _connection: reader })
}

/// What is there already is as good as made.
fn made(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code().abs() == EEXIST => Ok(()),
        other => other,
    }
}

/// Brings up the loopback, with one more address.
pub(super) async fn loopback(handle: &Handle, extra: Ipv4Addr) -> Result<(), Error> {
    // In every namespace it is the first.
    let up = LinkUnspec::new_with_index(1).up().build();
    let failed = || Error::netlink("bring up the loopback");
    handle.link().set(up).execute().await.map_err(failed())?;
    let added = handle.address().add(1, IpAddr::V4(extra), 32).execute().await;
    made(added).map_err(failed())
}

#[allow(clippy::wildcard_enum_match_arm)] // Sixty attributes, of which one matters.
fn mac_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => {
            let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(parts.join(":"))
        }
        _ => None,
    })
}

/// The index of the link with this MAC.
pub(super) async fn find(handle: &Handle, mac: &str) -> Result<Option<u32>, Error> {
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await.map_err(Error::netlink("list links"))? {
        if mac_of(&link).as_deref() == Some(mac) {
            return Ok(Some(link.header.index));
        }
    }
    Ok(None)
}

/// Waits for the link with this MAC to appear on the host, and moves it away.
pub(super) async fn bring_in(mac: &str, namespace: &File) -> Result<(), Error> {
    // Listening before looking: what appears in between is heard.
    let (connection, handle, mut news) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(Error::Socket)?;
    let mut reader = JoinSet::new();
    reader.spawn(connection);
    let index = match find(&handle, mac).await? {
        Some(index) => index,
        None => appears(&mut news, mac).await?,
    };
    let fd = namespace.as_raw_fd();
    let there = LinkUnspec::new_with_index(index).setns_by_fd(fd).name("eth0").build();
    let moved = handle.link().set(there).execute().await;
    moved.map_err(Error::netlink(format!("move the link {mac} into the namespace")))
}

type News = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

async fn appears(news: &mut News, mac: &str) -> Result<u32, Error> {
    while let Some((message, _)) = news.next().await {
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload
            && mac_of(&link).as_deref() == Some(mac)
        {
            return Ok(link.header.index);
        }
    }
    Err(Error::NoLink(mac.to_owned()))
}

/// What a namespace has beside its loopback.
#[derive(Clone, Debug, Default)]
pub(super) struct Nic {
    /// In lower case with colons.
    pub(super) mac: String,
    /// Addresses with the lengths of their blocks.
    pub(super) v4: Vec<(Ipv4Addr, u8)>,
    pub(super) v6: Vec<(Ipv6Addr, u8)>,
    /// Where default routes go.
    pub(super) gateway_v4: Option<Ipv4Addr>,
    pub(super) gateway_v6: Option<Ipv6Addr>,
}

impl From<&Eni> for Nic {
    fn from(eni: &Eni) -> Self {
        Self {
            mac: eni.mac.clone(),
            v4: eni.ipv4.clone(),
            v6: eni.ipv6.clone(),
            gateway_v4: eni.gateway_v4,
            gateway_v6: eni.gateway_v6,
        }
    }
}

/// The index of the link of this name.
async fn named(handle: &Handle, name: &str) -> Result<Option<u32>, Error> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    match found.try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code().abs() == ENODEV => Ok(None),
        Err(error) => Err(Error::netlink(format!("find the link {name}"))(error)),
    }
}

/// Makes a bridge of this name, unless it is there, with an address of its own, and
/// returns its index. Its hardware address is given, or it would change with what
/// hangs on it.
pub(super) async fn bridge(
    handle: &Handle,
    name: &str,
    (address, length): (Ipv4Addr, u8),
    mac: &[u8; 6],
) -> Result<u32, Error> {
    let failed = || Error::netlink(format!("make the bridge {name}"));
    if named(handle, name).await?.is_none() {
        let link = LinkBridge::new(name).address(mac.to_vec()).build();
        made(handle.link().add(link).execute().await).map_err(failed())?;
    }
    let index = named(handle, name).await?.ok_or_else(|| Error::NoLink(name.to_owned()))?;
    let added = handle.address().add(index, IpAddr::V4(address), length).execute().await;
    made(added).map_err(failed())?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(failed())?;
    Ok(index)
}

/// Makes a pair of links, unless it is there: `outside` on the bridge, and `eth0` in
/// the namespace. It is made where it belongs, since moving a link takes long.
pub(super) async fn pair(
    handle: &Handle,
    outside: &str,
    bridge: u32,
    mac: &[u8; 6],
    namespace: &File,
) -> Result<(), Error> {
    let failed = || Error::netlink(format!("make the link {outside}"));
    if named(handle, outside).await?.is_none() {
        let inside = LinkVeth::new("eth0", outside);
        let inside = inside.address(mac.to_vec()).setns_by_fd(namespace.as_raw_fd());
        made(handle.link().add(inside.build()).execute().await).map_err(failed())?;
    }
    let index = named(handle, outside).await?.ok_or_else(|| Error::NoLink(outside.to_owned()))?;
    let hung = LinkUnspec::new_with_index(index).controller(bridge).up().build();
    handle.link().set(hung).execute().await.map_err(failed())
}

/// Removes the link of this name, if there is one, and says whether there was.
pub(super) async fn remove(handle: &Handle, name: &str) -> Result<bool, Error> {
    let Some(index) = named(handle, name).await? else { return Ok(false) };
    match handle.link().del(index).execute().await {
        // It went with its other end.
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code().abs() == ENODEV => Ok(true),
        Err(error) => Err(Error::netlink(format!("remove the link {name}"))(error)),
        Ok(()) => Ok(true),
    }
}

/// Gives the link its name, addresses and routes. Its MTU is its maker's business.
pub(super) async fn configure(handle: &Handle, nic: &Nic) -> Result<(), Error> {
    let index = find(handle, &nic.mac).await?.ok_or_else(|| Error::NoLink(nic.mac.clone()))?;
    let v4 = nic.v4.iter().map(|(address, prefix)| (IpAddr::V4(*address), *prefix));
    let v6 = nic.v6.iter().map(|(address, prefix)| (IpAddr::V6(*address), *prefix));
    for (address, prefix) in v4.chain(v6) {
        let added = handle.address().add(index, address, prefix).execute().await;
        made(added).map_err(Error::netlink(format!("add the address {address}/{prefix}")))?;
    }
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(Error::netlink("bring up eth0"))?;
    if let Some(gateway) = nic.gateway_v4 {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        let added = handle.route().add(route).execute().await;
        made(added).map_err(Error::netlink(format!("route by {gateway}")))?;
    }
    if let Some(gateway) = nic.gateway_v6 {
        let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build();
        let added = handle.route().add(route).execute().await;
        made(added).map_err(Error::netlink(format!("route by {gateway}")))?;
    }
    Ok(())
}
