//! The rules of a door, for the namespace of the thread that asks, without a program in between:
//! starting `nft` takes longer than all else that a namespace needs.

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use rtnetlink::sys::constants::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};
use std::io;
use std::net::SocketAddrV4;

const NEWTABLE: u16 = 0x0a00;
const DELTABLE: u16 = 0x0a02;
const NEWCHAIN: u16 = 0x0a03;
const NEWRULE: u16 = 0x0a06;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// The subsystem that a batch is for.
const NFTABLES: u16 = 10;
/// What the kernel answers with.
const ERROR: u16 = 2;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
const IPV4: u8 = 2;
const TCP: u8 = 6;
const IIF: u32 = 4;
const PROTOCOL: u32 = 16;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// Where a verdict goes.
const VERDICT: u32 = 0;
/// `lo`, in every namespace.
const LOOPBACK: u32 = 1;

const CHAIN: &[u8] = b"door\0";

/// Has connections to `from` that come by the loopback given to the socket that listens
/// at `to`, and nobody else reach that address: a table of this name says so, in place of
/// what an agent before us has set.
pub(super) fn hand_over(table: &str, from: SocketAddrV4, to: SocketAddrV4) -> io::Result<()> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let table = Table(text(table));
    let new = |flags| message(NEWTABLE, CREATE | flags, &attribute(1, &table.0));
    let (chain, strange, rule) = (table.chain(), table.drop_strange(from), table.rule(from, to));
    // In a new namespace nothing is removed: where something is, the end of the
    // conversation waits until every processor has forgotten it, some 10 ms.
    match transact(&socket, &[&new(EXCLUSIVE), &chain, &strange, &rule]) {
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {
            let gone = message(DELTABLE, 0, &attribute(1, &table.0));
            transact(&socket, &[&gone, &new(0), &chain, &strange, &rule])
        }
        done => done,
    }
}

/// The name of a table, as it goes on the wire.
struct Table(Vec<u8>);

impl Table {
    /// `type filter hook prerouting priority mangle`.
    fn chain(&self) -> Vec<u8> {
        let hook = [attribute(1, &0u32.to_be_bytes()), attribute(2, &(-150i32).to_be_bytes())];
        let attributes = [
            attribute(1, &self.0),
            attribute(3, CHAIN),
            attribute(4 | NESTED, &hook.concat()),
            attribute(7, &text("filter")),
        ];
        message(NEWCHAIN, CREATE, &attributes.concat())
    }

    /// `iif != lo ip daddr AT drop`: the machine takes packets for any of its addresses
    /// by any of its links.
    fn drop_strange(&self, at: SocketAddrV4) -> Vec<u8> {
        let comes_from = compare(NOT_EQUAL, &LOOPBACK.to_ne_bytes());
        let drop = load(VERDICT, &attribute(2 | NESTED, &number(1, 0)));
        let [load_address, is_address] = destination(at);
        self.of(&[meta(IIF), comes_from, load_address, is_address, drop])
    }

    /// `iif lo ip daddr FROM tcp dport FROM tproxy to TO accept`.
    fn rule(&self, from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
        let [load_address, is_address] = destination(from);
        self.of(&[
            meta(IIF),
            compare(EQUAL, &LOOPBACK.to_ne_bytes()),
            load_address,
            is_address,
            meta(PROTOCOL),
            compare(EQUAL, &[TCP]),
            payload(2, 2, 2), // The port, in the transport header.
            compare(EQUAL, &from.port().to_be_bytes()),
            load(1, &attribute(1, &to.ip().octets())),
            load(2, &attribute(1, &to.port().to_be_bytes())),
            expression("tproxy", &[number(1, IPV4.into()), number(2, 1), number(3, 2)]),
            load(VERDICT, &attribute(2 | NESTED, &number(1, 1))),
        ])
    }

    fn of(&self, steps: &[Vec<u8>]) -> Vec<u8> {
        let steps: Vec<u8> = steps.iter().flat_map(|step| attribute(1 | NESTED, step)).collect();
        let attributes =
            [attribute(1, &self.0), attribute(2, CHAIN), attribute(4 | NESTED, &steps)];
        message(NEWRULE, CREATE | APPEND, &attributes.concat())
    }
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, 1), number(2, key)])
}

fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    let value = attribute(3 | NESTED, &attribute(1, value));
    expression("cmp", &[number(1, 1), number(2, how), value])
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    let fields = [number(1, 1), number(2, base), number(3, offset), number(4, length)];
    expression("payload", &fields)
}

/// The destination, in the network header.
fn destination(at: SocketAddrV4) -> [Vec<u8>; 2] {
    [payload(1, 16, 4), compare(EQUAL, &at.ip().octets())]
}

fn load(register: u32, value: &[u8]) -> Vec<u8> {
    expression("immediate", &[number(1, register), attribute(2 | NESTED, value)])
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn expression(name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    [attribute(1, &text(name)), attribute(2 | NESTED, &fields.concat())].concat()
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // All we send is short.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    framed(kind, flags | ACKNOWLEDGE, IPV4, 0, attributes)
}

fn framed(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend([0; 8]); // Number and port: one conversation, one question.
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend_from_slice(attributes);
    bytes
}

/// Sends messages as one transaction. The kernel has answered each when it has taken
/// them, so nothing here waits.
fn transact(socket: &Socket, messages: &[&Vec<u8>]) -> io::Result<()> {
    let mut batch = framed(BATCH_BEGIN, 0, 0, NFTABLES, &[]);
    batch.extend(messages.iter().copied().flatten());
    batch.extend(framed(BATCH_END, 0, 0, NFTABLES, &[]));
    socket.send(&batch, 0)?;
    let (mut acknowledged, mut refused) = (0, None);
    loop {
        let mut datagram = Vec::with_capacity(1 << 12);
        match socket.recv(&mut datagram, MsgFlags::MSG_DONTWAIT.bits()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
        let mut rest = datagram.as_slice();
        while let Some(length) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length)) {
            let length = usize::try_from(length).unwrap_or(usize::MAX).max(16);
            let kind = rest.get(4..).and_then(<[u8]>::first_chunk).copied();
            let code = rest.get(16..).and_then(<[u8]>::first_chunk).copied();
            if let (Some(kind), Some(code)) = (kind, code)
                && u16::from_ne_bytes(kind) == ERROR
            {
                match i32::from_ne_bytes(code) {
                    0 => acknowledged += 1,
                    code => _ = refused.get_or_insert(io::Error::from_raw_os_error(-code)),
                }
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    match refused {
        Some(error) => Err(error),
        None if acknowledged == messages.len() => Ok(()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
