//! The two programs of the fast path, and the bytes that they share with us.
//!
//! Neither writes to a packet: its head may be shared with the sender, who keeps it in
//! case it must be sent again, and the kernel would copy it first.

use crate::filter::KNOWN;
use crate::flows::{Tuple, address};
use crate::gate::{TCP, UDP};
use Condition::{AtMost, Common, Equal, Greater, Unequal};
use Register::{FP, R0, R1, R2, R3, R4, R6, R7, R8, R9};
use Size::{Byte, Double, Half, Word};
use bpf::{
    Assembler, Condition, Helper, Kind, Label, Map, Program, Purpose, Register, Size, Unfit,
};
use net::flow::Counted;
use net::mac::MacAddress;
use std::io;

/// How long a flow may go the fast way before a packet of it goes the long one again, in
/// nanoseconds: the tracker forgets flows that it has not seen for long.
const FRESH: i32 = 1_000_000_000;

/// What packets of a flow say, and by which link they come: an index, a protocol, two
/// addresses and two ports, and the Ethernet type. IPv4 addresses have zeros behind them.
/// Two-byte numbers and addresses are as in a packet.
const KEY: i16 = 48;
const KEY_LINK: i16 = 0;
const KEY_PROTOCOL: i16 = 4;
const KEY_SOURCE: i16 = 8;
const KEY_DESTINATION: i16 = 24;
const KEY_PORTS: i16 = 40;
const KEY_TYPE: i16 = 44;

/// What is known of a flow: by which link it leaves, in which epoch its packet came that
/// showed that, until when to believe it, what went the fast way, and how long the longest
/// packet was that passed: alone, and as a piece of one that the sender left whole.
const FLOW: i16 = 48;
const FLOW_LINK: i16 = 0;
const FLOW_EPOCH: i16 = 4;
const FLOW_UNTIL: i16 = 8;
const FLOW_PACKETS: i16 = 16;
const FLOW_BYTES: i16 = 24;
const FLOW_LONGEST: i16 = 32;
const FLOW_LONGEST_PIECE: i16 = 40;

/// What is known of a link: the hardware address at its other end, and what went there the
/// fast way, and came from there.
const LINK: i16 = 40;
const LINK_SENT: i16 = 8;
const LINK_RECEIVED: i16 = 24;

/// Offsets in `struct __sk_buff`.
mod packet {
    pub(super) const LENGTH: i16 = 0;
    pub(super) const KIND: i16 = 4;
    pub(super) const MARK: i16 = 8;
    pub(super) const VLAN: i16 = 20;
    pub(super) const CAME_BY: i16 = 36;
    pub(super) const LINK: i16 = 40;
    pub(super) const TC_INDEX: i16 = 44;
    pub(super) const DATA: i16 = 76;
    pub(super) const DATA_END: i16 = 80;
    pub(super) const PIECE: i16 = 176;
}

/// What a program says of a packet with which it has nothing to do.
const GO_ON: i32 = -1;

/// An Ethernet header, and where its parts are.
const ETHERNET: i16 = 14;
const ETHER_SOURCE: i16 = 6;
const ETHER_TYPE: i16 = 12;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Where TCP has its flags, and those with which flows begin and end.
const TCP_FLAGS: i16 = 13;
const BEGINS: i32 = 0x02;
const BEGINS_OR_ENDS: i32 = 0x07;

/// Where things are on the stack.
const AT_KEY: i16 = -KEY;
const AT_FLOW: i16 = AT_KEY - FLOW;
const AT_LINK: i16 = AT_FLOW - 8;
const AT_SENDER: i16 = AT_LINK - 8;

/// How many flows a VPC's fast path knows, in each direction; 2 MiB of the kernel's.
const FLOWS: u32 = 16_384;
/// How many links of a VPC can have it.
const LINKS: u32 = 65_536;

/// What the programs of a router share.
#[derive(Debug)]
pub(super) struct Maps {
    /// [`LINK`] by the index of a link. Only those in it have a fast path.
    pub(super) links: Map,
    /// [`FLOW`] by [`KEY`].
    pub(super) flows: Map,
    /// One number that is never 0.
    pub(super) epoch: Map,
}

impl Maps {
    pub(super) fn new() -> io::Result<Self> {
        let length = |length: i16| u32::from(length.unsigned_abs());
        let (key, flow) = (length(KEY), length(FLOW));
        Ok(Self {
            links: Map::new(Kind::Hash, "landfall_links", 4, length(LINK), LINKS)?,
            flows: Map::new(Kind::RecentHash, "landfall_flows", key, flow, FLOWS)?,
            epoch: Map::new(Kind::Array, "landfall_epoch", 4, 4, 1)?,
        })
    }
}

/// The program for packets that come from an interface into the router: of a flow that is
/// known, it gives them to the interface they are for.
pub(super) fn ingress(maps: &Maps) -> Result<Vec<u8>, Unfit> {
    let mut code = Assembler::default();
    let (long_way, begins) = (code.label(), code.label());
    code.set(R6, R1);
    // Who passes the rules says so on its way out, with the epoch in which it came.
    code.first_value(R1, &maps.epoch);
    code.load(Word, R9, R1, 0);
    code.store(Word, R6, packet::TC_INDEX, R9);
    // Those for another hardware address, and those with a tag, are nobody's here.
    for other in [packet::KIND, packet::VLAN] {
        code.load(Word, R1, R6, other);
        code.jump_if(R1, Unequal, 0, long_way);
    }
    read_key(&mut code, packet::LINK, long_way, Some(begins));

    // It must come from whom the link belongs to.
    look_up_link(&mut code, R6, packet::LINK, &maps.links, long_way);
    code.store(Double, FP, AT_SENDER, R0);
    for (size, offset) in [(Word, 0), (Half, 4)] {
        code.load(size, R1, R7, ETHER_SOURCE + offset);
        code.load(size, R2, R0, offset);
        code.jump_if(R1, Unequal, R2, long_way);
    }

    look_up_flow(&mut code, &maps.flows);
    code.jump_if(R0, Equal, 0, long_way);
    code.set(R8, R0);
    code.load(Word, R1, R8, FLOW_EPOCH);
    code.jump_if(R1, Unequal, R9, long_way);
    code.call(Helper::KtimeGetCoarseNs);
    code.load(Double, R1, R8, FLOW_UNTIL);
    code.jump_if(R1, AtMost, R0, long_way);
    // No longer than what has passed.
    measure(&mut code, R9, R2);
    code.load(Double, R1, R8, FLOW_LONGEST_PIECE);
    code.jump_if(R2, Greater, R1, long_way);
    let fits = code.label();
    code.jump_if(R2, Unequal, 0, fits);
    code.load(Double, R1, R8, FLOW_LONGEST);
    code.jump_if(R9, Greater, R1, long_way);
    code.at(fits);

    look_up_link(&mut code, R8, FLOW_LINK, &maps.links, long_way);
    code.set(R1, 1);
    code.load(Double, R2, FP, AT_SENDER);
    for (counter, offset) in [(R2, LINK_SENT), (R0, LINK_RECEIVED), (R8, FLOW_PACKETS)] {
        code.add_atomically(counter, offset, R1);
        code.add_atomically(counter, offset + 8, R9);
    }
    code.load(Word, R1, R8, FLOW_LINK);
    code.set(R2, 0);
    code.call(Helper::RedirectPeer);
    code.exit();

    // What another connection with the same ports has carried is not this one's.
    code.at(begins);
    pass_key(&mut code, &maps.flows);
    code.call(Helper::MapDeleteElem);
    code.at(long_way);
    code.set(R0, GO_ON);
    code.exit();
    code.finish()
}

/// The program for packets that leave the router: if the rules say so, it remembers where
/// those of this flow go.
pub(super) fn egress(maps: &Maps) -> Result<Vec<u8>, Unfit> {
    let mut code = Assembler::default();
    let (end, replace, same) = (code.label(), code.label(), code.label());
    code.set(R6, R1);
    code.load(Word, R1, R6, packet::MARK);
    code.jump_if(R1, Unequal, KNOWN.cast_signed(), end);
    // What the router says itself came by no link.
    code.load(Word, R1, R6, packet::TC_INDEX);
    code.jump_if(R1, Equal, 0, end);
    code.load(Word, R1, R6, packet::CAME_BY);
    code.load(Word, R2, R6, packet::LINK);
    code.jump_if(R1, Equal, R2, end);
    read_key(&mut code, packet::CAME_BY, end, None);

    code.call(Helper::KtimeGetCoarseNs);
    code.set(R7, R0);
    look_up_flow(&mut code, &maps.flows);
    code.set(R8, R0);
    measure(&mut code, R9, R3);
    code.store(Double, FP, AT_FLOW + FLOW_PACKETS, 0);
    code.store(Double, FP, AT_FLOW + FLOW_BYTES, 0);
    code.jump_if(R8, Equal, 0, replace);
    for offset in [FLOW_PACKETS, FLOW_BYTES] {
        code.load(Double, R1, R8, offset);
        code.store(Double, FP, AT_FLOW + offset, R1);
    }
    // Only what is still believed may be known by more than this packet.
    for (known, packet) in [(FLOW_LINK, packet::LINK), (FLOW_EPOCH, packet::TC_INDEX)] {
        code.load(Word, R1, R8, known);
        code.load(Word, R2, R6, packet);
        code.jump_if(R1, Unequal, R2, replace);
    }
    code.load(Double, R1, R8, FLOW_UNTIL);
    code.jump_if(R1, Greater, R7, same);

    // As a whole, so that nobody sees where it goes and when that was with different eyes.
    code.at(replace);
    for (to, from) in [(FLOW_LINK, packet::LINK), (FLOW_EPOCH, packet::TC_INDEX)] {
        code.load(Word, R1, R6, from);
        code.store(Word, FP, AT_FLOW + to, R1);
    }
    code.add(R7, FRESH);
    code.store(Double, FP, AT_FLOW + FLOW_UNTIL, R7);
    code.store(Double, FP, AT_FLOW + FLOW_LONGEST_PIECE, R3);
    let alone = code.label();
    code.jump_if(R3, Equal, 0, alone);
    code.set(R9, 0);
    code.at(alone);
    code.store(Double, FP, AT_FLOW + FLOW_LONGEST, R9);
    pass_key(&mut code, &maps.flows);
    code.set(R3, FP);
    code.add(R3, i32::from(AT_FLOW));
    code.set(R4, 0);
    code.call(Helper::MapUpdateElem);
    code.jump(end);

    // It is longer than those that went the fast way.
    code.at(same);
    let (piece, shorter) = (code.label(), code.label());
    code.jump_if(R3, Unequal, 0, piece);
    code.load(Double, R1, R8, FLOW_LONGEST);
    code.jump_if(R9, AtMost, R1, shorter);
    code.store(Double, R8, FLOW_LONGEST, R9);
    code.jump(end);
    code.at(piece);
    code.load(Double, R1, R8, FLOW_LONGEST_PIECE);
    code.jump_if(R3, AtMost, R1, shorter);
    code.store(Double, R8, FLOW_LONGEST_PIECE, R3);
    code.at(shorter);
    code.at(end);
    code.set(R0, GO_ON);
    code.exit();
    code.finish()
}

/// Has the kernel take a program, or says why it does not.
pub(super) fn load(name: &str, code: Result<Vec<u8>, Unfit>) -> io::Result<Program> {
    let code = code.map_err(io::Error::other)?;
    let purpose = Purpose::Classifier;
    Program::load(purpose, name, "Apache-2.0", &code).inspect_err(|_| {
        let said = Program::explain(purpose, &code);
        tracing::debug!(name, said, "the kernel does not take the program");
    })
}

/// Puts the key of the packet in `R6` on the stack, and where it begins into `R7`. The link
/// is what the packet has at `link`. What is no plain packet of a flow that has begun goes
/// to `other`; what begins one goes to `begins`, if that is given, and has a key.
fn read_key(code: &mut Assembler, link: i16, other: Label, begins: Option<Label>) {
    let (v6, done) = (code.label(), code.label());
    code.load(Word, R7, R6, packet::DATA);
    code.load(Word, R8, R6, packet::DATA_END);
    within(code, ETHERNET + 20 + 8, other);
    code.load(Word, R1, R6, link);
    code.store(Word, FP, AT_KEY + KEY_LINK, R1);
    code.load(Half, R1, R7, ETHER_TYPE);
    code.store(Word, FP, AT_KEY + KEY_TYPE, R1);
    code.jump_if(R1, Equal, in_packet(IPV6), v6);
    code.jump_if(R1, Unequal, in_packet(IPV4), other);

    // A header without options, which is not of a part of a packet.
    code.load(Byte, R1, R7, ETHERNET);
    code.jump_if(R1, Unequal, 0x45, other);
    code.load(Half, R1, R7, ETHERNET + 6);
    code.jump_if(R1, Common, in_packet(0x3fff), other);
    code.load(Byte, R1, R7, ETHERNET + 8);
    code.jump_if(R1, AtMost, 1, other);
    for (to, from) in [(KEY_SOURCE, 12), (KEY_DESTINATION, 16)] {
        code.load(Word, R1, R7, ETHERNET + from);
        code.store(Word, FP, AT_KEY + to, R1);
        code.store(Word, FP, AT_KEY + to + 4, 0);
        code.store(Double, FP, AT_KEY + to + 8, 0);
    }
    read_transport(code, 9, 20, other, begins);
    code.jump(done);

    code.at(v6);
    within(code, ETHERNET + 40 + 8, other);
    code.load(Byte, R1, R7, ETHERNET + 7);
    code.jump_if(R1, AtMost, 1, other);
    for (to, from) in [(KEY_SOURCE, 8), (KEY_DESTINATION, 24)] {
        for part in [0, 4, 8, 12] {
            code.load(Word, R1, R7, ETHERNET + from + part);
            code.store(Word, FP, AT_KEY + to + part, R1);
        }
    }
    read_transport(code, 6, 40, other, begins);
    code.at(done);
}

/// Completes the key with the protocol, which the IP header has at `protocol`, and the
/// ports, which come after its `header` bytes. Goes to `other` and `begins` as [`read_key`].
fn read_transport(
    code: &mut Assembler,
    protocol: i16,
    header: i16,
    other: Label,
    begins: Option<Label>,
) {
    let (at, done) = (ETHERNET + header, code.label());
    code.load(Word, R1, R7, at);
    code.store(Word, FP, AT_KEY + KEY_PORTS, R1);
    code.load(Byte, R1, R7, ETHERNET + protocol);
    code.store(Word, FP, AT_KEY + KEY_PROTOCOL, R1);
    code.jump_if(R1, Equal, i32::from(UDP), done);
    code.jump_if(R1, Unequal, i32::from(TCP), other);
    within(code, at + TCP_FLAGS + 1, other);
    code.load(Byte, R1, R7, at + TCP_FLAGS);
    if let Some(begins) = begins {
        code.jump_if(R1, Common, BEGINS, begins);
    }
    code.jump_if(R1, Common, BEGINS_OR_ENDS, other);
    code.at(done);
}

/// Goes to `other` unless so many bytes of the packet lie together.
fn within(code: &mut Assembler, bytes: i16, other: Label) {
    code.set(R1, R7);
    code.add(R1, i32::from(bytes));
    code.jump_if(R1, Greater, R8, other);
}

/// How long the packet in `R6` is without its Ethernet header, and in pieces of how many
/// bytes of data it will be sent; 0 if it is a piece itself.
fn measure(code: &mut Assembler, length: Register, piece: Register) {
    code.load(Word, length, R6, packet::LENGTH);
    code.subtract(length, i32::from(ETHERNET));
    code.load(Word, piece, R6, packet::PIECE);
}

/// What is known of the link whose index is there from the address in `from` on, in `R0`.
fn look_up_link(code: &mut Assembler, from: Register, index: i16, links: &Map, none: Label) {
    code.load(Word, R1, from, index);
    code.store(Word, FP, AT_LINK, R1);
    code.map(R1, links);
    code.set(R2, FP);
    code.add(R2, i32::from(AT_LINK));
    code.call(Helper::MapLookupElem);
    code.jump_if(R0, Equal, 0, none);
}

/// What is known of the flow whose key is on the stack, in `R0`; 0 if nothing is.
fn look_up_flow(code: &mut Assembler, flows: &Map) {
    pass_key(code, flows);
    code.call(Helper::MapLookupElem);
}

/// The arguments of a helper: that map, and the key on the stack.
fn pass_key(code: &mut Assembler, map: &Map) {
    code.map(R1, map);
    code.set(R2, FP);
    code.add(R2, i32::from(AT_KEY));
}

/// A number of two bytes as it is in a packet.
fn in_packet(number: u16) -> i32 {
    i32::from(number.to_be())
}

/// What a link's entry begins with.
pub(super) fn link(mac: MacAddress) -> Vec<u8> {
    let mut value = mac.0.to_vec();
    value.resize(usize::from(LINK.unsigned_abs()), 0);
    value
}

/// What went there and came from there: packets and bytes of both.
pub(super) fn carried(link: &[u8]) -> Option<[u64; 4]> {
    let at = |index: i16| double(link, LINK_SENT + 8 * index);
    Some([at(0)?, at(1)?, at(2)?, at(3)?])
}

/// Of which flow it is, and what of it went the fast way.
pub(super) fn flow(key: &[u8], flow: &[u8]) -> Option<(Tuple, Counted)> {
    let at = |offset: i16, length: usize| {
        let offset = usize::from(offset.unsigned_abs());
        key.get(offset..offset + length)
    };
    let is_v6 = u32::from_ne_bytes(at(KEY_TYPE, 4)?.try_into().ok()?) == u32::from(IPV6.to_be());
    let address = |offset| address(at(offset, if is_v6 { 16 } else { 4 })?);
    let port = |offset| Some(u16::from_be_bytes(at(offset, 2)?.try_into().ok()?));
    let protocol = u32::from_ne_bytes(at(KEY_PROTOCOL, 4)?.try_into().ok()?);
    let tuple = Tuple {
        source: address(KEY_SOURCE)?,
        destination: address(KEY_DESTINATION)?,
        protocol: u8::try_from(protocol).ok()?,
        source_port: port(KEY_PORTS)?,
        destination_port: port(KEY_PORTS + 2)?,
    };
    let counted =
        Counted { packets: double(flow, FLOW_PACKETS)?, bytes: double(flow, FLOW_BYTES)? };
    Some((tuple, counted))
}

fn double(bytes: &[u8], offset: i16) -> Option<u64> {
    let offset = usize::from(offset.unsigned_abs());
    Some(u64::from_ne_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}
