//! A listener in a task's namespace that leaves every port to the task.
//!
//! Whoever listens at port 80 of one address keeps everybody else from listening
//! at port 80 of all, which is what most web servers do. So the door is at another
//! port, and connections to port 80 of [`TASK_ENDPOINT`] are handed to it by a
//! rule of the namespace (`tproxy`). No packet is rewritten and no connection
//! tracked: the rule says which socket a packet is for.

use super::{TASK_ENDPOINT, rules};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt::IpTransparent};
use std::fs::File;
use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::path::Path;

/// Where the door is: the official agent's port for the same.
const PORT: u16 = 51679;

/// Puts this thread into the namespace at `path`, and listens there.
pub(super) fn open(path: &Path) -> io::Result<TcpListener> {
    setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
    listen("ecs-agent")
}

/// Listens in the namespace of this thread. The rule is in a table of that name.
pub(super) fn listen(table: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((TASK_ENDPOINT, PORT))?;
    // Or the kernel would not give it connections to another port.
    setsockopt(&listener, IpTransparent, &true)?;
    listener.set_nonblocking(true)?;
    let [from, to] = [80, PORT].map(|port| SocketAddrV4::new(TASK_ENDPOINT, port));
    rules::hand_over(table, from, to)?;
    Ok(listener)
}
