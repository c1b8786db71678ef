//! Packets made by hand, and what arrives of them.

use crate::lab::{PATIENCE, Task};
use net::judge::Content;
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// One packet with an identity, so that it is known again where it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) content: Content,
    /// Different for every probe of a test: the source port or the ICMP
    /// identifier, and so the flow, is made of it.
    pub(crate) number: u16,
    /// How long the packet is made.
    pub(crate) length: usize,
}

impl Probe {
    /// A packet from a task's own address of the destination's IP version.
    pub(crate) fn new(from: &Task, to: impl Into<IpAddr>, content: Content, number: u16) -> Self {
        let destination = to.into();
        let source = match destination {
            IpAddr::V4(_) => from.address.into(),
            IpAddr::V6(_) => from.v6().into(),
        };
        Self { source, destination, content, number, length: 80 }
    }

    /// The whole packet, not to be fragmented; the kernel fills in the IPv4
    /// header's length and checksum.
    fn bytes(&self) -> Vec<u8> {
        let header = if self.source.is_ipv4() { 20 } else { 40 };
        let payload = self.length - header;
        let length = u16::try_from(payload).expect("a length").to_be_bytes();
        let mut l4 = vec![0; payload];
        let id = (30_000 + self.number).to_be_bytes();
        match self.content {
            Content::Tcp { port } => {
                l4[..2].copy_from_slice(&id);
                l4[2..4].copy_from_slice(&port.to_be_bytes());
                l4[12] = 5 << 4; // the header's length, in words
                l4[13] = 0x02; // SYN
                self.check(&mut l4, 16, true);
            }
            Content::Udp { port } => {
                l4[..2].copy_from_slice(&id);
                l4[2..4].copy_from_slice(&port.to_be_bytes());
                l4[4..6].copy_from_slice(&length);
                self.check(&mut l4, 6, true);
            }
            Content::Icmp { kind, code } | Content::Icmpv6 { kind, code } => {
                (l4[0], l4[1]) = (kind, code);
                l4[4..6].copy_from_slice(&id);
                l4[8] = kind; // Tells it from its own answer, which repeats this.
                self.check(&mut l4, 2, matches!(self.content, Content::Icmpv6 { .. }));
            }
            Content::Protocol(_) => {}
        }
        let protocol = self.content.protocol();
        let mut packet = if self.source.is_ipv4() {
            vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0]
        } else {
            vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64]
        };
        packet.extend(self.addresses());
        packet.extend(l4);
        packet
    }

    fn addresses(&self) -> Vec<u8> {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        [octets(self.source), octets(self.destination)].concat()
    }

    /// Writes the checksum of TCP, UDP and ICMPv6 (with their pseudo-header) or
    /// ICMP.
    fn check(&self, l4: &mut [u8], at: usize, pseudo_header: bool) {
        let mut words = Vec::new();
        if pseudo_header {
            words.extend(self.addresses());
            words.extend([0, self.content.protocol()]);
            words.extend(u16::try_from(l4.len()).expect("a length").to_be_bytes());
        }
        words.extend_from_slice(l4);
        let pairs = words.chunks(2).map(|pair| {
            u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
        });
        let mut sum: u32 = pairs.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !u16::try_from(sum).expect("folded");
        l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Sends packets out of a task, with whatever source.
pub(crate) struct Sender {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Sender {
    pub(crate) fn of(task: &Task) -> Self {
        let open = |family| raw(task, family, SockProtocol::Raw);
        Self { v4: open(AddressFamily::Inet), v6: open(AddressFamily::Inet6) }
    }

    pub(crate) fn send(&self, probe: &Probe) {
        self.try_send(probe).expect("sent");
    }

    pub(crate) fn try_send(&self, probe: &Probe) -> Result<(), Errno> {
        let to = SockaddrStorage::from(SocketAddr::new(probe.destination, 0));
        let bytes = probe.bytes();
        let socket = if probe.destination.is_ipv4() { &self.v4 } else { &self.v6 };
        let sent = sendto(socket.as_raw_fd(), &bytes, &to, MsgFlags::empty())?;
        assert_eq!(sent, bytes.len());
        Ok(())
    }
}

/// Sees the probes that arrive at a task, by one IP version and protocol.
pub(crate) struct Receiver {
    socket: OwnedFd,
    protocol: u8,
    /// How long the IP header is that comes with a packet; of IPv6, none does.
    header: usize,
}

impl Receiver {
    pub(crate) fn of(task: &Task, protocol: SockProtocol) -> Self {
        Self::open(task, AddressFamily::Inet, protocol)
    }

    /// The same for IPv6.
    pub(crate) fn of_v6(task: &Task, protocol: SockProtocol) -> Self {
        Self::open(task, AddressFamily::Inet6, protocol)
    }

    fn open(task: &Task, family: AddressFamily, protocol: SockProtocol) -> Self {
        let socket = raw(task, family, protocol);
        let wait = TimeVal::new(i64::try_from(PATIENCE.as_secs()).expect("seconds"), 0);
        setsockopt(&socket, ReceiveTimeout, &wait).expect("a timeout");
        // A thousand probes must find room before anybody looks.
        setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20)).expect("room");
        let numbers = [
            (SockProtocol::Tcp, 6),
            (SockProtocol::Udp, 17),
            (SockProtocol::Icmp, 1),
            (SockProtocol::IcmpV6, 58),
        ];
        let protocol = numbers.iter().find(|(name, _)| *name == protocol);
        let protocol = protocol.expect("one that probes are made of").1;
        let header = if family == AddressFamily::Inet { 20 } else { 0 };
        Self { socket, protocol, header }
    }

    /// The next probe's number and the packet's length. It must arrive in time.
    pub(crate) fn next(&self) -> (u16, usize) {
        self.receive(MsgFlags::empty()).expect("a packet arrives in time")
    }

    /// The next probe's number, if it is already here.
    pub(crate) fn waiting(&self) -> Option<u16> {
        match self.receive(MsgFlags::MSG_DONTWAIT) {
            Ok((number, _)) => Some(number),
            Err(Errno::EAGAIN) => None,
            Err(errno) => panic!("{errno}"),
        }
    }

    /// Passes over what the kernels say to each other: resets, answers to
    /// requests, unreachable ports, neighbours.
    fn receive(&self, flags: MsgFlags) -> Result<(u16, usize), Errno> {
        let mut buffer = vec![0; 65_536];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, flags)?;
            let l4 = &buffer[self.header..length];
            let (id, is_probe) = match self.protocol {
                6 => (&l4[..2], l4[13] == 0x02),
                17 => (&l4[..2], true),
                _ => (&l4[4..6], l4.len() > 8 && l4[0] == l4[8]),
            };
            let id = u16::from_be_bytes([id[0], id[1]]);
            if let Some(number) = id.checked_sub(30_000).filter(|_| is_probe) {
                return Ok((number, length));
            }
        }
    }
}

fn raw(task: &Task, family: AddressFamily, protocol: SockProtocol) -> OwnedFd {
    let open = move || socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol);
    task.run(open).expect("a raw socket")
}
