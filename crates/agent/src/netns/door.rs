//! A listener in a namespace that leaves every port to the tasks there.
//!
//! Whoever listens at port 80 of one address keeps everybody else from listening
//! at port 80 of all, which is what most web servers do. So the door is at another
//! port, and a program where the namespace looks for the socket of a new connection
//! hands it those to port 80 of [`TASK_ENDPOINT`] from within. There is no rule: the packets of
//! a task, and of connections that are made, meet nothing of ours.

use super::TASK_ENDPOINT;
use bpf::{
    Assembler, Attached, Condition, Helper, Kind, Map, Program, Purpose, Register, Size, Unfit,
};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Where the door is: the official agent's port for the same.
const PORT: u16 = 51679;
/// Where tasks look for it.
const ASKED: i32 = 80;

const TCP: i32 = 6;
/// The link that a task's namespace has the address on.
const LOOPBACK: &str = "lo";

/// Offsets in `struct bpf_sk_lookup`. The port is a number; the address is as in a packet.
mod asked {
    pub(super) const PROTOCOL: i16 = 12;
    pub(super) const FROM: i16 = 16;
    pub(super) const ADDRESS: i16 = 40;
    pub(super) const PORT: i16 = 60;
    pub(super) const LINK: i16 = 64;
}

/// What a program says that lets the kernel go on: with the socket that it has chosen, or
/// as if it were not there.
const PASS: i32 = 1;
/// What it says of a packet for which there is to be no socket.
const DROP: i32 = 0;

/// An open door. It closes when this goes.
#[derive(Debug)]
pub(crate) struct Door {
    listener: tokio::net::TcpListener,
    _handed_over: Attached,
}

/// One that nobody can come in by yet, as no runtime listens.
#[derive(Debug)]
pub(super) struct Built {
    listener: TcpListener,
    handed_over: Attached,
}

impl Built {
    pub(super) fn open(self) -> io::Result<Door> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        Ok(Door { listener, _handed_over: self.handed_over })
    }
}

impl Door {
    /// Who comes in.
    pub(crate) fn listener(&self) -> &tokio::net::TcpListener {
        &self.listener
    }
}

/// Puts this thread into the namespace of a task at `path`, and builds a door there.
pub(super) fn build(path: &Path) -> io::Result<Built> {
    setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
    build_here(LOOPBACK)
}

/// The same where this thread is, and where that link has the address.
pub(super) fn build_here(link: &str) -> io::Result<Built> {
    listen(&ComesBy::all(if_nametoindex(link)?))
}

/// Whether this machine's kernel takes the program that a door needs.
pub(super) fn check() -> io::Result<()> {
    program(&sockets()?, &ComesBy::all(if_nametoindex(LOOPBACK)?)).map(drop)
}

fn sockets() -> io::Result<Map> {
    Map::new(Kind::Sockets, "landfall_door", 4, 4, 1)
}

/// Knows who is within by the first of `ways` for which the kernel takes the program.
fn listen(ways: &[ComesBy]) -> io::Result<Built> {
    let listener = TcpListener::bind((TASK_ENDPOINT, PORT))?;
    listener.set_nonblocking(true)?;
    let sockets = sockets()?;
    sockets.set(&[0; 4], &listener.as_raw_fd().to_ne_bytes())?;
    let here = File::open("/proc/thread-self/ns/net")?;
    let handed_over = program(&sockets, ways)?.attach(here.as_fd())?;
    Ok(Built { listener, handed_over })
}

/// The kernel does not take our program.
#[derive(Debug, thiserror::Error)]
#[error("the kernel takes no program at the look-up of sockets, which it can from Linux 5.9 on")]
struct Unsupported(#[source] io::Error);

/// How it is known that who asks is in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ComesBy {
    /// By the link, of which programs are told from Linux 5.17 on: for a packet that never
    /// left, that is the link which has the address.
    Link(u32),
    /// By the address that one has who asks there, unless it chooses another of its own.
    /// The kernel takes none from outside that claims to be one of its own.
    OwnAddress,
}

impl ComesBy {
    /// The better one first.
    fn all(link: u32) -> [Self; 2] {
        [Self::Link(link), Self::OwnAddress]
    }
}

/// The first program that the kernel takes.
fn program(sockets: &Map, ways: &[ComesBy]) -> io::Result<Program> {
    let mut refused = io::ErrorKind::Unsupported.into();
    for comes_by in ways {
        let code = hand_over(sockets, *comes_by).map_err(io::Error::other)?;
        match Program::load(Purpose::SocketLookup, "landfall_door", "Apache-2.0", &code) {
            Ok(program) => return Ok(program),
            Err(error) => refused = error,
        }
    }
    Err(io::Error::new(refused.kind(), Unsupported(refused)))
}

/// The program that chooses the first of `sockets` for connections to [`ASKED`] of
/// [`TASK_ENDPOINT`] that come from within. To others that port is any other, and there is
/// nothing at [`PORT`]: a machine takes packets for any of its addresses by any of its links.
fn hand_over(sockets: &Map, comes_by: ComesBy) -> Result<Vec<u8>, Unfit> {
    use Condition::{Equal, Unequal};
    use Register::{FP, R0, R1, R2, R3, R6, R7, R8};
    use Size::Word;
    let mut code = Assembler::default();
    let (within, outside, pass) = (code.label(), code.label(), code.label());
    code.set(R6, R1);
    code.load(Word, R1, R6, asked::PROTOCOL);
    code.jump_if(R1, Unequal, TCP, pass);
    // An address whose first bit is set would not be the same as a number with a sign.
    code.store(Word, FP, -4, i32::from_ne_bytes(TASK_ENDPOINT.octets()));
    code.load(Word, R7, FP, -4);
    code.load(Word, R1, R6, asked::ADDRESS);
    code.jump_if(R1, Unequal, R7, pass);
    code.load(Word, R8, R6, asked::PORT);
    match comes_by {
        ComesBy::Link(link) => {
            code.load(Word, R1, R6, asked::LINK);
            code.jump_if(R1, Unequal, link.cast_signed(), outside);
        }
        ComesBy::OwnAddress => {
            code.load(Word, R1, R6, asked::FROM);
            code.jump_if(R1, Unequal, R7, outside);
        }
    }
    code.jump(within);

    code.at(outside);
    code.jump_if(R8, Unequal, i32::from(PORT), pass);
    code.set(R0, DROP);
    code.exit();

    code.at(within);
    code.jump_if(R8, Unequal, ASKED, pass);
    code.store(Word, FP, -4, 0);
    code.map(R1, sockets);
    code.set(R2, FP);
    code.add(R2, -4);
    code.call(Helper::MapLookupElem);
    code.jump_if(R0, Equal, 0, pass);
    code.set(R7, R0);
    code.set(R1, R6);
    code.set(R2, R7);
    code.set(R3, 0);
    code.call(Helper::SkAssign);
    code.set(R1, R7);
    code.call(Helper::SkRelease);
    code.at(pass);
    code.set(R0, PASS);
    code.exit();
    code.finish()
}

#[cfg(test)]
mod tests {
    //! In namespaces of threads of their own, which go with them. They need root.

    use super::*;
    use nix::sched::unshare;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    fn ip(arguments: &str) {
        let done = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
        assert!(done.success(), "ip {arguments}");
    }

    fn own_namespace() {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        ip("link set lo up");
    }

    /// Says who answers at `to`, if anybody does.
    fn who(to: (Ipv4Addr, u16)) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5)).ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an answer");
        Some(said)
    }

    fn answer(listener: TcpListener, what: &'static str) {
        listener.set_nonblocking(false).expect("a socket");
        thread::spawn(move || {
            for stream in listener.incoming() {
                stream.expect("a connection").write_all(what.as_bytes()).expect("an answer");
            }
        });
    }

    /// The door in a namespace, its address on that link, beside a server of the task's own at
    /// port 80 of all addresses; and what a neighbour is answered who goes by the task's link.
    fn tried(link: &str, ways: impl FnOnce(u32) -> Vec<ComesBy>) {
        let (door, server) = ((TASK_ENDPOINT, 80), Ipv4Addr::new(10, 0, 0, 1));
        let (neighbour, ready) = mpsc::channel();
        let (go, come) = mpsc::channel();
        let asks = thread::spawn(move || {
            own_namespace();
            let id = nix::unistd::gettid();
            neighbour.send(format!("/proc/{}/task/{id}/ns/net", std::process::id())).expect("sent");
            come.recv().expect("told");
            ip("addr add 10.0.0.2/24 dev v1");
            ip("link set v1 up");
            ip(&format!("route add {TASK_ENDPOINT} via {server}"));
            [(server, 80), door, (TASK_ENDPOINT, PORT)].map(who)
        });
        own_namespace();
        if link != LOOPBACK {
            ip(&format!("link add {link} up type bridge"));
        }
        ip(&format!("addr add {TASK_ENDPOINT}/32 dev {link}"));
        ip(&format!("link add v0 type veth peer name v1 netns {}", ready.recv().expect("told")));
        ip(&format!("addr add {server}/24 dev v0"));
        ip("link set v0 up");

        let ways = ways(if_nametoindex(link).expect("a link"));
        let built = listen(&ways).expect("a door");
        answer(TcpListener::bind("0.0.0.0:80").expect("port 80 is the task's"), "task");
        answer(built.listener.try_clone().expect("a copy"), "agent");
        assert_eq!(who(door).as_deref(), Some("agent"));
        assert_eq!(who((Ipv4Addr::LOCALHOST, 80)).as_deref(), Some("task"));
        go.send(()).expect("told");
        let [open, asked, beside] = asks.join().expect("a neighbour");
        assert_eq!(open.as_deref(), Some("task"), "the neighbour reaches the task");
        assert_eq!(asked.as_deref(), Some("task"), "to the neighbour there is no door");
        assert_eq!(beside, None, "also where it really is");
        drop(built.handed_over);
        assert_eq!(who(door).as_deref(), Some("task"), "a door that is gone takes nothing");
    }

    #[test]
    fn who_is_within_finds_the_agent_and_nobody_else_does() {
        tried(LOOPBACK, |link| vec![ComesBy::Link(link)]);
    }

    #[test]
    fn so_it_is_where_the_address_is_on_a_link_of_its_own() {
        tried("own", |link| vec![ComesBy::Link(link)]);
    }

    #[test]
    fn a_kernel_that_does_not_tell_the_link_does_the_same() {
        for link in [LOOPBACK, "own"] {
            thread::spawn(|| tried(link, |_| vec![ComesBy::OwnAddress])).join().expect("tried");
        }
    }
}
