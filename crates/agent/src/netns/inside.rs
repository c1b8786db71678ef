//! Work that is done in the network of a task: its connections leave by the task's
//! interface, and its names are resolved by who resolves them for the task.
//!
//! A namespace belongs to a thread. So the work gets a thread of its own, with a
//! runtime of its own, and so do the threads that this one starts to resolve
//! names. Which resolvers there are is written in a file; the thread sees another
//! file there, as a container would.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// From where connections are opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The machine itself.
    Host,
    /// The network of a task.
    Task {
        /// Its namespace.
        namespace: PathBuf,
        /// What it has for a `resolv.conf`.
        resolv_conf: String,
    },
}

/// Does `work` in `place`. It is given up when whoever waits for it goes.
pub(crate) async fn inside<T: Send + 'static>(
    place: &Place,
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let (namespace, resolv_conf) = match place {
        Place::Host => return Ok(work.await),
        Place::Task { namespace, resolv_conf } => (namespace.clone(), resolv_conf.clone()),
    };
    let (sender, receiver) = oneshot::channel();
    // Dropped with us, which ends the wait for it.
    let (_wanted, given_up) = oneshot::channel::<()>();
    let thread = move || {
        let done = enter(&namespace, &resolv_conf).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let done = runtime.block_on(async {
                tokio::select! {
                    done = work => Ok(done),
                    _ = given_up => Err(io::ErrorKind::Interrupted.into()),
                }
            });
            // A name that is being resolved is not waited for.
            runtime.shutdown_background();
            done
        });
        drop(sender.send(done));
    };
    std::thread::Builder::new().name("inside".to_owned()).spawn(thread)?;
    receiver.await.map_err(io::Error::other)?
}

/// Puts this thread into the namespace, and the file where it is looked for.
fn enter(namespace: &Path, resolv_conf: &str) -> io::Result<()> {
    setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
    let nothing = None::<&str>;
    // What is mounted here is seen by nobody else; what goes elsewhere goes here too.
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(nothing, "/", nothing, MsFlags::MS_SLAVE | MsFlags::MS_REC, nothing)?;
    if !fs::exists(RESOLV_CONF)? {
        // There is nothing to lay the file over; nobody resolves names here.
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(resolv_conf.as_bytes())?;
    mount(Some(file.path()), RESOLV_CONF, nothing, MsFlags::MS_BIND, nothing)?;
    Ok(())
}
