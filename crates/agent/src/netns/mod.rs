//! The network namespaces of tasks.
//!
//! A namespace is a file, `/run/netns/<prefix>-<task>`, on which the kernel's
//! own is mounted: it lasts as long as the file does, needs no process to hold
//! it, and shows in `ip netns`. The task's interface is not made here. Somebody
//! else (Landfall's card, or a cloud) makes a link with the right MAC appear on
//! the host, and we move it in.
//!
//! In bridge mode each container has a namespace, `<prefix>-<task>.<position>`,
//! which [`bridge`] connects.

mod bridge;
mod door;
mod inside;
mod link;
mod machine;
mod nft;

pub(crate) use door::Door;
pub use inside::Place;
pub(crate) use inside::inside;

use crate::engine::{Attachment, Eni, Failure, FailureKind, Network, TaskSpec};
use crate::error::unless_missing;
use async_trait::async_trait;
use bridge::Bridge;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where tools look for namespaces.
const DIR: &str = "/run/netns";

/// The address at which a task finds its credentials and metadata. It lies on
/// the loopback of each task's namespace, so that whoever listens there knows
/// who asks; see [`door`].
pub const TASK_ENDPOINT: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// Whether tasks can ask for their credentials and metadata on this machine: its kernel must
/// let a program choose the socket of a connection.
pub fn endpoint() -> io::Result<()> {
    door::check()
}

/// Why a namespace is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a mount.
    #[error("cannot {what} {path}")]
    #[allow(missing_docs)]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// The kernel refused a change to a link, an address or a route.
    #[error("cannot {what}")]
    #[allow(missing_docs)]
    Netlink { what: String, source: Box<rtnetlink::Error> },
    /// The kernel cannot be talked to.
    #[error("no netlink socket")]
    Socket(#[source] io::Error),
    /// The interface is gone again.
    #[error("no network interface {0}")]
    NoLink(String),
    /// Rules that did not come into force.
    #[error("the rules for the bridge are not in force")]
    Rules(#[source] io::Error),
    /// The machine uses all blocks of addresses that a bridge may have.
    #[error("no block of addresses is left for the bridge")]
    NoSubnet,
}

impl Error {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    fn netlink(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |source| Self::Netlink { what: what.into(), source: Box::new(source) }
    }

    /// What the task's owner is told.
    pub fn failure(&self) -> Failure {
        Failure::new(FailureKind::Network, crate::error::chain(self))
    }
}

/// What the rim needs of networks: the seam for tests without a kernel.
#[async_trait]
pub trait Networks: Send + Sync + 'static {
    /// Gives the containers of a task their places on the bridge, by their positions:
    /// the same ones however often it is asked. A task of another mode has none.
    fn attach(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure>;
    /// The namespace that a container is made in, made now if there is none: what leads
    /// out of it may still be missing, which is [`Networks::prepare`]'s work. `None` if
    /// it is the machine's.
    async fn room(&self, task: &TaskSpec, index: usize) -> Result<Option<PathBuf>, Failure>;
    /// Makes a task's namespaces, or finishes what is half made. Waits for the
    /// interface as long as it takes; whoever asks sets the limit.
    /// Returns the places that the task's containers have.
    async fn prepare(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure>;
    /// Removes the namespaces of a task, and takes back what its containers have of
    /// the bridge. That there is nothing is no error.
    async fn remove(&self, short_id: &str) -> Result<(), Error>;
    /// The tasks that have anything here, by their short ids.
    fn list(&self) -> Result<BTreeSet<String>, Error>;
    /// Where the namespace of a container is; nowhere if it is in the machine's.
    fn path(&self, task: &TaskSpec, index: usize) -> Option<PathBuf>;
}

/// The namespaces with one prefix.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
    /// Held while a namespace is made or removed; see [`Wanted`].
    making: Arc<Mutex<()>>,
    bridge: Bridge,
}

/// Tells the thread that makes a namespace whether anybody still wants it.
///
/// A preparation that is given up cannot take its thread with it. So it says so
/// as it goes, and the thread looks before it makes anything, holding the lock
/// that a removal takes: what is made is seen by the removal, and what was not
/// made by then never is.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Namespaces {
    /// Those whose names begin with `prefix`. What is known of the bridge lies in
    /// `run_dir`, which does not survive a boot.
    pub fn new(prefix: impl Into<String>, run_dir: &Path) -> Self {
        let prefix = prefix.into();
        let bridge = Bridge::new(&prefix, run_dir);
        Self { prefix, making: Arc::default(), bridge }
    }

    /// The namespaces of a task in which its containers can ask for things.
    pub(crate) fn rooms(&self, task: &TaskSpec) -> BTreeSet<PathBuf> {
        let online = task.containers.iter().enumerate().filter(|(_, it)| !it.offline);
        online.filter_map(|(index, _)| self.path(task, index)).collect()
    }

    /// Listens at [`TASK_ENDPOINT`] in a namespace, which must be there; again if need
    /// be, but not twice at once.
    pub(crate) async fn open_door(&self, path: &Path) -> Result<Door, Error> {
        let path = path.to_owned();
        // A thread of its own, which then is in no namespace that others count on.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let built = door::build(&path).map_err(Error::io("open the door of", &path));
            drop(sender.send(built));
        });
        let built = receiver.await.map_err(|error| Error::Socket(io::Error::other(error)))??;
        built.open().map_err(Error::Socket)
    }

    /// Listens at [`TASK_ENDPOINT`] in the machine's own namespace, for tasks that are in
    /// it; not twice at once.
    pub(crate) async fn open_own_door(&self) -> Result<Door, Error> {
        machine::build(&self.prefix).await?.open().map_err(Error::Socket)
    }

    /// Removes what tasks shared, when there are none any more.
    pub(crate) async fn dismantle(&self) -> Result<(), Error> {
        machine::close(&self.prefix).await?;
        self.bridge.dismantle().await
    }

    /// The containers of a task in bridge mode: each a namespace, and those that have
    /// a place a link.
    async fn bridged(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        let places = self.bridge.attach(task)?;
        let made = async {
            let bridge = self.bridge.make().await?;
            for index in 0..task.containers.len() {
                let Some(path) = self.path(task, index) else { continue };
                let inside = enter(&path, self.making.clone()).await?;
                link::loopback(&inside, TASK_ENDPOINT).await?;
                if let Some(at) = places.get(&index) {
                    let outside = outside(&task.arn.short_id(), index);
                    let nic = bridge.connect(&path, &outside, at).await?;
                    link::configure(&inside, &nic).await?;
                }
            }
            self.bridge.rule().await
        };
        made.await.map_err(|error: Error| error.failure())?;
        Ok(places)
    }

    /// The namespaces that are there, each with the short id of its task and, where
    /// each container has one, the position.
    fn entries(&self) -> Result<Vec<(String, Option<usize>)>, Error> {
        let dir = Path::new(DIR);
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", dir)(error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let start = format!("{}-", self.prefix);
        let ours = names.filter_map(|name| {
            let rest = name.strip_prefix(&start)?;
            let (short_id, index) = match rest.split_once('.') {
                Some((short_id, index)) => (short_id, Some(index.parse().ok()?)),
                None => (rest, None),
            };
            // Another installation's prefix may begin with ours and go on.
            let plain = short_id.chars().all(|c| c.is_ascii_alphanumeric());
            plain.then(|| (short_id.to_owned(), index))
        });
        Ok(ours.collect())
    }

    fn of_container(&self, short_id: &str, index: usize) -> PathBuf {
        self.at(&format!("{short_id}.{index}"))
    }

    fn at(&self, short_id: &str) -> PathBuf {
        Path::new(DIR).join(format!("{}-{short_id}", self.prefix))
    }
}

#[async_trait]
impl Networks for Namespaces {
    fn attach(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        match task.network {
            Network::Bridge => self.bridge.attach(task),
            Network::Awsvpc(_) | Network::Isolated | Network::Host => Ok(BTreeMap::new()),
        }
    }

    async fn room(&self, task: &TaskSpec, index: usize) -> Result<Option<PathBuf>, Failure> {
        let Some(path) = self.path(task, index) else { return Ok(None) };
        let made = in_room(&path, self.making.clone(), || Ok(())).await;
        made.map_err(|error| error.failure())?;
        Ok(Some(path))
    }

    async fn prepare(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        let path = self.at(&task.arn.short_id());
        let eni = match &task.network {
            Network::Awsvpc(eni) => Some(eni),
            Network::Isolated => None,
            Network::Bridge => return self.bridged(task).await,
            Network::Host => return Ok(BTreeMap::new()),
        };
        set_up(&path, eni, &self.making).await.map_err(|error| error.failure())?;
        Ok(BTreeMap::new())
    }

    async fn remove(&self, short_id: &str) -> Result<(), Error> {
        let entries = self.entries()?;
        let positions = entries.into_iter().filter(|(id, _)| id == short_id);
        let positions: Vec<usize> = positions.filter_map(|(_, index)| index).collect();
        {
            let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            remove(&self.at(short_id))?;
            for index in &positions {
                remove(&self.of_container(short_id, *index))?;
            }
        }
        let outsides: Vec<_> = positions.iter().map(|index| outside(short_id, *index)).collect();
        self.bridge.detach(short_id, &outsides).await
    }

    fn list(&self) -> Result<BTreeSet<String>, Error> {
        let named = self.entries()?.into_iter().map(|(short_id, _)| short_id);
        Ok(named.chain(self.bridge.tasks()?).collect())
    }

    fn path(&self, task: &TaskSpec, index: usize) -> Option<PathBuf> {
        let short_id = task.arn.short_id();
        match task.network {
            Network::Awsvpc(_) | Network::Isolated => Some(self.at(&short_id)),
            Network::Bridge => Some(self.of_container(&short_id, index)),
            Network::Host => None,
        }
    }
}

/// What the end of a link that is on the bridge is called.
fn outside(short_id: &str, index: usize) -> String {
    format!("v{short_id}{index}")
}

async fn set_up(path: &Path, eni: Option<&Eni>, making: &Arc<Mutex<()>>) -> Result<(), Error> {
    let inside = enter(path, making.clone()).await?;
    link::loopback(&inside, TASK_ENDPOINT).await?;
    let Some(eni) = eni else { return Ok(()) };
    if link::find(&inside, &eni.mac).await?.is_none() {
        let file = File::open(path).map_err(Error::io("open", path))?;
        link::bring_in(&eni.mac, &file).await?;
    }
    link::configure(&inside, &eni.into()).await
}

/// A netlink socket in the namespace at `path`, which is made if need be.
async fn enter(path: &Path, making: Arc<Mutex<()>>) -> Result<link::Socket, Error> {
    let runtime = tokio::runtime::Handle::current();
    let open = move || {
        let _entered = runtime.enter();
        link::open()
    };
    in_room(path, making, open).await
}

/// Does `work` in the namespace at `path`, which is made if need be.
///
/// A namespace belongs to a thread, and a socket to the namespace it was opened
/// in: so a thread of its own goes in, does the work, and ends.
async fn in_room<T: Send + 'static>(
    path: &Path,
    making: Arc<Mutex<()>>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let still = wanted.0.clone();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let alone = making.lock().unwrap_or_else(PoisonError::into_inner);
        if still.load(Ordering::SeqCst) {
            let inside = make_or_join(&path);
            drop(alone);
            drop(sender.send(inside.and_then(|()| work())));
        }
    });
    let done = receiver.await;
    drop(wanted);
    done.map_err(|error| Error::Socket(io::Error::other(error)))?
}

/// Puts this thread into the namespace at `path`.
fn make_or_join(path: &Path) -> Result<(), Error> {
    if let Ok(file) = File::open(path)
        && setns(&file, CloneFlags::CLONE_NEWNET).is_ok()
    {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
        share(dir).map_err(Error::io("share", dir))?;
    }
    // A file that is no namespace is the trace of one that a reboot ended.
    File::create(path).map_err(Error::io("make", path))?;
    let made = unshare(CloneFlags::CLONE_NEWNET).and_then(|()| {
        let ours = Some("/proc/thread-self/ns/net");
        mount(ours, path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    });
    made.map_err(|errno| Error::io("make the network namespace", path)(errno.into()))
}

/// Makes `dir` a mount of its own, shared between mount namespaces, as iproute2
/// does when it names its first namespace. Were it to come after us, it would lay
/// copies of our mounts over them, and to take a name away would take a copy only.
/// The lock on the directory is iproute2's too.
fn share(dir: &Path) -> io::Result<()> {
    let nothing = None::<&str>;
    let shared = || mount(nothing, dir, nothing, MsFlags::MS_SHARED | MsFlags::MS_REC, nothing);
    let _lock =
        Flock::lock(File::open(dir)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if shared() == Err(nix::Error::EINVAL) {
        mount(Some(dir), dir, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)?;
        shared()?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Error> {
    use nix::errno::Errno;
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(Error::io("unmount", path)(errno.into())),
    }
    unless_missing(fs::remove_file(path)).map_err(Error::io("remove", path))
}
