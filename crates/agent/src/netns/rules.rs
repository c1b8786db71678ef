//! The rules of a door, by netlink, for the namespace of the thread that asks: starting
//! `nft` takes longer than all else that a namespace needs.

use nfnl::{APPEND, Attributes, CREATE, EXCLUSIVE, Message, REQUEST, connect, transact};
use nix::errno::Errno;
use std::io;
use std::net::SocketAddrV4;

const NEWTABLE: u16 = 0x0a00;
const DELTABLE: u16 = 0x0a02;
const NEWCHAIN: u16 = 0x0a03;
const NEWRULE: u16 = 0x0a06;

const IPV4: u8 = 2;
const TCP: u8 = 6;
const IIF: u32 = 4;
const PROTOCOL: u32 = 16;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// Where a verdict goes.
const VERDICT: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// `lo`, in every namespace.
const LOOPBACK: u32 = 1;

const CHAIN: &str = "door";

/// What a rule does with a packet, one thing after another: a name, and its settings.
type Expression = (&'static str, Attributes);

/// Has connections to `from` that come by the loopback given to the socket that listens
/// at `to`, and nobody else reach that address: a table of this name says so, in place of
/// what an agent before us has set.
pub(super) fn hand_over(table: &str, from: SocketAddrV4, to: SocketAddrV4) -> io::Result<()> {
    let socket = connect()?;
    let new = |flags| message(NEWTABLE, CREATE | flags, none().text(1, table));
    let rules = [chain(table), rule(table, drop_strange(from)), rule(table, let_in(from, to))];
    // In a new namespace nothing is removed: where something is, the end of the
    // conversation waits until every processor has forgotten it, some 10 ms.
    let first = [&[new(EXCLUSIVE)][..], &rules].concat();
    let refused = match transact(&socket, None, &first) {
        Ok(()) => return Ok(()),
        Err(refused) => refused.source,
    };
    if refused.raw_os_error() != Some(Errno::EEXIST as i32) {
        return Err(refused);
    }
    let gone = message(DELTABLE, 0, none().text(1, table));
    let again = [&[gone, new(0)][..], &rules].concat();
    transact(&socket, None, &again).map_err(|refused| refused.source)
}

/// `type filter hook prerouting priority mangle`.
fn chain(table: &str) -> Message {
    let hook = none().number(1, 0).with(2, &(-150i32).to_be_bytes());
    let chain = none().text(1, table).text(3, CHAIN).nest(4, &hook).text(7, "filter");
    message(NEWCHAIN, CREATE, chain)
}

/// `iif != lo ip daddr AT drop`: the machine takes packets for any of its addresses
/// by any of its links.
fn drop_strange(at: SocketAddrV4) -> Vec<Expression> {
    let [load_address, is_address] = destination(at);
    let comes_from = compare(NOT_EQUAL, &LOOPBACK.to_ne_bytes());
    vec![meta(IIF), comes_from, load_address, is_address, verdict(DROP)]
}

/// `iif lo ip daddr FROM tcp dport FROM tproxy to TO accept`.
fn let_in(from: SocketAddrV4, to: SocketAddrV4) -> Vec<Expression> {
    let [load_address, is_address] = destination(from);
    vec![
        meta(IIF),
        compare(EQUAL, &LOOPBACK.to_ne_bytes()),
        load_address,
        is_address,
        meta(PROTOCOL),
        compare(EQUAL, &[TCP]),
        payload(2, 2, 2), // The port, in the transport header.
        compare(EQUAL, &from.port().to_be_bytes()),
        load(1, &none().with(1, &to.ip().octets())),
        load(2, &none().with(1, &to.port().to_be_bytes())),
        ("tproxy", none().number(1, IPV4.into()).number(2, 1).number(3, 2)),
        verdict(ACCEPT),
    ]
}

fn rule(table: &str, steps: Vec<Expression>) -> Message {
    let steps = steps.into_iter().fold(none(), |steps, (name, settings)| {
        steps.nest(1, &none().text(1, name).nest(2, &settings))
    });
    message(NEWRULE, CREATE | APPEND, none().text(1, table).text(2, CHAIN).nest(4, &steps))
}

fn meta(key: u32) -> Expression {
    ("meta", none().number(1, 1).number(2, key))
}

fn compare(how: u32, value: &[u8]) -> Expression {
    ("cmp", none().number(1, 1).number(2, how).nest(3, &none().with(1, value)))
}

fn payload(base: u32, offset: u32, length: u32) -> Expression {
    ("payload", none().number(1, 1).number(2, base).number(3, offset).number(4, length))
}

/// The destination, in the network header.
fn destination(at: SocketAddrV4) -> [Expression; 2] {
    [payload(1, 16, 4), compare(EQUAL, &at.ip().octets())]
}

fn load(register: u32, value: &Attributes) -> Expression {
    ("immediate", none().number(1, register).nest(2, value))
}

fn verdict(code: u32) -> Expression {
    load(VERDICT, &none().nest(2, &none().number(1, code)))
}

fn none() -> Attributes {
    Attributes::default()
}

fn message(kind: u16, flags: u16, attributes: Attributes) -> Message {
    Message { kind, flags: REQUEST | flags, family: IPV4, attributes }
}
