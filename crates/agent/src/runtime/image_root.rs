//! What an image has in its root file system, before a container has it.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::chdir;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The root file system of an image, mounted for one thread.
pub(super) struct ImageRoot(OwnedFd);

impl ImageRoot {
    /// Shows it to `look`, by the `layers` that make it up, topmost first.
    ///
    /// That happens in a thread of its own, since what it mounts is seen by it alone, and
    /// is gone when it is.
    pub(super) fn show<T: Send>(
        layers: &[PathBuf],
        look: impl FnOnce(&Self) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| look(&Self::mount(layers)?));
            thread.join().unwrap_or_else(|_| Err(io::Error::other("panic")))
        })
    }

    fn mount(layers: &[PathBuf]) -> io::Result<Self> {
        let top = layers.first().ok_or_else(|| io::Error::other("an image without layers"))?;
        let root = if layers.len() > 1 {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
            let nothing = None::<&str>;
            mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
            // Names are short from here: all of them together must fit into one page.
            let common = common_directory(layers);
            chdir(&common)?;
            let short = |layer: &PathBuf| {
                layer.strip_prefix(&common).unwrap_or(layer).to_string_lossy().into_owned()
            };
            let lower: Vec<String> = layers.iter().map(short).collect();
            let options = format!("lowerdir={}", lower.join(":"));
            // Some directory that there is on every machine, and that we can do without.
            let at = Path::new("/sys");
            mount(Some("overlay"), at, Some("overlay"), MsFlags::MS_RDONLY, Some(&*options))?;
            at
        } else {
            top.as_path()
        };
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(root, directory, Mode::empty())?))
    }

    /// Opens what is at a path for reading: within the image, wherever its links lead.
    pub(super) fn open(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        Ok(openat2(&self.0, path.trim_start_matches('/'), how)?)
    }
}

/// The directory that all of these are below.
fn common_directory(paths: &[PathBuf]) -> PathBuf {
    let mut common = paths.first().cloned().unwrap_or_default();
    while !paths.iter().all(|path| path.starts_with(&common)) && common.pop() {}
    common
}
