//! The bridge of a machine: containers of tasks in bridge mode hang on it, each
//! with an address of its own, and ports of the machine lead to theirs.
//!
//! What is given to whom is written down in [`book`], and the rules are made from
//! the whole of that each time: so they heal, and never remember what is gone. Like
//! the namespaces, all of it ends with a boot, and so the book lies where that
//! is true of files.

mod book;
mod proxy;

use super::{Error, link, nft};
use crate::engine::{Attachment, Failure, FailureKind, Protocol, TaskSpec};
use crate::rim::write_whole;
use book::Book;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// The most characters of a link's name.
const LONGEST_NAME: usize = 15;
/// Where the machine says which ports it gives to whoever wants any.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Which those are where it does not say.
const USUAL_RANGE: (u16, u16) = (49153, 65535);

/// The bridge of one installation.
#[derive(Debug)]
pub(super) struct Bridge {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    prefix: String,
    /// The bridge's own name.
    name: String,
    /// Where the book lies.
    file: PathBuf,
    held: Mutex<Held>,
    /// Held while rules are put into force, so that older ones never come last.
    ruling: Mutex<()>,
    /// Held while the bridge is made.
    making: tokio::sync::Mutex<()>,
}

/// What is given out.
#[derive(Debug, Default)]
struct Held {
    /// Read when it is first needed.
    book: Option<Book>,
    /// The ports of each task, bound so that nobody else on the machine takes them.
    /// No packet ever reaches these sockets.
    sockets: BTreeMap<String, BTreeMap<(Protocol, u16), OwnedFd>>,
    /// What comes by IPv6 to the ports of each task.
    passing: BTreeMap<String, JoinSet<()>>,
}

impl Bridge {
    pub(super) fn new(prefix: &str, run_dir: &Path) -> Self {
        let file = run_dir.join("bridge.json");
        let (held, ruling, making) =
            (Mutex::default(), Mutex::default(), tokio::sync::Mutex::default());
        let (prefix, name) = (prefix.to_owned(), link_name(prefix, "br"));
        Self { inner: Arc::new(Inner { prefix, name, file, held, ruling, making }) }
    }

    /// Gives each container of a task its place on the bridge: the same one however
    /// often it is asked. Nothing of it is there before [`Bridge::make`].
    pub(super) fn attach(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        let mut held = self.inner.held();
        let Held { book, sockets, passing } = &mut *held;
        let book = self.inner.read(book).map_err(|error| error.failure())?;
        let short_id = task.arn.short_id();
        if let Some(known) = book.of(&short_id) {
            let known = known.clone();
            // An agent before us held them. Whoever has taken one since hears nothing:
            // the rules come first.
            sockets.entry(short_id.clone()).or_insert_with(|| {
                let ports = known.values().flat_map(Attachment::ports);
                ports.filter_map(|port| Some((port, reserve(port.0, port.1)?))).collect()
            });
            passing.entry(short_id).or_insert_with(|| {
                let ports = known.values().flat_map(Attachment::ports);
                let taken = ports.filter_map(|at| Some((at, proxy::reserve(at.0, at.1)?)));
                pass_on(&known, taken.collect())
            });
            return Ok(known);
        }
        let mut taken = BTreeMap::new();
        let mut take = |protocol, port| {
            let socket = reserve(protocol, port).filter(|_| !taken.contains_key(&(protocol, port)));
            let took = socket.is_some();
            taken.extend(socket.map(|socket| ((protocol, port), socket)));
            took
        };
        let text = fs::read_to_string(RANGE).unwrap_or_default();
        let range = parse_range(&text).unwrap_or(USUAL_RANGE);
        let given = book.attach(task, range, &mut take);
        _ = given.map_err(|text| Failure::new(FailureKind::Start, text))?;
        let mut taken6 = BTreeMap::new();
        let given = book.add_ipv6(&short_id, &mut |protocol, port| {
            let socket = proxy::reserve(protocol, port);
            let took = socket.is_some();
            taken6.extend(socket.map(|socket| ((protocol, port), socket)));
            took
        });
        self.inner.write(book).map_err(|error| error.failure())?;
        // Some were tried for a range that did not fit.
        let kept: BTreeSet<_> = given.values().flat_map(Attachment::ports).collect();
        taken.retain(|port, _| kept.contains(port));
        sockets.insert(short_id.clone(), taken);
        passing.insert(short_id, pass_on(&given, taken6));
        Ok(given)
    }

    /// Makes the bridge, or what is missing of it.
    pub(super) async fn make(&self) -> Result<Made, Error> {
        let _alone = self.inner.making.lock().await;
        let gateway = {
            let mut held = self.inner.held();
            let book = self.inner.read(&mut held.book)?;
            if forward()? && !book.forwards {
                book.forwards = true;
                self.inner.write(book)?;
            }
            book.gateway()
        };
        let host = link::open()?;
        let own = (gateway, book::LENGTH);
        let index = link::bridge(&host, &self.inner.name, own, &mac(gateway)).await?;
        // Or nobody on the machine could reach a container by way of 127.0.0.1.
        let path = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", self.inner.name);
        fs::write(&path, "1").map_err(Error::io("write", Path::new(&path)))?;
        Ok(Made { host, index, gateway })
    }

    /// Puts the rules into force that follow from what is given to whom.
    pub(super) async fn rule(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let ruled = tokio::task::spawn_blocking(move || {
            let _alone = inner.ruling.lock().unwrap_or_else(PoisonError::into_inner);
            let rules = {
                let mut held = inner.held();
                inner.read(&mut held.book)?.rules(&inner.table(), &inner.name, &nics())
            };
            nft::apply(&rules).map_err(Error::Rules)
        });
        ruled.await.map_err(|error| Error::Rules(io::Error::other(error)))?
    }

    /// Takes everything back from a task. That it has nothing is no error.
    pub(super) async fn detach(&self, short_id: &str, outsides: &[String]) -> Result<(), Error> {
        let freed = {
            let mut held = self.inner.held();
            let Held { book, sockets, passing } = &mut *held;
            let Some(book) = self.inner.known(book)? else { return Ok(()) };
            let freed = book.detach(short_id);
            if freed.is_some() {
                self.inner.write(book)?;
            }
            drop(passing.remove(short_id));
            freed.map(|freed| (freed, sockets.remove(short_id)))
        };
        if !outsides.is_empty() {
            let host = link::open()?;
            for outside in outsides {
                _ = link::remove(&host, outside).await?;
            }
        }
        let Some((freed, sockets)) = freed else { return Ok(()) };
        self.rule().await?;
        drop(sockets);
        let udp = freed.values().flat_map(Attachment::ports);
        let udp = udp.filter(|port| port.0 == Protocol::Udp).map(|port| port.1).collect();
        // Who goes on sending would else go on to whoever has the address next.
        let forgotten = tokio::task::spawn_blocking(move || forget_flows(udp)).await;
        forgotten.map_err(|error| Error::Rules(io::Error::other(error)))
    }

    /// The short ids of the tasks that have anything.
    pub(super) fn tasks(&self) -> Result<BTreeSet<String>, Error> {
        let mut held = self.inner.held();
        let book = self.inner.known(&mut held.book)?;
        Ok(book.map(|book| book.tasks()).unwrap_or_default())
    }

    /// Removes the bridge and all that belongs to it.
    pub(super) async fn dismantle(&self) -> Result<(), Error> {
        let forwards = {
            let mut held = self.inner.held();
            let Some(book) = self.inner.known(&mut held.book)? else { return Ok(()) };
            let forwards = book.forwards;
            *held = Held::default();
            forwards
        };
        let host = link::open()?;
        _ = link::remove(&host, &self.inner.name).await?;
        nft::remove(self.inner.table()).await?;
        if forwards {
            fs::write(FORWARD, "0").map_err(Error::io("write", Path::new(FORWARD)))?;
        }
        fs::remove_file(&self.inner.file).map_err(Error::io("remove", &self.inner.file))
    }
}

/// The bridge, once it is there.
pub(super) struct Made {
    /// The way to the kernel, in the machine's own namespace.
    host: link::Socket,
    index: u32,
    gateway: Ipv4Addr,
}

impl Made {
    /// Hangs a namespace on the bridge, unless it does already, by a pair of links of
    /// which the one that stays is called `outside`.
    pub(super) async fn connect(
        &self,
        namespace: &Path,
        outside: &str,
        at: &Attachment,
    ) -> Result<link::Nic, Error> {
        let file = fs::File::open(namespace).map_err(Error::io("open", namespace))?;
        let mac = mac(at.ipv4);
        link::pair(&self.host, outside, self.index, &mac, &file).await?;
        Ok(link::Nic {
            mac: mac.map(|byte| format!("{byte:02x}")).join(":"),
            v4: vec![(at.ipv4, book::LENGTH)],
            gateway_v4: Some(self.gateway),
            ..link::Nic::default()
        })
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> String {
        format!("{}-bridge", self.prefix)
    }

    /// The book, from its file if this is the first look. A new one begins with a
    /// block of addresses that the machine uses for nothing. A file that makes no sense
    /// is from before the machine lost its power, and so is all that it spoke of.
    fn read<'b>(&self, book: &'b mut Option<Book>) -> Result<&'b mut Book, Error> {
        if book.is_none() {
            let known = match fs::read(&self.file) {
                Ok(bytes) => serde_json::from_slice(&bytes)
                    .inspect_err(|error| tracing::warn!(%error, "a new book for the bridge"))
                    .ok(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Error::io("read", &self.file)(error)),
            };
            let known = match known {
                Some(known) => known,
                None => Book::new(&used()?).ok_or(Error::NoSubnet)?,
            };
            *book = Some(known);
        }
        book.as_mut().ok_or(Error::NoSubnet)
    }

    /// The book, if anybody was ever given anything.
    fn known<'b>(&self, book: &'b mut Option<Book>) -> Result<Option<&'b mut Book>, Error> {
        if book.is_none() && !self.file.exists() {
            return Ok(None);
        }
        self.read(book).map(Some)
    }

    fn write(&self, book: &Book) -> Result<(), Error> {
        let written = serde_json::to_vec(book).map_err(io::Error::from);
        let written = written.and_then(|bytes| write_whole(&self.file, &bytes));
        written.map_err(Error::io("write", &self.file))
    }
}

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// The blocks of addresses that the machine has a route for.
fn used() -> Result<Vec<book::Block>, Error> {
    let path = "/proc/net/route";
    let routes = fs::read_to_string(path).map_err(Error::io("read", Path::new(path)))?;
    Ok(book::routes(&routes))
}

/// Has the machine forward packets; `true` if it did not before.
fn forward() -> Result<bool, Error> {
    let failed = |what| Error::io(what, Path::new(FORWARD));
    if fs::read_to_string(FORWARD).map_err(failed("read"))?.trim() != "0" {
        return Ok(false);
    }
    fs::write(FORWARD, "1").map_err(failed("write"))?;
    Ok(true)
}

/// The links of the machine behind which there is hardware.
fn nics() -> Vec<String> {
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let real = links.filter(|link| link.path().join("device").exists());
    real.filter_map(|link| link.file_name().into_string().ok()).collect()
}

/// What a link of an installation is called that there is one of.
pub(super) fn link_name(prefix: &str, what: &str) -> String {
    let plain = format!("{prefix}-{what}");
    if plain.len() <= LONGEST_NAME {
        return plain;
    }
    let digest = hex::encode(Sha256::digest(prefix));
    let room = LONGEST_NAME - what.len() - 1;
    format!("{what}-{}", digest.get(..room).unwrap_or_default())
}

/// The hardware address that goes with an address, as Docker derives it.
fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let range = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (range.0 <= range.1).then_some(range)
}

/// Passes on to containers what comes to their ports by IPv6.
fn pass_on(
    given: &BTreeMap<usize, Attachment>,
    mut taken: BTreeMap<(Protocol, u16), OwnedFd>,
) -> JoinSet<()> {
    let mut passing = JoinSet::new();
    for at in given.values() {
        for binding in at.bindings.iter().filter(|binding| binding.ipv6) {
            for (outside, inside) in binding.pairs() {
                let protocol = binding.protocol;
                if let Some(from) = taken.remove(&(protocol, outside)) {
                    let to = SocketAddrV4::new(at.ipv4, inside);
                    passing.spawn(proxy::pass_on(protocol, from, to));
                } else {
                    let protocol = protocol.as_str();
                    tracing::warn!(port = outside, protocol, "somebody else has it by IPv6");
                }
            }
        }
    }
    passing
}

/// Binds a port of the machine, on all its IPv4 addresses, if nobody has it.
fn reserve(protocol: Protocol, port: u16) -> Option<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    bind(socket.as_raw_fd(), &address).ok()?;
    Some(socket)
}

/// Forgets the flows to ports of the machine.
fn forget_flows(ports: Vec<u16>) {
    for port in ports {
        let port = port.to_string();
        let words = ["--delete", "--proto", "udp", "--orig-port-dst", &port];
        // It fails when there are none.
        drop(std::process::Command::new("conntrack").args(words).output());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_for_its_installation_within_the_kernels_limit() {
        assert_eq!(link_name("landfall", "br"), "landfall-br");
        for what in ["br", "door"] {
            let long = link_name("anotherinstallation", what);
            assert_eq!(long.len(), LONGEST_NAME);
            assert_ne!(long, link_name("anotherinstallation2", what));
        }
    }

    #[test]
    fn the_range_of_ports_is_the_machines() {
        assert_eq!(parse_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_range(""), None);
        assert_eq!(parse_range("9 8"), None);
    }
}
