//! Network namespaces: named ones, as `ip netns` shows them, and running
//! something inside one.
//!
//! A thread is *in* a namespace; a socket belongs for ever to the one it was made
//! in, and a process to the one of the thread that started it. So whatever must
//! happen in a namespace happens on a thread of its own that enters it first and
//! ends afterwards: no thread of the runtime ever changes places.

use crate::error::CardError;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Where namespaces have their names, by iproute2's custom.
pub const RUN_DIR: &str = "/run/netns";

/// The file system that namespaces are files of (`NSFS_MAGIC`).
const NSFS: FsType = FsType(0x6e73_6673);

/// A handle on a network namespace. The namespace lives at least as long.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    path: PathBuf,
}

impl Netns {
    /// The namespace that the calling thread is in.
    pub fn current() -> Result<Self, CardError> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The namespace that `path` leads to.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CardError> {
        let path = path.into();
        match File::open(&path) {
            Ok(file) => Ok(Self { file: Arc::new(file), path }),
            Err(source) => Err(CardError::Netns { action: "open", path, source }),
        }
    }

    /// A new namespace that nobody else knows; it ends with its last handle.
    pub fn unnamed() -> Result<Self, CardError> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
        let path = PathBuf::from("(unnamed)");
        match file {
            Ok(file) => Ok(Self { file: Arc::new(file), path }),
            Err(source) => Err(CardError::Netns { action: "make", path, source }),
        }
    }

    /// The namespace named by the file `path`, made now if there is none; and
    /// whether it was.
    pub fn ensure(path: &Path) -> Result<(Self, bool), CardError> {
        let fail =
            |action| move |source| CardError::Netns { action, path: path.to_owned(), source };
        match File::open(path) {
            // A file without a namespace is what a crash leaves between two steps.
            Ok(file) if is_namespace(&file) => {
                return Ok((Self { file: Arc::new(file), path: path.to_owned() }, false));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(fail("make a place for"))?;
                    if parent == Path::new(RUN_DIR) {
                        share(parent).map_err(fail("make a place for"))?;
                    }
                }
                OpenOptions::new().write(true).create_new(true).open(path).map_err(fail("name"))?;
            }
            Err(error) => return Err(fail("open")(error)),
        }
        let new = Self::unnamed()?;
        let from = PathBuf::from(format!("/proc/self/fd/{}", new.file.as_raw_fd()));
        mount(Some(&from), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| fail("name")(errno.into()))?;
        Ok((Self::open(path)?, true))
    }

    /// Takes the name `path` from its namespace, which ends when nobody is left
    /// in it.
    pub fn remove(path: &Path) -> Result<(), CardError> {
        let fail = |source| CardError::Netns { action: "remove", path: path.to_owned(), source };
        match umount2(path, MntFlags::MNT_DETACH) {
            // EINVAL: nothing is mounted there.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(errno) => return Err(fail(errno.into())),
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether the file `path` names a namespace.
    pub(crate) fn is_named(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| is_namespace(&file))
    }

    /// Whether the file `path` names this namespace.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), fs::metadata(path)) {
            (Ok(this), Ok(that)) => (this.dev(), this.ino()) == (that.dev(), that.ino()),
            (_, _) => false,
        }
    }

    /// Where the namespace was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside the namespace and waits for it.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CardError> {
        let this = self.clone();
        let done = thread::spawn(move || this.enter().map(|()| work()));
        done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs `work`, which may block, inside the namespace.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CardError> {
        let this = self.clone();
        let (send, receive) = tokio::sync::oneshot::channel();
        let spawned = thread::Builder::new().name("netns".to_owned()).spawn(move || {
            // Nobody listens any more if the caller was cancelled; that is fine.
            let _unheard = send.send(this.enter().map(|()| work()));
        });
        let lost = |source| CardError::Netns { action: "enter", path: self.path.clone(), source };
        spawned.map_err(lost)?;
        match receive.await {
            Ok(result) => result,
            Err(_) => Err(lost(io::Error::other("the thread panicked"))),
        }
    }

    /// Puts the calling thread into the namespace, for good.
    fn enter(&self) -> Result<(), CardError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| CardError::Netns {
            action: "enter",
            path: self.path.clone(),
            source: errno.into(),
        })
    }

    /// The descriptor, as netlink wants it.
    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn is_namespace(file: &File) -> bool {
    fstatfs(file).is_ok_and(|stat| stat.filesystem_type() == NSFS)
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
