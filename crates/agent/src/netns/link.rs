//! Links, addresses and routes, by netlink.

use super::Error;
use crate::engine::Eni;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use tokio::task::JoinSet;

const EEXIST: i32 = 17;

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

/// Gives the link its name, addresses and routes. Its MTU is its maker's business.
pub(super) async fn configure(handle: &Handle, eni: &Eni) -> Result<(), Error> {
    let index = find(handle, &eni.mac).await?.ok_or_else(|| Error::NoLink(eni.mac.clone()))?;
    let v4 = eni.ipv4.iter().map(|(address, prefix)| (IpAddr::V4(*address), *prefix));
    let v6 = eni.ipv6.iter().map(|(address, prefix)| (IpAddr::V6(*address), *prefix));
    for (address, prefix) in v4.chain(v6) {
        let added = handle.address().add(index, address, prefix).execute().await;
        made(added).map_err(Error::netlink(format!("add the address {address}/{prefix}")))?;
    }
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(Error::netlink("bring up eth0"))?;
    if let Some(gateway) = eni.gateway_v4 {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        let added = handle.route().add(route).execute().await;
        made(added).map_err(Error::netlink(format!("route by {gateway}")))?;
    }
    if let Some(gateway) = eni.gateway_v6 {
        let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build();
        let added = handle.route().add(route).execute().await;
        made(added).map_err(Error::netlink(format!("route by {gateway}")))?;
    }
    Ok(())
}
