//! IPv6 on a bridge that has none: what comes to a port of the machine by IPv6 is passed
//! on to the container by IPv4, by a task of ours, which ends with the container's place
//! on the bridge and with the agent.
//!
//! The container sees the bridge's own address for whoever it was, as with Docker's proxy.

use crate::engine::Protocol;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket,
    sockopt,
};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Connections to one port at once; more wait. Senders of datagrams to one port; those
/// beyond are not heard.
const CLIENTS: usize = 256;
/// For a connection to a container.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a sender of datagrams may be silent, and the container with it.
const SILENCE: Duration = Duration::from_secs(90);
/// Datagrams that wait for a container.
const QUEUE: usize = 64;
/// The longest datagram.
const LONGEST: usize = 1 << 16;

/// Binds a port of the machine on all its IPv6 addresses, if nobody has it and there is
/// IPv6.
pub(super) fn reserve(protocol: Protocol, port: u16) -> Option<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet6, kind, flags, None).ok()?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &true).ok()?;
    if protocol == Protocol::Tcp {
        // Connections of before that the kernel has not forgotten are in nobody's way.
        setsockopt(&socket, sockopt::ReuseAddr, &true).ok()?;
    }
    let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(socket.as_raw_fd(), &address).ok()?;
    if protocol == Protocol::Tcp {
        listen(&socket, Backlog::new(128).ok()?).ok()?;
    }
    Some(socket)
}

/// Passes on what comes to a reserved port, for ever.
pub(super) async fn pass_on(protocol: Protocol, from: OwnedFd, to: SocketAddrV4) {
    let passed = match protocol {
        Protocol::Tcp => connections(from, to).await,
        Protocol::Udp => datagrams(from, to).await,
    };
    if let Err(error) = passed {
        tracing::error!(%to, %error, "nothing comes to the container by IPv6");
    }
}

async fn connections(from: OwnedFd, to: SocketAddrV4) -> io::Result<()> {
    let listener = TcpListener::from_std(from.into())?;
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if open.len() < CLIENTS => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((client, _)) => {
                open.spawn(connection(client, to));
            }
            Err(error) => {
                // Out of files, perhaps: others are being closed meanwhile.
                tracing::warn!(%to, %error, "nobody is let in by IPv6");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(mut client: TcpStream, to: SocketAddrV4) {
    let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await;
    let Ok(Ok(mut container)) = connecting else { return };
    // How it ends is between the two.
    _ = tokio::io::copy_bidirectional(&mut client, &mut container).await;
}

async fn datagrams(from: OwnedFd, to: SocketAddrV4) -> io::Result<()> {
    let port = Arc::new(UdpSocket::from_std(from.into())?);
    let mut senders: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut conversations = JoinSet::new();
    let mut datagram = vec![0; LONGEST];
    loop {
        let (length, sender) = tokio::select! {
            received = port.recv_from(&mut datagram) => match received {
                Ok(received) => received,
                // What an earlier answer met on its way.
                Err(_) => continue,
            },
            Some(ended) = conversations.join_next() => {
                if let Ok(sender) = ended {
                    senders.remove(&sender);
                }
                continue;
            }
        };
        let known = senders.get(&sender).filter(|queue| !queue.is_closed());
        let queue = match known {
            Some(queue) => queue.clone(),
            None if conversations.len() >= CLIENTS => continue,
            None => {
                let (queue, said) = mpsc::channel(QUEUE);
                conversations.spawn(conversation(port.clone(), sender, said, to));
                senders.insert(sender, queue.clone());
                queue
            }
        };
        // Datagrams may get lost.
        _ = queue.try_send(datagram.get(..length).unwrap_or_default().to_vec());
    }
}

/// Carries datagrams between one sender and the container, until both have been silent
/// for long.
async fn conversation(
    port: Arc<UdpSocket>,
    sender: SocketAddr,
    mut said: mpsc::Receiver<Vec<u8>>,
    to: SocketAddrV4,
) -> SocketAddr {
    let carried = async {
        let container = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        container.connect(to).await?;
        let mut answer = vec![0; LONGEST];
        loop {
            tokio::select! {
                // A container that does not listen now may do so later.
                Some(datagram) = said.recv() => drop(container.send(&datagram).await),
                answered = container.recv(&mut answer) => if let Ok(length) = answered {
                    port.send_to(answer.get(..length).unwrap_or_default(), sender).await?;
                },
                () = tokio::time::sleep(SILENCE) => return Ok::<(), io::Error>(()),
            }
        }
    };
    if let Err(error) = carried.await {
        tracing::debug!(%sender, %to, %error, "a conversation ended");
    }
    sender
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn port_of(socket: &OwnedFd) -> u16 {
        let name = nix::sys::socket::getsockname::<SockaddrIn6>(socket.as_raw_fd());
        name.expect("a name").port()
    }

    fn v4(at: SocketAddr) -> SocketAddrV4 {
        let SocketAddr::V4(at) = at else { unreachable!("bound by IPv4") };
        at
    }

    #[tokio::test]
    async fn a_connection_is_passed_on_with_its_ends() {
        let container = TcpListener::bind("127.0.0.1:0").await.expect("a container");
        let to = v4(container.local_addr().expect("an address"));
        let from = reserve(Protocol::Tcp, 0).expect("IPv6");
        let port = port_of(&from);
        assert!(reserve(Protocol::Tcp, port).is_none(), "taken");
        let mut passing = JoinSet::new();
        passing.spawn(pass_on(Protocol::Tcp, from, to));
        let mut client = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.expect("connects");
        let (mut inside, _) = container.accept().await.expect("a connection");
        client.write_all(b"question").await.expect("says");
        client.shutdown().await.expect("ends its half");
        let mut heard = Vec::new();
        inside.read_to_end(&mut heard).await.expect("hears");
        inside.write_all(b"answer").await.expect("says");
        drop(inside);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("hears");
        assert_eq!((heard.as_slice(), answer.as_slice()), (&b"question"[..], &b"answer"[..]));

        // Nobody listens in the container.
        drop(container);
        let mut client = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.expect("connects");
        assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0);
        passing.shutdown().await;
        assert!(reserve(Protocol::Tcp, port).is_some(), "free again");
    }

    #[tokio::test]
    async fn each_sender_of_datagrams_gets_its_own_answers() {
        let container = UdpSocket::bind("127.0.0.1:0").await.expect("a container");
        let to = v4(container.local_addr().expect("an address"));
        let from = reserve(Protocol::Udp, 0).expect("IPv6");
        let port = port_of(&from);
        let mut passing = JoinSet::new();
        passing.spawn(pass_on(Protocol::Udp, from, to));
        let mut senders = Vec::new();
        for word in ["one", "two"] {
            let sender = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("a sender");
            sender.connect((Ipv6Addr::LOCALHOST, port)).await.expect("a way");
            sender.send(word.as_bytes()).await.expect("says");
            senders.push((sender, word));
        }
        let mut word = [0; 16];
        for _ in 0..2 {
            let (length, from) = container.recv_from(&mut word).await.expect("a word");
            container.send_to(&word[..length], from).await.expect("answers");
        }
        for (sender, said) in senders {
            let length = sender.recv(&mut word).await.expect("an answer");
            assert_eq!(&word[..length], said.as_bytes());
        }
    }
}
