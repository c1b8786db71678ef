//! The network namespaces of tasks.
//!
//! A namespace is a file, `/run/netns/<prefix>-<task>`, on which the kernel's
//! own is mounted: it lasts as long as the file does, needs no process to hold
//! it, and shows in `ip netns`. The task's interface is not made here. Somebody
//! else (Landfall's card, or a cloud) makes a link with the right MAC appear on
//! the host, and we move it in.

mod door;
mod inside;
mod link;

pub use inside::Place;
pub(crate) use inside::inside;

use crate::engine::{Eni, Failure, FailureKind, Network, TaskArn, TaskSpec};
use async_trait::async_trait;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::collections::BTreeSet;
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
    #[error("no network interface has the address {0}")]
    NoLink(String),
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
    /// Makes a task's namespace, or finishes one half made. Waits for the
    /// interface as long as it takes; whoever asks sets the limit.
    async fn prepare(&self, task: &TaskSpec) -> Result<(), Failure>;
    /// Removes a namespace. That there is none is no error.
    async fn remove(&self, short_id: &str) -> Result<(), Error>;
    /// The namespaces there are, by the short ids of their tasks.
    fn list(&self) -> Result<BTreeSet<String>, Error>;
    /// Where a task's namespace is.
    fn path(&self, task: &TaskArn) -> PathBuf;
}

/// The namespaces with one prefix.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
    /// Held while a namespace is made or removed; see [`Wanted`].
    making: Arc<Mutex<()>>,
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
    /// Those whose names begin with `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), making: Arc::default() }
    }

    /// Listens at [`TASK_ENDPOINT`] in a task's namespace, which must be there; again
    /// if need be, but not twice at once.
    pub(crate) async fn open_door(&self, task: &TaskArn) -> Result<tokio::net::TcpListener, Error> {
        let path = self.path(task);
        // A thread of its own, which then is in no namespace that others count on.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let opened = door::open(&path).map_err(Error::io("open the door of", &path));
            drop(sender.send(opened));
        });
        let listener = receiver.await;
        let listener = listener.map_err(|error| Error::Socket(io::Error::other(error)))??;
        tokio::net::TcpListener::from_std(listener).map_err(Error::Socket)
    }

    fn at(&self, short_id: &str) -> PathBuf {
        Path::new(DIR).join(format!("{}-{short_id}", self.prefix))
    }
}

#[async_trait]
impl Networks for Namespaces {
    async fn prepare(&self, task: &TaskSpec) -> Result<(), Failure> {
        let path = self.path(&task.arn);
        let eni = match &task.network {
            Network::Awsvpc(eni) => Some(eni),
            Network::Isolated => None,
            Network::Host => return Ok(()),
        };
        set_up(&path, eni, &self.making).await.map_err(|error| error.failure())
    }

    async fn remove(&self, short_id: &str) -> Result<(), Error> {
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        remove(&self.at(short_id))
    }

    fn list(&self) -> Result<BTreeSet<String>, Error> {
        let dir = Path::new(DIR);
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(Error::io("read", dir)(error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let start = format!("{}-", self.prefix);
        let ids = names.filter_map(|name| name.strip_prefix(&start).map(str::to_owned));
        // Another installation's prefix may begin with ours and go on.
        Ok(ids.filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric())).collect())
    }

    fn path(&self, task: &TaskArn) -> PathBuf {
        self.at(&task.short_id())
    }
}

async fn set_up(path: &Path, eni: Option<&Eni>, making: &Arc<Mutex<()>>) -> Result<(), Error> {
    let inside = enter(path, making.clone()).await?;
    link::loopback(&inside, TASK_ENDPOINT).await?;
    let Some(eni) = eni else { return Ok(()) };
    if link::find(&inside, &eni.mac).await?.is_none() {
        let file = File::open(path).map_err(Error::io("open", path))?;
        link::bring_in(&eni.mac, &file).await?;
    }
    link::configure(&inside, eni).await
}

/// A netlink socket in the namespace at `path`, which is made if need be.
///
/// A namespace belongs to a thread, and a socket to the namespace it was opened
/// in: so a thread of its own goes in, opens the socket, and ends.
async fn enter(path: &Path, making: Arc<Mutex<()>>) -> Result<link::Socket, Error> {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let still = wanted.0.clone();
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let _entered = runtime.enter();
        let alone = making.lock().unwrap_or_else(PoisonError::into_inner);
        if still.load(Ordering::SeqCst) {
            let opened = make_or_join(&path);
            drop(alone);
            drop(sender.send(opened.and_then(|()| link::open())));
        }
    });
    let opened = receiver.await;
    drop(wanted);
    opened.map_err(|error| Error::Socket(io::Error::other(error)))?
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
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}
