//! The router advertises itself to interfaces that have IPv6.
//!
//! An ECS agent gives a dual-stack task its addresses and no IPv6 gateway; the
//! task's kernel asks for a router, and takes the one that answers. What it takes
//! stays good for hours, so a card that is away for a while is not missed.

use crate::error::CardError;
use crate::netns::Netns;
use net::mac::MacAddress;
use net::plan::ENI_MTU;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv6MulticastHops, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6,
    recvmsg, sendto, setsockopt, socket,
};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// How long what was advertised is good, in seconds: as long as RFC 4861 allows.
const LIFETIME: u16 = 9000;
/// How often it is said unasked.
const PERIOD: Duration = Duration::from_mins(10);
/// Neighbours must come from the link itself: a router would have counted down.
const HOPS: i32 = 255;

/// The links to advertise on, by their indices, with their hardware addresses.
pub(crate) type Links = BTreeMap<u32, MacAddress>;

/// The voice of one router.
#[derive(Debug)]
pub(crate) struct Advertiser {
    links: watch::Sender<Links>,
    /// Ends with this value.
    speaker: JoinSet<()>,
}

impl Advertiser {
    /// Begins to listen in a router, with nothing to say yet.
    pub(crate) async fn open(netns: &Netns) -> Result<Self, CardError> {
        let runtime = tokio::runtime::Handle::current();
        let opened = netns
            .run(move || {
                let _context = runtime.enter();
                open()
            })
            .await?;
        let socket = opened.map_err(|source| CardError::Netns {
            action: "advertise in",
            path: netns.path().to_owned(),
            source,
        })?;
        let (links, heard) = watch::channel(Links::new());
        let mut speaker = JoinSet::new();
        speaker.spawn(speak(socket, heard));
        Ok(Self { links, speaker })
    }

    /// Advertises on these links from now on, and on new ones at once.
    pub(crate) fn advertise_on(&self, links: Links) {
        self.links.send_if_modified(|current| {
            let changed = *current != links;
            *current = links;
            changed
        });
    }

    /// Whether it speaks no more, after an error.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.speaker.try_join_next().is_some() || self.speaker.is_empty()
    }
}

/// Opens a raw socket. The runtime has no name for these; what it knows as a
/// socket for datagrams waits in the same way.
fn open() -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
    setsockopt(&socket, Ipv6MulticastHops, &HOPS)?;
    setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    UdpSocket::from_std(socket.into())
}

async fn speak(socket: UdpSocket, mut links: watch::Receiver<Links>) {
    let mut timer = interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => advertise(&socket, &links.borrow_and_update()),
            changed = links.changed() => {
                if changed.is_err() {
                    return;
                }
                advertise(&socket, &links.borrow_and_update());
            }
            ready = socket.readable() => {
                let heard = ready.and_then(|()| {
                    socket.try_io(Interest::READABLE, || Ok(hear(&socket)?))
                });
                match heard {
                    Ok(Some(index)) => {
                        let asked = links.borrow().get(&index).map(|mac| (index, *mac));
                        advertise(&socket, &asked.into_iter().collect());
                    }
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        tracing::warn!(%error, "nobody hears who asks for a router");
                        return;
                    }
                }
            }
        }
    }
}

/// Takes in one message, and says on which link it asks for a router, if it does.
fn hear(socket: &UdpSocket) -> Result<Option<u32>, Errno> {
    let mut kind = [0; 1];
    let mut control = cmsg_space!(libc::in6_pktinfo);
    let mut vectors = [IoSliceMut::new(&mut kind)];
    let descriptor = socket.as_raw_fd();
    let message =
        recvmsg::<SockaddrIn6>(descriptor, &mut vectors, Some(&mut control), MsgFlags::empty())?;
    let link = message.cmsgs()?.find_map(|control| {
        let ControlMessageOwned::Ipv6PacketInfo(info) = control else { return None };
        Some(info.ipi6_ifindex)
    });
    Ok(link.filter(|_| kind == [SOLICITATION]))
}

/// Says on each link that there is a router.
fn advertise(socket: &UdpSocket, links: &Links) {
    for (index, mac) in links {
        let to = SockaddrIn6::from(SocketAddrV6::new(ALL_NODES, 0, 0, *index));
        let message = advertisement(*mac);
        let sent = sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty());
        if let Err(error) = sent {
            // A link that is going; whoever is behind it asks again, if it is not.
            tracing::debug!(%error, link = index, "the router was not advertised");
        }
    }
}

/// The message; the kernel fills in the checksum.
fn advertisement(mac: MacAddress) -> Vec<u8> {
    let (source_link, one_unit, mtu, hop_limit) = (1, 1, 5, 64);
    // No flags: there is nothing to be had by DHCP, and no address to be made up.
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, hop_limit, 0];
    message.extend(LIFETIME.to_be_bytes());
    // How long neighbours are reachable and how often to ask: as everybody likes.
    message.extend([0; 8]);
    message.extend([source_link, one_unit]);
    message.extend(mac.0);
    message.extend([mtu, one_unit, 0, 0]);
    message.extend(ENI_MTU.to_be_bytes());
    message
}
