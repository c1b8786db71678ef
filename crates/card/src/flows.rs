//! The connection tracker: what it knows, and that it forget some of that.

use crate::rules::{FAMILY_V4, FAMILY_V6};
use ident::Timestamp;
use net::flow::Counted;
use nfnl::{
    ACKNOWLEDGE, AF_UNSPEC, Attributes, DUMP, Message, REQUEST, ask, ask_each, attributes, connect,
    find,
};
use std::io;
use std::net::IpAddr;

const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_MARK: u16 = 8;
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;
const CTA_TIMESTAMP: u16 = 20;
const CTA_TIMESTAMP_START: u16 = 1;

/// What a packet of a flow says of where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// 0 if the protocol has none, as the next.
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Tuple {
    /// What the answers say.
    pub(crate) fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }
}

/// A flow that the tracker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// What its first packet said.
    pub(crate) tuple: Tuple,
    /// What went that way; nobody knows if the flow is older than the counting.
    pub(crate) sent: Option<Counted>,
    /// What came back.
    pub(crate) answered: Option<Counted>,
    /// When it began, if that is known.
    pub(crate) start: Option<Timestamp>,
    /// What the rules have noted of it.
    pub(crate) mark: u32,
}

/// Shows every flow that the tracker of the calling thread's namespace knows.
pub(crate) fn tracked(mut show: impl FnMut(Tracked)) -> io::Result<()> {
    ask_each(&connect()?, &every(), |kind, body| {
        if let Some(flow) = flow(body).filter(|_| kind == CT_NEW) {
            show(flow);
        }
    })
}

fn every() -> Message {
    let attributes = Attributes::default();
    Message { kind: CT_GET, flags: REQUEST | DUMP, family: AF_UNSPEC, attributes }
}

fn flow(body: &[u8]) -> Option<Tracked> {
    let counted = |which| {
        let counters = find(body, which)?;
        let number = |wanted| find(counters, wanted)?.try_into().ok().map(u64::from_be_bytes);
        let packets = number(CTA_COUNTERS_PACKETS)?;
        Some(Counted { packets, bytes: number(CTA_COUNTERS_BYTES)? })
    };
    let start = find(body, CTA_TIMESTAMP).and_then(|it| find(it, CTA_TIMESTAMP_START));
    let nanos = start.and_then(|start| start.try_into().ok()).map(u64::from_be_bytes);
    Some(Tracked {
        tuple: tuple(find(body, CTA_TUPLE_ORIG)?)?,
        sent: counted(CTA_COUNTERS_ORIG),
        answered: counted(CTA_COUNTERS_REPLY),
        mark: find(body, CTA_MARK)
            .and_then(|mark| mark.try_into().ok())
            .map_or(0, u32::from_be_bytes),
        start: nanos.and_then(|nanos| i64::try_from(nanos / 1_000_000).ok()).map(Timestamp),
    })
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    // Source and destination are its first two attributes, and its only ones.
    let mut both = attributes(find(bytes, CTA_TUPLE_IP)?).filter_map(|(_, ip)| address(ip));
    let about = find(bytes, CTA_TUPLE_PROTO)?;
    let port = |which| {
        let port = find(about, which).and_then(|port| port.try_into().ok());
        port.map_or(0, u16::from_be_bytes)
    };
    Some(Tuple {
        source: both.next()?,
        destination: both.next()?,
        protocol: *find(about, CTA_PROTO_NUM)?.first()?,
        source_port: port(CTA_PROTO_SRC_PORT),
        destination_port: port(CTA_PROTO_DST_PORT),
    })
}

/// An address as it is in a packet.
pub(crate) fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(octets).map(IpAddr::from).ok())
}

/// Makes the connection tracker forget every flow that `is_doomed` says, and says how many
/// there were.
pub(crate) fn forget(mut is_doomed: impl FnMut(&Tracked) -> bool) -> io::Result<usize> {
    let socket = connect()?;
    let mut doomed = Vec::new();
    ask_each(&socket, &every(), |kind, body| {
        let flow = flow(body).filter(|flow| kind == CT_NEW && is_doomed(flow));
        if let (Some(flow), Some(tuple)) = (flow, find(body, CTA_TUPLE_ORIG)) {
            let family = if flow.tuple.source.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
            doomed.push((family, tuple.to_vec()));
        }
    })?;
    let mut forgotten = 0;
    for (family, tuple) in doomed {
        let delete = Message {
            kind: CT_DELETE,
            flags: REQUEST | ACKNOWLEDGE,
            family,
            attributes: Attributes::default().nest_bytes(CTA_TUPLE_ORIG, &tuple),
        };
        match ask(&socket, &delete) {
            Ok(_) => forgotten += 1,
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_read_as_the_tracker_writes_it() {
        let ip = Attributes::default().with(1, &[10, 0, 1, 1]).with(2, &[10, 0, 1, 2]);
        let port = |port: u16| port.to_be_bytes();
        let ports = Attributes::default().with(1, &[6]).with(2, &port(4000)).with(3, &port(80));
        let there = Attributes::default().nest(1, &ip).nest(2, &ports);
        let long = |number: u64| number.to_be_bytes();
        let counted = |n| Attributes::default().with(1, &long(n)).with(2, &long(100 * n));
        let began = Attributes::default().with(1, &long(1_700_000_000_123_456_789));
        let bare = Attributes::default().nest(CTA_TUPLE_ORIG, &there);
        let whole =
            bare.clone().nest(9, &counted(3)).nest(10, &counted(2)).nest(20, &began).number(8, 2);
        let told = flow(whole.bytes()).expect("a flow");
        let [source, destination] = [1, 2].map(|last| IpAddr::from([10, 0, 1, last]));
        let (source_port, destination_port) = (4000, 80);
        let tuple = Tuple { source, destination, protocol: 6, source_port, destination_port };
        let counted = |packets| Some(Counted { packets, bytes: 100 * packets });
        let start = Some(Timestamp(1_700_000_000_123));
        assert_eq!(told, Tracked { tuple, sent: counted(3), answered: counted(2), start, mark: 2 });
        let told = flow(bare.bytes()).expect("one from before anybody counted");
        assert_eq!(told, Tracked { tuple, sent: None, answered: None, start: None, mark: 0 });
        assert_eq!(tuple.reversed().reversed(), tuple);
        assert_eq!((tuple.reversed().source, tuple.reversed().source_port), (destination, 80));
    }
}
