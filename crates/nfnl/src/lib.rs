//! Netlink to netfilter: messages and attributes, and a socket to send them on.
//!
//! Here is what every conversation has in common; what it is about, a card's rules or a
//! door's, its owner encodes. It blocks, and speaks with the namespace of the thread that
//! connects. The kernel answers in the course of the sending, so nothing here ever waits
//! for long.

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBufForce;
use rtnetlink::sys::constants::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};
use std::io;
use std::os::fd::AsFd;

const MESSAGE_HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;

/// Flag: the kernel is asked something. All that is sent has it.
pub const REQUEST: u16 = 0x1;
/// Flag: the kernel is to say when it is done.
pub const ACKNOWLEDGE: u16 = 0x4;
/// Flag: not one thing is asked for, but all there are.
pub const DUMP: u16 = 0x300;
/// Flag: what is there already is an error (`EEXIST`).
pub const EXCLUSIVE: u16 = 0x200;
/// Flag: what is not there is made.
pub const CREATE: u16 = 0x400;
/// Flag: after what is there, not before.
pub const APPEND: u16 = 0x800;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
/// The family of what is of no family.
pub const AF_UNSPEC: u8 = 0;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const BATCH_GENID: u16 = 1;
/// The subsystem that batches are for.
const NFTABLES: u16 = 10;

/// Attributes, one after another, as they go on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds one.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        // What we send is names, addresses and the like; only nests are long.
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number, big end first.
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_be_bytes())
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds one that consists of others.
    #[must_use]
    pub fn nest(self, kind: u16, inner: &Self) -> Self {
        self.nest_bytes(kind, &inner.0)
    }

    /// Adds one that consists of others, which are bytes already.
    #[must_use]
    pub fn nest_bytes(self, kind: u16, inner: &[u8]) -> Self {
        self.with(NESTED | kind, inner)
    }

    /// As they go on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in some bytes, by kind; flags in the kind are left out.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & 0x3fff;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
pub fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A message: what it asks, and of which family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its subsystem in the high byte, and what is to be done.
    pub kind: u16,
    /// [`REQUEST`] and others.
    pub flags: u16,
    /// An address family, or nftables's own kind of one.
    pub family: u8,
    /// What it is about.
    pub attributes: Attributes,
}

impl Message {
    fn write(&self, number: u32, resource: u16, out: &mut Vec<u8>) -> io::Result<()> {
        let length = MESSAGE_HEADER + FAMILY_HEADER + self.attributes.bytes().len();
        out.extend(u32::try_from(length).map_err(io::Error::other)?.to_ne_bytes());
        out.extend(self.kind.to_ne_bytes());
        out.extend(self.flags.to_ne_bytes());
        out.extend(number.to_ne_bytes());
        out.extend([0; 4]); // The port: one conversation.
        out.extend([self.family, 0]);
        out.extend(resource.to_be_bytes());
        out.extend_from_slice(self.attributes.bytes());
        Ok(())
    }
}

/// Opens a conversation with the namespace of the calling thread.
pub fn connect() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Sends one request and collects the answers: their kinds and attributes.
pub fn ask(socket: &Socket, message: &Message) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let mut answers = Vec::new();
    ask_each(socket, message, |kind, body| answers.push((kind, body.to_vec())))?;
    Ok(answers)
}

/// The same, showing each answer without keeping it: there may be very many.
pub fn ask_each(
    socket: &Socket,
    message: &Message,
    mut show: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let mut request = Vec::new();
    message.write(0, 0, &mut request)?;
    socket.send(&request, 0)?;

    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some(part) = split(rest) {
            rest = part.rest;
            match part.kind {
                DONE => return Ok(()),
                ERROR => return part.error(),
                kind => show(kind, part.body.get(FAMILY_HEADER..).unwrap_or(&[])),
            }
        }
        if message.flags & (DUMP | ACKNOWLEDGE) == 0 {
            return Ok(());
        }
    }
}

/// Why a batch was refused.
#[derive(Debug)]
pub struct Refused {
    /// Which of its messages the kernel did not like, if it is one.
    pub at: Option<usize>,
    /// What the kernel says, or the sending.
    pub source: io::Error,
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        Self { at: None, source }
    }
}

/// Sends messages to nftables as one transaction: all of them happen, or none.
///
/// With `genid`, it is refused (`ERESTART`) unless the rules of the namespace still
/// have that generation.
pub fn transact(socket: &Socket, genid: Option<u32>, messages: &[Message]) -> Result<(), Refused> {
    let frame = |kind, attributes| Message { kind, flags: REQUEST, family: AF_UNSPEC, attributes };
    let begin = genid
        .map_or_else(Attributes::default, |genid| Attributes::default().number(BATCH_GENID, genid));
    let mut batch = Vec::new();
    frame(BATCH_BEGIN, begin).write(0, NFTABLES, &mut batch)?;
    for (number, message) in (1..).zip(messages) {
        let mut message = message.clone();
        // The last one alone is acknowledged. Errors always come.
        if usize::try_from(number).is_ok_and(|number| number == messages.len()) {
            message.flags |= ACKNOWLEDGE;
        }
        message.write(number, 0, &mut batch)?;
    }
    frame(BATCH_END, Attributes::default()).write(0, NFTABLES, &mut batch)?;

    // The kernel takes a batch whole or not at all, and its bookkeeping too must
    // find room in the buffer.
    setsockopt(&socket.as_fd(), SndBufForce, &(2 * batch.len() + (1 << 16)))
        .map_err(io::Error::from)?;
    socket.send(&batch, 0)?;
    let mut acknowledged = false;
    let mut refused = None;
    loop {
        let datagram = match receive_now(socket) {
            Ok(datagram) => datagram,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        };
        let mut rest = datagram.as_slice();
        while let Some(part) = split(rest) {
            rest = part.rest;
            if part.kind != ERROR {
                continue;
            }
            match part.error() {
                Ok(()) => acknowledged = true,
                Err(source) => {
                    let at = usize::try_from(part.number).ok().and_then(|at| at.checked_sub(1));
                    refused.get_or_insert(Refused { at, source });
                }
            }
        }
    }
    match refused {
        Some(refused) => Err(refused),
        None if acknowledged => Ok(()),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// A datagram that is here already, whole.
fn receive_now(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut datagram = Vec::with_capacity(1 << 16);
    socket.recv(&mut datagram, libc::MSG_DONTWAIT)?;
    Ok(datagram)
}

/// The first message of a datagram.
struct Part<'a> {
    kind: u16,
    number: u32,
    body: &'a [u8],
    rest: &'a [u8],
}

impl Part<'_> {
    /// What a message of the kind `ERROR` says.
    fn error(&self) -> io::Result<()> {
        match self.body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn split(datagram: &[u8]) -> Option<Part<'_>> {
    let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
    let number = u32::from_ne_bytes(*datagram.get(8..)?.first_chunk()?);
    let body = datagram.get(MESSAGE_HEADER..length)?;
    let rest = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    Some(Part { kind, number, body, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let inner = Attributes::default().number(7, 1);
        let bytes =
            Attributes::default().with(1, b"abcde").with(2, &[]).text(3, "abc").nest(4, &inner);
        let read: Vec<_> = attributes(&bytes.0).collect();
        let expected =
            [(1, &b"abcde"[..]), (2, &[][..]), (3, &b"abc\0"[..]), (4, &[8, 0, 7, 0, 0, 0, 0, 1])];
        assert_eq!(read, expected);
        assert_eq!(attributes(&bytes.0[..bytes.0.len() - 1]).count(), 3);
        assert_eq!(attributes(&[0; 8]).count(), 0, "a length of nothing ends it");
    }
}
